package ginsse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// panicking returns an observer whose functions panic, except for those that write.
func panicking() *ginsse.Observer {
	return &ginsse.Observer{
		Opened:    func(*ginsse.Stream, ginsse.Opening) { panic("Opened") },
		Refused:   func(ginsse.Refusal) { panic("Refused") },
		Ended:     func(*ginsse.Stream, ginsse.Ending) { panic("Ended") },
		Gap:       func(*ginsse.Stream, eventlog.GapReason) { panic("Gap") },
		Commanded: func(*ginsse.Stream, string) { panic("Commanded") },
		Sending:   func(context.Context, ginsse.Sending) (context.Context, string) { panic("Sending") },
		Sent:      func(context.Context, ginsse.Sent) { panic("Sent") },
		Appended:  func(ginsse.Appended) { panic("Appended") },
		LogReady:  func(error) { panic("LogReady") },
		Answer:    func(string) json.RawMessage { panic("Answer") },
	}
}

// TestPanicsOfAnObserverHarmNothing has one observer panic at nearly all that it is told. Streams, senders, hooks and
// the other observer go on.
func TestPanicsOfAnObserverHarmNothing(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact=%v", compact), func(t *testing.T) {
			t.Parallel()
			var told observed
			ended := make(chan ginsse.Reason, 1)
			registry := newRegistry(t, ginsse.RegistryConfig{
				Observers:         []*ginsse.Observer{panicking(), told.observer()},
				Stream:            ginsse.StreamConfig{Compact: compact},
				MaxStreamsPerUser: 1, RefuseNewest: true,
				DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason },
			})
			server := transports[0].start(t, newEngine(t, registry), nil)
			alice := connect(t, server, "/events", as("alice"))
			alice.NextOf("sse.open")
			told.await(t, 1, "opened alice none")
			send(t, registry, "alice", 1)
			alice.NextOf("n")
			told.await(t, 1, "sent user n true")
			told.await(t, 1, `delivered user alice "trace of n" true true`)
			if status := statusOf(t, server, "/events", "alice"); status != http.StatusTooManyRequests {
				t.Errorf("a stream too many got status %d", status)
			}
			if err := registry.Grant(t.Context(), "alice", "news"); err != nil {
				t.Fatal(err)
			}
			alice.NextOf("sse.topics")
			told.await(t, 1, "commanded alice grant")
			if _, err := registry.Disconnect(t.Context(), "alice", "banned"); err != nil {
				t.Fatal(err)
			}
			alice.NextOf("sse.close")
			if reason := within(t, "DisconnectFunc", ended); reason != "banned" {
				t.Errorf("the stream has ended with %q", reason)
			}
			told.await(t, 1, "ended alice banned events=1")
			until(t, "the return of DisconnectFunc", func() bool { return registry.Stats().Places == 0 })
			connect(t, server, "/events", as("alice"), ssetest.LastEventID("unknown")).NextOf("sse.gap")
			told.await(t, 1, "gap alice unknown")
		})
	}
}

// TestPanicAtAWriteEndsOneStream has an observer panic at the writes to one user.
func TestPanicAtAWriteEndsOneStream(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact=%v", compact), func(t *testing.T) {
			t.Parallel()
			var told observed
			registry := newRegistry(t, ginsse.RegistryConfig{
				Stream: ginsse.StreamConfig{Compact: compact},
				Observers: []*ginsse.Observer{told.observer(), {Written: func(s *ginsse.Stream, _ ginsse.Written) {
					if s.UserID() == "alice" {
						panic(http.ErrAbortHandler) // net/http does not log it
					}
				}}},
			})
			server := transports[0].start(t, newEngine(t, registry), nil)
			connect(t, server, "/events", as("alice")).NextOf("sse.open")
			bob := connect(t, server, "/events", as("bob"))
			bob.NextOf("sse.open")
			if _, err := registry.Broadcast(t.Context(), numbered(1)); err != nil {
				t.Fatal(err)
			}
			wantNumbers(t, bob, 1, 1)
			told.await(t, 1, "ended alice failed")
			told.await(t, 0, "ended bob")
		})
	}
}

// unreadyLog is a shared log that says that it does not serve its node.
type unreadyLog struct{ *ssetest.Node }

func (unreadyLog) Ready() error { return errors.New("no contact") }

// TestPanicsOfAnObserverDoNotEndTheProcess has observers panic on goroutines of the registry's own.
func TestPanicsOfAnObserverDoNotEndTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		var mu sync.Mutex
		var ready error
		var logged safeBuffer
		newRegistry(t, ginsse.RegistryConfig{Log: unreadyLog{logs[0]}, Logger: slog.New(slog.NewTextHandler(&logged, nil)), Observers: []*ginsse.Observer{
			panicking(), {LogReady: func(err error) {
				mu.Lock()
				defer mu.Unlock()
				ready = err
			}}, answering("who", `"first"`),
		}})
		second := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		wantAnswers(t, second, "who", "", `"first"`)
		wantAnswers(t, second, "who", "", `"first"`)
		pass(2 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if ready == nil {
			t.Error("the other observer was not told that the log does not serve the node")
		}
		if n := strings.Count(logged.String(), "panic in Observer.Answer"); n != 1 {
			t.Errorf("a panic that repeats is logged %d times, want once:\n%s", n, logged.String())
		}
	})
}

