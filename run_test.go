package ginsse_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// newRunEngine serves the runs of a registry at /runs/:id.
func newRunEngine(t testing.TB, registry *ginsse.Registry) *gin.Engine {
	t.Helper()
	r := gin.New()
	auth := headerAuth(t)
	r.GET("/runs/:id", auth.RequireUser(), registry.RunHandler("id"))
	r.DELETE("/runs/:id", auth.RequireUser(), registry.StopRunHandler("id"))
	return r
}

// startRun starts a run of alice.
func startRun(t testing.TB, registry *ginsse.Registry, produce func(ctx context.Context, run *ginsse.Run) error) *ginsse.Run {
	t.Helper()
	run, err := registry.Run(t.Context(), "alice", produce)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// sendNumbers sends the events numbered first to last.
func sendNumbers(run *ginsse.Run, first, last int) error {
	for n := first; n <= last; n++ {
		if err := run.Send(numbered(n)); err != nil {
			return err
		}
	}
	return nil
}

// follow opens a stream of a run of alice.
func follow(t testing.TB, server *ssetest.Server, run *ginsse.Run, options ...ssetest.Option) *ssetest.Stream {
	t.Helper()
	return server.Open(t, "/runs/"+run.ID(), append(options, as("alice"))...)
}

// request sends a request of a user, and returns the status and the start of the body.
func request(t testing.TB, server *ssetest.Server, method, path, user string, header ...string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", user)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := server.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text := make([]byte, 1<<10)
	n, _ := response.Body.Read(text)
	return response.StatusCode, string(text[:n])
}

// wantEndOfRun fails unless the stream ends: with DoneID, or with a response that is not complete.
func wantEndOfRun(t testing.TB, s *ssetest.Stream, done bool) {
	t.Helper()
	rest, err := s.WaitEnd()
	if len(rest) > 0 || done != (err == nil) {
		t.Fatalf("got %v at the end, error %v", rest, err)
	}
	if got := s.LastEventID() == ginsse.DoneID; got != done {
		t.Errorf("the last event ID is %q", s.LastEventID())
	}
}

func TestRunGoesOnWithoutItsRequest(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	ctx, cancel := context.WithCancel(t.Context())
	more := make(chan struct{})
	run, err := registry.Run(ctx, "alice", func(ctx context.Context, run *ginsse.Run) error {
		if err := sendNumbers(run, 1, 2); err != nil {
			return err
		}
		<-more
		return errors.Join(ctx.Err(), sendNumbers(run, 3, 4))
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	first := follow(t, server, run)
	wantNumbers(t, first, 1, 2)
	close(more)
	wantNumbers(t, first, 3, 4)
	wantEndOfRun(t, first, true)
	if within(t, "the run", run.Done()); run.Err() != nil {
		t.Error(run.Err())
	}
	late := follow(t, server, run)
	wantNumbers(t, late, 1, 4)
	wantEndOfRun(t, late, true)
}

// The response of a run has what the run has sent, IDs and comments.
func TestRunFollowerGetsOnlyWhatTheRunSent(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	sent := []ginsse.Event{
		{Data: "first\n\nsecond\n:\n"},
		{Type: "t", Data: gin.H{"a": 1}, ReconnectionTime: time.Second},
		{Comment: ":\n\n{}", Data: ""},
		{Data: []byte("[DONE]")},
	}
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
		for _, e := range sent {
			if err := run.Send(e); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := registry.SendTo(t.Context(), "alice", numbered(1)); err != nil {
		t.Fatal(err)
	}
	within(t, "the run", run.Done())
	s := follow(t, server, run)
	for i, want := range []string{"first\n\nsecond\n:\n", `{"a":1}`, "", "[DONE]"} {
		e := s.Next()
		if e.Data != want || (e.Type == "t") != (i == 1) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	wantEndOfRun(t, s, true)
}

func TestRunEventsAreThoseThatWereSent(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	sent := []ginsse.Event{
		{Data: "first\n\nsecond\n:\n"},
		{Type: "t", Data: `{"a":1}`, ReconnectionTime: time.Second},
		{Comment: ":\n\n{}", Data: ""},
		{Comment: "alone"},
	}
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
		for _, e := range sent {
			if err := run.Send(e); err != nil {
				return err
			}
		}
		return nil
	})
	n, after := 0, ""
	for n < len(sent) {
		for e, err := range registry.RunEvents(t.Context(), "alice", run.ID(), after) {
			if err != nil {
				t.Fatal(err)
			}
			want := sent[n]
			want.ID = e.ID
			if e != want {
				t.Errorf("event %d is %+v, want %+v", n, e, want)
			}
			n++
			after = e.ID
			break
		}
	}
	for e, err := range registry.RunEvents(t.Context(), "alice", run.ID(), after) {
		t.Errorf("after the last event: %+v, %v", e, err)
	}
}

func TestRunEventsSayHowTheRunEnded(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stopped := startRun(t, registry, func(ctx context.Context, _ *ginsse.Run) error { <-ctx.Done(); return nil })
	if err := registry.StopRun(t.Context(), "alice", stopped.ID()); err != nil {
		t.Fatal(err)
	}
	failed := startRun(t, registry, func(context.Context, *ginsse.Run) error { return errors.New("broken") })
	other := newRegistry(t, ginsse.RegistryConfig{}) // of another log
	for _, test := range []struct {
		registry  *ginsse.Registry
		user, run string
		after     string
		want      error
	}{
		{registry, "alice", stopped.ID(), "", ginsse.ErrRunStopped},
		{registry, "alice", failed.ID(), "", ginsse.ErrRunFailed},
		{registry, "bob", stopped.ID(), "", ginsse.ErrRunNotFound},
		{registry, "alice", "", "", ginsse.ErrRunNotFound},
		{registry, "", stopped.ID(), "", ginsse.ErrInvalidSubject},
		{registry, "alice", stopped.ID(), "made up", ginsse.ErrRunGone},
		{other, "alice", stopped.ID(), "", ginsse.ErrRunGone},
	} {
		var last error
		for _, err := range test.registry.RunEvents(t.Context(), test.user, test.run, test.after) {
			last = err
		}
		if !errors.Is(last, test.want) {
			t.Errorf("%s after %q: %v, want %v", test.user, test.after, last, test.want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	endless := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
		_ = run.Send(numbered(1))
		<-ctx.Done()
		return nil
	})
	gone := errors.New("gone")
	var last error
	for _, last = range registry.RunEvents(ctx, "alice", endless.ID(), "") {
		cancel(gone)
	}
	if !errors.Is(last, gone) {
		t.Errorf("after the end of the context: %v", last)
	}
	for _, last = range registry.RunEvents(t.Context(), "alice", endless.ID(), "") {
		registry.Close()
	}
	if !errors.Is(last, ginsse.ErrClosed) && !errors.Is(last, ginsse.ErrRunFailed) {
		t.Errorf("after the end of the registry: %v", last)
	}
}

func TestRunIsFoundByItsUserAlone(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
		_ = run.Send(numbered(1))
		<-ctx.Done()
		return nil
	})
	s := follow(t, server, run)
	s.Next()
	after := s.LastEventID()
	for name, test := range map[string]struct{ user, id, lastEventID string }{
		"another_user":              {"bob", run.ID(), ""},
		"another_user_that_resumes": {"bob", run.ID(), after},
		"another_run":               {"alice", "x" + run.ID()[1:], ""},
		"made_up":                   {"alice", "x", ""},
		"made_up_position":          {"alice", run.ID()[:22] + after[:23], ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			if name == "made_up_position" {
				continue
			}
			status, body := request(t, server, method, "/runs/"+test.id, test.user, "Last-Event-ID", test.lastEventID)
			if status != http.StatusNotFound || !strings.Contains(body, "run_not_found") {
				t.Errorf("%s, %s: status %d, %s", name, method, status, body)
			}
		}
	}
	if status, _ := request(t, server, http.MethodGet, "/runs/"+run.ID(), ""); status != http.StatusUnauthorized {
		t.Errorf("without a user: status %d", status)
	}
	bare := ssetest.NewServer(t, serveAt(registry.RunHandler("id")))
	if status, _ := request(t, bare, http.MethodGet, "/", "alice"); status != http.StatusInternalServerError {
		t.Errorf("without RequireUser: status %d", status)
	}
	if got := run.Err(); got != nil {
		t.Errorf("the run has ended: %v", got)
	}
}

// A client that knows no IDs sees it by the response.
func TestEndOfAFailedRunIsNoEndOfTheResponse(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		server := tr.start(t, newRunEngine(t, registry), nil)
		for name, failure := range map[string]error{"done": nil, "failed": errors.New("broken")} {
			run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
				return errors.Join(sendNumbers(run, 1, 100), failure)
			})
			s := connect(t, server, "/runs/"+run.ID(), as("alice"))
			wantNumbers(t, s, 1, 100)
			wantEndOfRun(t, s, name == "done")
		}
	})
}

