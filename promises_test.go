package ginsse_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Tests of the promises in doc.go, named after them.

func TestPromiseOrder(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	streams := []*ssetest.Stream{
		server.Open(t, "/events?topic=t", as("alice")),
		server.Open(t, "/events?topic=t", as("alice")),
		server.Open(t, "/events?topic=t", as("bob")),
	}
	const senders, each = 4, 60
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := range each {
				e := ginsse.Event{Type: fmt.Sprint("from", i), Data: n}
				var err error
				switch rand.IntN(3) {
				case 0:
					_, err = registry.SendToUsers(t.Context(), []string{"alice", "bob"}, e)
				case 1:
					_, err = registry.Broadcast(t.Context(), e)
				default:
					_, err = registry.Publish(t.Context(), "t", e)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, stream := range streams {
		next := make(map[string]int)
		var at uint64
		for total := 0; total < senders*each; {
			e := stream.Next()
			seq := seqOf(t, e.LastEventID)
			if e.Type == "sse.open" {
				at = seq
				continue
			}
			if seq <= at {
				t.Fatalf("sequence %d after %d", seq, at)
			}
			at = seq
			if e.Data != fmt.Sprint(next[e.Type]) {
				t.Fatalf("%s sent %d, got %s", e.Type, next[e.Type], e.Data)
			}
			next[e.Type]++
			total++
		}
	}
}

func seqOf(t testing.TB, id string) uint64 {
	t.Helper()
	cursor, err := eventlog.ParseCursor(id)
	if err != nil {
		t.Fatalf("the last event ID %q: %v", id, err)
	}
	return cursor.Seq
}

// Senders run at full speed. A client disconnects a thousand times, each time at a random byte, and
// resumes. In the end it has dispatched exactly the events that were sent, in order.
func TestPromiseNoEventIsLostOrRepeatedAcrossAThousandReconnects(t *testing.T) {
	t.Parallel()
	reconnects, most := 1000, 200_000
	if testing.Short() {
		reconnects, most = 100, 50_000
	}
	registry := newRegistry(t, ginsse.RegistryConfig{
		Log:               newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 1 << 20, MaxBytes: 1 << 30}),
		MaxStreamsPerUser: -1,
	})
	server := transports[0].start(t, newEngine(t, registry), nil)
	first := connect(t, server, "/events?topic=t", as("alice"))
	id := first.NextOf("sse.open").LastEventID
	first.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const senders = 3
	var sent [senders]int
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil && n < most; n++ {
				e := ginsse.Event{Type: fmt.Sprint("from", i), Data: n}
				var err error
				switch i {
				case 0:
					_, err = registry.SendTo(ctx, "alice", e)
				case 1:
					_, err = registry.Broadcast(ctx, e)
				default:
					_, err = registry.Publish(ctx, "t", e)
				}
				if err != nil {
					t.Error(err)
					return
				}
				sent[i] = n + 1
				if n%100 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	var got [senders]int
	dispatch := func(e ssetest.Event) {
		if e.Type == "sse.open" {
			return
		}
		i, err := strconv.Atoi(strings.TrimPrefix(e.Type, "from"))
		if err != nil {
			t.Fatalf("got %+v", e)
		}
		if e.Data != strconv.Itoa(got[i]) {
			t.Fatalf("got %s of sender %d, want %d", e.Data, i, got[i])
		}
		got[i]++
	}
	// The last connection stays open until all events have arrived.
	for connection := range reconnects + 1 {
		limit := int64(300 + rand.IntN(8000))
		if connection == reconnects {
			stop()
			wg.Wait()
			limit = 1 << 40
		}
		id = readUntilDisconnect(t, server, id, limit, func(e ssetest.Event) (done bool) {
			dispatch(e)
			return connection == reconnects && got == sent
		})
	}
	if got != sent {
		t.Errorf("dispatched %v, sent %v", got, sent)
	}
}

// readUntilDisconnect resumes from id, and disconnects after limit bytes or once dispatch returns
// true. dispatch is called with each complete event. It returns the last event ID.
func readUntilDisconnect(t testing.TB, server *httptest.Server, id string, limit int64, dispatch func(ssetest.Event) bool) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const patience = time.Minute // for each event
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events?topic=t", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", "alice")
	if id != "" {
		request.Header.Set("Last-Event-ID", id)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	decoder := client.NewDecoder(io.LimitReader(response.Body, limit), client.DecoderConfig{})
	for {
		late.Reset(patience)
		e, err := decoder.Next()
		if err != nil {
			break
		}
		if e.Type == "sse.gap" {
			t.Fatalf("a gap: %+v", e)
		}
		if dispatch(e) {
			break
		}
	}
	if last := decoder.LastEventID(); last != "" {
		return last
	}
	return id
}

