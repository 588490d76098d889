package ginsse_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// Tests of what only compact streams promise.

// Not parallel: the test counts the goroutines of the whole process.
func TestCompactStreamsHaveNoGoroutines(t *testing.T) {
	const streams = 200
	for _, tr := range compactTransports {
		t.Run(tr.name, func(t *testing.T) {
			registry := newCompactRegistry(t, ginsse.RegistryConfig{})
			var handlers atomic.Int64
			engine := engineWith(t, registry, func(c *gin.Context) {
				handlers.Add(1)
				c.Next()
				handlers.Add(-1)
			})
			server := tr.start(t, engine, nil)
			before := runtime.NumGoroutine()
			var clients []*rawClient
			for n := range streams {
				clients = append(clients, openRaw(t, server, rawRequest{user: fmt.Sprint("user", n)}))
			}
			untilCompact(t, registry, streams)
			until(t, "the return of all handlers", func() bool { return handlers.Load() == 0 })
			const few = 10
			until(t, "few goroutines", func() bool { return runtime.NumGoroutine() < before+few })
			if got := registry.Stats().Streams; got != streams {
				t.Fatalf("%d streams are live", got)
			}

			for n := range clients {
				send(t, registry, fmt.Sprint("user", n), n)
			}
			for n, c := range clients {
				c.readUntil(fmt.Sprintf("event: n\ndata: %d\n", n))
			}
			for n := range clients {
				s := registry.Streams(fmt.Sprint("user", n))[0]
				if err := s.Send(t.Context(), ginsse.Event{Type: "own", Data: n}); err != nil {
					t.Fatal(err)
				}
			}
			for n, c := range clients {
				c.readUntil(fmt.Sprintf("event: own\ndata: %d\n", n))
			}
			until(t, "few goroutines after the events", func() bool { return runtime.NumGoroutine() < before+few })
			for n, c := range clients {
				disconnect(t, registry, fmt.Sprint("user", n), "enough")
				if body := c.readEnd(); !strings.HasSuffix(body, "event: sse.close\ndata: {\"reason\":\"enough\"}\n\n") {
					t.Fatalf("the stream ended with %q", body)
				}
				_ = c.conn.Close()
			}
			untilCompact(t, registry, 0)
			until(t, "the goroutines from before", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}

func TestCompactStreamsGetHeartbeatsAndExpire(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		cfg := ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: 40 * time.Millisecond}}
		ends := reportEnds(&cfg)
		registry := newCompactRegistry(t, cfg)
		server := tr.start(t, newEngine(t, registry), nil)
		lasting := openRaw(t, server, rawRequest{user: "lasting"})
		for lifetime := 500 * time.Millisecond; ; lifetime *= 2 { // a busy machine needs longer for a heartbeat
			opened := time.Now()
			expiring := openRaw(t, server, rawRequest{user: "expiring", lines: fmt.Sprintf("X-Lifetime: %v\r\n", lifetime)})
			body := expiring.readEnd()
			if lasted := time.Since(opened); lasted < lifetime*4/5 {
				t.Errorf("the stream expired after %v of %v", lasted, lifetime)
			}
			_ = expiring.conn.Close()
			wantHookEnd(t, ends, "expiring", ginsse.ReasonExpired)
			heartbeats := strings.Count(body, "event: sse.heartbeat\n")
			if heartbeats == 0 && lifetime > 10*time.Second || !strings.Contains(body, "event: sse.reconnect\ndata: {\"reason\":\"expired\"") {
				t.Fatalf("the stream that expired after %v was %q", lifetime, body)
			}
			if heartbeats > 0 {
				break
			}
		}
		for strings.Count(lasting.got.String(), "event: sse.heartbeat\n") < 5 {
			lasting.next()
		}
		untilCompact(t, registry, 1)
	})
}