func TestFailedRunDoesNotLookComplete(t *testing.T) {
	t.Parallel()
	broken := errors.New("secret")
	for name, produce := range map[string]func(ctx context.Context, run *ginsse.Run) error{
		"error": func(_ context.Context, run *ginsse.Run) error { return errors.Join(run.Send(numbered(1)), broken) },
		"panic": func(_ context.Context, run *ginsse.Run) error { _ = run.Send(numbered(1)); panic(broken) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{})
			server := ssetest.NewServer(t, newRunEngine(t, registry))
			run := startRun(t, registry, produce)
			within(t, "the run", run.Done())
			if run.Err() == nil {
				t.Error("the run has no error")
			}
			s := follow(t, server, run)
			wantNumbers(t, s, 1, 1)
			wantEndOfRun(t, s, false)
			status, body := request(t, server, http.MethodGet, "/runs/"+run.ID(), "alice", "Last-Event-ID", s.LastEventID())
			if status != http.StatusGone || !strings.Contains(body, "run_failed") || strings.Contains(body, "secret") {
				t.Errorf("coming back: status %d, %s", status, body)
			}
		})
	}
}

// A browser's EventSource comes back after every end, and 204 ends it. Some ignore an ID without data.
func TestFollowerThatHasEverythingIsAnsweredWith204(t *testing.T) {
	t.Parallel()
	_, registries := nodes(t, eventlog.MemoryLogConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registries[1]))
	for name, stop := range map[string]bool{"done": false, "stopped": true} {
		run := startRun(t, registries[0], func(ctx context.Context, run *ginsse.Run) error {
			if err := sendNumbers(run, 1, 3); stop {
				<-ctx.Done()
				return err
			}
			return nil
		})
		s := follow(t, server, run)
		wantNumbers(t, s, 1, 2)
		last := s.Next().LastEventID
		if stop {
			if err := registries[1].StopRun(t.Context(), "alice", run.ID()); err != nil {
				t.Fatal(err)
			}
		}
		wantEndOfRun(t, s, true)
		for _, id := range []string{last, ginsse.DoneID} {
			if status, _ := request(t, server, http.MethodGet, "/runs/"+run.ID(), "alice", "Last-Event-ID", id); status != http.StatusNoContent {
				t.Errorf("%s after %q: status %d", name, id, status)
			}
			if status, _ := request(t, server, http.MethodGet, "/runs/"+run.ID()+"?lastEventId="+id, "alice"); status != http.StatusNoContent {
				t.Errorf("%s after %q in the query: status %d", name, id, status)
			}
		}
	}
}

