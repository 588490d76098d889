package ginsse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/eventlog"
)

// Tests of compact streams whose clients, connections or logs do not do well. A few goroutines write
// all streams, so one stream could harm others.

// A thousand clients stop reading. The others get all events meanwhile.
func TestStalledReadersDoNotDelayCompactStreams(t *testing.T) {
	t.Parallel()
	const good, events, size = 20, 200, 4 << 10
	stalled := 1000
	if testing.Short() {
		stalled = 200
	}
	const timeout = 20 * time.Second
	cfg := ginsse.RegistryConfig{
		Log:               newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: events}),
		Stream:            ginsse.StreamConfig{WriteTimeout: 5 * time.Minute}, // a good reader waits for the ones before it
		MaxStreamsPerUser: -1,
	}
	ends := reportEnds(&cfg)
	registry := newCompactRegistry(t, cfg)
	engine := serveAtEvents(t, func(c *gin.Context) {
		var options []ginsse.ServeOption
		if ginsse.UserID(c) == "stalled" {
			options = append(options, ginsse.WithStreamConfig(ginsse.StreamConfig{WriteTimeout: timeout}))
		}
		_ = registry.Serve(c, options...)
	})
	server := transports[0].start(t, engine, func(s *http.Server) { s.ConnContext = smallSendBuffer })
	for range stalled {
		openRaw(t, server, rawRequest{user: "stalled", small: true, lines: "X-Lifetime: 1h\r\n"})
	}
	var readers []*rawClient
	for n := range good {
		readers = append(readers, openRaw(t, server, rawRequest{user: fmt.Sprint("user", n)}))
	}
	untilCompact(t, registry, stalled+good)
	blocked := time.Now()
	for n := range events {
		e := ginsse.Event{Type: "n", Data: fmt.Sprint(n, " ", strings.Repeat("x", size))}
		if _, err := registry.Broadcast(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range readers {
		for n := range events {
			c.readUntil(fmt.Sprintf("event: n\ndata: %d ", n))
		}
		if strings.Contains(c.got.String(), "sse.gap") {
			t.Error("a reader got a gap")
		}
	}
	took := time.Since(blocked)
	if _, err := registry.Broadcast(t.Context(), ginsse.Event{Type: "more"}); err != nil { // which blocked streams do not read
		t.Fatal(err)
	}
	for _, c := range readers {
		c.readUntil("event: more\n")
	}
	waiting := 0
	for _, s := range registry.Streams("stalled") {
		if s.Unread() > 0 {
			waiting++
		}
	}
	if took < timeout*3/4 && waiting != stalled {
		t.Errorf("%d of %d clients have stalled after %v, so the test shows nothing of the rest", waiting, stalled, took)
	}
	if took > 90*time.Second {
		t.Errorf("the events took %v", took)
	}
	if n := goroutinesIn("ginsse.(*compact)"); n > stalled/2 { // other tests have some
		t.Errorf("%d goroutines write streams", n)
	}
	for range stalled {
		wantHookEnd(t, ends, "stalled", ginsse.ReasonSlow)
	}
	if lasted := time.Since(blocked); lasted < timeout {
		t.Errorf("the stalled clients were disconnected after %v, before their timeout", lasted)
	}
	untilCompact(t, registry, good)
	if got := registry.Stats().Slow; got != uint64(stalled) {
		t.Errorf("%d streams were slow", got)
	}
}

// unluckyLog panics when it is read for a user.
type unluckyLog struct {
	eventlog.Log
	user atomic.Pointer[string]
}

func (l *unluckyLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if user := l.user.Load(); user != nil && slices.Contains(q.Subjects, "user:"+*user) {
		panic("a fault of the log")
	}
	return l.Log.Read(ctx, q, dst)
}

func TestPanicEndsOneCompactStreamOnly(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		var logged safeBuffer
		log := &unluckyLog{Log: newMemoryLog(t, eventlog.MemoryLogConfig{})}
		cfg := ginsse.RegistryConfig{Log: log, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
		ends := reportEnds(&cfg)
		registry := newCompactRegistry(t, cfg)
		server := tr.start(t, newEngine(t, registry), nil)
		const others = 20
		var clients []*rawClient
		for n := range others {
			clients = append(clients, openRaw(t, server, rawRequest{user: fmt.Sprint("user", n)}))
		}
		unlucky := openRaw(t, server, rawRequest{user: "unlucky"})
		untilCompact(t, registry, others+1)
		user := "unlucky"
		log.user.Store(&user)
		for n := 1; n <= 5; n++ {
			if _, err := registry.Broadcast(t.Context(), numbered(n)); err != nil {
				t.Fatal(err)
			}
			for _, c := range clients {
				c.readUntil(fmt.Sprintf("event: n\ndata: %d\n", n))
			}
		}
		wantHookEnd(t, ends, "unlucky", ginsse.ReasonFailed)
		untilCompact(t, registry, others)
		for {
			if more, err := unlucky.tryNext(); err != nil {
				break // the client sees that its stream is not complete
			} else if !more {
				t.Error("the stream has a regular end")
				break
			}
		}
		until(t, "a record of the panic", func() bool { return logged.String() != "" })
		if text := logged.String(); strings.Count(text, "panic in writing a stream") != 1 ||
			!strings.Contains(text, "a fault of the log") || !strings.Contains(text, "(*unluckyLog).Read") {
			t.Errorf("the log says %s", text)
		}
		for n := range others {
			disconnect(t, registry, fmt.Sprint("user", n), "")
			if body := clients[n].readEnd(); !strings.HasSuffix(body, closedByDisconnect) {
				t.Errorf("another stream ended with %.300q", clients[n].tail())
			}
		}
	})
}