// A stream that cannot resume says so once, and then goes on.
func TestPromiseAGapIsNeverSilent(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 10})})
	server := ssetest.NewServer(t, newEngine(t, registry))
	stream := server.Open(t, "/events", as("alice"))
	opened := stream.NextOf("sse.open").LastEventID
	stream.Close()
	for n := range 11 {
		send(t, registry, "alice", n)
	}
	otherLog := newRegistry(t, ginsse.RegistryConfig{})
	foreign, err := otherLog.SendTo(t.Context(), "alice", numbered(1))
	if err != nil {
		t.Fatal(err)
	}
	at, err := eventlog.ParseCursor(opened)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ id, reason string }{
		"trimmed":      {opened, "trimmed"},
		"other_epoch":  {foreign.ID, "epoch"},
		"future":       {eventlog.Cursor{Epoch: at.Epoch, Seq: 1 << 40, Check: at.Check}.String(), "unknown"},
		"made_up":      {eventlog.Cursor{Epoch: at.Epoch, Seq: 3, Check: 12345}.String(), "unknown"},
		"malformed":    {"42", "unknown"},
		"not_a_cursor": {strings.Repeat("x", 4000), "unknown"},
		"not_ascii":    {"é", "unknown"},
	} {
		stream := server.Open(t, "/events", as("alice"), ssetest.LastEventID(test.id))
		open := stream.Next()
		if open.Type != "sse.open" || !strings.Contains(open.Data, `"resumed":false`) || open.LastEventID != "" {
			t.Errorf("%s: opened with %+v", name, open)
		}
		gap := stream.Next()
		if gap.Type != "sse.gap" || gap.Data != fmt.Sprintf(`{"reason":%q}`, test.reason) || gap.LastEventID == "" {
			t.Errorf("%s: got %+v, want a gap with reason %q and an id", name, gap, test.reason)
		}
		stream.Close()
		// The client can resume from the ID of the gap.
		again := server.Open(t, "/events", as("alice"), ssetest.LastEventID(gap.LastEventID))
		receipt := send(t, registry, "alice", 99)
		if e := again.NextOf("n"); e.LastEventID != receipt.ID {
			t.Errorf("%s: after the gap got %+v", name, e)
		}
		again.Close()
	}
}

// The connection may be lost between sse.open and sse.gap. sse.open carries no new position then,
// so the client comes back with its old one and gets sse.gap again.
func TestPromiseALostConnectionBetweenOpenAndGapDoesNotHideTheGap(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	stream := server.Open(t, "/events", as("alice"), ssetest.LastEventID("old"))
	if e := stream.NextOf("sse.open"); e.LastEventID != "" {
		t.Errorf("sse.open has the id %q", e.LastEventID)
	}
}

// The history drops events that a connected client has not read yet.
func TestPromiseALaggingStreamGetsAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{
			Log:    newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 10}),
			Stream: ginsse.StreamConfig{WriteTimeout: time.Minute},
		})
		server := ssetest.NewServer(t, newEngine(t, registry))
		response := openBody(t, server, "/events")
		big := strings.Repeat("x", 10_000)
		for n := range 200 {
			if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: fmt.Sprint(n, " ", big)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the stream writes what it can
		}
		decoder := client.NewDecoder(response.Body, client.DecoderConfig{})
		want, gaps := 0, 0
		for want < 200 && gaps == 0 {
			e, err := decoder.Next()
			if err != nil {
				t.Fatal(err)
			}
			switch e.Type {
			case "n":
				if number, _, _ := strings.Cut(e.Data, " "); number != strconv.Itoa(want) {
					t.Fatalf("got %s, want %d, and there was no gap", number, want)
				}
				want++
			case "sse.gap":
				gaps++
			}
		}
		if gaps != 1 || registry.Stats().Gaps != 1 {
			t.Errorf("%d gaps, %d counted", gaps, registry.Stats().Gaps)
		}
	})
}