func TestStopRunEndsItsContextOnAnyNode(t *testing.T) {
	t.Parallel()
	_, registries := nodes(t, eventlog.MemoryLogConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registries[1]))
	cause := make(chan error, 1)
	run := startRun(t, registries[0], func(ctx context.Context, run *ginsse.Run) error {
		_ = run.Send(numbered(1))
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return run.Send(numbered(2)) // what a function says last
	})
	s := follow(t, server, run)
	wantNumbers(t, s, 1, 1)
	if status, body := request(t, server, http.MethodDelete, "/runs/"+run.ID(), "alice"); status != http.StatusNoContent {
		t.Fatalf("status %d, %s", status, body)
	}
	if err := within(t, "the cause", cause); !errors.Is(err, ginsse.ErrRunStopped) {
		t.Errorf("the cause is %v", err)
	}
	wantNumbers(t, s, 2, 2)
	wantEndOfRun(t, s, true)
	if within(t, "the run", run.Done()); !errors.Is(run.Err(), ginsse.ErrRunStopped) {
		t.Errorf("the run ended with %v", run.Err())
	}
	if err := run.Send(numbered(3)); !errors.Is(err, ginsse.ErrRunStopped) {
		t.Errorf("sending afterwards: %v", err)
	}
	if err := registries[1].StopRun(t.Context(), "alice", run.ID()); err != nil {
		t.Errorf("stopping it again: %v", err)
	}
}

