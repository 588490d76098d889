package ginsse_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
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

// A dead connection that is not noticed yet must not lock out a live page.
func TestNewestStreamReplacesTheOldest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{MaxStreamsPerUser: 3})
		server := ssetest.NewServer(t, newEngine(t, registry))
		bob := server.Open(t, "/events", as("bob"))
		var streams []*ssetest.Stream
		for range 5 {
			pass(time.Second) // so that the first stream is the oldest
			streams = append(streams, server.Open(t, "/events", as("alice")))
		}
		for _, replaced := range streams[:2] {
			wantClose(t, replaced, "replaced")
			if d := replaced.ReconnectionTime(); d < time.Minute {
				t.Errorf("an EventSource would come back after %v, and replace another", d)
			}
		}
		send(t, registry, "alice", 1)
		for _, stream := range streams[2:] {
			wantNumbers(t, stream, 1, 1)
		}
		send(t, registry, "bob", 1)
		wantNumbers(t, bob, 1, 1)
	})
}

// Events sent before the stream was replaced are delivered.
func TestReplacedStreamDeliversWhatWasSentBefore(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreamsPerUser: 1})
	server := ssetest.NewServer(t, newEngine(t, registry))
	old := server.Open(t, "/events", as("alice"))
	for n := range 100 {
		send(t, registry, "alice", n)
	}
	server.Open(t, "/events", as("alice"))
	send(t, registry, "alice", 100)
	rest, err := old.WaitEnd()
	if err != nil || len(rest) != 102 || rest[100].Data != "99" || rest[101].Type != "sse.close" {
		t.Errorf("%d events, %v", len(rest), err)
	}
}

func TestReplacingWorksInAFullRegistry(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreams: 2, MaxStreamsPerUser: 1})
	server := ssetest.NewServer(t, newEngine(t, registry))
	old := server.Open(t, "/events", as("alice"))
	server.Open(t, "/events", as("bob"))
	if e := server.Open(t, "/events", as("alice")).Next(); e.Type != "sse.open" {
		t.Errorf("got %+v", e)
	}
	wantClose(t, old, "replaced")
}

// Seventeen tabs that reconnect without waiting must not replace each other endlessly.
func TestOpeningStreamsTooOftenIsThrottled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{MaxStreamsPerUser: 2, MaxOpensPerMinute: 6})
		server := ssetest.NewServer(t, newEngine(t, registry))
		open := func(user string) (opened bool, retry time.Duration) {
			stream := server.Open(t, "/events", as(user))
			e := stream.Next()
			if e.Type == "sse.reconnect" {
				wantEventReason(t, e, "throttled")
				return false, stream.ReconnectionTime()
			}
			return e.Type == "sse.open", 0
		}
		for n := range 6 {
			if opened, _ := open("alice"); !opened {
				t.Fatalf("stream %d of a minute was not opened", n+1)
			}
		}
		live := registry.Streams("alice")
		opened, retry := open("alice")
		if opened || retry < 5*time.Second || retry > 15*time.Second {
			t.Errorf("the seventh: opened %v, come back after %v, want about 10 s", opened, retry)
		}
		if len(live) != 2 || len(registry.Streams("alice")) != 2 || live[0].Err() != nil || live[1].Err() != nil {
			t.Error("a stream that was not let in has replaced another")
		}
		if opened, _ := open("bob"); !opened {
			t.Error("another user is throttled too")
		}
		pass(10 * time.Second)
		if opened, _ := open("alice"); !opened {
			t.Error("a sixth of a minute later there is no room for one more")
		}
		if opened, _ := open("alice"); opened {
			t.Error("there is room for two")
		}
		pass(time.Hour)
		for n := range 6 {
			if opened, _ := open("alice"); !opened {
				t.Fatalf("after an hour, stream %d was not opened", n+1)
			}
		}
	})
}

func TestThrottlingForgetsIdleUsers(t *testing.T) {
	t.Parallel()
	var opens ginsse.Opens
	now := time.Now()
	for n := range 100_000 {
		opens.Take(6, fmt.Sprint("user", n), now)
		now = now.Add(time.Millisecond) // 10,000 users have opened a stream in the last ten seconds
	}
	if n := opens.Len(); n > 25_000 {
		t.Errorf("%d users are remembered", n)
	}
}

// wantEventReason fails the test unless the data of e contains the reason.
func wantEventReason(t testing.TB, e ssetest.Event, reason string) {
	t.Helper()
	if !strings.Contains(e.Data, fmt.Sprintf(`"reason":%q`, reason)) {
		t.Errorf("got %+v, want reason %q", e, reason)
	}
}