// One client never reads. The other 200 get all events, and senders do not wait for the one.
func TestPromiseASenderNeverWaitsForAReader(t *testing.T) {
	t.Parallel()
	const readers, events, size = 200, 300, 4 << 10
	registry := newRegistry(t, ginsse.RegistryConfig{
		Log:    newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: events}),
		Stream: ginsse.StreamConfig{WriteTimeout: 5 * time.Minute}, // longer than the test
	})
	server := transports[0].start(t, newEngine(t, registry), smallBuffers)
	stalledGet(t, server, "/events", http.Header{"X-User": {"stalled"}})
	var streams []*ssetest.Stream
	for n := range readers {
		streams = append(streams, connect(t, server, "/events", as(fmt.Sprint("user", n))))
	}
	data := strings.Repeat("x", size)
	var slowest time.Duration
	var received atomic.Int64
	var failed atomic.Bool
	fail := func(format string, args ...any) {
		failed.Store(true)
		t.Errorf(format, args...)
	}
	var wg sync.WaitGroup
	for _, stream := range streams {
		wg.Go(func() {
			for n := range events {
				e, err := stream.TryNext(time.Minute)
				for err == nil && e.Type != "n" {
					if e.Type == "sse.gap" {
						fail("a gap after %d events", n)
						return
					}
					e, err = stream.TryNext(time.Minute)
				}
				if err != nil {
					fail("after %d events: %v", n, err)
					return
				}
				if number, _, _ := strings.Cut(e.Data, " "); number != strconv.Itoa(n) {
					fail("got %s, want %d", number, n)
					return
				}
				received.Add(1)
			}
		})
	}
	for n := range events {
		start := time.Now()
		if _, err := registry.Broadcast(t.Context(), ginsse.Event{Type: "n", Data: fmt.Sprint(n, " ", data)}); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(start))
		// The test waits for the 200 clients, which share this process. Broadcast does not.
		for received.Load() < int64(n-events/4)*readers && !failed.Load() {
			pass(100 * time.Microsecond)
		}
	}
	wg.Wait()
	if slowest > 20*time.Second {
		t.Errorf("a Broadcast took %v", slowest)
	}
	if got := received.Load(); got != readers*events {
		t.Errorf("%d events were received, want %d", got, readers*events)
	}
	// If the stalled stream had written everything, the test would have shown nothing.
	stalled := registry.Streams("stalled")
	if len(stalled) != 1 || stalled[0].Unread() == 0 {
		t.Errorf("%d streams are stalled, want one with unread events", len(stalled))
	}
}

// smallBuffers makes the kernel buffer far less than the tests send.
func smallBuffers(s *http.Server) {
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		_ = conn.(*net.TCPConn).SetWriteBuffer(32 << 10)
		return ctx
	}
}

// One last event ID resumes the user's events, those for all users, and those of topics. A browser
// sends it in the header, and a page may send it in the query.
func TestPromiseOneOpaqueID(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	stream := server.Open(t, "/events?topic=t", as("alice"))
	ctx := t.Context()
	send(t, registry, "alice", 1)
	wantNumbers(t, stream, 1, 1)
	id := stream.LastEventID()
	stream.Close()
	for n := 2; n <= 10; n++ {
		var err error
		switch n % 4 {
		case 0:
			_, err = registry.SendTo(ctx, "alice", numbered(n))
		case 1:
			_, err = registry.Broadcast(ctx, numbered(n))
		case 2:
			_, err = registry.Publish(ctx, "t", numbered(n))
		default:
			_, err = registry.SendTo(ctx, "alice", numbered(n))
			send(t, registry, "bob", 1000+n)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, open := range map[string]func() *ssetest.Stream{
		"header": func() *ssetest.Stream { return server.Open(t, "/events?topic=t", as("alice"), ssetest.LastEventID(id)) },
		"query":  func() *ssetest.Stream { return server.Open(t, "/events?topic=t&lastEventId="+id, as("alice")) },
		"header_before_query": func() *ssetest.Stream {
			return server.Open(t, "/events?topic=t&lastEventId=old", as("alice"), ssetest.LastEventID(id))
		},
	} {
		again := open()
		if e := again.Next(); e.Type != "sse.open" || !strings.Contains(e.Data, `"resumed":true`) || e.LastEventID != id {
			t.Errorf("%s: opened with %+v", name, e)
		}
		wantNumbers(t, again, 2, 10)
		again.Close()
	}
	// The ID grants nothing: with alice's, bob gets his own events.
	bob := server.Open(t, "/events", as("bob"), ssetest.LastEventID(id))
	for _, want := range []string{"1003", "5", "1007", "9"} { // his own and those for all users
		if e := bob.NextOf("n"); e.Data != want {
			t.Errorf("bob got %+v, want %s", e, want)
		}
	}
	if strings.Contains(id, "alice") {
		t.Errorf("the ID %q contains the user ID", id)
	}
}

func TestPromiseAStreamEndsWhenItsRightToExistEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg       ginsse.StreamConfig
		lifetime  string
		end       func(*ginsse.Registry)
		reason    string
		reconnect bool
	}{
		"expiry":     {lifetime: "10m", end: func(*ginsse.Registry) {}, reason: "expired", reconnect: true},
		"disconnect": {end: func(r *ginsse.Registry) { _, _ = r.Disconnect(context.Background(), "alice", "") }, reason: "disconnected"},
		"shutdown":   {end: (*ginsse.Registry).Close, reason: "shutdown", reconnect: true},
		"lifetime":   {cfg: ginsse.StreamConfig{MaxLifetime: time.Minute}, end: func(*ginsse.Registry) {}, reason: "lifetime", reconnect: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := newRegistry(t, ginsse.RegistryConfig{Stream: test.cfg})
				server := ssetest.NewServer(t, newEngine(t, registry))
				var streams []*ssetest.Stream
				for range 3 {
					streams = append(streams, server.Open(t, "/events", as("alice"), ssetest.Header("X-Lifetime", test.lifetime)))
				}
				test.end(registry)
				for _, stream := range streams {
					stream.Patience = time.Hour
					if test.reconnect {
						wantReconnect(t, stream, test.reason)
					} else {
						wantClose(t, stream, test.reason)
					}
				}
				synctest.Wait()
				if registry.Online("alice") {
					t.Error("the user is still online")
				}
			})
		})
	}
}