func TestRunBounds(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Run: ginsse.RunConfig{MaxRuns: 3, MaxRunsPerUser: 2, MaxBytes: 100}, MaxEventBytes: 1000})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	wait := func(ctx context.Context, _ *ginsse.Run) error { <-ctx.Done(); return nil }
	one, _ := startRun(t, registry, wait), startRun(t, registry, wait)
	if _, err := registry.Run(t.Context(), "alice", wait); !errors.Is(err, ginsse.ErrTooManyRuns) {
		t.Errorf("a third run of alice: %v", err)
	}
	if _, err := registry.Run(t.Context(), "bob", wait); err != nil {
		t.Error(err)
	}
	if _, err := registry.Run(t.Context(), "carol", wait); !errors.Is(err, ginsse.ErrTooManyRuns) {
		t.Errorf("a fourth run: %v", err)
	}
	if got := registry.Stats().Runs; got != 3 {
		t.Errorf("Stats counts %d runs", got)
	}
	if err := registry.StopRun(t.Context(), "alice", one.ID()); err != nil {
		t.Fatal(err)
	}
	within(t, "the first run", one.Done())
	for registry.Stats().Runs == 3 { // it leaves after its end
		time.Sleep(time.Millisecond)
	}
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
		for _, test := range []struct {
			e    ginsse.Event
			want error
		}{
			{ginsse.Event{Data: strings.Repeat("x", 2000)}, ginsse.ErrEventTooLarge},
			{ginsse.Event{Data: "1", ID: "x"}, ginsse.ErrInvalidEvent},
			{ginsse.Event{Type: "sse.open"}, ginsse.ErrInvalidEvent},
			{ginsse.Event{Data: strings.Repeat("x", 100)}, ginsse.ErrRunTooLarge},
			{numbered(1), nil},
		} {
			if err := run.Send(test.e); !errors.Is(err, test.want) {
				t.Errorf("sending %.20v: %v, want %v", test.e, err, test.want)
			}
		}
		return nil
	})
	s := follow(t, server, run)
	wantNumbers(t, s, 1, 1)
	wantEndOfRun(t, s, true)
}

func TestRunRefusesBadArguments(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	nothing := func(context.Context, *ginsse.Run) error { return nil }
	if _, err := registry.Run(t.Context(), "", nothing); !errors.Is(err, ginsse.ErrInvalidSubject) {
		t.Errorf("no user: %v", err)
	}
	if _, err := registry.Run(t.Context(), "alice", nil); err == nil {
		t.Error("a run without a function")
	}
	if _, err := registry.Run(nil, "alice", nothing); err == nil { //nolint:staticcheck // this is the test
		t.Error("a run without a context")
	}
	if err := registry.StopRun(nil, "alice", "x"); err == nil { //nolint:staticcheck // this is the test
		t.Error("stopped without a context")
	}
	if _, err := ginsse.NewRegistry(ginsse.RegistryConfig{Run: ginsse.RunConfig{FlushInterval: time.Microsecond}}); err == nil || !strings.Contains(err.Error(), "Run.FlushInterval") {
		t.Errorf("a short interval: %v", err)
	}
	registry.Close()
	if _, err := registry.Run(t.Context(), "alice", nothing); !errors.Is(err, ginsse.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// gin uses a *gin.Context for another request once its handler has returned.
func TestRunKeepsTheValuesOfItsContextAndNoGinContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	registry := newRegistry(t, ginsse.RegistryConfig{})
	values := make(chan [2]any, 1)
	server := ssetest.NewServer(t, serveAt(func(c *gin.Context) {
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), key{}, "v"))
		_, err := registry.Run(c, "alice", func(ctx context.Context, _ *ginsse.Run) error {
			values <- [2]any{ctx.Value(key{}), ctx.Value(gin.ContextKey)}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}))
	request(t, server, http.MethodGet, "/", "alice")
	if got := within(t, "the run", values); got != [2]any{"v", nil} {
		t.Errorf("got %v", got)
	}
}

// countingLog counts the entries of runs.
type countingLog struct {
	*eventlog.MemoryLog

	entries atomic.Int64
}

func (l *countingLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if strings.HasPrefix(string(r.Frame), ":events") {
		l.entries.Add(1)
	}
	return l.MemoryLog.Append(ctx, r)
}

func TestRunGathersEventsAndSendsTheFirstAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &countingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		begin := time.Now()
		go1 := make(chan struct{})
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			<-go1
			for n := range 100 {
				if err := run.Send(numbered(n)); err != nil {
					return err
				}
				pass(5 * time.Millisecond)
			}
			pass(time.Second)
			_ = run.Send(numbered(100))
			pass(time.Second)
			return nil
		})
		s := follow(t, server, run)
		close(go1)
		wantNumbers(t, s, 0, 0)
		if took := time.Since(begin); took != 0 {
			t.Errorf("the first event took %v", took)
		}
		wantNumbers(t, s, 1, 1)
		if took := time.Since(begin); took != 50*time.Millisecond {
			t.Errorf("the second event took %v", took)
		}
		wantNumbers(t, s, 2, 100)
		if took := time.Since(begin); took != 1500*time.Millisecond {
			t.Errorf("the event after a silence took %v", took)
		}
		wantEndOfRun(t, s, true)
		if got := log.entries.Load(); got != 12 {
			t.Errorf("101 events took %d entries", got)
		}
	})
}

