package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

func TestServeReturnsWhyTheStreamEnded(t *testing.T) {
	t.Parallel()
	broken := errors.New("the model failed")
	tests := []struct {
		name    string
		produce func(ctx context.Context, s *ginsse.Stream) error
		want    []error // all of them; nil for no error
	}{
		{"done", func(ctx context.Context, s *ginsse.Stream) error { return s.Send(ctx, numbered(1)) }, nil},
		{"producer_failed", func(context.Context, *ginsse.Stream) error { return broken }, []error{ginsse.ReasonFailed, broken}},
		{"closed_by_producer", func(_ context.Context, s *ginsse.Stream) error { return s.Close() }, nil},
		{"own_reason", func(_ context.Context, s *ginsse.Stream) error { s.Disconnect("quota"); return nil }, []error{ginsse.Reason("quota")}},
		{"lifetime", func(ctx context.Context, _ *ginsse.Stream) error { <-ctx.Done(); return ctx.Err() }, []error{ginsse.ReasonLifetime}},
		{"sent_before_failing", func(ctx context.Context, s *ginsse.Stream) error { _ = s.Send(ctx, numbered(1)); return broken }, []error{ginsse.ReasonFailed}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				result := make(chan error, 1)
				server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
					result <- ginsse.Serve(c, ginsse.StreamConfig{MaxLifetime: time.Minute}, test.produce)
				}))
				stream := server.Open(t, "/")
				stream.Patience = time.Hour
				if test.name == "lifetime" {
					wantCleanEnd(t, stream)
				} else {
					wantDone(t, stream)
				}
				err := <-result
				if len(test.want) == 0 && err != nil {
					t.Errorf("Serve returned %v", err)
				}
				for _, want := range test.want {
					if !errors.Is(err, want) {
						t.Errorf("Serve returned %v, want %v", err, want)
					}
				}
			})
		})
	}
}

func TestServeSendsNoErrorTextToTheClient(t *testing.T) {
	t.Parallel()
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error { return errors.New("secret-host unreachable") })
	}))
	rest, _ := server.Open(t, "/").WaitEnd()
	if text := fmt.Sprint(rest); strings.Contains(text, "secret") {
		t.Errorf("the client got %s", text)
	}
}

func TestServeRaisesTheProducersPanicInTheHandler(t *testing.T) {
	t.Parallel()
	raised := make(chan any, 1)
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		defer func() { raised <- recover() }()
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error { panic("boom") })
	}))
	stream := server.Open(t, "/")
	wantCleanEnd(t, stream)
	if stream.LastEventID() == ginsse.DoneID {
		t.Error("the client got the ID of finished work")
	}
	p, ok := within(t, "the handler", raised).(error)
	if !ok || !strings.Contains(p.Error(), "boom") {
		t.Fatalf("recovered %v", p)
	}
	// gin's Recovery prints the value, and the stack of the handler's goroutine.
	if !strings.Contains(p.Error(), "TestServeRaisesTheProducersPanicInTheHandler") {
		t.Errorf("the stack of the producer is missing:\n%v", p)
	}
}

func TestServeWrapsAnErrorThatTheProducerPanicsWith(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, value := range map[string]error{"error": broken, "abort": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raised := make(chan any, 1)
			server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
				defer func() { raised <- recover() }()
				_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error { panic(value) })
			}))
			wantCleanEnd(t, server.Open(t, "/"))
			p := within(t, "the handler", raised)
			if err, ok := p.(error); !ok || !errors.Is(err, value) {
				t.Errorf("recovered %v", p)
			}
			if name == "abort" && p != any(http.ErrAbortHandler) {
				t.Errorf("recovered %T, want http.ErrAbortHandler itself", p)
			}
		})
	}
}

