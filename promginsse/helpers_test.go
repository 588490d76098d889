package promginsse_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// serve starts a server on loopback with newEngine.
func serve(tb testing.TB, registry *ginsse.Registry) *httptest.Server {
	tb.Helper()
	server := httptest.NewServer(newEngine(tb, registry))
	tb.Cleanup(server.Close)
	return server
}

// newEngine has the streams of a registry at /events. The user is in a header.
func newEngine(tb testing.TB, registry *ginsse.Registry) *gin.Engine {
	tb.Helper()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	r.GET("/open", registry.Handler()) // a mistake: there is no user
	return r
}

// newRegistry returns a registry that is closed at the end. Heartbeats are off.
func newRegistry(tb testing.TB, cfg ginsse.RegistryConfig) *ginsse.Registry {
	tb.Helper()
	cfg.Stream.HeartbeatInterval = -1
	cfg.PresenceGrace = -1
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(registry.Close)
	return registry
}

// until waits until a condition is true, and fails the test after a minute.
func until(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for start := time.Now(); !condition(); <-time.After(time.Millisecond) {
		if time.Since(start) > time.Minute {
			tb.Fatalf("%s: not within a minute", what)
		}
	}
}

// audience is a number of clients on connections of their own, all of one user. They count the events
// that they get.
type audience struct {
	got   atomic.Int64 // blocks, by all clients
	want  atomic.Int64
	there chan struct{} // gets a token when got reaches want
}

// newAudience opens streams, and returns when each client has its first block.
func newAudience(tb testing.TB, server *httptest.Server, clients int) *audience {
	tb.Helper()
	a := &audience{there: make(chan struct{}, 1)}
	a.want.Store(int64(clients))
	var readers sync.WaitGroup
	tb.Cleanup(readers.Wait) // after the connections are closed
	for range clients {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := fmt.Fprint(conn, "GET /events HTTP/1.1\r\nHost: test\r\nX-User: alice\r\n\r\n"); err != nil {
			tb.Fatal(err)
		}
		readers.Go(func() { a.read(conn) })
		tb.Cleanup(func() { conn.Close() })
	}
	a.await(tb)
	return a
}

var blockEnd = []byte("\n\n")

// read counts the ends of blocks. Chunks of HTTP end in CRLF, so an empty line ends a block.
func (a *audience) read(conn net.Conn) {
	buffer := make([]byte, 4096)
	last := byte(0)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		blocks := bytes.Count(buffer[:n], blockEnd)
		if last == '\n' && buffer[0] == '\n' {
			blocks++
		}
		last = buffer[n-1]
		if got := a.got.Add(int64(blocks)); blocks > 0 && got == a.want.Load() {
			select {
			case a.there <- struct{}{}:
			default:
			}
		}
	}
}

// await waits until the clients have what they want.
func (a *audience) await(tb testing.TB) {
	tb.Helper()
	timeout := time.After(time.Minute)
	for a.got.Load() < a.want.Load() {
		select {
		case <-a.there:
		case <-timeout:
			tb.Fatalf("the clients have %d blocks, want %d", a.got.Load(), a.want.Load())
		}
	}
}