// A run that sends all day is complete for a late comer: it has fewer entries than logs keep.
func TestLongRunIsCompleteForLateComers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &countingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{MaxAge: 48 * time.Hour})}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log, Run: ginsse.RunConfig{MaxBytes: 4 << 20}})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		const count = 24 * 3600 // one each second
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			for n := range count {
				if err := run.Send(numbered(n)); err != nil {
					return err
				}
				pass(time.Second)
			}
			return nil
		})
		<-run.Done()
		s := follow(t, server, run)
		wantNumbers(t, s, 0, count-1)
		wantEndOfRun(t, s, true)
		if got := log.entries.Load(); got > 3800 {
			t.Errorf("a day took %d entries", got)
		}
	})
}

func TestFiftyThousandTokens(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	const count = 50_000
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error { return sendNumbers(run, 1, count) })
	live := follow(t, server, run)
	wantNumbers(t, live, 1, count)
	wantEndOfRun(t, live, true)
	late := follow(t, server, run)
	wantNumbers(t, late, 1, count)
	wantEndOfRun(t, late, true)
}

func TestCloseEndsRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // Close waits for no more than a second
		_, registries := nodes(t, eventlog.MemoryLogConfig{})
		server := ssetest.NewServer(t, newRunEngine(t, registries[1]))
		run := startRun(t, registries[0], func(ctx context.Context, run *ginsse.Run) error {
			_ = run.Send(numbered(1))
			<-ctx.Done()
			return errors.Join(run.Send(numbered(2)), ctx.Err())
		})
		s := follow(t, server, run)
		wantNumbers(t, s, 1, 1)
		registries[0].Close()
		select {
		case <-run.Done(): // Close has waited: the log may be closed now
		default:
			t.Error("the run has not ended")
		}
		if err := run.Err(); !errors.Is(err, ginsse.ErrClosed) {
			t.Errorf("the run ended with %v", err)
		}
		wantNumbers(t, s, 2, 2)
		wantEndOfRun(t, s, false)
	})
}

func TestShutdownWaitsForRuns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		lasts    time.Duration
		deadline time.Duration
		took     time.Duration
		want     error
	}{
		{"no_deadline", time.Hour, 0, time.Hour, nil},
		{"in_time", 10 * time.Second, 20 * time.Second, 10 * time.Second, nil},
		{"too_long", time.Hour, 20 * time.Second, 15 * time.Second, ginsse.ReasonShutdown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := newRegistry(t, ginsse.RegistryConfig{})
				run := startRun(t, registry, func(ctx context.Context, _ *ginsse.Run) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(test.lasts):
						return nil
					}
				})
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				begin := time.Now()
				if err := registry.Shutdown(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took != test.took {
					t.Errorf("Shutdown took %v, want %v", took, test.took)
				}
				if err := run.Err(); !errors.Is(err, test.want) || test.want == nil && err != nil {
					t.Errorf("the run ended with %v", err)
				}
			})
		})
	}
}

// failingNode returns a node on which appending of the run's events fails, before or after it has an
// effect, while broken is set.
func failingNode(node *ssetest.Node) (log *changedNode, broken *atomic.Bool) {
	broken = new(atomic.Bool)
	log = &changedNode{Node: node, onAppend: func(context.Context, eventlog.Record) error {
		if broken.Load() {
			return errBrokerAway
		}
		return nil
	}}
	return log, broken
}

func TestRunWaitsForALogThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		log, broken := failingNode(all[0])
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newRunEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: all[1]})))
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			for n := 1; n <= 3; n++ {
				if err := run.Send(ginsse.Event{Type: "n", Data: n, Comment: strings.Repeat("x", 60<<10)}); err != nil {
					return err
				}
				if n == 1 {
					pass(time.Second)
					broken.Store(true)
					time.AfterFunc(20*time.Second, func() { broken.Store(false) })
				}
			}
			return nil
		})
		s := follow(t, server, run)
		s.Patience = time.Hour
		wantNumbers(t, s, 1, 3)
		wantEndOfRun(t, s, true)
	})
}

