package ginsse_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Most of these tests run over real connections, on each transport.

func TestStreamSendsItsFirstBytesAtOnce(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		release := make(chan struct{})
		server := tr.start(t, serveAt(func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
				<-release // the client sees the stream open before the first event
				_ = s.Send(ctx, ginsse.Event{Data: "x"})
				<-ctx.Done()
				return nil
			})
		}), nil)
		stream := connect(t, server, "/")
		close(release)
		if e := stream.Next(); e.Data != "x" {
			t.Errorf("got %+v", e)
		}
		if d := stream.ReconnectionTime(); d < 1500*time.Millisecond || d > 4500*time.Millisecond {
			t.Errorf("the reconnection time is %v, want 1.5 to 4.5 s", d)
		}
		for name, want := range map[string]string{
			"Content-Type":           "text/event-stream",
			"Cache-Control":          "private, no-cache, no-store, no-transform",
			"X-Accel-Buffering":      "no",
			"X-Content-Type-Options": "nosniff",
			"Content-Length":         "",
		} {
			if got := stream.Response.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
}

func TestStreamEndsAtOnceWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		cancelled, ended := make(chan error, 1), make(chan error, 1)
		server := tr.start(t, serveAt(func(c *gin.Context) {
			ended <- ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, _ *ginsse.Stream) error {
				<-ctx.Done()
				cancelled <- context.Cause(ctx)
				return ctx.Err()
			})
		}), nil)
		connect(t, server, "/").Close()
		if err := within(t, "the producer's context", cancelled); !errors.Is(err, ginsse.ReasonClientGone) && !errors.Is(err, context.Canceled) {
			t.Errorf("the producer was cancelled with %v", err)
		}
		if err := within(t, "the handler", ended); !errors.Is(err, ginsse.ReasonClientGone) {
			t.Errorf("the stream ended with %v", err)
		}
	})
}

func TestSlowStreamsAreCounted(t *testing.T) {
	t.Parallel()
	reasons := make(chan ginsse.Reason, 1)
	registry := newRegistry(t, ginsse.RegistryConfig{
		Stream:         ginsse.StreamConfig{WriteTimeout: time.Second},
		DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { reasons <- reason },
	})
	server := transports[0].start(t, newEngine(t, registry), smallBuffers)
	stalledGet(t, server, "/events", http.Header{"X-User": {"alice"}})
	for range 100 {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: strings.Repeat("x", 100_000)}); err != nil {
			t.Fatal(err)
		}
	}
	if reason := within(t, "the end", reasons); reason != ginsse.ReasonSlow || registry.Stats().Slow != 1 {
		t.Errorf("the reason is %q, and %d streams were slow", reason, registry.Stats().Slow)
	}
}

func TestStreamOfAStalledReaderEndsAfterTheWriteTimeout(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		const timeout = time.Second
		ended := make(chan error, 1)
		var mu sync.Mutex
		last := time.Now()
		server := tr.start(t, serveAt(func(c *gin.Context) {
			ended <- ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout}, func(ctx context.Context, s *ginsse.Stream) error {
				big := strings.Repeat("x", 60<<10)
				for {
					begin := time.Now() // before, as the machine may pause after it
					if err := s.Send(ctx, ginsse.Event{Data: big}); err != nil {
						return err
					}
					mu.Lock()
					last = begin
					mu.Unlock()
				}
			})
		}), nil)
		stalledGet(t, server, "/", nil)
		err := within(t, "the stalled stream", ended)
		if !errors.Is(err, ginsse.ReasonSlow) {
			t.Errorf("the stream ended with %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		// Send returns when the queue has room. The client may have made its last progress some
		// time before. Its kernel may take a little for seconds, in which the client reads nothing.
		if took := time.Since(last); took < timeout/2 || took > 20*timeout {
			t.Errorf("the stream ended %v after the last event was sent, with a write timeout of %v", took, timeout)
		}
	})
}

func TestIdleStreamOutlivesManyWriteTimeouts(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		const timeout = time.Second
		server := tr.start(t, serveAt(func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout, HeartbeatInterval: -1}, func(ctx context.Context, s *ginsse.Stream) error {
				for n := range 2 {
					pass(2 * timeout)
					if err := s.Send(ctx, numbered(n)); err != nil {
						return err
					}
				}
				return nil
			})
		}), nil)
		stream := connect(t, server, "/")
		wantNumbers(t, stream, 0, 1)
		wantDone(t, stream)
	})
}

