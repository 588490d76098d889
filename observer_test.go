package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// observed keeps what an observer was told, in order.
type observed struct {
	mu    sync.Mutex
	calls []string
	delay time.Duration // the longest
	bytes int           // that were written
}

func (o *observed) addf(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, fmt.Sprintf(format, args...))
}

func (o *observed) list() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.calls)
}

// await waits until the observer was told something so many times.
func (o *observed) await(t *testing.T, count int, call string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		n := 0
		for _, c := range o.list() {
			if strings.HasPrefix(c, call) {
				n++
			}
		}
		if n == count {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%q came %d times, want %d:\n%s", call, n, count, strings.Join(o.list(), "\n"))
		case <-time.After(time.Millisecond):
		}
	}
}

// senderOf is the key of what Sending puts into the context.
type senderOf struct{}

func (o *observed) observer() *ginsse.Observer {
	return &ginsse.Observer{
		Opened: func(s *ginsse.Stream, op ginsse.Opening) {
			o.addf("opened %s %s %q", s.UserID(), op.Resume, op.Gap)
			if op.Took <= 0 {
				o.addf("it took no time")
			}
		},
		Refused: func(r ginsse.Refusal) { o.addf("refused %s: %v %s", r.Cause, r.Err != nil, r.UserID) },
		Ended: func(s *ginsse.Stream, e ginsse.Ending) {
			o.addf("ended %s %s events=%d", s.UserID(), string(e.Reason), e.Events)
		},
		Gap:       func(s *ginsse.Stream, reason eventlog.GapReason) { o.addf("gap %s %s", s.UserID(), reason) },
		Commanded: func(s *ginsse.Stream, command string) { o.addf("commanded %s %s", s.UserID(), command) },
		Sending: func(ctx context.Context, s ginsse.Sending) (context.Context, string) {
			o.addf("sending %s %d %s", s.Kind, s.Users, s.Event.Type)
			return context.WithValue(ctx, senderOf{}, s.Event.Type), "trace of " + s.Event.Type
		},
		Sent: func(ctx context.Context, s ginsse.Sent) {
			o.addf("sent %s %v %v", s.Kind, ctx.Value(senderOf{}), s.Err == nil)
		},
		Appended: func(a ginsse.Appended) {
			o.addf("appended %s transient=%v %v", a.Kind, a.Transient, a.Err == nil && a.Bytes > 0 && a.Took >= 0)
		},
		Written: func(_ *ginsse.Stream, w ginsse.Written) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.bytes += w.Bytes
			o.delay = max(o.delay, w.Delay)
		},
		Delivered: func(s *ginsse.Stream, d ginsse.Delivered) {
			o.addf("delivered %s %s %q %v %v", d.Kind, s.UserID(), d.Trace, d.ID != "", d.Delay > 0)
		},
	}
}