// askedLog is a log that says when it is asked whether it serves its node, and answers later.
type askedLog struct {
	*eventlog.MemoryLog

	asked, answer chan struct{}
}

func (l *askedLog) Ready() error {
	close(l.asked)
	<-l.answer
	return errors.New("closed")
}

// TestLogThatIsClosedAfterItsRegistryIsNoTrouble closes a registry while it asks its log. What is counted or
// shown of interruptions does not change by it.
func TestLogThatIsClosedAfterItsRegistryIsNoTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &askedLog{newMemoryLog(t, eventlog.MemoryLogConfig{}), make(chan struct{}), make(chan struct{})}
		var told observed
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log, Observers: []*ginsse.Observer{{
			LogReady: func(err error) { told.addf("the log says: %v", err) },
		}}})
		<-log.asked
		registry.Close()
		close(log.answer)
		synctest.Wait()
		if calls := told.list(); len(calls) > 0 {
			t.Errorf("after Close, LogReady was called: %q", calls)
		}
	})
}

// brokenWriter panics when a response begins.
type brokenWriter struct{ gin.ResponseWriter }

func (brokenWriter) WriteHeader(int) { panic("no header") }

func (w brokenWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestEndOfAStreamWhoseWriterPanicsHasAReason tells of a stream that has opened, and fails before its client
// gets anything.
func TestEndOfAStreamWhoseWriterPanicsHasAReason(t *testing.T) {
	t.Parallel()
	var told observed
	ends := make(chan ginsse.Ending, 1)
	registry := newRegistry(t, ginsse.RegistryConfig{Observers: []*ginsse.Observer{told.observer(), {
		Ended: func(_ *ginsse.Stream, e ginsse.Ending) { ends <- e },
	}}})
	r := gin.New()
	r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.Abort() }))
	r.GET("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
		c.Writer = brokenWriter{c.Writer}
		_ = registry.Serve(c)
	})
	server := transports[0].start(t, r, nil)
	statusOf(t, server, "/events", "alice")
	if e := within(t, "Ended", ends); e.Reason != ginsse.ReasonFailed || !errors.Is(e.Err, ginsse.ReasonFailed) {
		t.Errorf("%+v", e)
	}
	told.await(t, 1, "opened alice")
	told.await(t, 1, "ended alice failed")
	until(t, "the stream to be gone", func() bool { return registry.Stats().Streams == 0 && registry.Stats().Places == 0 })
}

// TestLagDoesNotGrowWhileTheLogCannotBeRead has a stream try to read again and again. What waits for its
// client is one event.
func TestLagDoesNotGrowWhileTheLogCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &failingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		synctest.Wait()
		log.failing.Store(true)
		send(t, registry, "alice", 1)
		pass(20 * time.Second)
		synctest.Wait()
		lag := func() int64 { return registry.AllStreams()[0].Stats().Lag }
		if n := lag(); n != 1 {
			t.Errorf("the lag is %d, want 1", n)
		}
		log.failing.Store(false)
		wantNumbers(t, stream, 1, 1)
		synctest.Wait()
		if n := lag(); n != 0 {
			t.Errorf("the lag is %d after the event was read", n)
		}
	})
}

// TestLagCountsEventsThatWaitForTheState has a stream wait for its state while events come.
func TestLagCountsEventsThatWaitForTheState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		collected := make(chan struct{})
		engine := stateEngine(t, registry, ginsse.WithState(func(context.Context, *ginsse.State) error {
			<-collected
			return nil
		}))
		stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		const events = 5
		for i := range events {
			send(t, registry, "alice", i+1)
			synctest.Wait() // the stream has looked
		}
		lag := func() int64 { return registry.AllStreams()[0].Stats().Lag }
		if n := lag(); n < events || n > events+1 {
			t.Errorf("the lag is %d while %d events wait", n, events)
		}
		close(collected)
		wantNumbers(t, stream, 1, events)
		synctest.Wait()
		if n := lag(); n != 0 {
			t.Errorf("the lag is %d after all was written", n)
		}
	})
}

// slowLog is a log that does not say where its head is.
type slowLog struct {
	*eventlog.MemoryLog

	slow  atomic.Bool
	asked chan struct{}
}

func (l *slowLog) Head(ctx context.Context) (eventlog.Cursor, error) {
	if l.slow.Load() {
		l.asked <- struct{}{}
		<-ctx.Done()
		return eventlog.Cursor{}, ctx.Err()
	}
	return l.MemoryLog.Head(ctx)
}

