package ginsse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

func TestSendToReachesAllStreamsOfTheUserAndNoOthers(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	first, second := server.Open(t, "/events", as("alice")), server.Open(t, "/events", as("alice"))
	bob := server.Open(t, "/events", as("bob"))
	receipt := send(t, registry, "alice", 1)
	if receipt.Streams != 2 {
		t.Errorf("the receipt says %d streams, want 2", receipt.Streams)
	}
	for _, stream := range []*ssetest.Stream{first, second} {
		if e := stream.NextOf("n"); e.Data != "1" || e.LastEventID != receipt.ID {
			t.Errorf("got %+v, want id %q", e, receipt.ID)
		}
	}
	// A stream that resumes after an event does not get it again.
	late := server.Open(t, "/events", as("alice"), ssetest.LastEventID(receipt.ID))
	if again := send(t, registry, "alice", 7); again.Streams != 3 {
		t.Errorf("the receipt says %d streams, want 3", again.Streams)
	}
	late.Close()
	send(t, registry, "bob", 2)
	if e := bob.NextOf("n"); e.Data != "2" {
		t.Errorf("bob got %+v", e)
	}
	if receipt := send(t, registry, "carol", 3); receipt.Streams != 0 || receipt.ID == "" {
		t.Errorf("the receipt for a user who is not connected is %+v", receipt)
	}
}

func TestBroadcastAndPublishReachTheirSubscribers(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	alice := server.Open(t, "/events?topic=post:1&topic=post:2&topic=post:1", as("alice"))
	bob := server.Open(t, "/events?topic=post:2", as("bob"))
	ctx := t.Context()
	for _, step := range []struct {
		send func() (ginsse.Receipt, error)
		want int
	}{
		{func() (ginsse.Receipt, error) { return registry.Publish(ctx, "post:1", numbered(1)) }, 1},
		{func() (ginsse.Receipt, error) { return registry.Publish(ctx, "post:2", numbered(2)) }, 2},
		{func() (ginsse.Receipt, error) { return registry.Publish(ctx, "post:3", numbered(3)) }, 0},
		{func() (ginsse.Receipt, error) { return registry.Broadcast(ctx, numbered(4)) }, 2},
		{func() (ginsse.Receipt, error) {
			return registry.SendToUsers(ctx, []string{"alice", "bob", "alice", "carol"}, numbered(5))
		}, 2},
	} {
		receipt, err := step.send()
		if err != nil || receipt.Streams != step.want || receipt.ID == "" {
			t.Errorf("receipt %+v, %v, want %d streams", receipt, err, step.want)
		}
	}
	data := func(stream *ssetest.Stream, n int) (list []string) {
		for _, e := range stream.Collect("n", n) {
			list = append(list, e.Data)
		}
		return list
	}
	if got := data(alice, 4); !slices.Equal(got, []string{"1", "2", "4", "5"}) {
		t.Errorf("alice got %v", got)
	}
	if got := data(bob, 3); !slices.Equal(got, []string{"2", "4", "5"}) {
		t.Errorf("bob got %v", got)
	}
}

func TestInvalidInputIsRefusedBeforeAnythingIsStored(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxEventBytes: 1000})
	server := ssetest.NewServer(t, newEngine(t, registry))
	alice := server.Open(t, "/events?topic=t", as("alice"))
	ctx, ok := t.Context(), numbered(1)
	tests := []struct {
		name string
		send func() (ginsse.Receipt, error)
		want error
	}{
		{"empty_user", func() (ginsse.Receipt, error) { return registry.SendTo(ctx, "", ok) }, ginsse.ErrInvalidSubject},
		{"control_character", func() (ginsse.Receipt, error) { return registry.SendTo(ctx, "a\nb", ok) }, ginsse.ErrInvalidSubject},
		{"long_user", func() (ginsse.Receipt, error) { return registry.SendTo(ctx, strings.Repeat("a", 257), ok) }, ginsse.ErrInvalidSubject},
		{"invalid_utf8", func() (ginsse.Receipt, error) { return registry.SendTo(ctx, "\xff", ok) }, ginsse.ErrInvalidSubject},
		{"second_user_is_invalid", func() (ginsse.Receipt, error) { return registry.SendToUsers(ctx, []string{"alice", ""}, ok) }, ginsse.ErrInvalidSubject},
		{"empty_topic", func() (ginsse.Receipt, error) { return registry.Publish(ctx, "", ok) }, ginsse.ErrInvalidSubject},
		{"line_break_in_type", func() (ginsse.Receipt, error) {
			return registry.SendTo(ctx, "alice", ginsse.Event{Type: "a\nb", Data: 1})
		}, ginsse.ErrInvalidEvent},
		{"data_that_does_not_marshal", func() (ginsse.Receipt, error) {
			return registry.Broadcast(ctx, ginsse.Event{Data: func() {}})
		}, ginsse.ErrInvalidEvent},
		{"empty_event", func() (ginsse.Receipt, error) { return registry.Broadcast(ctx, ginsse.Event{}) }, ginsse.ErrInvalidEvent},
		{"id_set_by_the_caller", func() (ginsse.Receipt, error) {
			return registry.Publish(ctx, "t", ginsse.Event{ID: "1", Data: 1})
		}, ginsse.ErrInvalidEvent},
		{"too_large", func() (ginsse.Receipt, error) {
			return registry.SendTo(ctx, "alice", ginsse.Event{Data: strings.Repeat("x", 1000)})
		}, ginsse.ErrEventTooLarge},
	}
	for _, test := range tests {
		if receipt, err := test.send(); !errors.Is(err, test.want) || receipt != (ginsse.Receipt{}) {
			t.Errorf("%s: got %+v, %v, want %v", test.name, receipt, err, test.want)
		}
	}
	send(t, registry, "alice", 2)
	if e := alice.NextOf("n"); e.Data != "2" {
		t.Errorf("got %+v, want event 2: a refused event was stored", e)
	}
}

