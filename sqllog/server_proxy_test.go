package sqllog_test

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// proxy is between a node and its server.
type proxy struct {
	listener net.Listener

	mu       sync.Mutex // guards the fields below
	moved    sync.Cond
	server   string
	stalled  bool // nothing gets through, and connections stay open
	refusing bool // new connections are closed
	most     int  // after so many bytes of answers on one connection, none get through; 0 for no bound
	stuck    bool // that has happened
	conns    map[net.Conn]bool
	finished bool
}

// newProxy returns a proxy to the server of an address.
func newProxy(t testing.TB, address string) *proxy {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, server: u.Host, conns: make(map[net.Conn]bool)}
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
		_ = listener.Close()
		p.set(func() { p.finished = true })
		p.dropAll()
		serving.Wait()
	})
	return p
}

// through returns an address with the proxy as its server.
func (p *proxy) through(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	u.Host = p.listener.Addr().String()
	return u.String()
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
		_ = conn.Close()
	}
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	address := p.server
	p.mu.Unlock()
	server, err := net.Dial("tcp", address)
	if err != nil {
		_ = client.Close()
		return
	}
	p.set(func() {
		p.conns[client], p.conns[server] = true, true
		if p.finished || p.refusing {
			_ = client.Close()
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
	for total := 0; ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		total += n
		p.mu.Lock()
		if answers && p.most > 0 && total >= p.most {
			p.stuck = true
		}
		for (p.stalled || answers && p.stuck) && !p.finished {
			p.moved.Wait()
		}
		p.mu.Unlock()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