func TestServerTimeoutsDoNotEndAStream(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second // within it the connection must be made, too
	onEachTransport(t, func(t *testing.T, tr transport) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		server := tr.start(t, newEngine(t, registry), func(s *http.Server) {
			s.WriteTimeout, s.ReadTimeout, s.IdleTimeout = timeout, timeout, timeout
		})
		stream := connect(t, server, "/events", as("alice"))
		pass(timeout + time.Second/2)
		send(t, registry, "alice", 1)
		wantNumbers(t, stream, 1, 1)
	})
}

func TestServerShutdownEndsStreamsCleanlyAndAtOnce(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		server := tr.start(t, newEngine(t, registry), func(s *http.Server) { s.RegisterOnShutdown(registry.Close) })
		var streams []*ssetest.Stream
		for n := range 5 {
			streams = append(streams, connect(t, server, "/events", as(fmt.Sprint("user", n))))
		}
		send(t, registry, "user0", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := server.Config.Shutdown(ctx); err != nil {
			t.Fatalf("Shutdown: %v", err)
		}
		if took := time.Since(start); took > 8*time.Second { // a stream that drains takes 10 s
			t.Errorf("Shutdown took %v", took)
		}
		wantNumbers(t, streams[0], 1, 1) // sent before the shutdown
		for _, stream := range streams {
			wantReconnect(t, stream, "shutdown")
		}
	})
}

// wantClose fails unless the stream ends cleanly with sse.close.
func wantClose(t testing.TB, stream *ssetest.Stream, reason string) {
	t.Helper()
	if last := wantEnd(t, stream); last.Type != "sse.close" || last.Data != fmt.Sprintf(`{"reason":%q}`, reason) {
		t.Errorf("the stream ended with %+v, want sse.close with reason %q", last, reason)
	}
}

// wantReconnect fails unless the stream ends cleanly with sse.reconnect.
func wantReconnect(t testing.TB, stream *ssetest.Stream, reason string) {
	t.Helper()
	var got struct {
		Reason string `json:"reason"`
		Retry  int64  `json:"retry"`
	}
	last := wantEnd(t, stream)
	if err := json.Unmarshal([]byte(last.Data), &got); last.Type != "sse.reconnect" || err != nil || got.Reason != reason {
		t.Errorf("the stream ended with %+v, want sse.reconnect with reason %q", last, reason)
	}
	if retry := time.Duration(got.Retry) * time.Millisecond; retry <= 0 || retry != stream.ReconnectionTime() {
		t.Errorf("sse.reconnect names %v, and the reconnection time is %v", retry, stream.ReconnectionTime())
	}
}

// wantEnd returns the last event of a stream that ends cleanly.
func wantEnd(t testing.TB, stream *ssetest.Stream) ssetest.Event {
	t.Helper()
	rest, err := stream.WaitEnd()
	if err != nil || len(rest) == 0 {
		t.Fatalf("the stream ended with %v and %+v", err, rest)
	}
	return rest[len(rest)-1]
}

// wantRest fails unless the stream ends cleanly after exactly these events, each given as type and
// data. sse.open does not count.
func wantRest(t testing.TB, stream *ssetest.Stream, want ...string) {
	t.Helper()
	rest, err := stream.WaitEnd()
	if got := texts(rest); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// texts returns the types and the data of events after sse.open.
func texts(events []ssetest.Event) (list []string) {
	for _, e := range events {
		if e.Type != "sse.open" {
			list = append(list, e.Type+" "+e.Data)
		}
	}
	return list
}

// wantDone fails unless a stream of one request ends cleanly with the ID sse.done, and without
// events of the kit.
func wantDone(t testing.TB, stream *ssetest.Stream) {
	t.Helper()
	wantCleanEnd(t, stream)
	if got := stream.LastEventID(); got != ginsse.DoneID {
		t.Errorf("the last event ID is %q, want %q", got, ginsse.DoneID)
	}
}

// wantCleanEnd fails unless a stream of one request ends cleanly, without events of the kit.
func wantCleanEnd(t testing.TB, stream *ssetest.Stream) {
	t.Helper()
	rest, err := stream.WaitEnd()
	if err != nil {
		t.Errorf("the stream did not end cleanly: %v", err)
	}
	for _, e := range rest {
		if strings.HasPrefix(e.Type, "sse.") {
			t.Errorf("a stream of one request has the kit's event %+v", e)
		}
	}
}

func TestPanicInTheHandlerTakesTheUserOffline(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		reasons := make(chan ginsse.Reason, 1)
		registry := newRegistry(t, ginsse.RegistryConfig{
			Log:            panickingLog{newMemoryLog(t, eventlog.MemoryLogConfig{})},
			DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { reasons <- reason },
		})
		r := gin.New()
		r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.Abort() }))
		r.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler())
		server := tr.start(t, r, nil)
		stream := connect(t, server, "/events", as("alice"))
		send(t, registry, "alice", 1)
		if _, err := stream.WaitEnd(); err != nil {
			t.Logf("the client saw %v", err)
		}
		if reason := within(t, "DisconnectFunc", reasons); reason != ginsse.ReasonFailed {
			t.Errorf("the reason is %q", reason)
		}
		if registry.Online("alice") {
			t.Error("the user is still online")
		}
	})
}

