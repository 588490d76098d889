package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

func TestFollowersThatDropAndResumeGetEachEventOnce(t *testing.T) {
	t.Parallel()
	const events, tabs = 5000, 16
	var registry *ginsse.Registry
	var servers [2]*ssetest.Server
	for i, node := range ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2) {
		registry = newRegistry(t, ginsse.RegistryConfig{Log: node, MaxOpensPerMinute: -1, MaxStreamsPerUser: -1})
		servers[i] = ssetest.NewServer(t, newRunEngine(t, registry))
	}
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
		for n := range events {
			if err := run.Send(ginsse.Event{Type: "n", Data: fmt.Sprint(n, strings.Repeat("\nx", n%5))}); err != nil {
				return err
			}
			if n%50 == 0 {
				pass(time.Millisecond)
			}
		}
		return nil
	})
	var group sync.WaitGroup
	for range tabs {
		group.Go(func() {
			next, id, drops := 0, "", 0
			for next < events {
				got, last, err := readSome(servers[rand.IntN(2)], run.ID(), id, 1+rand.IntN(400), next)
				if err != nil {
					t.Errorf("after %d events and %d drops: %v", next, drops, err)
					return
				}
				next, id, drops = next+got, last, drops+1
			}
			<-run.Done() // the last event may come before the end of the run
			if status, _ := request(t, servers[0], http.MethodGet, "/runs/"+run.ID(), "alice", "Last-Event-ID", id); status != http.StatusNoContent {
				t.Errorf("after the last event: status %d", status)
			}
		})
	}
	group.Wait()
}

// readSome reads up to count events of a run of alice, and checks their numbers.
func readSome(server *ssetest.Server, run, after string, count, next int) (got int, last string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/runs/"+run, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("X-User", "alice")
	request.Header.Set("Last-Event-ID", after)
	response, err := server.Client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return 0, "", fmt.Errorf("status %d", response.StatusCode)
	}
	decoder := client.NewDecoder(response.Body, client.DecoderConfig{})
	for last = after; got < count; got++ {
		e, err := decoder.Next()
		switch {
		case errors.Is(err, io.EOF):
			return got, last, nil
		case err != nil:
			return got, last, err
		case e.Data != fmt.Sprint(next+got, strings.Repeat("\nx", (next+got)%5)):
			return got, last, fmt.Errorf("got %q, want %d", e.Data, next+got)
		}
		last = e.LastEventID
	}
	return got, last, nil
}

// An entry of the log holds several events.
func TestFollowerResumesAfterEachEventOfAnEntry(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	const count = 40
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
		if err := sendNumbers(run, 1, 1); err != nil {
			return err
		}
		pass(time.Millisecond)
		return sendNumbers(run, 2, count)
	})
	within(t, "the run", run.Done())
	for n, e := range follow(t, server, run).Collect("n", count-1) {
		rest := follow(t, server, run, ssetest.LastEventID(e.LastEventID))
		wantNumbers(t, rest, n+2, count)
		wantEndOfRun(t, rest, true)
	}
}

func TestEightTabsFollowARunAndASlowOneDelaysNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{
			Stream: ginsse.StreamConfig{WriteTimeout: -1},
			Run:    ginsse.RunConfig{MaxBytes: 4 << 20},
		})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		const count = 300
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			for n := 1; n <= count; n++ {
				if err := run.Send(ginsse.Event{Type: "n", Data: n, Comment: strings.Repeat("x", 4<<10)}); err != nil {
					return err
				}
				pass(10 * time.Millisecond)
			}
			return nil
		})
		slow := openBody(t, server, "/runs/"+run.ID())
		var tabs []*ssetest.Stream
		for range 8 {
			tabs = append(tabs, follow(t, server, run))
		}
		begin := time.Now()
		for _, tab := range tabs {
			wantNumbers(t, tab, 1, count)
			wantEndOfRun(t, tab, true)
		}
		if took := time.Since(begin); took > count*10*time.Millisecond+time.Second {
			t.Errorf("the tabs took %v", took)
		}
		text, err := io.ReadAll(slow.Body)
		if events := ssetest.Parse(text); err != nil || len(events) != count {
			t.Errorf("the slow tab got %d events, error %v", len(events), err)
		}
	})
}

func TestDisconnectEndsFollowersAtItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		var held atomic.Pointer[chan struct{}]
		log := &changedNode{Node: all[1], onRead: func(_ context.Context, q eventlog.Query) error {
			if gate := held.Load(); gate != nil && strings.HasPrefix(q.Subjects[0], "run:") {
				<-*gate
			}
			return nil
		}}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: all[0]})
		server := ssetest.NewServer(t, newRunEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: log})))
		more := make(chan int)
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			for n := range more {
				if err := sendNumbers(run, n, n); err != nil {
					return err
				}
			}
			return nil
		})
		s := follow(t, server, run)
		more <- 1
		wantNumbers(t, s, 1, 1)
		gate := make(chan struct{})
		held.Store(&gate)
		disconnect := func(user string) {
			pass(time.Second) // what was sent is in the log
			if _, err := registry.Disconnect(t.Context(), user, "signed out"); err != nil {
				t.Fatal(err)
			}
		}
		disconnect("bob")
		more <- 2
		disconnect("alice")
		more <- 3
		pass(time.Second)
		held.Store(nil)
		close(gate)
		wantNumbers(t, s, 2, 2)
		wantEndOfRun(t, s, false)
		later := follow(t, server, run, ssetest.LastEventID(s.LastEventID()))
		wantNumbers(t, later, 3, 3)
		close(more)
		wantEndOfRun(t, later, true)
	})
}

// The client takes nothing, so the follower waits for it.
func TestDisconnectEndsASlowFollowerInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, eventlog.MemoryLogConfig{})
		ended := make(chan error, 1)
		engine := gin.New()
		engine.GET("/runs/:id", headerAuth(t).RequireUser(), func(c *gin.Context) {
			ended <- registries[1].ServeRun(c, c.Param("id"))
		})
		server := ssetest.NewServer(t, engine)
		run := startRun(t, registries[0], func(ctx context.Context, run *ginsse.Run) error {
			for range 100 {
				if err := run.Send(ginsse.Event{Data: strings.Repeat("x", 32<<10)}); err != nil {
					return err
				}
			}
			<-ctx.Done()
			return nil
		})
		body := openBody(t, server, "/runs/"+run.ID()).Body
		pass(time.Second)
		if _, err := registries[0].Disconnect(t.Context(), "alice", "signed out"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		// It takes a little at a time, so it is not ended for taking nothing.
		var reading sync.WaitGroup
		reading.Go(func() {
			for {
				if _, err := body.Read(make([]byte, 1)); err != nil {
					return
				}
				pass(time.Second)
			}
		})
		if err := <-ended; !errors.Is(err, ginsse.Reason("signed out")) {
			t.Errorf("ServeRun returned %v", err)
		}
		if took := time.Since(begin); took > 80*time.Second {
			t.Errorf("the stream ended after %v", took)
		}
		_ = body.Close()
		reading.Wait()
	})
}

func TestFollowerEndsWithItsCredential(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: 10 * time.Second}})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
			_ = sendNumbers(run, 1, 1)
			<-ctx.Done()
			return nil
		})
		s := follow(t, server, run, ssetest.Header("X-Lifetime", "1m"))
		s.Patience = time.Hour
		wantNumbers(t, s, 1, 1)
		begin := time.Now()
		wantEndOfRun(t, s, false)
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("the stream ended after %v", took)
		}
		if got := s.Heartbeats(); got < 5 {
			t.Errorf("%d heartbeats", got)
		}
	})
}

func TestShutdownOfANodeEndsItsFollowers(t *testing.T) {
	t.Parallel()
	_, registries := nodes(t, eventlog.MemoryLogConfig{})
	here, there := ssetest.NewServer(t, newRunEngine(t, registries[1])), ssetest.NewServer(t, newRunEngine(t, registries[0]))
	more := make(chan struct{})
	run := startRun(t, registries[0], func(_ context.Context, run *ginsse.Run) error {
		_ = sendNumbers(run, 1, 1)
		<-more
		return sendNumbers(run, 2, 2)
	})
	s := follow(t, here, run)
	wantNumbers(t, s, 1, 1)
	if err := registries[1].Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEndOfRun(t, s, false)
	again := follow(t, here, run) // an EventSource that comes back to the same node stays alive
	wantCleanEnd(t, again)
	if again.ReconnectionTime() == 0 {
		t.Error("it is not asked to come back later")
	}
	status, _ := request(t, here, http.MethodGet, "/runs/"+run.ID(), "alice")
	if status != http.StatusServiceUnavailable {
		t.Errorf("another client gets status %d", status)
	}
	close(more)
	s = follow(t, there, run, ssetest.LastEventID(s.LastEventID()))
	wantNumbers(t, s, 2, 2)
	wantEndOfRun(t, s, true)
}

func TestRunThatHasLostEventsIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{
			Log:    newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 5}),
			Stream: ginsse.StreamConfig{WriteTimeout: -1},
		})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
			for n := 1; n <= 30; n++ {
				if err := run.Send(ginsse.Event{Type: "n", Data: n, Comment: strings.Repeat("x", 32<<10)}); err != nil {
					return err
				}
				pass(time.Second)
			}
			<-ctx.Done()
			return nil
		})
		live := follow(t, server, run)
		live.Patience = time.Hour
		body := openBody(t, server, "/runs/"+run.ID()).Body // takes nothing
		early := live.Collect("n", 30)
		synctest.Wait()
		text, err := io.ReadAll(body)
		if events := ssetest.Parse(text); err == nil || len(events) == 30 || len(events) == 0 || strings.Contains(string(text), ginsse.DoneID) {
			t.Errorf("the slow client got %d events, error %v", len(events), err)
		}
		for name, id := range map[string]string{"late": "", "resumes": early[3].LastEventID, "made_up": "x"} {
			status, body := request(t, server, http.MethodGet, "/runs/"+run.ID(), "alice", "Last-Event-ID", id, "Accept", "text/event-stream")
			if status != http.StatusGone || !strings.Contains(body, "run_gone") {
				t.Errorf("%s: status %d, %s", name, status, body)
			}
		}
		rest := follow(t, server, run, ssetest.LastEventID(early[27].LastEventID))
		wantNumbers(t, rest, 29, 30)
		// Nothing follows the last event, and the beginning is gone: the run goes on nevertheless.
		last := follow(t, server, run, ssetest.LastEventID(early[29].LastEventID))
		if err := registry.StopRun(t.Context(), "alice", run.ID()); err != nil {
			t.Fatal(err)
		}
		wantEndOfRun(t, rest, true)
		wantEndOfRun(t, last, true)
	})
}

func TestRunOfACrashedNodeEndsForAllFollowers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var registries []*ginsse.Registry
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
		for _, log := range logs {
			registries = append(registries, newRegistry(t, ginsse.RegistryConfig{Log: log}))
		}
		run := startRun(t, registries[0], func(ctx context.Context, run *ginsse.Run) error {
			_ = sendNumbers(run, 1, 3)
			<-ctx.Done()
			return ctx.Err()
		})
		var streams []*ssetest.Stream
		for _, registry := range registries[1:] {
			s := follow(t, ssetest.NewServer(t, newRunEngine(t, registry)), run)
			s.Patience = time.Hour
			wantNumbers(t, s, 1, 3)
			streams = append(streams, s)
		}
		pass(5 * time.Minute) // the run is silent, and its node is alive
		logs[0].SetPartitioned(true)
		begin := time.Now()
		server := ssetest.NewServer(t, newRunEngine(t, registries[1]))
		late := follow(t, server, run)
		late.Patience = time.Hour
		wantNumbers(t, late, 1, 3)
		for _, s := range append(streams, late) {
			wantEndOfRun(t, s, false)
		}
		if took := time.Since(begin); took < 20*time.Second || took > 31*time.Second {
			t.Errorf("the streams ended after %v", took)
		}
		begin = time.Now()
		again := follow(t, server, run)
		wantNumbers(t, again, 1, 3)
		wantEndOfRun(t, again, false)
		if took := time.Since(begin); took != 0 {
			t.Errorf("a late comer's stream ended after %v", took)
		}
		status, body := request(t, server, http.MethodGet, "/runs/"+run.ID(), "alice", "Last-Event-ID", again.LastEventID())
		if status != http.StatusGone || !strings.Contains(body, "run_failed") {
			t.Errorf("coming back: status %d, %s", status, body)
		}
	})
}