// A handler calls SendTo with its request's context. The author is notified even if the commenter
// has closed the tab by then.
func TestSendToIgnoresACancelledContext(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := registry.SendTo(ctx, "alice", numbered(1)); err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, stream, 1, 1)
}

func TestStreamSendReachesThatStreamAlone(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxEventBytes: 1000})
	server := ssetest.NewServer(t, newEngine(t, registry))
	first, second := server.Open(t, "/events", as("alice")), server.Open(t, "/events", as("alice"))
	id := first.NextOf("sse.open").Data
	for _, s := range registry.Streams("alice") {
		if !strings.Contains(id, s.ID()) {
			continue
		}
		if err := s.Send(t.Context(), ginsse.Event{Type: "private", Data: "x"}); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), ginsse.Event{Type: "private", ID: "7", Data: "x"}); !errors.Is(err, ginsse.ErrInvalidEvent) {
			t.Errorf("an event with an ID of its own was accepted: %v", err)
		}
		if err := s.Send(t.Context(), ginsse.Event{Data: strings.Repeat("x", 1000)}); !errors.Is(err, ginsse.ErrEventTooLarge) {
			t.Errorf("an event over the registry's limit was accepted: %v", err)
		}
	}
	if e := first.NextOf("private"); e.Data != "x" {
		t.Errorf("got %+v", e)
	}
	send(t, registry, "alice", 1)
	for _, e := range second.Collect("n", 1) {
		if e.Data != "1" {
			t.Errorf("the other stream got %+v", e)
		}
	}
}

func TestNewRegistryFailsIfTheLogFails(t *testing.T) {
	t.Parallel()
	log := &failingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
	log.failing.Store(true)
	if _, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log}); !errors.Is(err, errBrokerAway) {
		t.Errorf("the error is %v", err)
	}
}

// A log that has reconnected to its store may not know which subjects have new entries. It then
// notifies without a subject.
func TestNotificationWithoutSubjectWakesAllStreams(t *testing.T) {
	t.Parallel()
	log := &manualLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	server := ssetest.NewServer(t, newEngine(t, registry))
	alice, bob := server.Open(t, "/events", as("alice")), server.Open(t, "/events", as("bob"))
	last := ""
	for n, userID := range []string{"alice", "bob"} {
		last = send(t, registry, userID, n).ID
	}
	log.fn("", seqOf(t, last))
	wantNumbers(t, alice, 0, 0)
	wantNumbers(t, bob, 1, 1)
}

// manualLog notifies only when a test calls fn.
type manualLog struct {
	*eventlog.MemoryLog
	fn func(subject string, seq uint64)
}

func (l *manualLog) Watch(fn func(subject string, seq uint64)) (stop func()) {
	l.fn = fn
	return func() {}
}

func TestStatsAndOnlineCountOpenStreams(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 3)
	registry := newRegistry(t, ginsse.RegistryConfig{DisconnectFunc: func(*ginsse.Stream, ginsse.Reason) { gone <- struct{}{} }})
	server := ssetest.NewServer(t, newEngine(t, registry))
	a1, a2 := server.Open(t, "/events", as("alice")), server.Open(t, "/events", as("alice"))
	b := server.Open(t, "/events?topic=x", as("bob"))
	if s := registry.Stats(); s.Streams != 3 || s.Users != 2 || s.Opened != 3 {
		t.Errorf("stats are %+v", s)
	}
	if n := len(registry.Streams("alice")); n != 2 {
		t.Errorf("alice has %d streams", n)
	}
	a1.Close()
	within(t, "the end", gone)
	if !registry.Online("alice") {
		t.Error("alice is offline, and has a second stream")
	}
	a2.Close()
	b.Close()
	within(t, "the end", gone)
	within(t, "the end", gone)
	if s := registry.Stats(); s.Streams != 0 || s.Users != 0 || s.Opened != 3 {
		t.Errorf("stats are %+v", s)
	}
	if registry.Online("alice") || registry.Online("bob") || registry.Streams("bob") != nil {
		t.Error("a user without streams is online")
	}
}