// TestObserverIsToldWhatHappens opens, resumes and refuses streams, sends, grants and disconnects. Each
// is told once. A second observer is told the same.
func TestObserverIsToldWhatHappens(t *testing.T) {
	t.Parallel()
	var first, second observed
	log := newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 10})
	registry := newRegistry(t, ginsse.RegistryConfig{
		Log: log, Observers: []*ginsse.Observer{first.observer(), nil, second.observer()},
		MaxStreamsPerUser: 1, RefuseNewest: true,
	})
	server := transports[0].start(t, newEngine(t, registry), nil)

	alice := connect(t, server, "/events", as("alice"))
	id := alice.NextOf("sse.open").LastEventID
	if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "a", Data: 1}); err != nil {
		t.Fatal(err)
	}
	alice.NextOf("a")
	first.await(t, 1, `delivered user alice "trace of a" true true`)
	first.await(t, 1, "sending user 1 a")
	first.await(t, 1, "sent user a true")
	first.await(t, 1, "appended user transient=false true")
	if _, err := registry.Broadcast(t.Context(), ginsse.Event{Type: "b", Transient: true}); err != nil {
		t.Fatal(err)
	}
	alice.NextOf("b")
	first.await(t, 1, `delivered all alice "trace of b" false true`)
	first.await(t, 1, "appended all transient=true true")
	if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "no\nline"}); err == nil {
		t.Fatal("an invalid event was sent")
	}
	first.await(t, 1, "sent user no\nline false")

	if status := statusOf(t, server, "/events", "alice"); status != http.StatusTooManyRequests {
		t.Errorf("a stream too many got status %d", status)
	}
	first.await(t, 1, "refused too many streams: true")
	if err := registry.Grant(t.Context(), "alice", "news"); err != nil {
		t.Fatal(err)
	}
	alice.NextOf("sse.topics")
	first.await(t, 1, "commanded alice grant")
	if _, err := registry.Disconnect(t.Context(), "alice", "banned"); err != nil {
		t.Fatal(err)
	}
	first.await(t, 1, "ended alice banned events=2")

	again := connect(t, server, "/events", as("alice"), ssetest.LastEventID(id))
	again.NextOf("a")
	first.await(t, 1, "opened alice memory")
	again.Close()
	first.await(t, 1, "ended alice client gone events=1")
	for range 20 {
		if _, err := registry.SendToUsers(t.Context(), []string{"alice", "bob"}, ginsse.Event{Type: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	first.await(t, 20, "sending user 2 c")
	first.await(t, 41, "appended user")
	late := connect(t, server, "/events", as("alice"), ssetest.LastEventID(id))
	late.NextOf("sse.gap")
	first.await(t, 1, `opened alice gap "trimmed"`)
	first.await(t, 1, "gap alice trimmed")
	first.await(t, 1, `opened alice none ""`)
	first.await(t, 0, "it took no time")
	registry.Close()
	first.await(t, 1, "ended alice shutdown")

	until(t, "the second observer to be told as often as the first", func() bool {
		return len(first.list()) == len(second.list())
	})
	first.mu.Lock()
	defer first.mu.Unlock()
	if first.delay <= 0 || first.delay > time.Minute || first.bytes < 100 {
		t.Errorf("a delay of %v, and %d bytes", first.delay, first.bytes)
	}
}

// TestRefusalsHaveCauses has requests refused for each cause.
func TestRefusalsHaveCauses(t *testing.T) {
	t.Parallel()
	var told observed
	log := &failingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
	asked := make(chan struct{})
	registry := newRegistry(t, ginsse.RegistryConfig{
		Log: log, Observers: []*ginsse.Observer{told.observer()}, MaxOpensPerMinute: 1,
		AllowTopicFunc: func(c *gin.Context, topic string) (bool, error) {
			switch topic {
			case "broken":
				return false, errors.New("no database")
			case "slow":
				close(asked)
				<-c.Request.Context().Done()
				return false, errors.New("the query was canceled")
			default:
				return true, nil
			}
		},
	})
	r := gin.New()
	cookies := authtestAuth(t, func(cfg *ginsse.AuthConfig) { cfg.Cookie = "session" })
	r.GET("/public", registry.Handler())
	r.GET("/cookie", cookies.RequireUser(), registry.Handler())
	r.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler())
	server := transports[0].start(t, r, nil)
	statusOf(t, server, "/public", "")
	told.await(t, 1, "refused no user")
	cookie := "session=" + authtestSignPayload(`"sub":"alice"`)
	statusOf(t, server, "/cookie", "", "Origin", "https://other.example", "Cookie", cookie, "Sec-Fetch-Site", "cross-site")
	told.await(t, 1, "refused cross site")
	statusOf(t, server, "/events?topic=a%00b", "b")
	told.await(t, 1, "refused invalid: true b")
	statusOf(t, server, "/events?topic=broken", "c")
	told.await(t, 1, "refused application error")
	statusOf(t, server, "/events", "d")
	statusOf(t, server, "/events", "d")
	told.await(t, 1, "refused throttled: true d")
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-asked
		leave()
	}()
	impatient, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events?topic=slow", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	impatient.Header.Set("X-User", "f")
	if response, err := server.Client().Do(impatient); err == nil {
		_ = response.Body.Close()
		t.Errorf("the client that leaves got status %d", response.StatusCode)
	}
	told.await(t, 1, "refused client gone: true f")
	log.failing.Store(true)
	statusOf(t, server, "/events", "e")
	told.await(t, 1, "refused log unavailable: true e")
}