// The log of the run's node takes nothing, and returns no error for a minute.
func TestRunThatWasDeclaredLostIsEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		var frozen atomic.Bool
		log := &changedNode{Node: logs[0], onAppend: func(context.Context, eventlog.Record) error {
			if frozen.Load() {
				pass(time.Minute)
			}
			return nil
		}}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newRunEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})))
		cause := make(chan error, 1)
		run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
			_ = sendNumbers(run, 1, 1)
			pass(time.Second)
			frozen.Store(true)
			_ = sendNumbers(run, 2, 2)
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return nil
		})
		s := follow(t, server, run)
		s.Patience = time.Hour
		wantNumbers(t, s, 1, 1)
		wantEndOfRun(t, s, false)
		if err := <-cause; !errors.Is(err, ginsse.ErrRunFailed) {
			t.Errorf("the cause is %v", err)
		}
		<-run.Done()
		late := follow(t, server, run)
		wantNumbers(t, late, 1, 1) // for all the same end
		wantEndOfRun(t, late, false)
	})
}

func TestPartitionedNodeDeclaresNoRunLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		server := ssetest.NewServer(t, newRunEngine(t, registries[1]))
		run := startRun(t, registries[0], func(_ context.Context, run *ginsse.Run) error {
			for n := 1; n <= 10; n++ {
				_ = sendNumbers(run, n, n)
				pass(time.Minute)
			}
			return nil
		})
		s := follow(t, server, run)
		s.Patience = time.Hour
		wantNumbers(t, s, 1, 1)
		logs[1].SetPartitioned(true)
		pass(150 * time.Second)
		eventSource := follow(t, server, run) // it is asked to come back
		wantCleanEnd(t, eventSource)
		if status, _ := request(t, server, http.MethodGet, "/runs/"+run.ID(), "alice"); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
		if status, _ := request(t, server, http.MethodDelete, "/runs/"+run.ID(), "alice"); status != http.StatusServiceUnavailable {
			t.Errorf("stopping: status %d", status)
		}
		logs[1].SetPartitioned(false)
		wantNumbers(t, s, 2, 10)
		wantEndOfRun(t, s, true)
	})
}

func TestFollowersAreBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		cfg    ginsse.RegistryConfig
		status int // of the third client
	}{
		{"newest_gets_in", ginsse.RegistryConfig{MaxStreamsPerUser: 2}, 200},
		{"refuse_newest", ginsse.RegistryConfig{MaxStreamsPerUser: 2, RefuseNewest: true}, 429},
		{"throttled", ginsse.RegistryConfig{MaxOpensPerMinute: 2}, 429},
		{"max_streams", ginsse.RegistryConfig{MaxStreams: 2}, 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := newRegistry(t, test.cfg)
				server := ssetest.NewServer(t, newRunEngine(t, registry))
				run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
					_ = sendNumbers(run, 1, 1)
					<-ctx.Done()
					return nil
				})
				first, second := follow(t, server, run), follow(t, server, run)
				wantNumbers(t, first, 1, 1)
				wantNumbers(t, second, 1, 1)
				synctest.Wait()
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/runs/"+run.ID(), http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("X-User", "alice")
				response, err := server.Client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				if response.StatusCode != test.status {
					t.Errorf("status %d, want %d", response.StatusCode, test.status)
				}
				if retry := response.Header.Get("Retry-After"); (retry == "") == (test.name == "throttled" || test.name == "max_streams") {
					t.Errorf("Retry-After is %q", retry)
				}
				if test.status == 200 {
					wantEndOfRun(t, first, false)
				}
				registry.Close()
			})
		})
	}
}

func TestFollowersLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error { return sendNumbers(run, 1, 1) })
	wantEndAfter := func(s *ssetest.Stream) {
		wantNumbers(t, s, 1, 1)
		wantEndOfRun(t, s, true)
	}
	wantEndAfter(follow(t, server, run))
	wantEndAfter(follow(t, server, run))
	if err := registry.Shutdown(t.Context()); err != nil { // it waits for handlers
		t.Fatal(err)
	}
	if wakers, streams := registry.Followers(); wakers != 0 || streams != 0 {
		t.Errorf("%d wakers and %d streams are left", wakers, streams)
	}
}
