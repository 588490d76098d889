package logtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// node is one node of an application: a registry on its log, and a server of streams.
type node struct {
	log      eventlog.Log
	registry *ginsse.Registry
	server   *ssetest.Server
}

const (
	userHeader     = "Test-User"
	eventsPath     = "/events"     // streams with the topic
	heartbeatsPath = "/heartbeats" // streams with heartbeats instead
	topic          = "news"
	heartbeat      = 5 * time.Millisecond
	eventType      = "n"
	gapType        = "sse.gap"

	aliceID, bobID, carolID = "alice", "bob", "carol"
)

// newNodes returns nodes of an application: on a log, and on its peer if it has one.
func newNodes(t *testing.T, s Suite, b Bounds) (nodes []*node) {
	t.Helper()
	for _, log := range openNodes(t, s, b) {
		nodes = append(nodes, newNode(t, log))
	}
	return nodes
}

// newNode returns a node without heartbeats, except for requests that ask for them. A heartbeat
// would hide that a stream was not woken.
func newNode(t *testing.T, log eventlog.Log) *node {
	t.Helper()
	var registry *ginsse.Registry
	err := withContact(t.Context(), func() (err error) {
		registry, err = ginsse.NewRegistry(ginsse.RegistryConfig{
			Log:               log,
			Stream:            ginsse.StreamConfig{HeartbeatInterval: -1},
			MaxStreamsPerUser: -1, // a client may be back before its former stream has ended
		})
		return err
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
	engine.GET(heartbeatsPath, middleware, registry.Handler(ginsse.WithStreamConfig(ginsse.StreamConfig{HeartbeatInterval: heartbeat})))
	return &node{log: log, registry: registry, server: ssetest.NewServer(t, engine)}
}

// open opens a stream of a user.
func (n *node) open(t *testing.T, s Suite, user string, options ...ssetest.Option) *ssetest.Stream {
	t.Helper()
	return begin(t, s, func() *ssetest.Stream {
		return n.server.Open(t, eventsPath, append(options, ssetest.Header(userHeader, user))...)
	})
}

// begin opens a stream, and again if it is refused for now: see hasLostContact.
func begin(t *testing.T, s Suite, open func() *ssetest.Stream) *ssetest.Stream {
	t.Helper()
	for start := time.Now(); ; <-time.After(retryInterval) {
		stream := open()
		stream.Patience = s.longPatience()
		switch e := stream.Next(); {
		case e.Type == "sse.open":
			return stream
		case e.Type != "sse.reconnect", time.Since(start) > s.longPatience():
			t.Fatalf("the stream begins with %q", e)
		}
		stream.Close()
	}
}

// send sends a numbered event to a user, and returns what the user's streams receive.
func (n *node) send(t *testing.T, user string, number int) ssetest.Event {
	t.Helper()
	receipt, err := n.registry.SendTo(t.Context(), user, numbered(number))
	return sent(t, number, receipt, err)
}

// sendAgain sends events until the log takes one, each with the next number. An event that was not
// taken may be delivered all the same.
func (n *node) sendAgain(t *testing.T, s Suite, user string, number *int) ssetest.Event {
	t.Helper()
	deadline := time.Now().Add(s.longPatience())
	for {
		*number++
		receipt, err := n.registry.SendTo(t.Context(), user, numbered(*number))
		if err == nil || time.Now().After(deadline) {
			return sent(t, *number, receipt, err)
		}
		<-time.After(retryInterval)
	}
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

// wantNext fails unless these are the next events of a stream.
func wantNext(t *testing.T, stream *ssetest.Stream, list ...ssetest.Event) {
	t.Helper()
	for i, want := range list {
		if got := stream.Next(); got != want {
			t.Fatalf("event %d of %d is %q, want %q", i+1, len(list), got, want)
		}
	}
}

// disconnect disconnects a user. late reports whether the log took a second or so. The streams of the
// node have not waited for it then.
func (n *node) disconnect(t *testing.T, user string, reason ginsse.Reason) (ended int, late bool) {
	t.Helper()
	start := time.Now()
	ended, err := n.registry.Disconnect(t.Context(), user, reason)
	if err != nil {
		t.Fatalf("disconnecting %s: %v", user, err)
	}
	return ended, time.Since(start) > 900*time.Millisecond
}

// wantDisconnected fails unless these are the last events of a stream before the end by a Disconnect. If
// that was late, the stream may lack some of the last ones.
func wantDisconnected(t *testing.T, s Suite, stream *ssetest.Stream, late bool, reason ginsse.Reason, events ...ssetest.Event) {
	t.Helper()
	if !late {
		wantNext(t, stream, events...)
		wantEnd(t, s, stream, "sse.close", reason)
		return
	}
	e := stream.Next()
	for ; e.Type == gapType || len(events) > 0 && e == events[0]; e = stream.Next() {
		if e.Type != gapType {
			events = events[1:]
		}
	}
	wantLast(t, stream, e, "sse.close", reason)
}

// wantEnd fails unless the next event of a stream is its last, of this type and reason.
func wantEnd(t *testing.T, s Suite, stream *ssetest.Stream, eventType string, reason ginsse.Reason) {
	t.Helper()
	e := stream.Next()
	for e.Type == gapType && s.Inexact {
		e = stream.Next()
	}
	wantLast(t, stream, e, eventType, reason)
}

// wantLast fails unless an event is the last of a stream, of this type and reason.
func wantLast(t *testing.T, stream *ssetest.Stream, e ssetest.Event, eventType string, reason ginsse.Reason) {
	t.Helper()
	if e.Type != eventType || !strings.HasPrefix(e.Data, fmt.Sprintf(`{"reason":%q`, string(reason))) {
		t.Fatalf("got %q, want %s by %q", e, eventType, reason)
	}
	if rest, err := stream.WaitEnd(); err != nil || len(rest) > 0 {
		t.Fatalf("after the end there is %q, %v", rest, err)
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

func cursorOf(t *testing.T, id string) eventlog.Cursor {
	t.Helper()
	at, err := eventlog.ParseCursor(id)
	if err != nil {
		t.Fatalf("the id %q is no position: %v", id, err)
	}
	return at
}