// Some clients ignore the ID of a block without data. They come back with the ID of the last event.
//
// Not parallel: what the process remembers of a finished stream may be replaced by another one.
func TestClientThatHasTheLastEventIsAnsweredWith204(t *testing.T) {
	var produced atomic.Int64
	engine := gin.New()
	engine.Any("/", func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			produced.Add(1)
			for n := range 3 {
				if err := s.Send(ctx, numbered(n)); err != nil {
					return err
				}
			}
			return s.Send(ctx, ginsse.Event{Comment: "not dispatched"})
		})
	})
	server := ssetest.NewServer(t, engine)
	rest, err := server.Open(t, "/").WaitEnd()
	if err != nil || len(rest) != 3 {
		t.Fatalf("got %+v, %v", rest, err)
	}
	for _, test := range []struct {
		name, id  string
		workAgain bool
	}{
		{"last", rest[2].LastEventID, false},
		{"one_before", rest[1].LastEventID, true},
		{"another_job", "sse.00000000" + rest[2].LastEventID[len("sse.00000000"):], true},
		{"other_spelling", rest[2].LastEventID[:len(rest[2].LastEventID)-1] + "03", true},
		{"capitals", strings.ToUpper(rest[2].LastEventID), true},
		{"made_up", "sse.x.y.z", true},
		{"too_long", rest[2].LastEventID + strings.Repeat(".", 1<<16), true},
		{"none", "", true},
	} {
		produced.Store(0)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Last-Event-ID", test.id)
		response, err := server.Client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if again := produced.Load() == 1; again != test.workAgain || (response.StatusCode == http.StatusNoContent) == again {
			t.Errorf("%s: status %d, and the work was done again: %v", test.name, response.StatusCode, again)
		}
	}
}

func TestUnfinishedWorkIsDoneAgain(t *testing.T) {
	t.Parallel()
	var produced atomic.Int64
	ended := make(chan struct{}, 2)
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			produced.Add(1)
			if err := s.Send(ctx, numbered(1)); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
		ended <- struct{}{}
	}))
	stream := server.Open(t, "/")
	id := stream.NextOf("n").LastEventID
	stream.Close() // as if the connection were lost
	within(t, "the end", ended)
	if e := server.Open(t, "/", ssetest.LastEventID(id)).NextOf("n"); e.Data != "1" || produced.Load() != 2 {
		t.Errorf("got %+v; the work was started %d times, want 2", e, produced.Load())
	}
}

// The kit adds no IDs after an event with an ID of the producer's, and none for a client that is
// not an EventSource.
func TestServeAddsIDsOnlyWhereTheyAreNeeded(t *testing.T) {
	t.Parallel()
	produce := func(own bool) func(ctx context.Context, s *ginsse.Stream) error {
		return func(ctx context.Context, s *ginsse.Stream) error {
			e := ginsse.Event{Data: "x"}
			if own {
				e.ID = "7"
			}
			if err := s.Send(ctx, e); err != nil {
				return err
			}
			return s.Send(ctx, ginsse.Event{Data: "y"})
		}
	}
	for _, test := range []struct {
		name, method, accept string
		own                  bool
		want                 string
	}{
		{"producer_has_ids", http.MethodGet, "text/event-stream", true, "data: x\nid: 7\n\ndata: y\n\n"},
		{"post", http.MethodPost, "text/event-stream", false, "data: x\n\ndata: y\n\n"},
		{"no_event_source", http.MethodGet, "*/*", false, "data: x\n\ndata: y\n\n"},
	} {
		engine := gin.New()
		engine.Any("/", func(c *gin.Context) { _ = ginsse.Serve(c, ginsse.StreamConfig{}, produce(test.own)) })
		request := httptest.NewRequest(test.method, "/", http.NoBody)
		request.Header.Set("Accept", test.accept)
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, request)
		_, got, _ := strings.Cut(w.Body.String(), "\n\n") // the reconnection time
		if got, _, _ := strings.Cut(got, "retry: 3600000\n"); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// A browser's EventSource reconnects after each end. The work is done once.
func TestFinishedStreamIsAnsweredWith204(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		var produced atomic.Int64
		engine := gin.New()
		handlers := map[string]gin.HandlerFunc{
			"/serve": func(c *gin.Context) {
				if err := ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
					produced.Add(1)
					return s.Send(ctx, numbered(1))
				}); err != nil {
					t.Errorf("Serve returned %v", err)
				}
			},
			"/failed": func(c *gin.Context) {
				_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error {
					produced.Add(1)
					return errors.New("broken")
				})
			},
		}
		for path, handler := range handlers {
			engine.GET(path, handler)
			engine.GET("/private"+path, ginsse.Middleware(headerAuth(t)), handler)
		}
		server := tr.start(t, engine, nil)
		for path := range handlers {
			for _, prefix := range []string{"", "/private"} {
				produced.Store(0)
				stream := connect(t, server, prefix+path, as("alice"))
				wantDone(t, stream)
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+prefix+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("X-User", "alice")
				request.Header.Set("Last-Event-ID", stream.LastEventID())
				response, err := server.Client().Do(request)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				if response.StatusCode != http.StatusNoContent || response.Header.Get("Content-Type") != "" {
					t.Errorf("%s%s: the second request got status %d of type %q", prefix, path, response.StatusCode, response.Header.Get("Content-Type"))
				}
				if n := produced.Load(); n != 1 {
					t.Errorf("%s%s: the work was done %d times", prefix, path, n)
				}
			}
		}
	})
}