// A client that reconnects often must not cause more running hooks than its user may have streams.
func TestHooksThatDoNotReturnTakePlaces(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(cfg *ginsse.RegistryConfig, hook func()){
		"connect": func(cfg *ginsse.RegistryConfig, hook func()) { cfg.ConnectFunc = func(*ginsse.Stream) { hook() } },
		"disconnect": func(cfg *ginsse.RegistryConfig, hook func()) {
			cfg.DisconnectFunc = func(*ginsse.Stream, ginsse.Reason) { hook() }
		},
		"both": func(cfg *ginsse.RegistryConfig, hook func()) {
			cfg.ConnectFunc = func(*ginsse.Stream) { hook() }
			cfg.DisconnectFunc = func(*ginsse.Stream, ginsse.Reason) { hook() }
		},
	} {
		for _, refuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/refuse_newest_%v", name, refuse), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					const most = 4
					var mu sync.Mutex
					running, peak := 0, 0
					blocked := make(chan struct{})
					cfg := ginsse.RegistryConfig{MaxStreamsPerUser: most, MaxOpensPerMinute: -1, RefuseNewest: refuse}
					configure(&cfg, func() {
						mu.Lock()
						running++
						peak = max(peak, running)
						mu.Unlock()
						<-blocked
						mu.Lock()
						running--
						mu.Unlock()
					})
					registry := newRegistry(t, cfg)
					server := ssetest.NewServer(t, newEngine(t, registry))
					reconnect := func(user string) (opened bool) {
						request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events", http.NoBody)
						if err != nil {
							t.Fatal(err)
						}
						request.Header.Set("X-User", user)
						response, err := server.Client.Do(request)
						if err != nil {
							t.Fatal(err)
						}
						if response.StatusCode == http.StatusOK {
							first := make([]byte, 512)
							n, _ := response.Body.Read(first)
							opened = strings.Contains(string(first[:n]), "sse.open")
						}
						_ = response.Body.Close()
						synctest.Wait()
						return opened
					}
					opened := 0
					for range 50 {
						if reconnect("alice") {
							opened++
						}
					}
					mu.Lock()
					if opened > 2*most || peak > 2*most {
						t.Errorf("%d streams were opened, and %d hooks ran at a time", opened, peak)
					}
					mu.Unlock()
					if !reconnect("bob") {
						t.Error("another user is kept out")
					}
					close(blocked)
					synctest.Wait()
					if !reconnect("alice") {
						t.Error("no stream was opened when all hooks had returned")
					}
				})
			})
		}
	}
}

// A stream that cannot deliver its backlog before its end must report a gap.
func TestBacklogThatCannotBeDeliveredBeforeTheEndIsAGap(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		reason ginsse.Reason
		gap    bool // false if the client reconnects and resumes
	}{
		{"disconnected", "signed out", true},
		{"lifetime", ginsse.ReasonLifetime, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := newRegistry(t, ginsse.RegistryConfig{})
				server := ssetest.NewServer(t, newEngine(t, registry))
				response := openBody(t, server, "/events")
				const count = 100
				for n := range count {
					e := ginsse.Event{Type: "n", Data: fmt.Sprintf("%d %s", n, strings.Repeat("x", 20_000))}
					if _, err := registry.SendTo(t.Context(), "alice", e); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := registry.Disconnect(t.Context(), "alice", test.reason); err != nil {
					t.Fatal(err)
				}
				var text []byte
				piece := make([]byte, 8<<10)
				for { // 8 KiB/s: the backlog would take four minutes
					n, err := response.Body.Read(piece)
					text = append(text, piece[:n]...)
					if err != nil {
						break
					}
					pass(time.Second)
				}
				events := ssetest.Parse(text)
				last, before := events[len(events)-1], events[len(events)-2]
				if n := len(events); n > count {
					t.Fatalf("all of %d events were delivered in time", n)
				}
				if test.gap {
					if last.Type != "sse.close" || before.Type != "sse.gap" || before.Data != `{"reason":"undelivered"}` {
						t.Errorf("the stream ended with %.80s %.80s", fmt.Sprint(before), fmt.Sprint(last))
					}
					if delivered := events[len(events)-3]; last.LastEventID != delivered.LastEventID {
						t.Errorf("the gap moved the position, to %q", last.LastEventID)
					}
				} else if last.Type != "sse.reconnect" && last.Type != "n" {
					t.Errorf("the stream ended with %.80s", fmt.Sprint(last))
				}
				// A client that reconnects gets the rest.
				again := server.Open(t, "/events", as("alice"), ssetest.LastEventID(last.LastEventID))
				if open := again.NextOf("sse.open"); !strings.Contains(open.Data, `"resumed":true`) {
					t.Errorf("got %s", open.Data)
				}
				delivered := 0
				for _, e := range events {
					if e.Type == "n" {
						delivered++
					}
				}
				if next := again.NextOf("n"); !strings.HasPrefix(next.Data, fmt.Sprint(delivered, " ")) {
					t.Errorf("after %d events came %.20s", delivered, next.Data)
				}
			})
		})
	}
}