// gin's logger, its recovery and the kit's logger write all they can. No line contains a part of a
// token, and no answer does.
func TestPromiseNoCredentialInALogLineOrAnError(t *testing.T) {
	t.Parallel()
	secret := []byte("an example secret of 32 bytes or more")
	var logged safeBuffer
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: secret, Methods: []string{"HS256"}, Cookie: "session", InsecureQueryParameter: "access_token"})
	if err != nil {
		t.Fatal(err)
	}
	registry := newRegistry(t, ginsse.RegistryConfig{Logger: slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	r := gin.New()
	r.Use(gin.LoggerWithWriter(&logged), gin.RecoveryWithWriter(&logged))
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	r.GET("/panic", auth.RequireUser(), func(*gin.Context) { panic(http.ErrAbortHandler) })
	server := ssetest.NewServer(t, auth.HideQueryToken(r))
	good, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	bad := good[:len(good)-4] + "AAAA"
	parts := append(strings.Split(good, "."), strings.Split(bad, ".")...)
	for _, token := range []string{good, bad} {
		for _, path := range []string{"/events", "/panic"} {
			for _, change := range []func(*http.Request){
				func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
				func(r *http.Request) { r.Header.Set("Cookie", "session="+token) },
				func(r *http.Request) { r.URL.RawQuery = "access_token=" + token },
			} {
				ctx, cancel := context.WithCancel(t.Context())
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				change(request)
				response, err := server.Client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode == http.StatusUnauthorized {
					body, _ := io.ReadAll(response.Body)
					for _, part := range parts {
						if bytes.Contains(body, []byte(part)) {
							t.Errorf("the answer repeats the token: %s", body)
						}
					}
				}
				cancel()
				_ = response.Body.Close()
			}
		}
	}
	registry.Close()
	if err := server.Config.Shutdown(t.Context()); err != nil { // waits for the last line of the logs
		t.Fatal(err)
	}
	if logged.String() == "" {
		t.Fatal("the loggers wrote nothing, so the test has shown nothing")
	}
	for _, part := range parts {
		if strings.Contains(logged.String(), part) {
			t.Errorf("%q was logged", part)
		}
	}
}

// Not parallel: the test measures the heap of the whole process.
func TestPromiseMemoryIsBounded(t *testing.T) {
	const history = 4 << 20
	for name, test := range map[string]struct {
		readers, events, size int
		user                  func(n int) string
		bound                 int64
	}{
		// Events of 100 MB for users who need not exist. The log keeps 4 MiB of them, and records
		// of 65,536 users whose events it has dropped.
		"many_users": {0, 200_000, 500, func(n int) string { return fmt.Sprint("user", n) }, history + 48<<20},
		// Events of 80 MB for ten stalled streams. Each stream holds one turn of 64 KiB.
		"stalled_readers": {10, 20_000, 4_000, func(int) string { return "stalled" }, history + 10*(128<<10) + 4<<20},
	} {
		t.Run(name, func(t *testing.T) {
			registry := newRegistry(t, ginsse.RegistryConfig{
				Log:    newMemoryLog(t, eventlog.MemoryLogConfig{MaxBytes: history, EventsPerSubject: 1 << 20}),
				Stream: ginsse.StreamConfig{WriteTimeout: 5 * time.Minute}, // longer than the test
			})
			server := transports[0].start(t, newEngine(t, registry), smallBuffers)
			for range test.readers {
				stalledGet(t, server, "/events", http.Header{"X-User": {"stalled"}})
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			data := strings.Repeat("x", test.size)
			for n := range test.events {
				if _, err := registry.SendTo(t.Context(), test.user(n), ginsse.Event{Data: data}); err != nil {
					t.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > test.bound {
				t.Errorf("the heap grew by %d bytes, more than %d", grown, test.bound)
			}
			stalled := registry.Streams("stalled")
			if len(stalled) != test.readers {
				t.Errorf("%d streams are left of %d", len(stalled), test.readers)
			}
			for _, s := range stalled {
				if s.Unread() == 0 {
					t.Error("a stalled stream has written everything, so the test has shown nothing")
				}
			}
		})
	}
}