func TestProducerWaitsForASlowClient(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	blocked, ended := make(chan struct{}), make(chan error, 1)
	server := transports[0].start(t, serveAt(func(c *gin.Context) {
		ended <- ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: 6 * time.Second}, func(ctx context.Context, s *ginsse.Stream) error {
			for {
				patience, cancel := context.WithTimeout(ctx, time.Second)
				err := s.Send(patience, ginsse.Event{Data: strings.Repeat("x", 10_000)})
				cancel()
				if err != nil {
					close(blocked)
					return err
				}
				sent.Add(1)
			}
		})
	}), nil)
	stalledGet(t, server, "/", nil)
	within(t, "the producer to be blocked", blocked)
	if err := within(t, "Serve", ended); !errors.Is(err, ginsse.ReasonFailed) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve returned %v", err)
	}
	// The sockets buffer some megabytes, and the kit 64 KiB.
	if n := sent.Load() * 10_000; n > 64<<20 {
		t.Errorf("%d bytes were sent to a client that reads none", n)
	}
}

func TestServeSeqSendsEachEvent(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	result := make(chan error, 1)
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		result <- ginsse.ServeSeq(c, ginsse.StreamConfig{}, func(context.Context) iter.Seq2[ginsse.Event, error] {
			return func(yield func(ginsse.Event, error) bool) {
				for n := range 1000 {
					if !yield(numbered(n), nil) {
						return
					}
				}
				yield(ginsse.Event{}, broken)
			}
		})
	}))
	stream := server.Open(t, "/")
	wantNumbers(t, stream, 0, 999)
	wantDone(t, stream)
	if err := within(t, "ServeSeq", result); !errors.Is(err, broken) {
		t.Errorf("ServeSeq returned %v", err)
	}
}

func TestServeSeqStopsTheSequenceWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	stopped, result := make(chan struct{}), make(chan error, 1)
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		result <- ginsse.ServeSeq(c, ginsse.StreamConfig{}, func(ctx context.Context) iter.Seq2[ginsse.Event, error] {
			return func(yield func(ginsse.Event, error) bool) {
				defer close(stopped)
				yield(numbered(1), nil)
				<-ctx.Done()
				yield(ginsse.Event{}, ctx.Err())
			}
		})
	}))
	stream := server.Open(t, "/")
	wantNumbers(t, stream, 1, 1)
	stream.Close()
	within(t, "the sequence", stopped)
	if err := within(t, "ServeSeq", result); !errors.Is(err, ginsse.ReasonClientGone) {
		t.Errorf("ServeSeq returned %v", err)
	}
}

func TestServeWritesEachEventWhileTheProducerIsBusy(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		next := make(chan struct{})
		server := tr.start(t, serveAt(func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
				for n := range 5 {
					if err := s.Send(ctx, ginsse.Event{Type: "n", Data: n, ID: fmt.Sprint("id", n)}); err != nil {
						t.Errorf("Send: %v", err)
					}
					<-next // until the client has the event
				}
				return nil
			})
		}), nil)
		stream := connect(t, server, "/")
		for n := range 5 {
			if e := stream.Next(); e.Data != fmt.Sprint(n) || e.LastEventID != fmt.Sprint("id", n) {
				t.Errorf("got %+v, want %d", e, n)
			}
			next <- struct{}{}
		}
		wantDone(t, stream)
	})
}

func TestServeWritesEventsOfOtherGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const senders, each = 8, 50
		result := make(chan error, 1)
		server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
			result <- ginsse.Serve(c, ginsse.StreamConfig{}, func(_ context.Context, s *ginsse.Stream) error {
				var wg sync.WaitGroup
				for i := range senders {
					wg.Go(func() {
						for n := range each {
							pass(time.Duration(i+1) * time.Second)
							if err := s.Send(context.Background(), ginsse.Event{Type: fmt.Sprint("from", i), Data: n}); err != nil {
								t.Errorf("Send: %v", err)
							}
						}
					})
				}
				wg.Wait()
				pass(time.Minute) // long enough for heartbeats
				return s.Close()
			})
		}))
		stream := server.Open(t, "/")
		stream.Patience = time.Hour
		rest, err := stream.WaitEnd()
		if err != nil {
			t.Fatalf("the stream ended with %v", err)
		}
		next := make(map[string]int)
		for _, e := range rest {
			if e.Data != fmt.Sprint(next[e.Type]) {
				t.Errorf("got %+v, want %d", e, next[e.Type])
			}
			next[e.Type]++
		}
		for i := range senders {
			if n := next[fmt.Sprint("from", i)]; n != each {
				t.Errorf("%d events from sender %d, want %d", n, i, each)
			}
		}
		if n := len(stream.Comments()); n < 4 {
			t.Errorf("%d heartbeats in the last minute, want 4 or more", n)
		}
		if err := <-result; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
}

func TestSendReturnsTheFirstReasonAfterTheEnd(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 3)
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		errs <- ginsse.Serve(c, ginsse.StreamConfig{}, func(_ context.Context, s *ginsse.Stream) error {
			s.Disconnect("first")
			s.Disconnect("second")
			errs <- s.Send(context.Background(), numbered(1))
			errs <- s.Close()
			return nil
		})
	}))
	wantDone(t, server.Open(t, "/"))
	for range 3 {
		if err := within(t, "the handler", errs); !errors.Is(err, ginsse.Reason("first")) {
			t.Errorf("got %v", err)
		}
	}
}

func TestStreamGoesOnAfterAnInvalidEvent(t *testing.T) {
	t.Parallel()
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			if err := s.Send(ctx, ginsse.Event{Type: "bad", Data: func() {}}); !errors.Is(err, ginsse.ErrInvalidEvent) {
				t.Errorf("got %v", err)
			}
			return s.Send(ctx, numbered(1))
		})
	}))
	stream := server.Open(t, "/")
	if e := stream.Next(); e.Type != "n" || e.Data != "1" {
		t.Errorf("got %+v", e)
	}
}

func TestSendReturnsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			if err := s.Send(cancelled, numbered(1)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			return nil
		})
	}))
	stream := server.Open(t, "/")
	if rest, _ := stream.WaitEnd(); len(rest) != 0 {
		t.Errorf("the client got %+v", rest)
	}
}

func TestServeRefusesAnInvalidStreamConfig(t *testing.T) {
	t.Parallel()
	r := serveAt(func(c *gin.Context) {
		err := ginsse.Serve(c, ginsse.StreamConfig{HeartbeatInterval: time.Microsecond}, nil)
		if err == nil || !strings.Contains(err.Error(), "HeartbeatInterval") {
			t.Errorf("Serve returned %v", err)
		}
	})
	server := ssetest.NewServer(t, r)
	response, err := server.Client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusInternalServerError || strings.Contains(string(body), "Heartbeat") {
		t.Errorf("status %d, %s", response.StatusCode, body)
	}
}

// A slow client gets everything that a finished producer has sent, unless the stream's lifetime
// ends before.
func TestFinishedStreamIsDeliveredWithinItsLifetime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		lifetime time.Duration
		whole    bool
	}{{"long_lifetime", 5 * time.Minute, true}, {"short_lifetime", time.Minute, false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Duration, 1)
				server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
					start := time.Now()
					_ = ginsse.Serve(c, ginsse.StreamConfig{MaxLifetime: test.lifetime}, func(ctx context.Context, s *ginsse.Stream) error {
						return s.Send(ctx, ginsse.Event{Data: strings.Repeat("x", 256<<10)})
					})
					ended <- time.Since(start)
				}))
				response := openBody(t, server, "/")
				total, piece := 0, make([]byte, 8<<10)
				for {
					n, err := response.Body.Read(piece)
					total += n
					if err != nil {
						break
					}
					pass(7 * time.Second) // 256 KiB take nearly four minutes
				}
				if whole := total >= 256<<10; whole != test.whole {
					t.Errorf("%d bytes were delivered", total)
				}
				if d := <-ended; d > test.lifetime+30*time.Second {
					t.Errorf("the handler returned after %v", d)
				}
			})
		})
	}
}
