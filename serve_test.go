package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A last event ID in the query may contain characters that a header cannot.
func TestLastEventIDWithControlCharactersIsAGap(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	engine := newEngine(t, registry)
	for _, id := range []string{"%01%7F%20%C3%A9", "%00", "%0D%0Aevent:%20x", "%FF%FE"} {
		request := httptest.NewRequest(http.MethodGet, "/events?lastEventId="+id, http.NoBody)
		request.Header.Set("X-User", "alice")
		w := httptest.NewRecorder()
		go func() {
			for len(registry.Streams("alice")) == 0 {
				runtime.Gosched()
			}
			_, _ = registry.Disconnect(t.Context(), "alice", "")
		}()
		engine.ServeHTTP(w, request)
		events := ssetest.Parse(w.Body.Bytes())
		if len(events) != 3 || events[1].Type != "sse.gap" || events[1].Data != fmt.Sprintf(`{"reason":%q}`, "unknown") {
			t.Errorf("%s: got %+v", id, events)
		}
	}
}

func TestServeRefusesInvalidTopicsAndAMissingUser(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	r := newEngine(t, registry)
	r.GET("/without", func(c *gin.Context) {
		if err := registry.Serve(c); !errors.Is(err, ginsse.ErrNoUser) {
			t.Errorf("without Middleware: %v", err)
		}
	})
	server := ssetest.NewServer(t, r)
	for path, want := range map[string]int{
		"/without":            500,
		"/events?topic=":      400,
		"/events?topic=a%0Ab": 400,
		"/events?topic=" + strings.Join(many, "&topic="): 400,
	} {
		status, contentType, _ := get(t, server, path, "alice")
		if status != want || strings.HasPrefix(contentType, "text/event-stream") {
			t.Errorf("%.40s: status %d of type %q, want %d", path, status, contentType, want)
		}
	}
}

func TestWithStreamConfigOverridesTheRegistrysSettings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{ReconnectionTime: -1}})
		r := gin.New()
		r.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler(ginsse.WithStreamConfig(ginsse.StreamConfig{HeartbeatInterval: time.Second})))
		stream := ssetest.NewServer(t, r).Open(t, "/events", as("alice"))
		pass(10 * time.Second)
		synctest.Wait()
		if n := stream.Heartbeats(); n < 9 {
			t.Errorf("%d heartbeats in ten seconds", n)
		}
		if d := stream.ReconnectionTime(); d != 0 {
			t.Errorf("the reconnection time is %v, want none, as the registry has it", d)
		}
	})
}

func TestHooksMayBlockWithoutHoldingUpTheStream(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var calls []string
	record := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, s)
	}
	release, finished := make(chan struct{}), make(chan struct{})
	registry := newRegistry(t, ginsse.RegistryConfig{
		ConnectFunc: func(s *ginsse.Stream) {
			_ = s.Send(context.Background(), ginsse.Event{Type: "welcome", Data: s.UserID()})
			<-release
			record("connect " + s.UserID() + " " + fmt.Sprint(s.Metadata()["device"]))
		},
		DisconnectFunc: func(s *ginsse.Stream, reason ginsse.Reason) {
			record("disconnect " + s.UserID() + " " + string(reason))
			close(finished)
		},
	})
	r := gin.New()
	r.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler(ginsse.WithMetadata(map[string]any{"device": "phone"})))
	stream := ssetest.NewServer(t, r).Open(t, "/events", as("alice"))
	if e := stream.NextOf("welcome"); e.Data != "alice" {
		t.Errorf("got %+v", e)
	}
	send(t, registry, "alice", 1) // while ConnectFunc blocks
	wantNumbers(t, stream, 1, 1)
	stream.Close()
	for registry.Online("alice") { // DisconnectFunc waits for ConnectFunc
		pass(time.Millisecond)
	}
	close(release)
	within(t, "DisconnectFunc", finished)
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"connect alice phone", "disconnect alice client gone"}; !slices.Equal(calls, want) {
		t.Errorf("calls are %q, want %q", calls, want)
	}
}

func TestPanicInAHookIsLoggedAndEndsNoStream(t *testing.T) {
	t.Parallel()
	var logged safeBuffer
	registry := newRegistry(t, ginsse.RegistryConfig{
		Logger:      slog.New(slog.NewTextHandler(&logged, nil)),
		ConnectFunc: func(*ginsse.Stream) { panic("in the hook") },
	})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	send(t, registry, "alice", 1)
	wantNumbers(t, stream, 1, 1)
	if err := registry.Shutdown(t.Context()); err != nil { // waits for hooks
		t.Fatal(err)
	}
	if !strings.Contains(logged.String(), "in the hook") {
		t.Errorf("the log says %q", logged.String())
	}
}

// A page tells by the mark whether its connection belongs to another user than before.
func TestOpenEventMarksTheUserWithoutANameInIt(t *testing.T) {
	t.Parallel()
	mark := func(user string) string {
		server := transports[0].start(t, newEngine(t, newRegistry(t, ginsse.RegistryConfig{})), nil)
		var data struct {
			User string `json:"user"`
		}
		if err := connect(t, server, "/events", as(user)).NextOf("sse.open").Unmarshal(&data); err != nil {
			t.Fatal(err)
		}
		return data.User
	}
	alice := mark("alice@example.com")
	if again := mark("alice@example.com"); again != alice { // also on another node
		t.Errorf("the marks of a user are %q and %q", alice, again)
	}
	if bob := mark("bob@example.com"); bob == alice {
		t.Errorf("two users have the mark %q", bob)
	}
	if len(alice) != 12 || strings.Contains(alice, "alice") {
		t.Errorf("the mark is %q", alice)
	}
}