// statusOf sends a request with headers, which are names and values, and returns the status.
func statusOf(t *testing.T, server *httptest.Server, path, user string, header ...string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", user)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestStatsHaveThePlacesOfStreams takes the only place of a registry. The next client is refused because of
// that, and not because of its user's own streams.
func TestStatsHaveThePlacesOfStreams(t *testing.T) {
	t.Parallel()
	var told observed
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreams: 1, Observers: []*ginsse.Observer{told.observer()}})
	places := func() [2]int {
		stats := registry.Stats()
		return [2]int{stats.Places, stats.MaxStreams}
	}
	server := transports[0].start(t, newEngine(t, registry), nil)
	if got, want := places(), [2]int{0, 1}; got != want {
		t.Errorf("before a stream, Places and MaxStreams are %v, want %v", got, want)
	}
	alice := connect(t, server, "/events", as("alice"))
	alice.NextOf("sse.open")
	if got, want := places(), [2]int{1, 1}; got != want {
		t.Errorf("with a stream, Places and MaxStreams are %v, want %v", got, want)
	}
	connect(t, server, "/events", as("bob")).NextOf("sse.reconnect")
	told.await(t, 1, "refused overloaded: true")
	alice.Close()
	until(t, "the place to be free", func() bool { return places() == [2]int{0, 1} })

	unlimited := newRegistry(t, ginsse.RegistryConfig{MaxStreams: -1})
	if n := unlimited.Stats().MaxStreams; n != 0 {
		t.Errorf("MaxStreams is %d without a limit", n)
	}
}

// TestLagIsWhatWaits has a client take nothing. The events that wait are its lag, until it has them.
func TestLagIsWhatWaits(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{WriteTimeout: time.Minute}})
	server := ssetest.NewServer(t, newEngine(t, registry))
	idle := server.Open(t, "/events", as("bob"))
	idle.NextOf("sse.open")
	response := openBody(t, server, "/events")
	const events = 3000
	data := strings.Repeat("x", 2000)
	for range events {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	stats := func(user string) (stats ginsse.StreamStats) {
		for _, s := range registry.AllStreams() {
			if s.UserID() == user {
				stats = s.Stats()
			}
		}
		return stats
	}
	const perTurn = 512 // that may be on their way
	until(t, "the stream to stall", func() bool { return stats("alice").Lag >= events-2*perTurn })
	if lag := stats("bob").Lag; lag != 0 {
		t.Errorf("the lag of an idle stream is %d", lag)
	}
	if n := stats("alice"); n.Lag > events+1 || n.Events > 2*perTurn { // the opening counts until the stream has looked
		t.Errorf("a stalled stream says %+v", n)
	}
	go func() { _, _ = io.Copy(io.Discard, response.Body) }()
	until(t, "the lag to go", func() bool {
		n := stats("alice")
		return n.Lag == 0 && n.Events == events && n.Bytes > events*2000
	})
}

// The traces of requests come from clients, and their length decides about no event: neither whether it is
// too large, nor whether another node takes it.
func TestTraceTakesNoRoomOfAnEvent(t *testing.T) {
	t.Parallel()
	trace := strings.Repeat("<", 128) // as much as there may be, and more in JSON
	traced := &ginsse.Observer{Sending: func(ctx context.Context, _ ginsse.Sending) (context.Context, string) { return ctx, trace }}
	a, b := twoNodes(t, ginsse.RegistryConfig{MaxEventBytes: 48 << 10, Observers: []*ginsse.Observer{traced}})
	s := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events?topic=board", as("alice"))
	s.NextOf("sse.open")
	text := strings.Repeat("x", 48<<10-len("data: \n\n"))
	for _, transient := range []bool{false, true} {
		for _, e := range []ginsse.Event{{Data: text, Transient: transient}, {Data: text + "x", Transient: transient}} {
			_, err := a.Publish(t.Context(), "board", e)
			switch {
			case e.Data != text:
				if !errors.Is(err, ginsse.ErrEventTooLarge) {
					t.Errorf("transient %v: one byte too many gives %v", transient, err)
				}
			case err != nil:
				t.Errorf("transient %v: %v", transient, err)
			default:
				if got := s.Next(); got.Data != text {
					t.Errorf("transient %v: got %s with %d bytes", transient, got.Type, len(got.Data))
				}
			}
		}
	}
}
