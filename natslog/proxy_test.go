package natslog_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// proxy forwards connections between a node and its server.
type proxy struct {
	listener net.Listener
	server   string

	mu       sync.Mutex // guards the fields below
	moved    sync.Cond
	stalled  bool                   // nothing gets through, and connections stay open
	answer   func(data []byte) bool // reports whether to drop the connection instead of forwarding this answer
	refusing bool                   // new connections are closed
	rate     int                    // bytes a second to the node; 0 for no bound
	conns    map[net.Conn]bool
	finished bool
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, server: server, conns: make(map[net.Conn]bool)}
	p.moved.L = &p.mu
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.set(func() { p.finished = true })
		p.dropAll()
		serving.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

// connect connects through the proxy, and reconnects only through it.
func (p *proxy) connect(t *testing.T) *nats.Conn {
	t.Helper()
	return connect(t, p.url(), nats.IgnoreDiscoveredServers())
}

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.moved.Broadcast()
}

func (p *proxy) stall(stalled bool) { p.set(func() { p.stalled = stalled }) }

// dropAll drops all connections.
func (p *proxy) dropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		client.Close()
		return
	}
	p.set(func() {
		p.conns[client], p.conns[server] = true, true
		if p.finished || p.refusing {
			client.Close()
		}
	})
	var copying sync.WaitGroup
	copying.Go(func() { p.copy(server, client, false) })
	copying.Go(func() { p.copy(client, server, true) })
	copying.Wait()
	p.set(func() {
		delete(p.conns, client)
		delete(p.conns, server)
	})
}

func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		p.mu.Lock()
		rate, most := p.rate, len(buffer)
		if answers && rate > 0 {
			most = 4 << 10
		}
		p.mu.Unlock()
		n, err := from.Read(buffer[:most])
		if err != nil {
			return
		}
		if answers && rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate)) // a slow link
		}
		p.mu.Lock()
		for p.stalled && !p.finished {
			p.moved.Wait()
		}
		ends := answers && p.answer != nil && p.answer(buffer[:n])
		p.mu.Unlock()
		if ends {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
