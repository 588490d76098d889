package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// network lies between a browser and a server, and can lose what goes over it.
type network struct {
	url string

	mu    sync.Mutex
	conns map[*link]bool
}

// link is a connection through the network: to the browser and to the server.
type link struct {
	near, far net.Conn
	stream    bool // an event stream comes over it
	lost      bool // nothing gets through any more, and nobody is told
}

func newNetwork(t *testing.T, url string) *network {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{url: "http://" + listener.Addr().String(), conns: make(map[*link]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				near.Close()
				continue
			}
			l := &link{near: near, far: far}
			n.mu.Lock()
			n.conns[l] = true
			n.mu.Unlock()
			wg.Go(func() { n.carry(l, near, far) })
			wg.Go(func() { n.carry(l, far, near) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		n.mu.Lock()
		for l := range n.conns {
			l.near.Close()
			l.far.Close()
		}
		n.mu.Unlock()
		wg.Wait()
	})
	return n
}

// forget forgets the connections with event streams, as a router does that has waited
// too long for a word on them: what is sent over them is lost, to either side.
func (n *network) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.conns {
		l.lost = l.stream
	}
}

func (n *network) carry(l *link, to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		read, err := from.Read(buffer)
		n.mu.Lock()
		l.stream = l.stream || bytes.Contains(buffer[:read], []byte("text/event-stream\r"))
		lost := l.lost
		n.mu.Unlock()
		if lost && err == nil {
			continue
		}
		if err == nil {
			_, err = to.Write(buffer[:read])
		}
		if err != nil {
			if !lost {
				l.near.Close()
				l.far.Close()
			}
			return
		}
	}
}
