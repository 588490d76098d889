package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// network is a TCP proxy between a browser and a server. It can lose data without an error.
type network struct {
	url string

	mu    sync.Mutex
	conns map[*link]bool
}

// link is one connection through the network: near is to the browser, far to the server.
type link struct {
	near, far net.Conn
	stream    bool // carries an event stream
	lost      bool // all data is discarded, and neither side gets an error
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

// forget discards all further data of the connections with event streams. A router that removed
// an idle connection from its tables does the same.
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