// waitingLog waits for its store when it is read for users whose ID begins with "far".
type waitingLog struct {
	eventlog.Log
	waits   atomic.Bool
	waiting atomic.Int64 // reads that wait
	noWait  atomic.Int64 // reads that would have had to wait
	gate    chan struct{}
}

func (l *waitingLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if l.waits.Load() && slices.ContainsFunc(q.Subjects, func(s string) bool { return strings.HasPrefix(s, "user:far") }) {
		if q.NoWait {
			l.noWait.Add(1)
			return eventlog.Page{}, eventlog.ErrWouldWait
		}
		l.waiting.Add(1)
		defer l.waiting.Add(-1)
		<-l.gate
	}
	return l.Log.Read(ctx, q, dst)
}

func TestReadThatWaitsDoesNotDelayOtherCompactStreams(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		log := &waitingLog{Log: newMemoryLog(t, eventlog.MemoryLogConfig{}), gate: make(chan struct{})}
		registry := newCompactRegistry(t, ginsse.RegistryConfig{Log: log})
		server := tr.start(t, newEngine(t, registry), nil)
		const far = 40 // more than there are writers
		var waiting []*rawClient
		for n := range far {
			waiting = append(waiting, openRaw(t, server, rawRequest{user: fmt.Sprint("far", n)}))
		}
		near := openRaw(t, server, rawRequest{user: "near"})
		untilCompact(t, registry, far+1)
		log.waits.Store(true)
		release := sync.OnceFunc(func() { close(log.gate) })
		defer release()
		for n := range far {
			send(t, registry, fmt.Sprint("far", n), n)
		}
		until(t, "waiting reads", func() bool { return log.waiting.Load() == far })
		if tr.name == "http1" && log.noWait.Load() < far {
			t.Errorf("%d reads did not wait first", log.noWait.Load())
		}
		for n := range 100 {
			send(t, registry, "near", n)
			near.readUntil(fmt.Sprintf("event: n\ndata: %d\n", n))
		}
		// A stream that waits for the log takes more events, and ends, when the log is back.
		for n := range far {
			send(t, registry, fmt.Sprint("far", n), far+n)
		}
		if log.waiting.Load() != far {
			t.Errorf("%d reads wait", log.waiting.Load())
		}
		disconnect(t, registry, "far0", "")
		log.waits.Store(false)
		release()
		for n, c := range waiting {
			c.readUntil(fmt.Sprintf("event: n\ndata: %d\n", n))
			c.readUntil(fmt.Sprintf("event: n\ndata: %d\n", far+n))
		}
		if body := waiting[0].readEnd(); !strings.HasSuffix(body, closedByDisconnect) {
			t.Errorf("the stream ended with %.300q", waiting[0].tail())
		}
	})
}

// Everything happens at once: senders send, streams are ended, and clients leave in every way and
// resume. Each client dispatches all events for its user, in order, and none twice.
func TestCompactStreamsLoseNothingWhenAllHappensAtOnce(t *testing.T) {
	t.Parallel()
	run := &everything{t: t, events: 3000, users: 8}
	if testing.Short() {
		run.events = 600
	}
	log := newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 1 << 20, MaxBytes: 1 << 30})
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run.start = head.String()
	for _, tr := range compactTransports {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{
			Log:               log,
			Stream:            ginsse.StreamConfig{HeartbeatInterval: 5 * time.Millisecond},
			MaxStreamsPerUser: -1,
			MaxOpensPerMinute: -1,
			MaxStreams:        -1,
		})
		run.registries = append(run.registries, registry)
		run.servers = append(run.servers, tr.start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer }))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var senders, others, clients sync.WaitGroup
	for user := range run.users {
		senders.Go(func() { run.send(user) })
		for _, server := range run.servers {
			for range 2 {
				clients.Go(func() { run.follow(server, user) })
			}
		}
	}
	others.Go(func() { run.disturb(ctx) })
	senders.Wait()
	run.sent.Store(true)
	clients.Wait()
	stop()
	others.Wait()
	for _, registry := range run.registries {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := registry.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if got := registry.Stats(); got.Compact != 0 || got.Streams != 0 {
			t.Errorf("left: %+v", got)
		}
	}
	t.Logf("%d streams were opened", run.registries[0].Stats().Opened+run.registries[1].Stats().Opened)
}

