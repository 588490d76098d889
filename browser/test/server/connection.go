package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/internal/freeport"
)

const readHeaderTimeout = 10 * time.Second

// logger gets the panics of handlers.
var logger = log.New(withoutHandshakes{os.Stderr}, "server: ", 0)

// withoutHandshakes drops messages about TLS handshakes, which browsers break off before they
// accept the certificate.
type withoutHandshakes struct{ io.Writer }

func (w withoutHandshakes) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("TLS handshake error")) {
		return len(line), nil
	}
	return w.Writer.Write(line)
}

// connections are the open connections of a listener.
type connections struct {
	mu  sync.Mutex
	set map[*connection]struct{}
}

// withStreams returns the connections that carry an event stream.
func (c *connections) withStreams() (found []*connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.set {
		if conn.streams.Load() > 0 {
			found = append(found, conn)
		}
	}
	return found
}

// connection is a TCP connection that can be frozen.
type connection struct {
	*net.TCPConn

	gate    gate
	conns   *connections
	streams atomic.Int64 // event streams on it
}

// Write is that of net.Conn.
func (c *connection) Write(b []byte) (int, error) { return c.gate.Write(b) }

// Close is that of net.Conn.
func (c *connection) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.set, c)
	c.conns.mu.Unlock()
	return c.TCPConn.Close()
}

// reset closes the connection with a TCP reset.
func (c *connection) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// onlyConn has none of the methods of a TCP connection that write past the gate.
type onlyConn struct {
	net.Conn

	c *connection
}

// SyscallConn gives ginsse.ConnContext access to the socket.
func (o onlyConn) SyscallConn() (syscall.RawConn, error) { return o.c.SyscallConn() }

// listener remembers its connections.
type listener struct {
	net.Listener

	conns *connections
}

// listen listens at an address, or at a free port if it is "". Nothing takes the port while the server is
// stopped.
func listen(ctx context.Context, address string) (*listener, error) {
	if address == "" {
		free, err := freeport.Address()
		if err != nil {
			return nil, err
		}
		address = free.String()
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &listener{l, &connections{set: make(map[*connection]struct{})}}, nil
}

// Accept is that of net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := accepted.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not a TCP connection")
	}
	c := &connection{TCPConn: tcp, conns: l.conns}
	c.gate.write = tcp.Write
	l.conns.mu.Lock()
	l.conns.set[c] = struct{}{}
	l.conns.mu.Unlock()
	return onlyConn{c, c}, nil
}

// withConnection is the ConnContext of the servers.
func withConnection(ctx context.Context, conn net.Conn) context.Context {
	ctx = ginsse.ConnContext(ctx, conn)
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if o, ok := conn.(onlyConn); ok {
		ctx = context.WithValue(ctx, connKey{}, o.c)
	}
	return ctx
}