// Each test opens a stream for alice that is served as without Compact, because of the request, the
// response or the transport.
func TestStreamsThatCannotBeCompactAreServedByTheirHandlers(t *testing.T) {
	t.Parallel()
	header := func(name, value string) gin.HandlerFunc { return func(c *gin.Context) { c.Header(name, value) } }
	get := func(t *testing.T, tr transport, engine http.Handler) *ssetest.Stream {
		return connect(t, tr.start(t, engine, nil), "/events", as("alice"))
	}
	post := func(body string) func(*testing.T, transport, http.Handler) *ssetest.Stream {
		return func(t *testing.T, tr transport, engine http.Handler) *ssetest.Stream {
			server := tr.start(t, engine, nil)
			request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL+"/events", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			return ssetest.Connect(t, server.Client(), request, as("alice"))
		}
	}
	for name, test := range map[string]struct {
		transport  int
		middleware gin.HandlerFunc
		open       func(*testing.T, transport, http.Handler) *ssetest.Stream
		why        string // "" if the stream is compact
	}{
		"http2":  {2, nil, get, "this is HTTP/2.0"},
		"h2c":    {3, nil, get, "this is HTTP/2.0"},
		"hidden": {0, func(c *gin.Context) { c.Writer = hidingWriter{c.Writer} }, get, "hidingWriter stands between the stream and its connection"},
		"unwrapping": {0, onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &unwrappingRecorder{bodyRecorder{ResponseWriter: w}}
		}), get, "*ginsse_test.unwrappingRecorder stands between the stream and its connection"},
		"trailer":           {0, header("Trailer", "X-Sum"), get, "has a header Trailer or Transfer-Encoding"},
		"transfer_encoding": {0, header("Transfer-Encoding", "chunked"), get, "has a header Trailer or Transfer-Encoding"},
		"unread_body":       {0, nil, post("unread"), "body of the request has not been read"},
		"read_body":         {0, func(c *gin.Context) { _, _ = io.ReadAll(c.Request.Body) }, post("read"), ""},
		"no_body":           {0, nil, post(""), ""},
		"other_header": {
			0, header("X-Other", "x"), get, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged safeBuffer
			cfg := ginsse.RegistryConfig{Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))}
			ends := reportEnds(&cfg)
			registry := newCompactRegistry(t, cfg)
			var middleware []gin.HandlerFunc
			if test.middleware != nil {
				middleware = append(middleware, test.middleware)
			}
			stream := test.open(t, transports[test.transport], engineWith(t, registry, middleware...))
			stream.NextOf("sse.open")
			send(t, registry, "alice", 1)
			wantNumbers(t, stream, 1, 1) // a compact stream counts as one before it is written
			want := 0
			if test.why == "" {
				want = 1
			}
			if got := registry.Stats().Compact; got != want {
				t.Errorf("%d streams are compact, want %d", got, want)
			}
			line := ""
			for l := range strings.Lines(logged.String()) {
				if strings.Contains(l, "StreamConfig.Compact has no effect") {
					line = l
				}
			}
			if (line == "") != (test.why == "") || !strings.Contains(line, test.why) || line != "" && !strings.Contains(line, "level=DEBUG") {
				t.Errorf("the log says %q, want %q at level debug", line, test.why)
			}
			disconnect(t, registry, "alice", "")
			wantClose(t, stream, "disconnected")
			wantHookEnd(t, ends, "alice", ginsse.ReasonDisconnected)
		})
	}
}

// hidingWriter has no Unwrap.
type hidingWriter struct{ gin.ResponseWriter }