func TestRunFailsWhenTheLogTakesNothingForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		log, broken := failingNode(all[0])
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newRunEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: all[1]})))
		begin := time.Now()
		run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
			_ = run.Send(numbered(1))
			pass(time.Second)
			broken.Store(true)
			_ = run.Send(numbered(2)) // it is gathered
			pass(time.Second)
			_ = run.Send(numbered(3)) // while that is tried again
			<-ctx.Done()
			if took := time.Since(begin); took < 20*time.Second || took > 26*time.Second {
				t.Errorf("the run failed after %v", took)
			}
			broken.Store(false)
			return run.Send(numbered(4))
		})
		s := follow(t, server, run)
		s.Patience = time.Hour
		wantNumbers(t, s, 1, 3) // what was gathered comes with the end
		wantEndOfRun(t, s, false)
		<-run.Done()
		if err := run.Err(); !errors.Is(err, errBrokerAway) {
			t.Errorf("the run ended with %v", err)
		}
	})
}

// A log across a network may have stored what it returned an error for.
func TestRetriesOfARunRepeatNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		var appends atomic.Int64
		log := &storingNode{Node: all[0], fails: func() bool { return appends.Add(1)%3 != 0 }}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newRunEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: all[1]})))
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			for n := range 500 {
				if err := run.Send(numbered(n)); err != nil {
					return err
				}
				pass(20 * time.Millisecond)
			}
			return nil
		})
		s := follow(t, server, run)
		s.Patience = time.Hour
		wantNumbers(t, s, 0, 499)
		wantEndOfRun(t, s, true)
		late := follow(t, server, run)
		wantNumbers(t, late, 0, 499)
		wantEndOfRun(t, late, true)
	})
}

// storingNode stores entries of runs, and returns an error.
type storingNode struct {
	*ssetest.Node

	fails func() bool
}

func (n *storingNode) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	at, err := n.Node.Append(ctx, r)
	if err == nil && strings.HasPrefix(string(r.Frame), ":e") && n.fails() {
		return eventlog.Cursor{}, errBrokerAway
	}
	return at, err
}

// changedLog is a log of which Append is changed.
type changedLog struct {
	*eventlog.MemoryLog

	append func(r eventlog.Record) (stored bool, err error)
}

func (l *changedLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if stored, err := l.append(r); !stored || err != nil {
		head, _ := l.Head(ctx)
		return head, err
	}
	return l.MemoryLog.Append(ctx, r)
}

func TestRunWithAnEventThatTheLogRefusesFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{
			Log: &changedLog{newMemoryLog(t, eventlog.MemoryLogConfig{}), func(r eventlog.Record) (bool, error) {
				if len(r.Frame) < 50<<10 {
					return true, nil
				}
				pass(time.Second)
				return false, eventlog.ErrTooLarge
			}},
		})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
			_ = run.Send(numbered(1))
			pass(100 * time.Millisecond)
			_ = run.Send(ginsse.Event{Type: "n", Data: 2, Comment: strings.Repeat("x", 60<<10)})
			pass(100 * time.Millisecond)
			_ = run.Send(numbered(3)) // it must not take the place of the second
			<-ctx.Done()
			return nil
		})
		<-run.Done()
		if err := run.Err(); !errors.Is(err, ginsse.ErrEventTooLarge) {
			t.Errorf("the run ended with %v", err)
		}
		s := follow(t, server, run)
		wantNumbers(t, s, 1, 1)
		wantEndOfRun(t, s, false)
	})
}

func TestFollowerSeesThatAnEntryIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{
			Log: &changedLog{newMemoryLog(t, eventlog.MemoryLogConfig{}), func(r eventlog.Record) (bool, error) {
				return !strings.HasPrefix(string(r.Frame), ":events 1"), nil
			}},
		})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			for n := range 3 {
				_ = run.Send(numbered(n))
				pass(200 * time.Millisecond)
			}
			return nil
		})
		<-run.Done()
		s := follow(t, server, run)
		wantNumbers(t, s, 0, 0)
		wantEndOfRun(t, s, false)
		status, body := request(t, server, http.MethodGet, "/runs/"+run.ID(), "alice", "Last-Event-ID", s.LastEventID())
		if status != http.StatusGone || !strings.Contains(body, "run_gone") {
			t.Errorf("coming back: status %d, %s", status, body)
		}
	})
}