// everything is the test of what happens all at once.
type everything struct {
	t             *testing.T
	registries    []*ginsse.Registry
	servers       []*httptest.Server
	users, events int
	start         string // the last event ID of a client that has no event yet
	sent          atomic.Bool
}

// send sends the events of a user, numbered from 0.
func (r *everything) send(user int) {
	for n := range r.events {
		data := fmt.Sprint(n, " ", strings.Repeat("x", rand.IntN(1+rand.IntN(3000))))
		if _, err := r.registries[rand.IntN(2)].SendTo(context.Background(), fmt.Sprint("user", user), ginsse.Event{Type: "n", Data: data}); err != nil {
			r.t.Error(err)
		}
		if n%4 == 0 {
			pass(time.Duration(rand.IntN(2000)) * time.Microsecond)
		}
	}
}

// disturb ends streams, and sends events to single ones.
func (r *everything) disturb(ctx context.Context) {
	for ; ctx.Err() == nil; pass(time.Duration(rand.IntN(3000)) * time.Microsecond) {
		registry, user := r.registries[rand.IntN(2)], fmt.Sprint("user", rand.IntN(r.users))
		if rand.IntN(4) == 0 {
			_, _ = registry.Disconnect(ctx, user, "")
			continue
		}
		for _, s := range registry.Streams(user) {
			switch rand.IntN(4) {
			case 0:
				s.Disconnect(ginsse.ReasonLifetime)
			case 1:
				_ = s.Close()
			default:
				sendCtx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
				_ = s.Send(sendCtx, ginsse.Event{Type: "own", Data: strings.Repeat("x", 1000)})
				cancel()
			}
		}
	}
}

// follow is a client that opens streams until it has all events of its user.
func (r *everything) follow(server *httptest.Server, user int) {
	id, next := r.start, 0
	for next < r.events && !r.t.Failed() {
		var err error
		if id, next, err = r.readOne(server, user, id, next); err != nil {
			r.t.Errorf("user %d, at %d: %v", user, next, err)
			return
		}
	}
}

// readOne opens a stream, reads some events and leaves.
func (r *everything) readOne(server *httptest.Server, user int, id string, next int) (string, int, error) {
	var dialer net.Dialer
	if rand.IntN(2) == 0 {
		dialer.Control = smallReceiveBuffer
	}
	transport := server.Client().Transport.(*http.Transport).Clone()
	var conn net.Conn
	transport.DialContext = func(ctx context.Context, network, address string) (_ net.Conn, err error) {
		conn, err = dialer.DialContext(ctx, "tcp", server.Listener.Addr().String())
		return conn, err
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const patience = time.Minute // for each event
	late := time.AfterFunc(patience, cancel)
	defer late.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/events", http.NoBody)
	if err != nil {
		return id, next, err
	}
	request.Header.Set("X-User", fmt.Sprint("user", user))
	request.Header.Set("Last-Event-ID", id)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return id, next, err
	}
	defer response.Body.Close()
	decoder := client.NewDecoder(bufio.NewReaderSize(response.Body, 1+rand.IntN(8192)), client.DecoderConfig{})
	left := rand.IntN(200) // events to read before the client leaves
	if r.sent.Load() {
		left = 1 << 30
	}
	for ; left > 0 && next < r.events; left-- {
		late.Reset(patience)
		e, err := decoder.Next()
		if ctx.Err() != nil {
			return id, next, errors.New("no event within a minute")
		}
		if err != nil {
			break // the stream was ended
		}
		switch e.Type {
		case "n":
			number, _, _ := strings.Cut(e.Data, " ")
			if number != strconv.Itoa(next) {
				return id, next, fmt.Errorf("got %s, want %d", number, next)
			}
			next++
		case "sse.gap":
			if !strings.Contains(e.Data, "undelivered") { // the client resumes from where it was
				return id, next, fmt.Errorf("got a gap: %s", e.Data)
			}
		}
		if rand.IntN(50) == 0 {
			pass(time.Duration(rand.IntN(3000)) * time.Microsecond)
		}
	}
	if last := decoder.LastEventID(); last != "" {
		id = last
	}
	switch rand.IntN(3) {
	case 0:
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset
	case 1:
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	return id, next, nil
}