// safeBuffer is a bytes.Buffer for several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestRefuseNewestAnswersWith429(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreamsPerUser: 2, RefuseNewest: true})
	server := ssetest.NewServer(t, newEngine(t, registry))
	server.Open(t, "/events", as("alice"))
	second := server.Open(t, "/events", as("alice"))
	status, contentType, body := get(t, server, "/events", "alice")
	if status != http.StatusTooManyRequests || !strings.HasPrefix(contentType, "application/json") || !strings.Contains(body, "too_many_streams") {
		t.Errorf("status %d of type %q: %s", status, contentType, body)
	}
	server.Open(t, "/events", as("bob"))
	second.Close()
	for registry.Stats().Streams > 2 { // until the server has noticed that the client has left
		pass(time.Millisecond)
	}
	server.Open(t, "/events", as("alice"))
}

// get sends a request that expects no stream, and returns the answer.
func get(t testing.TB, server *ssetest.Server, path, userID string) (status int, contentType, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", userID)
	response, err := server.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("Content-Type"), string(text)
}

func TestFullRegistryAsksTheClientToReconnect(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreams: 1})
	server := ssetest.NewServer(t, newEngine(t, registry))
	server.Open(t, "/events", as("alice"))
	stream := server.Open(t, "/events", as("bob"))
	wantReconnect(t, stream, "overloaded")
	if d := stream.ReconnectionTime(); d < 6*time.Second || d > 18*time.Second {
		t.Errorf("the reconnection time is %v, want 6 to 18 s", d)
	}
	if registry.Online("bob") {
		t.Error("bob was refused, and is online")
	}
}

func TestNewRegistryNamesTheInvalidField(t *testing.T) {
	t.Parallel()
	_, err := ginsse.NewRegistry(ginsse.RegistryConfig{Stream: ginsse.StreamConfig{WriteTimeout: time.Nanosecond}})
	if err == nil || !strings.Contains(err.Error(), "RegistryConfig.Stream") || !strings.Contains(err.Error(), "WriteTimeout") {
		t.Errorf("got %v", err)
	}
}

func TestSendToUsersWithoutUsersSendsNothing(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	if receipt, err := registry.SendToUsers(t.Context(), nil, numbered(1)); err != nil || receipt != (ginsse.Receipt{}) {
		t.Errorf("got %+v, %v", receipt, err)
	}
	if _, err := registry.SendToUsers(t.Context(), nil, ginsse.Event{}); !errors.Is(err, ginsse.ErrInvalidEvent) {
		t.Errorf("an invalid event: %v", err)
	}
}

// The error says which users have the event, in a form that the caller may append to.
func TestSendToUsersReportsWhoHasTheEvent(t *testing.T) {
	t.Parallel()
	log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
	failing := false
	log.onAppend = func(_ context.Context, r eventlog.Record) error {
		if failing = failing || r.Subject == "user:carol"; failing {
			return errBrokerAway
		}
		return nil
	}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	_, err := registry.SendToUsers(t.Context(), []string{"alice", "bob", "alice", "carol", "dave"}, numbered(1))
	var partial *ginsse.PartialError
	if !errors.As(err, &partial) || !errors.Is(err, errBrokerAway) {
		t.Fatalf("got %v", err)
	}
	_ = append(partial.Sent, "mallory")
	if want := []string{"alice", "bob"}; !slices.Equal(partial.Sent, want) {
		t.Errorf("sent to %q, want %q", partial.Sent, want)
	}
	if want := []string{"carol", "dave"}; !slices.Equal(partial.Unsent, want) {
		t.Errorf("not sent to %q, want %q", partial.Unsent, want)
	}
	if text := err.Error(); strings.Contains(text, "alice") || !strings.Contains(text, "2 of 4 users") {
		t.Errorf("the text is %q", text)
	}
}

// A mistake of the program is not one of the client: Handler refuses it while routes are built, and
// Serve answers 500 and logs it.
func TestInvalidOptionsAreTheServersMistake(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	registry := newRegistry(t, ginsse.RegistryConfig{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	bad := ginsse.WithStreamConfig(ginsse.StreamConfig{HeartbeatInterval: 5})
	func() {
		defer func() {
			if text := fmt.Sprint(recover()); !strings.Contains(text, "HeartbeatInterval") {
				t.Errorf("Handler panicked with %q", text)
			}
		}()
		registry.Handler(bad)
	}()
	for _, test := range []struct {
		option ginsse.ServeOption
		status int
	}{{bad, http.StatusInternalServerError}, {ginsse.WithTopics(""), http.StatusBadRequest}} {
		logged.Reset()
		w := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		request.Header.Set("X-User", "alice")
		serveAt(func(c *gin.Context) { _ = registry.Serve(c, test.option) }, ginsse.Middleware(headerAuth(t))).ServeHTTP(w, request)
		if w.Code != test.status || !strings.Contains(logged.String(), "level=WARN") {
			t.Errorf("status %d, want %d; logged %q", w.Code, test.status, logged.String())
		}
	}
}
