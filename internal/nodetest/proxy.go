package nodetest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards TCP connections between a node and its server. It has the faults of a network:
// connections that stall, drop, are refused, or are slow.
type Proxy struct {
	listener net.Listener

	mu       sync.Mutex // guards the fields below
	moved    sync.Cond
	server   string
	stalled  bool // nothing gets through, and connections stay open
	held     bool // the same for answers alone
	refusing bool // new connections are closed
	rate     int  // bytes of answers a second, on each connection; 0 for no bound
	answer   func(total int, data []byte) Verdict
	conns    map[net.Conn]bool
	finished bool
}

// Verdict is what a [Proxy] does with an answer of the server.
type Verdict int

const (
	// Forward forwards the answer.
	Forward Verdict = iota
	// Drop drops the connection in place of forwarding the answer.
	Drop
	// Hold stalls the answers on all connections, this one first, until the end of the test.
	Hold
)

// NewProxy returns a proxy to the server at an address, until the end of the test.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	listener, err := listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, server: server, conns: make(map[net.Conn]bool)}
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
		p.DropAll()
		serving.Wait()
	})
	return p
}

// Address returns the proxy's address: host and port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.moved.Broadcast()
}

// Stall sets whether bytes stay in the proxy, in both directions. Connections stay open, and the
// bytes arrive when they are no longer stalled.
func (p *Proxy) Stall(stalled bool) { p.set(func() { p.stalled = stalled }) }

// Refuse sets whether new connections are closed at once.
func (p *Proxy) Refuse(refusing bool) { p.set(func() { p.refusing = refusing }) }

// DropAll drops all connections, and with them the bytes that are stalled.
func (p *Proxy) DropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// SetRate bounds how many bytes of answers each connection carries in a second; 0 is no bound.
func (p *Proxy) SetRate(bytes int) { p.set(func() { p.rate = bytes }) }

// SetServer sets the address of the server for new connections.
func (p *Proxy) SetServer(address string) { p.set(func() { p.server = address }) }

// OnAnswer has judge called for each piece of the server's answers that is not stalled. The total
// counts the bytes of answers on the connection, up to the end of data.
//
// Calls do not overlap. They hold up the proxy, and must not call it. judge does not keep data.
func (p *Proxy) OnAnswer(judge func(total int, data []byte) Verdict) {
	p.set(func() { p.answer = judge })
}

func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	address := p.server
	p.mu.Unlock()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
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

func (p *Proxy) copy(to, from net.Conn, answers bool) {
	defer func() { _ = to.Close() }()
	defer func() { _ = from.Close() }()
	buffer := make([]byte, 64<<10)
	for total := 0; ; {
		piece := buffer
		if p.rateOf(answers) > 0 {
			piece = buffer[:4<<10]
		}
		n, err := from.Read(piece)
		if err != nil {
			return
		}
		if rate := p.rateOf(answers); rate > 0 {
			time.Sleep(time.Duration(n) * time.Second / time.Duration(rate)) // a slow link
		}
		total += n
		if !p.pass(total, buffer[:n], answers) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// rateOf returns the bytes a second of one direction; 0 for no bound.
func (p *Proxy) rateOf(answers bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !answers {
		return 0
	}
	return p.rate
}

// pass returns when data may be forwarded. It reports false if the connection is to be dropped.
func (p *Proxy) pass(total int, data []byte, answer bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waitLocked(answer)
	if !answer || p.answer == nil {
		return true
	}
	switch p.answer(total, data) {
	case Drop:
		return false
	case Hold:
		p.held = true
		p.waitLocked(answer)
	case Forward:
	}
	return true
}

func (p *Proxy) waitLocked(answer bool) {
	for (p.stalled || answer && p.held) && !p.finished {
		p.moved.Wait()
	}
}
