package ginsse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

// stateEngine serves streams with these options at /events. The query parameter topic grants a topic.
func stateEngine(t testing.TB, registry *ginsse.Registry, options ...ginsse.ServeOption) *gin.Engine {
	t.Helper()
	r := gin.New()
	r.GET("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
		_ = registry.Serve(c, append(slices.Clone(options), ginsse.WithTopics(c.QueryArray("topic")...))...)
	})
	return r
}

// The state is read while events come, and is written before all of them.
func TestStateComesBeforeEventsThatChangeIt(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	asked, goOn := make(chan string), make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		asked <- state.Topic()
		<-goOn
		return state.Send(ginsse.Event{Type: "state", Data: state.UserID() + "/" + state.Topic()})
	}))
	stream := ssetest.NewServer(t, engine).Open(t, "/events?topic=board", as("alice"))
	if id := stream.NextOf("sse.open").LastEventID; id != "" {
		t.Errorf("sse.open has the ID %s: a client that loses the state would not get it again", id)
	}
	within(t, "asking for the state", asked)
	send(t, a, "alice", 1)
	goOn <- struct{}{}
	if topic := within(t, "asking for the state", asked); topic != "board" {
		t.Errorf("asked for the topic %q", topic)
	}
	publish(t, a, "board", 2)
	goOn <- struct{}{}
	wantNext(t, stream, "state alice/", "state alice/board", "n 1", "n 2")
}

// The position comes after the state, so that a client without the whole state has none.
func TestStateIsFollowedByThePosition(t *testing.T) {
	t.Parallel()
	for _, comments := range []bool{false, true} {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatComments: comments}})
		engine := stateEngine(t, registry, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
			return state.Send(ginsse.Event{Type: "state", Data: 1})
		}))
		server := ssetest.NewServer(t, engine)
		send(t, registry, "alice", 0)
		stream := server.Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		if e := stream.Next(); e.Type != "state" || e.LastEventID != "" {
			t.Errorf("got %+v", e)
		}
		until(t, "a position after the state", func() bool { return stream.LastEventID() != "" })
		id := stream.LastEventID() // before the stream gets another event
		send(t, registry, "alice", 1)
		again := server.Open(t, "/events", as("alice"), ssetest.LastEventID(id))
		again.NextOf("sse.open")
		wantNext(t, again, "n 1")
	}
}

func TestStateIsSentAgainAfterAGap(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2}, 2)
	a, b := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]}), newRegistry(t, ginsse.RegistryConfig{Log: nodes[1]})
	var calls atomic.Int32
	engine := stateEngine(t, b, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		return state.Send(ginsse.Event{Type: "state", Data: calls.Add(1)})
	}))
	server := ssetest.NewServer(t, engine)
	stream := server.Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	wantNext(t, stream, "state 1")
	// While the stream is open.
	before := send(t, a, "alice", 0).ID
	wantNext(t, stream, "n 0")
	nodes[1].SetPartitioned(true)
	for n := range 3 {
		send(t, a, "alice", n)
	}
	nodes[1].SetPartitioned(false)
	if e := stream.Next(); e.Type != "sse.gap" || e.LastEventID != before {
		t.Errorf("got %+v, want sse.gap without an ID of its own", e)
	}
	wantNext(t, stream, "state 2")
	send(t, a, "alice", 3)
	wantNext(t, stream, "n 3")
	// When one opens with an old position, or one that is made up.
	for _, id := range []string{before, "nonsense"} {
		again := server.Open(t, "/events", as("alice"), ssetest.LastEventID(id))
		again.NextOf("sse.open")
		again.NextOf("sse.gap")
		again.NextOf("state")
		send(t, a, "alice", 4)
		wantNext(t, again, "n 4")
	}
}

func TestResumedStreamGetsNoState(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	engine := stateEngine(t, registry, ginsse.WithState(func(context.Context, *ginsse.State) error {
		t.Error("the state was asked for")
		return nil
	}))
	id := send(t, registry, "alice", 0).ID
	send(t, registry, "alice", 1)
	stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"), ssetest.LastEventID(id))
	stream.NextOf("sse.open")
	wantNext(t, stream, "n 1")
}