// While a machine sleeps, the wall clock advances, but timers do not.
func TestStreamEndsWithItsTokenThoughTheClockJumps(t *testing.T) {
	t.Parallel()
	for _, heartbeat := range []time.Duration{15 * time.Second, -1} {
		for _, lifetime := range []time.Duration{time.Hour, 24 * time.Hour, 48 * time.Hour} {
			t.Run(fmt.Sprintf("heartbeat_%v/token_of_%v", heartbeat, lifetime), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: heartbeat}})
					server := ssetest.NewServer(t, newEngine(t, registry))
					stream := server.Open(t, "/events", as("alice"), ssetest.Header("X-Lifetime", lifetime.String()))
					stream.NextOf("sse.open")
					synctest.Wait()
					registry.Streams("alice")[0].JumpPastExpiry()
					stream.Patience = 61 * time.Second
					wantReconnect(t, stream, "expired")
				})
			})
		}
	}
}

// A second stream in one handler, or an invalid option, must not write into the first stream.
func TestServeDoesNotTouchAResponseThatHasBegun(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{RefuseNewest: true, MaxStreamsPerUser: 1})
	for name, second := range map[string]func(c *gin.Context) error{
		"bad_option": func(c *gin.Context) error { return registry.Serve(c, ginsse.WithTopics("")) },
		"again":      func(c *gin.Context) error { return registry.Serve(c) },
		"producer": func(c *gin.Context) error {
			return ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error { return nil })
		},
		"bad_config": func(c *gin.Context) error { return ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: 1}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := "user " + name
			errs := make(chan error, 1)
			engine := gin.New()
			engine.GET("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
				_ = registry.Serve(c)
				errs <- second(c)
			})
			stream := ssetest.NewServer(t, engine).Open(t, "/events", as(user))
			stream.NextOf("sse.open")
			if _, err := registry.Disconnect(t.Context(), user, "bye"); err != nil {
				t.Fatal(err)
			}
			wantClose(t, stream, "bye")
			if err := within(t, "the second call", errs); err == nil {
				t.Error("the second call reports no error")
			}
		})
	}
}

func TestNilContextIsAnErrorEverywhere(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	var none context.Context
	e := numbered(1)
	for name, err := range map[string]error{
		"SendTo":      second(registry.SendTo(none, "alice", e)),
		"SendToUsers": second(registry.SendToUsers(none, []string{"alice"}, e)),
		"Publish":     second(registry.Publish(none, "t", e)),
		"Broadcast":   second(registry.Broadcast(none, e)),
		"Disconnect":  second(registry.Disconnect(none, "alice", "")),
		"Send":        registry.Streams("alice")[0].Send(none, e),
		"Shutdown":    registry.Shutdown(none),
	} {
		if err == nil || !strings.Contains(err.Error(), "context is nil") {
			t.Errorf("%s returned %v", name, err)
		}
	}
	send(t, registry, "alice", 2)
	if got := stream.Next(); got.Data != "2" {
		t.Errorf("got %+v, though nothing should have been sent", got)
	}
}

func TestNilLogInAnInterfaceIsAnError(t *testing.T) {
	t.Parallel()
	var log *eventlog.MemoryLog
	_, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
	if err == nil || !strings.Contains(err.Error(), "RegistryConfig.Log is a nil *eventlog.MemoryLog") {
		t.Errorf("got %v", err)
	}
}

// The developer who can fix it reads the log, not the response.
func TestForgottenMiddlewareIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	registry := newRegistry(t, ginsse.RegistryConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	engine := gin.New()
	engine.GET("/events", registry.Handler())
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", http.NoBody))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "Middleware") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "missing, or registered behind the handler") {
		t.Errorf("the log says %q", log.String())
	}
}
