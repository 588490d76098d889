package logtest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// streamsStayOpen has the store restart under streams: some with heartbeats, which carry the
// position to clients, and some that only the log's Watch wakes.
func streamsStayOpen(t *testing.T, s Suite) {
	nodes := newNodes(t, s, Bounds{})
	var streams []*openStream
	for _, node := range nodes {
		streams = append(streams, &openStream{stream: node.open(t, s, aliceID)}, node.openWithHeartbeats(t, s, aliceID))
	}
	n := 0
	check := func() {
		t.Helper()
		var events []ssetest.Event
		for range 5 {
			for _, node := range nodes {
				events = append(events, node.sendAgain(t, s, aliceID, &n))
			}
		}
		// Alice does not get bob's events, but her position moves past them.
		last := nodes[0].sendAgain(t, s, bobID, &n)
		for i, stream := range streams {
			if err := stream.follow(t, s, events); err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
			stream.awaitPosition(t, s, cursorOf(t, last.LastEventID))
		}
	}
	check()
	for range 2 {
		s.Restart(t, nodes[0].log)
		check()
	}
	for _, stream := range streams {
		stream.body.check(t)
	}
	_, late := nodes[0].disconnect(t, aliceID, signedOut)
	for _, stream := range streams {
		stream.wantSignedOut(t, s, late)
	}
}

// openStream is a stream that has to stay open.
type openStream struct {
	stream  *ssetest.Stream
	body    *recordedBody // nil without heartbeats
	reached uint64        // the sequence up to which it has received all events
}

func (n *node) openWithHeartbeats(t *testing.T, s Suite, user string) *openStream {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.server.URL+heartbeatsPath, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	body := &recordedBody{transport: n.server.Client.Transport}
	stream := begin(t, s, func() *ssetest.Stream {
		return ssetest.Connect(t, &http.Client{Transport: body}, request, ssetest.Header(userHeader, user))
	})
	return &openStream{stream: stream, body: body}
}

// follow reads up to the last of these events. All of them have to come, in log order. Events that
// were sent and not acknowledged may come between them.
func (o *openStream) follow(t *testing.T, s Suite, events []ssetest.Event) error {
	t.Helper()
	for _, want := range sorted(t, events) {
		for wanted := cursorOf(t, want.LastEventID).Seq; o.reached < wanted; {
			e, err := o.stream.TryNext(s.longPatience())
			if err != nil {
				return fmt.Errorf("waiting for %q: %w", want, err)
			}
			at := cursorOf(t, e.LastEventID).Seq // sse.close leaves the last one
			switch {
			case e.Type == gapType && s.Inexact, e.Type == eventType && at < wanted, e == want:
				o.reached = at
			default:
				return fmt.Errorf("got %q, want %q", e, want)
			}
		}
	}
	return nil
}

// wantSignedOut fails unless the stream ends. Events that were sent and not acknowledged may come before
// its end.
func (o *openStream) wantSignedOut(t *testing.T, s Suite, late bool) {
	t.Helper()
	e := o.stream.Next()
	for e.Type == eventType || e.Type == gapType && (s.Inexact || late) {
		e = o.stream.Next()
	}
	wantLast(t, o.stream, e, "sse.close", signedOut)
}

// awaitPosition waits until heartbeats have carried a position to the client.
func (o *openStream) awaitPosition(t *testing.T, s Suite, at eventlog.Cursor) {
	t.Helper()
	if o.body == nil {
		return
	}
	deadline := time.Now().Add(s.longPatience())
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for cursorOf(t, o.stream.LastEventID()).Seq < at.Seq {
		if time.Now().After(deadline) {
			t.Fatalf("the client's position is %q; the log has reached %q", o.stream.LastEventID(), at)
		}
		<-ticker.C
	}
}

// recordedBody records the body of a response. Its client keeps the last position only.
type recordedBody struct {
	transport http.RoundTripper

	mu   sync.Mutex // guards text
	text []byte
}

// RoundTrip implements [http.RoundTripper].
func (b *recordedBody) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.transport.RoundTrip(request)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(response.Body, b), response.Body}
	}
	return response, err
}

func (b *recordedBody) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

// check fails unless the positions in the body only grow.
func (b *recordedBody) check(t *testing.T) {
	t.Helper()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.text[:bytes.LastIndexByte(b.text, '\n')+1]
	var last eventlog.Cursor
	for line := range strings.Lines(string(text)) {
		id, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "id: ")
		if !ok {
			continue
		}
		at := cursorOf(t, id)
		if !last.IsZero() && (at.Epoch != last.Epoch || at.Seq < last.Seq) {
			t.Errorf("the position was %+v, and then %+v", last, at)
		}
		last = at
	}
}