// The state of a topic that is granted comes with the grant. Other events do not wait for it.
func TestGrantedTopicBeginsWithItsState(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	asked, goOn := make(chan struct{}), make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		if state.Topic() == "" {
			return nil
		}
		asked <- struct{}{}
		<-goOn
		return state.Send(ginsse.Event{Type: "board", Data: state.Topic()})
	}))
	stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	publish(t, a, "board", 0)
	check(t, a.Grant(t.Context(), "alice", "board"))
	publish(t, a, "board", 1)
	within(t, "asking for the state", asked)
	send(t, a, "alice", 2)
	wantNext(t, stream, "n 2") // does not wait
	publish(t, a, "board", 3)
	goOn <- struct{}{}
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`, "board board", "n 1", "n 3")
	publish(t, a, "board", 4)
	wantNext(t, stream, "n 4")
}

// A state that was read after a revocation may hold what its reader must not see.
func TestStateOfARevokedTopicIsNotSent(t *testing.T) {
	t.Parallel()
	for _, granted := range []bool{false, true} {
		t.Run(fmt.Sprintf("granted=%v", granted), func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{})
			engine := stateEngine(t, registry, ginsse.WithState(func(ctx context.Context, state *ginsse.State) error {
				if state.Topic() == "" {
					return state.Send(ginsse.Event{Type: "own"})
				}
				if err := registry.Revoke(ctx, "alice", "board"); err != nil {
					return err
				}
				return state.Send(ginsse.Event{Type: "secret"})
			}))
			server := ssetest.NewServer(t, engine)
			var stream *ssetest.Stream
			if granted {
				stream = server.Open(t, "/events", as("alice"))
				stream.NextOf("own")
				check(t, registry.Grant(t.Context(), "alice", "board"))
				wantNext(t, stream, `sse.topics {"topics":[],"refused":["board"]}`)
			} else {
				stream = server.Open(t, "/events?topic=board", as("alice"))
				stream.NextOf("sse.open")
				wantNext(t, stream, "own", `sse.topics {"topics":[],"removed":["board"]}`)
			}
			publish(t, registry, "board", 1)
			send(t, registry, "alice", 2)
			wantNext(t, stream, "n 2")
		})
	}
}

func TestStateThatFailsAsksTheClientToComeBack(t *testing.T) {
	t.Parallel()
	for name, fn := range map[string]ginsse.StateFunc{
		"error": func(_ context.Context, state *ginsse.State) error {
			_ = state.Send(ginsse.Event{Type: "half"})
			return errors.New("password of the database")
		},
		"panic": func(context.Context, *ginsse.State) error { panic("password of the database") },
		"too large": func(_ context.Context, state *ginsse.State) error {
			for {
				if err := state.Send(ginsse.Event{Type: "big", Data: strings.Repeat("x", 300)}); err != nil {
					return err
				}
			}
		},
		"event": func(_ context.Context, state *ginsse.State) error {
			return state.Send(ginsse.Event{Type: "a", ID: "1"})
		},
		"time": func(ctx context.Context, _ *ginsse.State) error {
			<-ctx.Done()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{MaxStateBytes: 1000, StateTimeout: 50 * time.Millisecond})
			stream := ssetest.NewServer(t, stateEngine(t, registry, ginsse.WithState(fn))).Open(t, "/events", as("alice"))
			stream.NextOf("sse.open")
			rest, _ := stream.WaitEnd()
			if len(rest) != 1 || rest[0].Type != "sse.reconnect" || !strings.Contains(rest[0].Data, "overloaded") || stream.LastEventID() != "" {
				t.Errorf("got %+v, want sse.reconnect alone", rest)
			}
		})
	}
}

// A function that ignores its context ends its stream in time, and holds its place until it returns.
func TestStateThatHangsEndsItsStreamInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		registry := newRegistry(t, ginsse.RegistryConfig{MaxStates: 1, StateTimeout: 50 * time.Millisecond})
		var calls atomic.Int32
		engine := stateEngine(t, registry, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
			if calls.Add(1) == 1 {
				<-hang
			}
			return state.Send(ginsse.Event{Type: "state"})
		}))
		server := ssetest.NewServer(t, engine)
		stream := server.Open(t, "/events", as("alice"))
		stream.NextOf("sse.reconnect")
		second := server.Open(t, "/events", as("alice"))
		second.NextOf("sse.open")
		if e, err := second.TryNext(100 * time.Millisecond); err == nil {
			t.Errorf("got %+v, while the only place is taken", e)
		}
		close(hang)
		wantNext(t, second, "state")
	})
}

func TestHeartbeatsGoOnWhileTheStateIsCollected(t *testing.T) {
	t.Parallel()
	if allCompact() {
		t.Skip("the timers of compact streams are tested on sockets")
	}
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{StateTimeout: time.Minute, Stream: ginsse.StreamConfig{HeartbeatInterval: 15 * time.Second}})
		engine := stateEngine(t, registry, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
			pass(50 * time.Second)
			return state.Send(ginsse.Event{Type: "state"})
		}))
		stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
		stream.Patience = time.Hour
		stream.NextOf("sse.open")
		send(t, registry, "bob", 1)
		pass(48 * time.Second)
		if n := stream.Heartbeats(); n < 3 || stream.LastEventID() != "" {
			t.Errorf("%d heartbeats and the ID %q, want 3 and none", n, stream.LastEventID())
		}
		wantNext(t, stream, "state")
		stream.Close()
		registry.Close()
	})
}

func TestDisconnectDuringTheStateEndsTheStream(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	asked := make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(ctx context.Context, state *ginsse.State) error {
		close(asked)
		<-ctx.Done() // ends with the stream
		return state.Send(ginsse.Event{Type: "secret"})
	}))
	stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	within(t, "asking for the state", asked)
	_, err := a.Disconnect(t.Context(), "alice", "")
	check(t, err)
	rest, _ := stream.WaitEnd()
	if last := rest[len(rest)-1]; last.Type != "sse.close" || len(rest) > 2 {
		t.Errorf("got %+v", rest)
	}
	for _, e := range rest {
		if e.Type == "secret" {
			t.Error("the state was sent")
		}
	}
}

func TestPageAsksForItsStateAgain(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	var calls atomic.Int32
	auth := headerAuth(t)
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler(ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		return state.Send(ginsse.Event{Type: "state", Data: calls.Add(1)})
	})))
	r.POST("/events", auth.RequireUser(), registry.ControlHandler())
	stream := ssetest.NewServer(t, r).Open(t, "/events", as("alice"))
	id := streamID(t, stream)
	wantNext(t, stream, "state 1")
	control(t, r, "alice", fmt.Sprintf(`{"stream":%q,"state":true}`, id))
	send(t, registry, "alice", 1)
	wantNext(t, stream, "state 2", "n 1")
}

// At a restart all pages come back. Their states are collected a few at a time.
func TestFewStatesAreCollectedAtATime(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStates: 3})
	var now, most atomic.Int32
	engine := stateEngine(t, registry, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		pass(5 * time.Millisecond)
		now.Add(-1)
		return state.Send(ginsse.Event{Type: "state"})
	}))
	server := ssetest.NewServer(t, engine)
	var streams []*ssetest.Stream
	for user := range 40 {
		streams = append(streams, server.Open(t, "/events", as(fmt.Sprint(user))))
	}
	for _, s := range streams {
		s.NextOf("state")
	}
	if got := most.Load(); got > 3 {
		t.Errorf("%d states were collected at a time", got)
	}
}

func TestStateReachesASlowReaderInFull(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	const events, size = 10, 90 << 10
	engine := stateEngine(t, registry, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		for range events {
			if err := state.Send(ginsse.Event{Type: "state", Data: strings.Repeat("x", size)}); err != nil {
				return err
			}
		}
		return nil
	}))
	stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
	for _, e := range stream.Collect("state", events) {
		if len(e.Data) != size {
			t.Errorf("%d bytes", len(e.Data))
		}
	}
}

// world is a set of numbers in a database, and the events that change it. Pages that follow it by state and events
// always end up with what the database has.
type world struct {
	mu      sync.Mutex
	version map[string]int
}

func (w *world) change(t *testing.T, r *ginsse.Registry, topic string) {
	w.mu.Lock()
	w.version[topic]++
	n := w.version[topic]
	w.mu.Unlock()
	publish(t, r, topic, n)
}

func (w *world) read(topic string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.version[topic]
}

// Streams open, resume, lag behind the history and change topics while the world changes. No
// version is missing between what a stream shows and what comes next.
func TestStateAndEventsLeaveNoHole(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{MaxOpensPerMinute: -1, MaxStreamsPerUser: -1})
	w := &world{version: make(map[string]int)}
	engine := stateEngine(t, b, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		if state.Topic() == "" {
			return nil
		}
		return state.Send(ginsse.Event{Type: "state", Data: map[string]any{"topic": state.Topic(), "n": w.read(state.Topic())}})
	}))
	server := ssetest.NewServer(t, engine)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	defer writing.Wait()
	defer close(stop)
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Microsecond):
				w.change(t, a, "board")
			}
		}
	})
	for range 40 {
		stream := server.Open(t, "/events", as("alice"))
		id := streamID(t, stream)
		check(t, a.Grant(t.Context(), "alice", "board", ginsse.ForStream(id)))
		have := -1
		for seen := 0; seen < 50; {
			switch e := stream.Next(); e.Type {
			case "state":
				var state struct {
					N int `json:"n"`
				}
				check(t, json.Unmarshal([]byte(e.Data), &state))
				have = state.N
			case "n":
				var n int
				check(t, json.Unmarshal([]byte(e.Data), &n))
				if have < 0 || n > have+1 {
					t.Fatalf("%d came after %d", n, have)
				}
				have = max(have, n)
				seen++
			case "sse.gap":
				have = -1 // the state follows
			}
		}
		stream.Close()
	}
}
