package logtest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// site is one node of an application: a registry on its log, and a server of streams.
type site struct {
	log      ginsse.Log
	registry *ginsse.Registry
	server   *ssetest.Server
}

// newSites returns two nodes of an application, on a log and its peer.
func newSites(t *testing.T, s Suite, b Bounds) [2]*site {
	t.Helper()
	log := s.New(t, b)
	return [2]*site{newSite(t, log), newSite(t, s.Peer(t, log))}
}

// newSite is without heartbeats, which would cover up for a stream that was not woken,
// unless a request asks for them.
func newSite(t *testing.T, log ginsse.Log) *site {
	t.Helper()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		Log:               log,
		Stream:            ginsse.StreamConfig{HeartbeatInterval: -1},
		MaxStreamsPerUser: -1, // a client that was cut may be back before its stream has ended
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader(userHeader)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	engine := gin.New()
	middleware := ginsse.Middleware(auth)
	engine.GET(eventsPath, middleware, registry.Handler(ginsse.WithTopics(topic)))
	engine.GET(beatingPath, middleware, registry.Handler(ginsse.WithStreamConfig(ginsse.StreamConfig{HeartbeatInterval: heartbeat})))
	return &site{log: log, registry: registry, server: ssetest.NewServer(t, engine)}
}

const (
	userHeader  = "Test-User"
	eventsPath  = "/events"  // streams that have the topic
	beatingPath = "/beating" // and that have heartbeats instead
	topic       = "news"
	heartbeat   = 5 * time.Millisecond
	eventType   = "n"

	aliceID, bobID, carolID = "alice", "bob", "carol"
)

// open opens a stream of a user.
func (at *site) open(t *testing.T, s Suite, user string, options ...ssetest.Option) *ssetest.Stream {
	t.Helper()
	stream := at.server.Open(t, eventsPath, append(options, ssetest.Header(userHeader, user))...)
	stream.Patience = s.patience
	if e := stream.Next(); e.Type != "sse.open" {
		t.Fatalf("the stream of %q begins with %q: %s", user, e.Type, e.Data)
	}
	return stream
}

// send sends a numbered event to a user, and returns what is to be received.
func (at *site) send(t *testing.T, user string, n int) ssetest.Event {
	t.Helper()
	receipt, err := at.registry.SendTo(t.Context(), user, numbered(n))
	return sent(t, n, receipt, err)
}

func numbered(n int) ginsse.Event { return ginsse.Event{Type: eventType, Data: n} }

// sent is the numbered event that a receipt is for.
func sent(t *testing.T, n int, receipt ginsse.Receipt, err error) ssetest.Event {
	t.Helper()
	if err != nil {
		t.Fatalf("sending event %d: %v", n, err)
	}
	return ssetest.Event{Type: eventType, Data: fmt.Sprint(n), LastEventID: receipt.ID}
}

// wantNext fails unless these are the next events of a stream, and nothing between them.
func wantNext(t *testing.T, stream *ssetest.Stream, list ...ssetest.Event) {
	t.Helper()
	for i, want := range list {
		if got := stream.Next(); got != want {
			t.Fatalf("event %d of %d is %q, want %q", i+1, len(list), got, want)
		}
	}
}

// wantEnd fails unless the stream ends with these events and a reason.
func wantEnd(t *testing.T, stream *ssetest.Stream, reason ginsse.Reason, list ...ssetest.Event) {
	t.Helper()
	wantNext(t, stream, list...)
	want := fmt.Sprintf(`{"reason":%q}`, string(reason))
	if e := stream.Next(); e.Type != "sse.close" || e.Data != want {
		t.Fatalf("after %d events there is %q, want the end by %s", len(list), e, want)
	}
	if rest, err := stream.WaitEnd(); err != nil || len(rest) > 0 {
		t.Fatalf("after the end: %q, %v", rest, err)
	}
}

// sorted returns events by their place in the log.
func sorted(t *testing.T, events []ssetest.Event) []ssetest.Event {
	t.Helper()
	slices.SortFunc(events, func(a, b ssetest.Event) int {
		return cmp.Compare(cursorOf(t, a.LastEventID).Seq, cursorOf(t, b.LastEventID).Seq)
	})
	return events
}

func cursorOf(t *testing.T, id string) ginsse.Cursor {
	t.Helper()
	at, err := ginsse.ParseCursor(id)
	if err != nil {
		t.Fatalf("the id %q is none: %v", id, err)
	}
	return at
}