// TestClientThatLeavesIsNotRefusedByTheLog has a client leave while its stream opens. The log is not to
// blame.
func TestClientThatLeavesIsNotRefusedByTheLog(t *testing.T) {
	t.Parallel()
	var told observed
	log := &slowLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{}), asked: make(chan struct{}, 1)}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log, Observers: []*ginsse.Observer{told.observer()}})
	server := transports[0].start(t, newEngine(t, registry), nil)
	log.slow.Store(true)
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", "alice")
	go func() {
		<-log.asked
		leave()
	}()
	if response, err := server.Client().Do(request); err == nil {
		_ = response.Body.Close()
		t.Fatal("the client did not leave")
	}
	told.await(t, 1, "refused")
	told.await(t, 1, "refused client gone: true")
}

// TestDeadlineOfTheApplicationIsNotTheClient has a handler in front bound the time of requests, and the log take
// longer. The client waits, and the log is to blame.
func TestDeadlineOfTheApplicationIsNotTheClient(t *testing.T) {
	t.Parallel()
	var told observed
	log := &slowLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{}), asked: make(chan struct{}, 1)}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log, Observers: []*ginsse.Observer{told.observer()}})
	r := gin.New()
	r.Use(func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), time.Millisecond)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
	})
	r.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler())
	server := transports[0].start(t, r, nil)
	log.slow.Store(true)
	connect(t, server, "/events", as("alice")).NextOf("sse.reconnect")
	told.await(t, 1, "refused")
	told.await(t, 1, "refused log unavailable: true alice")
}

// explosive panics when it is encoded.
type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("no JSON") }

// TestSendThatPanicsIsToldOf has the data of an event panic. What is counted or measured from Sending to Sent
// ends there, and not as a success.
func TestSendThatPanicsIsToldOf(t *testing.T) {
	t.Parallel()
	var told observed
	registry := newRegistry(t, ginsse.RegistryConfig{Observers: []*ginsse.Observer{told.observer()}})
	e := ginsse.Event{Type: "x", Data: explosive{}}
	for name, send := range map[string]func(){
		"SendTo":      func() { _, _ = registry.SendTo(t.Context(), "alice", e) },
		"SendToUsers": func() { _, _ = registry.SendToUsers(t.Context(), []string{"alice", "bob"}, e) },
		"In":          func() { _ = registry.In(nil).SendTo(t.Context(), "alice", e) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not pass the panic on", name)
				}
			}()
			send()
		}()
	}
	told.await(t, 3, "sending user")
	told.await(t, 3, "sent user x false")
}

// TestEachStreamOpensAndEndsOnce has many clients open streams and leave at any time, be refused, be
// replaced and be disconnected.
func TestEachStreamOpensAndEndsOnce(t *testing.T) {
	t.Parallel()
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact=%v", compact), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			opened, ended := map[string]int{}, map[string]int{}
			registry := newRegistry(t, ginsse.RegistryConfig{
				Stream: ginsse.StreamConfig{Compact: compact}, MaxStreamsPerUser: 2, MaxOpensPerMinute: -1, MaxStreams: 20,
				Observers: []*ginsse.Observer{{
					Opened: func(s *ginsse.Stream, _ ginsse.Opening) {
						mu.Lock()
						defer mu.Unlock()
						opened[s.ID()]++
					},
					Ended: func(s *ginsse.Stream, e ginsse.Ending) {
						mu.Lock()
						defer mu.Unlock()
						if ended[s.ID()]++; opened[s.ID()] != 1 || e.Reason == "" || e.Err == nil {
							t.Errorf("opened %d times before it ended: %+v", opened[s.ID()], e)
						}
					},
				}},
			})
			server := transports[0].start(t, newEngine(t, registry), nil)
			connect(t, server, "/events", as("patient")).NextOf("sse.open") // the others may be too late on a busy machine
			var clients sync.WaitGroup
			for i := range 8 {
				clients.Go(func() {
					for n := range 30 {
						ctx, leave := context.WithTimeout(t.Context(), time.Duration(n%10)*300*time.Microsecond+time.Microsecond)
						request, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", http.NoBody)
						user := fmt.Sprint("user", (i+n)%12)
						request.Header.Set("X-User", user)
						if response, err := server.Client().Do(request); err == nil {
							_, _ = registry.SendTo(t.Context(), user, numbered(n))
							if n%3 == 0 {
								_, _ = registry.Disconnect(t.Context(), user, "")
							}
							_, _ = io.Copy(io.Discard, response.Body)
							_ = response.Body.Close()
						}
						leave()
					}
				})
			}
			clients.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := registry.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(opened) == 0 || len(opened) != len(ended) {
				t.Errorf("%d streams opened, %d ended", len(opened), len(ended))
			}
			for id, n := range ended {
				if n != 1 {
					t.Errorf("stream %s has ended %d times", id, n)
				}
			}
			if s := registry.Stats(); s.Streams != 0 || s.Places != 0 || s.Compact != 0 || s.Users != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}
