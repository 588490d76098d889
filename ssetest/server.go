package ssetest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
)

// Server is a real http.Server whose connections are in memory.
type Server struct {
	// URL is the server's base URL, for requests made with Client.
	URL string
	// Client is connected to the server.
	Client *http.Client
	// Config is the running server, for Shutdown and RegisterOnShutdown.
	Config *http.Server
}

// NewServer serves handler over HTTP/1.1 until the end of the test. The configure functions may
// change the http.Server before it starts.
func NewServer(tb testing.TB, handler http.Handler, configure ...func(*http.Server)) *Server {
	tb.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	transport := &http.Transport{
		DialContext:        l.dial,
		DisableCompression: true, // the test must see the response as it was sent
	}
	s := &Server{
		URL:    "http://ssetest.invalid",
		Client: &http.Client{Transport: transport},
		Config: &http.Server{Handler: handler, ReadHeaderTimeout: limit},
	}
	for _, change := range configure {
		change(s.Config)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := s.Config.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("ssetest: serving: %v", err)
		}
	}()
	tb.Cleanup(func() {
		_ = s.Config.Close()
		transport.CloseIdleConnections()
		<-served
	})
	return s
}

// Open opens the event stream at path on the server; see [Connect].
func (s *Server) Open(tb testing.TB, path string, options ...Option) *Stream {
	tb.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		tb.Fatalf("ssetest: %v", err)
	}
	return Connect(tb, s.Client, request, options...)
}

// pipeListener is a net.Listener whose connections are pipes.
type pipeListener struct {
	conns  chan net.Conn // dial sends, Accept receives
	once   sync.Once
	closed chan struct{} // closed by Close
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
