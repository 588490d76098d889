package ginsse_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/netutil"

	"github.com/ginsse/ginsse"
)

// Tests of compact streams on sockets that the application has changed, on other sockets than those of
// TCP, and at the limits of sockets.

// A socket becomes blocking, for all its descriptors, when an application sets an option of it by way of
// File and Fd. As many streams as there are writers have one, and a client that sends something.
func TestBlockingSocketsDoNotStopOtherStreams(t *testing.T) {
	t.Parallel()
	registry := newCompactRegistry(t, ginsse.RegistryConfig{})
	engine := newEngine(t, registry)
	server := transports[0].start(t, engine, nil)
	blocking := transports[0].start(t, engine, func(s *http.Server) {
		s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
			f, err := conn.(*net.TCPConn).File()
			if err != nil {
				t.Error(err)
				return ctx
			}
			defer f.Close()
			_ = syscall.SetsockoptInt(int(f.Fd()), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
			return ctx
		}
	})
	other := openRaw(t, server, rawRequest{user: "other"})
	clients := runtime.GOMAXPROCS(0)
	var opened []*rawClient
	for n := range clients {
		c := openRaw(t, blocking, rawRequest{user: fmt.Sprint("user", n)})
		c.write("some bytes")
		opened = append(opened, c)
	}
	untilCompact(t, registry, clients+1)
	until(t, "reading", func() bool {
		for _, socket := range serverSockets(t, blocking) {
			if socket.received > 0 {
				return false
			}
		}
		return true
	})
	send(t, registry, "other", 1)
	other.readUntil("event: n\ndata: 1\n")
	for n, c := range opened {
		send(t, registry, fmt.Sprint("user", n), 2)
		c.readUntil("event: n\ndata: 2\n")
	}
}

// Closing a socket with SO_LINGER waits, also if the socket does not block.
func TestSocketsThatLingerDoNotStopOtherStreams(t *testing.T) {
	t.Parallel()
	cfg := ginsse.RegistryConfig{Stream: ginsse.StreamConfig{WriteTimeout: 500 * time.Millisecond}}
	ends := reportEnds(&cfg)
	registry := newCompactRegistry(t, cfg)
	engine := newEngine(t, registry)
	server := transports[0].start(t, engine, nil)
	lingering := transports[0].start(t, engine, func(s *http.Server) {
		s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
			_ = conn.(*net.TCPConn).SetLinger(600)
			return smallSendBuffer(ctx, conn)
		}
	})
	other := openRaw(t, server, rawRequest{user: "other"})
	openRaw(t, lingering, rawRequest{user: "stalled", small: true})
	untilCompact(t, registry, 2)
	fill(t, registry, "stalled")
	wantHookEnd(t, ends, "stalled", ginsse.ReasonSlow)
	untilCompact(t, registry, 1)
	until(t, "closing", func() bool { return openSockets(t, lingering) == 0 })
	send(t, registry, "other", 1)
	other.readUntil("event: n\ndata: 1\n")
}

func TestCompactStreamsOnAUnixSocket(t *testing.T) {
	t.Parallel()
	var cfg ginsse.RegistryConfig
	ends := reportEnds(&cfg)
	registry := newCompactRegistry(t, cfg)
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, listener, newEngine(t, registry))
	alice := openRawAt(t, path, nil, rawRequest{user: "alice"})
	bob := openRawAt(t, path, nil, rawRequest{user: "bob"})
	untilCompact(t, registry, 2)
	alice.write("some bytes")
	send(t, registry, "alice", 1)
	alice.readUntil("event: n\ndata: 1\n")
	_ = alice.conn.Close()
	wantHookEnd(t, ends, "alice", ginsse.ReasonClientGone)
	disconnect(t, registry, "bob", "")
	if body := bob.readEnd(); !strings.HasSuffix(body, closedByDisconnect) {
		t.Errorf("the stream was %q", body)
	}
	wantHookEnd(t, ends, "bob", ginsse.ReasonDisconnected)
	untilCompact(t, registry, 0)
}

