package ginsse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

// twoNodes returns registries on two nodes of one log.
func twoNodes(t *testing.T, cfg ginsse.RegistryConfig) (a, b *ginsse.Registry) {
	t.Helper()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	cfg.Log = nodes[0]
	a = newRegistry(t, cfg)
	cfg.Log = nodes[1]
	return a, newRegistry(t, cfg)
}

// publish sends the event numbered(n) to a topic.
func publish(t testing.TB, registry *ginsse.Registry, topic string, n int) ginsse.Receipt {
	t.Helper()
	receipt, err := registry.Publish(t.Context(), topic, numbered(n))
	if err != nil {
		t.Fatalf("publishing %d to %q: %v", n, topic, err)
	}
	return receipt
}

// check fails the test for an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantNext fails the test unless the next events are these: type and data.
func wantNext(t testing.TB, s *ssetest.Stream, want ...string) {
	t.Helper()
	for _, w := range want {
		if e := s.Next(); strings.TrimSpace(e.Type+" "+e.Data) != w {
			t.Fatalf("got %q %s, want %q", e.Type, e.Data, w)
		}
	}
}

func TestGrantBeginsAtItsPlace(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	publish(t, a, "board", 1)
	check(t, a.Grant(t.Context(), "alice", "board"))
	publish(t, a, "board", 2)
	check(t, a.Revoke(t.Context(), "alice", "board"))
	publish(t, a, "board", 3)
	send(t, a, "alice", 4)
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`, "n 2",
		`sse.topics {"topics":[],"removed":["board"]}`, "n 4")
}

// The order holds while a stream has everything to catch up on.
func TestGrantsAndRevocationsAreExactForAStreamThatLags(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	a, b := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]}), newRegistry(t, ginsse.RegistryConfig{Log: nodes[1]})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	nodes[1].SetPartitioned(true)
	var want []string
	granted := false
	for n := range 3000 {
		switch {
		case n%7 == 3 && !granted:
			check(t, a.Grant(t.Context(), "alice", "board"))
			want = append(want, `sse.topics {"topics":["board"],"added":["board"]}`)
			granted = true
		case n%11 == 5 && granted && n%2 == 0:
			check(t, a.Revoke(t.Context(), "alice", "board"))
			want = append(want, `sse.topics {"topics":[],"removed":["board"]}`)
			granted = false
		case n%13 == 5 && granted:
			check(t, a.RevokeTopic(t.Context(), "board"))
			want = append(want, `sse.topics {"topics":[],"removed":["board"]}`)
			granted = false
		}
		if publish(t, a, "board", n); granted {
			want = append(want, fmt.Sprint("n ", n))
		}
	}
	nodes[1].SetPartitioned(false)
	wantNext(t, stream, want...)
}

func TestGrantForOneStreamLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	first, second := server.Open(t, "/events", as("alice")), server.Open(t, "/events", as("alice"))
	id := streamID(t, first)
	second.NextOf("sse.open")
	check(t, registry.Grant(t.Context(), "alice", "board", ginsse.ForStream(id)))
	publish(t, registry, "board", 1)
	send(t, registry, "alice", 2)
	wantNext(t, first, `sse.topics {"topics":["board"],"added":["board"]}`, "n 1", "n 2")
	wantNext(t, second, "n 2")
}

// streamID returns the ID of a stream that has just been opened.
func streamID(t testing.TB, s *ssetest.Stream) string {
	t.Helper()
	var open struct {
		Stream string `json:"stream"`
	}
	check(t, json.Unmarshal([]byte(s.NextOf("sse.open").Data), &open))
	return open.Stream
}

func TestRevokeTopicEndsAllReadersAccess(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	alice := ssetest.NewServer(t, newEngine(t, a)).Open(t, "/events?topic=board&topic=other", as("alice"))
	bob := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events?topic=board", as("bob"))
	alice.NextOf("sse.open")
	bob.NextOf("sse.open")
	publish(t, a, "board", 1)
	check(t, a.RevokeTopic(t.Context(), "board"))
	publish(t, a, "board", 2)
	publish(t, a, "other", 3)
	wantNext(t, alice, "n 1", `sse.topics {"topics":["other"],"removed":["board"]}`, "n 3")
	wantNext(t, bob, "n 1", `sse.topics {"topics":[],"removed":["board"]}`)
}

// An old last event ID shows nothing from before a grant, and nothing from after a revocation.
func TestOldPositionShowsNothingFromBeforeAGrant(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(ctx context.Context, r *ginsse.Registry) error{
		"grant":  func(ctx context.Context, r *ginsse.Registry) error { return r.Grant(ctx, "alice", "board") },
		"revoke": func(ctx context.Context, r *ginsse.Registry) error { return r.Revoke(ctx, "alice", "board") },
		"grant for another stream": func(ctx context.Context, r *ginsse.Registry) error {
			return r.Grant(ctx, "alice", "board", ginsse.ForStream("gone"))
		},
		"revocation for all": func(ctx context.Context, r *ginsse.Registry) error { return r.RevokeTopic(ctx, "board") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{})
			server := ssetest.NewServer(t, newEngine(t, registry))
			old := send(t, registry, "alice", 0).ID
			publish(t, registry, "board", 1)
			check(t, change(t.Context(), registry))
			stream := server.Open(t, "/events?topic=board", as("alice"), ssetest.LastEventID(old))
			stream.NextOf("sse.open")
			wantNext(t, stream, `sse.gap {"reason":"topics"}`)
			id := publish(t, registry, "board", 2).ID
			wantNext(t, stream, "n 2")
			// From a position after the change, a client resumes.
			publish(t, registry, "board", 3)
			again := server.Open(t, "/events?topic=board", as("alice"), ssetest.LastEventID(id))
			again.NextOf("sse.open")
			wantNext(t, again, "n 3")
			// A stream without the topic is not concerned.
			other := server.Open(t, "/events?topic=other", as("alice"), ssetest.LastEventID(old))
			other.NextOf("sse.open")
			send(t, registry, "alice", 4)
			wantNext(t, other, "n 4")
		})
	}
}

// If the commands after a position have left the log, a change of topics may be among them.
func TestPositionBeforeLostCommandsIsAGapOfAStreamWithTopics(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 1})})
	server := ssetest.NewServer(t, newEngine(t, registry))
	old := send(t, registry, "bob", 0).ID
	for range 2 {
		check(t, registry.Grant(t.Context(), "alice", "x"))
	}
	stream := server.Open(t, "/events?topic=board", as("alice"), ssetest.LastEventID(old))
	stream.NextOf("sse.open")
	wantNext(t, stream, `sse.gap {"reason":"topics"}`)
	without := server.Open(t, "/events", as("alice"), ssetest.LastEventID(old))
	without.NextOf("sse.open")
	send(t, registry, "alice", 1)
	wantNext(t, without, "n 1")
}

func TestGrantWithHistorySendsThePastFirst(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
	position := stream.NextOf("sse.open").LastEventID
	publish(t, a, "board", 1)
	after := publish(t, a, "board", 2).ID
	publish(t, a, "board", 3)
	publish(t, a, "room", 4)
	check(t, a.Grant(t.Context(), "alice", "board", ginsse.WithHistory(after)))
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`)
	if e := stream.Next(); e.Data != "3" || e.LastEventID != position {
		t.Errorf("got %+v, want 3, with the position from before", e)
	}
	check(t, a.Grant(t.Context(), "alice", "room", ginsse.WithHistory("")))
	publish(t, a, "room", 5)
	wantNext(t, stream, `sse.topics {"topics":["board","room"],"added":["room"]}`, "n 4", "n 5")
}