func TestHTTP10StreamIsServedByItsHandler(t *testing.T) {
	t.Parallel()
	var logged safeBuffer
	registry := newCompactRegistry(t, ginsse.RegistryConfig{
		Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	server := transports[0].start(t, newEngine(t, registry), nil)
	c := dialClient(t, server.Listener.Addr().String(), nil, false)
	c.plain = true
	c.write("GET /events HTTP/1.0\r\nHost: test\r\nX-User: alice\r\n\r\n")
	c.readHeader()
	c.readUntil("event: sse.open")
	send(t, registry, "alice", 1)
	c.readUntil("event: n\ndata: 1\n")
	if got := registry.Stats(); got.Compact != 0 || got.Streams != 1 {
		t.Errorf("%+v", got)
	}
	disconnect(t, registry, "alice", "")
	if body := c.readEnd(); !strings.HasSuffix(body, "event: sse.close\ndata: {\"reason\":\"disconnected\"}\n\n") {
		t.Errorf("the stream was %q", body)
	}
	if !strings.Contains(logged.String(), "this is HTTP/1.0") {
		t.Errorf("the log does not say why: %s", logged.String())
	}
}

// A handler can have its stream served compactly in a registry whose other streams are not.
func TestOneStreamCanBeCompact(t *testing.T) {
	t.Parallel()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	engine := newEngine(t, registry)
	auth := ginsse.Middleware(headerAuth(t))
	engine.GET("/compact", auth, registry.Handler(ginsse.WithStreamConfig(ginsse.StreamConfig{Compact: true})))
	server := transports[0].start(t, engine, nil)
	connect(t, server, "/events", as("alice")).NextOf("sse.open")
	stream := connect(t, server, "/compact", as("bob"))
	stream.NextOf("sse.open")
	send(t, registry, "bob", 1)
	wantNumbers(t, stream, 1, 1)
	if got := registry.Stats(); got.Compact != 1 || got.Streams != 2 {
		t.Errorf("%+v, want 1 compact stream of 2", got)
	}
}

// Serve returns while the stream is open, and the request ends with its handler. The hooks are
// called once for each stream.
func TestHooksOfCompactStreams(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lifetime string
		end      func(registry *ginsse.Registry, c *rawClient)
		reason   ginsse.Reason
	}{
		"leaves":     {"", func(_ *ginsse.Registry, c *rawClient) { _ = c.conn.Close() }, ginsse.ReasonClientGone},
		"disconnect": {"", func(r *ginsse.Registry, _ *rawClient) { _, _ = r.Disconnect(context.Background(), "alice", "own") }, "own"},
		"stream":     {"", func(r *ginsse.Registry, _ *rawClient) { r.Streams("alice")[0].Disconnect("own") }, "own"},
		"expiry":     {"300ms", func(*ginsse.Registry, *rawClient) {}, ginsse.ReasonExpired},
		"close":      {"", func(r *ginsse.Registry, _ *rawClient) { r.Close() }, ginsse.ReasonShutdown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onCompactTransports(t, func(t *testing.T, tr transport) {
				var connects, disconnects atomic.Int64
				var early atomic.Bool
				hold, ended := make(chan struct{}), make(chan ginsse.Reason, 10)
				registry := newCompactRegistry(t, ginsse.RegistryConfig{
					ConnectFunc: func(*ginsse.Stream) {
						connects.Add(1)
						<-hold
					},
					DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) {
						select {
						case <-hold:
						default:
							early.Store(true)
						}
						disconnects.Add(1)
						ended <- reason
					},
				})
				served, requests := make(chan error, 1), make(chan context.Context, 1)
				server := tr.start(t, serveAtEvents(t, func(c *gin.Context) {
					requests <- c.Request.Context()
					served <- registry.Serve(c)
				}), nil)
				lines := ""
				if test.lifetime != "" {
					lines = "X-Lifetime: " + test.lifetime + "\r\n"
				}
				client := openRaw(t, server, rawRequest{user: "alice", lines: lines})
				if err := within(t, "the return of Serve", served); err != nil {
					t.Errorf("Serve returned %v", err)
				}
				within(t, "the end of the request", within(t, "the request", requests).Done())
				if test.lifetime == "" && registry.Stats().Streams != 1 {
					t.Error("the stream has ended with the request")
				}
				until(t, "ConnectFunc", func() bool { return connects.Load() == 1 })
				test.end(registry, client)
				until(t, "the end", func() bool { return registry.Stats().Streams == 0 })
				_ = client.conn.Close()
				untilCompact(t, registry, 0)
				close(hold)
				if got := within(t, "DisconnectFunc", ended); got != test.reason {
					t.Errorf("the stream ended as %q, want %q", got, test.reason)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := registry.Shutdown(ctx); err != nil { // waits for hooks
					t.Error(err)
				}
				if connects.Load() != 1 || disconnects.Load() != 1 || early.Load() {
					t.Errorf("%d calls of ConnectFunc, %d of DisconnectFunc; too early: %v", connects.Load(), disconnects.Load(), early.Load())
				}
			})
		})
	}
}

