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

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// streamsStayOpen has the store restart under streams: some with heartbeats, by which
// clients are told their position, and some that are woken by nothing but news.
func streamsStayOpen(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	sites := []*site{newSite(t, log)}
	if s.Peer != nil {
		sites = append(sites, newSite(t, s.Peer(t, log)))
	}
	var stays []*stay
	for _, at := range sites {
		stays = append(stays, &stay{stream: at.open(t, s, aliceID)}, at.openBeating(t, s, aliceID))
	}
	n := 0
	check := func() {
		t.Helper()
		var events []ssetest.Event
		for range 5 {
			for _, at := range sites {
				events = append(events, at.sendAgain(t, s, aliceID, &n))
			}
		}
		// What is bob's alice does not get, but her position moves on with it.
		last := sites[0].sendAgain(t, s, bobID, &n)
		for i, stay := range stays {
			if err := stay.follow(t, s, events); err != nil {
				t.Fatalf("stream %d: %v", i, err)
			}
			stay.awaitPosition(t, s, cursorOf(t, last.LastEventID))
		}
	}
	check()
	for range 2 {
		s.Restart(t, log)
		check()
	}
	for _, stay := range stays {
		stay.tape.check(t)
	}
	if _, ok := log.(ginsse.SharedLog); !ok || len(sites) < 2 {
		return
	}
	if _, err := sites[0].registry.Disconnect(t.Context(), aliceID, "signed out"); err != nil {
		t.Fatal(err)
	}
	for _, stay := range stays {
		wantEnd(t, stay.stream, "signed out")
	}
}

// stay is a stream that is to stay open.
type stay struct {
	stream  *ssetest.Stream
	tape    *tape  // nil without heartbeats
	reached uint64 // the sequence up to which it has got what there is
}

func (at *site) openBeating(t *testing.T, s Suite, user string) *stay {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.server.URL+beatingPath, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	recorded := &tape{transport: at.server.Client.Transport}
	stream := ssetest.Connect(t, &http.Client{Transport: recorded}, request, ssetest.Header(userHeader, user))
	stream.Patience = s.patience
	if e := stream.Next(); e.Type != "sse.open" {
		t.Fatalf("the stream begins with %q", e)
	}
	return &stay{stream: stream, tape: recorded}
}

// sendAgain sends events until one is taken, each with the next number: one that was not
// taken may come all the same.
func (at *site) sendAgain(t *testing.T, s Suite, user string, n *int) ssetest.Event {
	t.Helper()
	deadline := time.Now().Add(s.long())
	for {
		*n++
		receipt, err := at.registry.SendTo(t.Context(), user, numbered(*n))
		if err == nil || time.Now().After(deadline) {
			return sent(t, *n, receipt, err)
		}
		<-time.After(again)
	}
}

// follow reads up to the last of these events, which all have to come, in their order in
// the log. Others may come between them: such as were sent and not acknowledged.
func (st *stay) follow(t *testing.T, s Suite, events []ssetest.Event) error {
	t.Helper()
	for _, want := range sorted(t, events) {
		for wanted := cursorOf(t, want.LastEventID).Seq; st.reached < wanted; {
			e, err := st.stream.TryNext(s.long())
			if err != nil {
				return fmt.Errorf("waiting for %q: %w", want, err)
			}
			at := cursorOf(t, e.LastEventID).Seq // sse.close leaves it as it was
			switch {
			case e.Type == "sse.gap" && s.Inexact, e.Type == eventType && at < wanted, e == want:
				st.reached = at
			default:
				return fmt.Errorf("got %q, want %q", e, want)
			}
		}
	}
	return nil
}

// awaitPosition waits until the heartbeats have told the client a position.
func (st *stay) awaitPosition(t *testing.T, s Suite, at ginsse.Cursor) {
	t.Helper()
	if st.tape == nil {
		return
	}
	deadline := time.Now().Add(s.long())
	look := time.NewTicker(heartbeat)
	defer look.Stop()
	for cursorOf(t, st.stream.LastEventID()).Seq < at.Seq {
		if time.Now().After(deadline) {
			t.Fatalf("the client's position is %q, and %q has been reached", st.stream.LastEventID(), at)
		}
		<-look.C
	}
}

// tape keeps what a stream was sent: its client knows the last position alone.
type tape struct {
	transport http.RoundTripper

	mu   sync.Mutex // guards the field below
	text []byte
}

func (r *tape) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.transport.RoundTrip(request)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(response.Body, r), response.Body}
	}
	return response, err
}

func (r *tape) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, p...)
	return len(p), nil
}

// check fails unless the positions that the client was told only grow.
func (r *tape) check(t *testing.T) {
	t.Helper()
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.text[:bytes.LastIndexByte(r.text, '\n')+1]
	var last ginsse.Cursor
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