func TestHistoryThatIsNotAllThereIsAGap(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 2})})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	for n := range 3 {
		publish(t, registry, "board", n)
	}
	check(t, registry.Grant(t.Context(), "alice", "board", ginsse.WithHistory("")))
	publish(t, registry, "board", 3)
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`, `sse.gap {"reason":"trimmed","topic":"board"}`)
	publish(t, registry, "board", 4)
	stream.NextOf("n")
}

func TestStreamsOpenWithHistory(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	r := gin.New()
	r.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler(ginsse.WithTopics("board"), ginsse.WithHistory("")))
	server := ssetest.NewServer(t, r)
	publish(t, registry, "board", 1)
	publish(t, registry, "board", 2)
	stream := server.Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	wantNext(t, stream, "n 1", "n 2")
	id := publish(t, registry, "board", 3).ID
	wantNext(t, stream, "n 3")
	publish(t, registry, "board", 4)
	again := server.Open(t, "/events", as("alice"), ssetest.LastEventID(id))
	again.NextOf("sse.open")
	wantNext(t, again, "n 4")
}

func TestStreamReadsNoMoreThan64Topics(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	for n := range 64 {
		check(t, registry.Grant(t.Context(), "alice", fmt.Sprint(n)))
		stream.NextOf("sse.topics")
	}
	check(t, registry.Grant(t.Context(), "alice", "one more"))
	if e := stream.NextOf("sse.topics"); !strings.HasSuffix(e.Data, `"refused":["one more"]}`) {
		t.Errorf("got %s", e.Data)
	}
	publish(t, registry, "one more", 1)
	publish(t, registry, "63", 2)
	wantNext(t, stream, "n 2")
	check(t, registry.Revoke(t.Context(), "alice", "7"))
	stream.NextOf("sse.topics")
	check(t, registry.Grant(t.Context(), "alice", "one more"))
	stream.NextOf("sse.topics")
	publish(t, registry, "one more", 3)
	wantNext(t, stream, "n 3")
}

// controlEngine serves streams at /events, and the requests by which pages change them. Topics that
// begin with "secret" are refused.
func controlEngine(t testing.TB, registry *ginsse.Registry) *gin.Engine {
	t.Helper()
	auth := headerAuth(t)
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	r.POST("/events", auth.RequireUser(), registry.ControlHandler())
	return r
}

func allowAllButSecrets(_ *gin.Context, topic string) (bool, error) {
	if topic == "broken" {
		return false, errors.New("no database")
	}
	return !strings.HasPrefix(topic, "secret"), nil
}

// control posts a request for a stream, and returns the status and the body of the answer.
func control(t testing.TB, h http.Handler, user, body string, header ...string) (int, string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/events", strings.NewReader(body))
	request.Header.Set("X-User", user)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

func TestPageAsksForTopics(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{AllowTopicFunc: allowAllButSecrets})
	stream := ssetest.NewServer(t, controlEngine(t, b)).Open(t, "/events?topic=board&topic=secret&topic=board", as("alice"))
	open := stream.NextOf("sse.open")
	var data struct {
		Stream string   `json:"stream"`
		Topics []string `json:"topics"`
	}
	check(t, json.Unmarshal([]byte(open.Data), &data))
	if len(data.Topics) != 1 || data.Topics[0] != "board" {
		t.Errorf("sse.open has the topics %q, want board", data.Topics)
	}
	publish(t, a, "secret", 1)
	publish(t, a, "board", 2)
	wantNext(t, stream, "n 2")

	// On the other node, which does not have the stream.
	status, body := control(t, controlEngine(t, a), "alice",
		fmt.Sprintf(`{"stream":%q,"add":["room","secret plan"],"remove":["board"]}`, data.Stream))
	if status != http.StatusAccepted || body != `{"accepted":["room"],"refused":["secret plan"]}` {
		t.Errorf("got %d %s", status, body)
	}
	publish(t, a, "board", 3)
	publish(t, a, "room", 4)
	wantNext(t, stream, `sse.topics {"topics":["room"],"added":["room"],"removed":["board"]}`, "n 4")
	// A page that asks again is answered on the stream, too.
	control(t, controlEngine(t, a), "alice", fmt.Sprintf(`{"stream":%q,"add":["room"]}`, data.Stream))
	wantNext(t, stream, `sse.topics {"topics":["room"]}`)
}

func TestPageCannotChangeAStreamOfAnotherUser(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: allowAllButSecrets})
	engine := controlEngine(t, registry)
	stream := ssetest.NewServer(t, engine).Open(t, "/events?topic=board", as("alice"))
	body := fmt.Sprintf(`{"stream":%q,"add":["room"],"remove":["board"]}`, streamID(t, stream))
	if status, _ := control(t, engine, "mallory", body); status != http.StatusAccepted {
		t.Errorf("status %d", status)
	}
	publish(t, registry, "room", 1)
	publish(t, registry, "board", 2)
	wantNext(t, stream, "n 2")
}

func TestControlHandlerRefusesBadRequests(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: allowAllButSecrets, MaxOpensPerMinute: 20})
	engine := controlEngine(t, registry)
	for body, want := range map[string]int{
		``:                                   http.StatusBadRequest,
		`[]`:                                 http.StatusBadRequest,
		`{"add":["x"]}`:                      http.StatusBadRequest,
		`{"stream":"s","add":[""]}`:          http.StatusBadRequest,
		`{"stream":"s","add":["a\nb"]}`:      http.StatusBadRequest,
		`{"stream":"s","remove":["\u0000"]}`: http.StatusBadRequest,
		`{"stream":"s","add":["` + strings.Repeat(`x","`, 64) + `x"]}`: http.StatusBadRequest,
		`{"stream":"` + strings.Repeat("s", 70_000) + `"}`:             http.StatusBadRequest,
		`{"stream":"s","add":["broken"]}`:                              http.StatusServiceUnavailable,
	} {
		if status, answer := control(t, engine, "alice", body); status != want || strings.Contains(answer, "database") {
			t.Errorf("%.60s: %d %s, want %d", body, status, answer, want)
		}
	}
	status := 0
	for n := 0; n < 30 && status != http.StatusTooManyRequests; n++ {
		status, _ = control(t, engine, "alice", `{"stream":"s"}`)
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("after 30 requests the status is %d, want 429", status)
	}
}

// A check that says yes, and a revocation that overtakes the grant: the revocation wins.
func TestRevocationDuringTheCheckWins(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(ctx context.Context, r *ginsse.Registry) error{
		"user":  func(ctx context.Context, r *ginsse.Registry) error { return r.Revoke(ctx, "alice", "board") },
		"topic": func(ctx context.Context, r *ginsse.Registry) error { return r.RevokeTopic(ctx, "board") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var registry *ginsse.Registry
			registry = newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: func(c *gin.Context, _ string) (bool, error) {
				return true, revoke(c.Request.Context(), registry) // after the check has read the database
			}})
			engine := controlEngine(t, registry)
			server := ssetest.NewServer(t, engine)
			stream := server.Open(t, "/events", as("alice"))
			control(t, engine, "alice", fmt.Sprintf(`{"stream":%q,"add":["board"]}`, streamID(t, stream)))
			wantNext(t, stream, `sse.topics {"topics":[],"refused":["board"]}`)
			// The same while a stream opens.
			opened := server.Open(t, "/events?topic=board", as("alice"))
			if open := opened.NextOf("sse.open"); strings.Contains(open.Data, "board") {
				t.Errorf("got %s, with the topic", open.Data)
			}
		})
	}
}

func TestErrorOfTheCheckAsksTheClientToComeBack(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: allowAllButSecrets})
	stream := ssetest.NewServer(t, controlEngine(t, registry)).Open(t, "/events?topic=broken", as("alice"))
	if e := stream.Next(); e.Type != "sse.reconnect" || !strings.Contains(e.Data, "overloaded") {
		t.Errorf("got %+v", e)
	}
}

func TestRenewKeepsAStreamOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := twoNodes(t, ginsse.RegistryConfig{})
		stream := ssetest.NewServer(t, controlEngine(t, b)).Open(t, "/events", as("alice"), ssetest.Header("X-Lifetime", "1s"))
		id := streamID(t, stream)
		// By a request with a fresh credential, on the other node.
		if status, body := control(t, controlEngine(t, a), "alice", fmt.Sprintf(`{"stream":%q}`, id), "X-Lifetime", "2s"); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
		check(t, a.Renew(t.Context(), "alice", id, time.Now().Add(3*time.Second)))
		check(t, a.Renew(t.Context(), "alice", id, time.Now().Add(time.Second))) // earlier: no effect
		check(t, a.Renew(t.Context(), "mallory", id, time.Now().Add(time.Hour)))
		start := time.Now()
		if e := stream.NextOf("sse.reconnect"); !strings.Contains(e.Data, "expired") {
			t.Errorf("got %s", e.Data)
		}
		if lasted := time.Since(start); lasted < 2500*time.Millisecond {
			t.Errorf("the stream ended after %v, want 3s", lasted)
		}
		if err := a.Renew(t.Context(), "alice", id, time.Time{}); err == nil {
			t.Error("the zero time was taken")
		}
	})
}

// Many streams with many topics: a topic that goes leaves the lists of the others right.
func TestStreamsOfATopicAreCountedWhileTopicsChange(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	var streams []*ssetest.Stream
	for user := range 10 {
		s := server.Open(t, "/events?topic=a&topic=b&topic=c", as(fmt.Sprint(user)))
		s.NextOf("sse.open")
		streams = append(streams, s)
	}
	for user := 0; user < 10; user += 2 {
		check(t, registry.Revoke(t.Context(), fmt.Sprint(user), "a"))
		check(t, registry.Grant(t.Context(), fmt.Sprint(user), "d"))
		streams[user].NextOf("sse.topics")
		streams[user].NextOf("sse.topics")
	}
	for topic, want := range map[string]int{"a": 5, "b": 10, "c": 10, "d": 5} {
		if got := publish(t, registry, topic, 1).Streams; got != want {
			t.Errorf("%d streams read %s, want %d", got, topic, want)
		}
	}
	for _, s := range streams {
		s.Close()
	}
	for _, topic := range []string{"a", "b", "c", "d"} {
		until(t, "no stream of "+topic, func() bool { return publish(t, registry, topic, 2).Streams == 0 })
	}
}

func TestExceptLeavesOutOneStream(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	serverA, serverB := ssetest.NewServer(t, newEngine(t, a)), ssetest.NewServer(t, newEngine(t, b))
	mine, other := serverA.Open(t, "/events?topic=board", as("alice")), serverB.Open(t, "/events?topic=board", as("alice"))
	id := streamID(t, mine)
	other.NextOf("sse.open")
	for _, transient := range []bool{false, true} {
		_, err := b.Publish(t.Context(), "board", ginsse.Event{Type: "card", Data: 1, Except: id, Transient: transient})
		check(t, err)
		wantNext(t, other, "card 1")
	}
	send(t, b, "alice", 2)
	wantNext(t, mine, "n 2")
	wantNext(t, other, "n 2")
}

func TestEventIsNotDeliveredAfterItsTTL(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	old := send(t, registry, "alice", 0).ID
	receipt, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "banner", Data: 1, TTL: 50 * time.Millisecond})
	check(t, err)
	expired := time.Now().Add(60 * time.Millisecond)
	send(t, registry, "alice", 2)
	if receipt.ID == "" {
		t.Error("the receipt has no ID")
	}
	pass(time.Until(expired))
	stream := server.Open(t, "/events", as("alice"), ssetest.LastEventID(old))
	if open := stream.NextOf("sse.open"); !strings.Contains(open.Data, `"resumed":true`) {
		t.Errorf("got %s", open.Data)
	}
	wantNext(t, stream, "n 2")
}

func TestTransientEventsReachOpenStreamsOfAllNodes(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	serverA, serverB := ssetest.NewServer(t, newEngine(t, a)), ssetest.NewServer(t, newEngine(t, b))
	here, there := serverA.Open(t, "/events?topic=board", as("alice")), serverB.Open(t, "/events?topic=board", as("bob"))
	id := here.NextOf("sse.open").LastEventID
	there.NextOf("sse.open")
	receipt, err := a.Publish(t.Context(), "board", ginsse.Event{Type: "typing", Data: "alice", Transient: true})
	check(t, err)
	if receipt.ID != "" || receipt.Streams != 1 {
		t.Errorf("the receipt is %+v, want no ID and one stream", receipt)
	}
	for _, s := range []*ssetest.Stream{here, there} {
		if e := s.Next(); e.Type != "typing" || e.Data != "alice" || e.LastEventID != id {
			t.Errorf("got %+v, want typing with the ID from before", e)
		}
	}
	// It is not kept.
	send(t, a, "carol", 1)
	again := serverB.Open(t, "/events?topic=board", as("carol"), ssetest.LastEventID(id))
	again.NextOf("sse.open")
	wantNext(t, again, "n 1")
}

func TestTransientEventsPushNothingOutOfTheHistory(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 100})})
	server := ssetest.NewServer(t, newEngine(t, registry))
	id := send(t, registry, "alice", 0).ID
	send(t, registry, "alice", 1)
	for range 4096 {
		_, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "typing", Data: "bob", Transient: true})
		check(t, err)
	}
	stream := server.Open(t, "/events", as("alice"), ssetest.LastEventID(id))
	stream.NextOf("sse.open")
	send(t, registry, "alice", 2)
	wantNext(t, stream, "n 1", "n 2")
}

// What is sent after a revocation is not delivered, also if it is transient, and overtakes the
// revocation on its way to another node.
func TestTransientEventDoesNotOvertakeARevocation(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
	lagging := &laggingNode{Node: nodes[1]}
	b := newRegistry(t, ginsse.RegistryConfig{Log: lagging})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events?topic=board", as("alice"))
	stream.NextOf("sse.open")
	lagging.setLag(true)
	check(t, a.Revoke(t.Context(), "alice", "board"))
	_, err := a.Publish(t.Context(), "board", ginsse.Event{Type: "typing", Data: "secret", Transient: true})
	check(t, err)
	_, err = b.SendTo(t.Context(), "alice", ginsse.Event{Type: "typing", Data: "own", Transient: true}) // wakes the stream
	check(t, err)
	wantNext(t, stream, "typing own")
	lagging.setLag(false)
	send(t, a, "alice", 1)
	wantNext(t, stream, `sse.topics {"topics":[],"removed":["board"]}`, "n 1")
}

// laggingNode is a node that gets messages at once and, while it lags, nothing new from the log.
type laggingNode struct {
	*ssetest.Node
	lags atomic.Bool
	fn   func(subject string, seq uint64)
}

func (n *laggingNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	n.fn = fn
	return n.Node.Watch(func(subject string, seq uint64) {
		if !n.lags.Load() {
			fn(subject, seq)
		}
	})
}

func (n *laggingNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if n.lags.Load() {
		return eventlog.Page{Entries: dst, Through: q.After}, nil
	}
	return n.Node.Read(ctx, q, dst)
}

func (n *laggingNode) setLag(lags bool) {
	n.lags.Store(lags)
	if !lags {
		n.fn("", 0)
	}
}

func TestStreamsRefuseEventsForRegistries(t *testing.T) {
	t.Parallel()
	for _, e := range []ginsse.Event{{Data: 1, Key: "k"}, {Data: 1, DedupKey: "k"}, {Data: 1, TTL: 1}, {Data: 1, Transient: true}, {Data: 1, Except: "s"}} {
		engine := serveAt(func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
				if err := s.Send(ctx, e); !errors.Is(err, ginsse.ErrInvalidEvent) {
					t.Errorf("%+v: error %v", e, err)
				}
				return nil
			})
		})
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
		if body, _ := io.ReadAll(w.Body); bytes.Contains(body, []byte("data")) {
			t.Errorf("%+v was sent: %s", e, body)
		}
	}
}

// The tabs of a browser share one stream. If they want more topics than a stream can have, it opens with
// as many as it can have.
func TestPageThatAsksForTooManyTopicsGetsAStream(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: allowAllButSecrets})
	engine := controlEngine(t, registry)
	query := "/events?topic=0"
	for n := 1; n < 70; n++ {
		query += fmt.Sprint("&topic=", n)
	}
	stream := ssetest.NewServer(t, engine).Open(t, query, as("alice"))
	var open struct {
		Stream string   `json:"stream"`
		Topics []string `json:"topics"`
	}
	check(t, json.Unmarshal([]byte(stream.NextOf("sse.open").Data), &open))
	if len(open.Topics) != 64 {
		t.Errorf("the stream reads %d topics, want 64", len(open.Topics))
	}
	// It has no place for another one, and says so.
	if status, body := control(t, engine, "alice", fmt.Sprintf(`{"stream":%q,"add":["69"]}`, open.Stream)); status != http.StatusAccepted {
		t.Errorf("%d %s", status, body)
	}
	if e := stream.NextOf("sse.topics"); !strings.HasSuffix(e.Data, `"refused":["69"]}`) {
		t.Errorf("got %s", e.Data)
	}
}

// A user whose topic was revoked is not there any more, without a grace. A page that closes the topic
// has the grace.
func TestRevocationEndsPresenceAtOnce(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{PresenceGrace: time.Hour, AllowTopicFunc: allowAllButSecrets})
	present := ginsse.WithPresence(func(string) any { return 1 })
	open := func(r *ginsse.Registry, user string) (*ssetest.Stream, string) {
		stream := ssetest.NewServer(t, stateEngine(t, r, present)).Open(t, "/events?topic=board", as(user))
		return stream, streamID(t, stream)
	}
	_, _ = open(a, "alice")
	_, id := open(b, "bob")
	until := func(what string, want int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); len(a.Present("board")) != want || len(b.Present("board")) != want; pass(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v and %v are present, want %d", what, a.Present("board"), b.Present("board"), want)
			}
		}
	}
	until("both are there", 2)
	control(t, controlEngine(t, a), "bob", fmt.Sprintf(`{"stream":%q,"remove":["board"]}`, id))
	check(t, b.Revoke(t.Context(), "alice", "board"))
	until("alice was removed", 1)
	if got := a.Present("board")[0].UserID; got != "bob" {
		t.Errorf("%s is present, want bob", got)
	}
}