// serveAtEvents returns an engine with one handler for streams, at /events.
func serveAtEvents(t testing.TB, handler gin.HandlerFunc) *gin.Engine {
	t.Helper()
	r := gin.New()
	r.GET("/events", ginsse.Middleware(headerAuth(t)), handler)
	return r
}

// Not parallel: the test counts the goroutines of the whole process.
func TestNothingIsLeftOfCompactStreamsAfterShutdown(t *testing.T) {
	const streams = 40
	for _, tr := range compactTransports {
		for name, end := range map[string]func(t *testing.T, registry *ginsse.Registry, server *httptest.Server){
			"shutdown": func(t *testing.T, registry *ginsse.Registry, server *httptest.Server) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := registry.Shutdown(ctx); err != nil {
					t.Fatal(err)
				}
				if got := registry.Stats(); got.Compact != 0 || got.Streams != 0 || openSockets(t, server) != 0 {
					t.Errorf("after Shutdown: %+v, and %d connections are open", got, openSockets(t, server))
				}
			},
			"close": func(t *testing.T, registry *ginsse.Registry, server *httptest.Server) {
				registry.Close()
				untilCompact(t, registry, 0)
				until(t, "the end of all connections", func() bool { return openSockets(t, server) == 0 })
			},
		} {
			t.Run(tr.name+"/"+name, func(t *testing.T) {
				registry := newCompactRegistry(t, ginsse.RegistryConfig{ShutdownWindow: 50 * time.Millisecond})
				server := tr.start(t, newEngine(t, registry), nil)
				before := runtime.NumGoroutine()
				var clients []*rawClient
				for range streams {
					clients = append(clients, openRaw(t, server, rawRequest{user: fmt.Sprint("user", len(clients))}))
				}
				untilCompact(t, registry, streams)
				if got := openSockets(t, server); got != streams {
					t.Fatalf("%d connections are open", got)
				}
				end(t, registry, server) // the clients neither read nor close
				until(t, "the goroutines from before", func() bool { return runtime.NumGoroutine() <= before })
				for _, c := range clients {
					if body := c.readEnd(); !strings.Contains(body, "event: sse.reconnect\ndata: {\"reason\":\"shutdown\"") {
						t.Fatalf("the stream was %q", body)
					}
				}
			})
		}
	}
}

func TestShutdownWaitsUntilCompactStreamsAreWritten(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{ShutdownWindow: time.Millisecond})
		server := tr.start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer })
		c := openRaw(t, server, rawRequest{user: "alice", small: true})
		stream := registry.Streams("alice")[0]
		const events = 20
		for n := range events { // far more than the systems buffer
			if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: fmt.Sprint(n, strings.Repeat("x", 50_000))}); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() { done <- registry.Shutdown(context.Background()) }()
		within(t, "the end of the stream", stream.Done())
		select {
		case err := <-done:
			t.Fatalf("Shutdown returned %v before the client could get its events", err)
		case <-time.After(50 * time.Millisecond):
		}
		body := c.readEnd()
		_ = c.conn.Close()
		if err := within(t, "the return of Shutdown", done); err != nil {
			t.Error(err)
		}
		if got := strings.Count(body, "event: n\n"); got != events || !strings.Contains(body, "event: sse.reconnect\n") {
			t.Errorf("the client got %d events, and then %q", got, c.tail())
		}
	})
}