// panickingLog panics when a stream reads an entry.
type panickingLog struct{ *eventlog.MemoryLog }

func (l panickingLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	page, err := l.MemoryLog.Read(ctx, q, dst)
	if len(page.Entries) > 0 {
		panic("a bug in an application's log")
	}
	return page, err
}

func TestStreamWorksOnAResponseRecorder(t *testing.T) {
	t.Parallel()
	r := serveAt(func(c *gin.Context) {
		err := ginsse.Serve(c, ginsse.StreamConfig{ReconnectionTime: -1}, func(ctx context.Context, s *ginsse.Stream) error {
			return s.Send(ctx, ginsse.Event{Type: "t", Data: "x"})
		})
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	want := ": open\n\nevent: t\ndata: x\n\nretry: 3600000\nid: sse.done\n\n"
	if w.Code != http.StatusOK || w.Body.String() != want || !w.Flushed {
		t.Errorf("status %d, flushed %v, body %q, want %q", w.Code, w.Flushed, w.Body, want)
	}
}

func TestRegistryStreamOnAResponseRecorderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: withHeartbeats})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		request := httptest.NewRequest(http.MethodGet, "/events", http.NoBody).WithContext(ctx)
		request.Header.Set("X-User", "alice")
		w := httptest.NewRecorder()
		newEngine(t, registry).ServeHTTP(w, request)
		events := ssetest.Parse(w.Body.Bytes())
		if len(events) == 0 || events[0].Type != "sse.open" {
			t.Errorf("got %+v", events)
		}
		if n := strings.Count(w.Body.String(), "event: sse.heartbeat\ndata:\nid: "); n < 4 || n > 5 || len(events) != 1+n {
			t.Errorf("%d heartbeats in a minute, want 4 or 5", n)
		}
		if registry.Online("alice") {
			t.Error("the user is still online")
		}
	})
}

// HTTP/1.0 has no chunks: the stream ends with the connection.
func TestStreamWorksOverHTTP10(t *testing.T) {
	t.Parallel()
	server := transports[0].start(t, serveAt(func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			return s.Send(ctx, ginsse.Event{Data: "x"})
		})
	}), nil)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if events := ssetest.Parse(body); err != nil || len(events) != 1 || events[0].Data != "x" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestHeadRequestGetsOnlyTheHeaders(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	r := newEngine(t, registry)
	r.HEAD("/events", ginsse.Middleware(headerAuth(t)), registry.Handler())
	r.HEAD("/serve", func(c *gin.Context) {
		err := ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error {
			t.Error("the producer ran for a HEAD request")
			return nil
		})
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	server := transports[0].start(t, r, nil)
	for _, path := range []string{"/events", "/serve"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-User", "alice")
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: status %d of type %q", path, response.StatusCode, response.Header.Get("Content-Type"))
		}
	}
}

// The client announces a body and does not send it. net/http waits for a body before it sends the
// headers, and again after the handler has returned. The stream must prevent both.
func TestStreamDoesNotWaitForAWithheldBody(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := transports[0].start(t, serveAt(func(c *gin.Context) {
		cfg := ginsse.StreamConfig{WriteTimeout: 4 * time.Second, MaxLifetime: 6 * time.Second}
		ended <- ginsse.Serve(c, cfg, func(ctx context.Context, _ *ginsse.Stream) error {
			<-ctx.Done()
			return ctx.Err()
		})
	}), nil)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// net/http may report the missing body as a client that is gone.
	err = within(t, "the stream", ended)
	if !errors.Is(err, ginsse.ReasonClientGone) && !errors.Is(err, ginsse.ReasonLifetime) {
		t.Errorf("the stream ended with %v", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

func TestMemoryOfASendQueueIsFreed(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	s := registry.Streams("alice")[0]
	for _, size := range []int{100, 1 << 20} {
		if err := s.Send(t.Context(), ginsse.Event{Type: "big", Data: strings.Repeat("x", size/2)}); err != nil {
			t.Fatal(err)
		}
		stream.NextOf("big")
		if kept := s.QueueCap(); kept > 4<<10 {
			t.Errorf("an idle stream keeps %d bytes of what was sent", kept)
		}
	}
}