func TestLimitOfConnectionsHoldsForCompactStreams(t *testing.T) {
	t.Parallel()
	registry := newCompactRegistry(t, ginsse.RegistryConfig{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, netutil.LimitListener(listener, 2), newEngine(t, registry))
	address := listener.Addr().String()
	first := openRawAt(t, address, nil, rawRequest{user: "alice"})
	openRawAt(t, address, nil, rawRequest{user: "alice"})
	untilCompact(t, registry, 2)
	third := dialClient(t, address, nil, false)
	third.write("GET /events HTTP/1.1\r\nHost: test\r\nX-User: bob\r\n\r\n")
	pass(100 * time.Millisecond)
	if n := registry.Stats().Opened; n != 2 {
		t.Errorf("%d streams opened on 2 connections", n)
	}
	_ = first.conn.Close()
	third.readHeader()
	third.readUntil("event: sse.open")
	untilCompact(t, registry, 2)
}

// Streams open while the process has no descriptor left for the readiness set, for their sockets, or for
// either.
func TestCompactStreamsOpenWithoutADescriptorLeft(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before int // streams that have opened before
		left   int // descriptors
	}{
		"set":            {0, 1},
		"sockets":        {1, 0},
		"set_or_sockets": {0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inOwnProcess(t, func(t *testing.T) { openWithoutDescriptors(t, test.before, test.left) })
		})
	}
}

func openWithoutDescriptors(t *testing.T, before, left int) {
	t.Helper()
	const clients = 4
	var logged safeBuffer
	cfg := ginsse.RegistryConfig{
		Stream: ginsse.StreamConfig{WriteTimeout: time.Second},
		Logger: slog.New(slog.NewTextHandler(&logged, nil)),
	}
	ends := reportEnds(&cfg)
	registry := newCompactRegistry(t, cfg)
	server := transports[0].start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer })
	for range before {
		openRaw(t, server, rawRequest{user: "before"})
	}
	untilCompact(t, registry, before)
	var opened []*rawClient
	for range clients {
		opened = append(opened, dialClient(t, server.Listener.Addr().String(), nil, true))
	}
	until(t, "all connections", func() bool { return openSockets(t, server) == clients+before })

	var limit syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: limit.Max})
	var files []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		files = append(files, f)
	}
	for ; left > 0; left-- {
		_ = files[len(files)-1].Close()
		files = files[:len(files)-1]
	}
	for n, c := range opened {
		c.open(rawRequest{user: fmt.Sprint("user", n)})
	}
	untilCompact(t, registry, before+clients)
	for n, c := range opened {
		send(t, registry, fmt.Sprint("user", n), 1)
		c.readUntil("event: n\ndata: 1\n")
		c.write("some bytes")
		send(t, registry, fmt.Sprint("user", n), 2)
		c.readUntil("event: n\ndata: 2\n")
	}
	if text := logged.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "fs.epoll.max_user_watches") {
		t.Errorf("the log says %s", text)
	}
	disconnect(t, registry, "user0", "")
	if body := opened[0].readEnd(); !strings.HasSuffix(body, closedByDisconnect) {
		t.Errorf("the stream ended with %q", body)
	}
	wantHookEnd(t, ends, "user0", ginsse.ReasonDisconnected)
	_ = opened[1].conn.Close()
	wantHookEnd(t, ends, "user1", ginsse.ReasonClientGone)
	fill(t, registry, "user2")
	wantHookEnd(t, ends, "user2", ginsse.ReasonSlow)
	registry.Close()
	if body := opened[3].readEnd(); !strings.Contains(body, "event: sse.reconnect\n") {
		t.Errorf("the stream ended with %q", body)
	}
	untilCompact(t, registry, 0)
	for _, f := range files {
		_ = f.Close()
	}
}
