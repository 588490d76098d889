//go:build linux

package sqllog_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/client"
)

// tab is a client and the events that it has received.
type tab struct {
	user string
	node int           // where it connects at first, or roaming
	news bool          // it subscribes to the topic
	idle time.Duration // after which it leaves a node that sends nothing; 0 for never

	client *client.Client
	opened atomic.Int64  // streams
	ended  chan struct{} // closed with err
	err    error         // why the client ended; read after ended

	mu    sync.Mutex         // guards the fields below
	at    int                // the node where it connects now
	leave context.CancelFunc // ends the current connection
	sent  string             // URL of the node that got the last request
	here  bool               // it has a position
	seen  []received
	wrong []string // events of the kit that no node had a reason to send
}

// received is an event as the tab received it.
type received struct {
	n      int
	id     string
	stream int64
}

func (tb *tab) String() string { return fmt.Sprintf("the tab of %s at node %d", tb.user, tb.node) }

// open connects a tab and returns it.
func (f *fleet) open(t *testing.T, tb *tab) *tab {
	t.Helper()
	tb.at, tb.ended = tb.node, make(chan struct{})
	cfg := client.Config{
		NewRequest: func(ctx context.Context) (*http.Request, error) {
			tb.mu.Lock()
			node := f.url(tb.at)
			tb.mu.Unlock()
			return tb.request(ctx, node)
		},
		IdleTimeout:      -1,
		ReconnectionTime: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond,
		RetryStatus: client.RetryTransient,
		OnOpen:      func(*http.Response) { tb.opened.Add(1) },
	}
	if tb.idle > 0 {
		cfg.IdleTimeout, cfg.ConnectTimeout = tb.idle, tb.idle
	}
	var err error
	if tb.client, err = client.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		<-tb.ended
	})
	go func() {
		defer close(tb.ended)
		for ctx.Err() == nil && !errors.As(tb.err, new(*client.ClosedError)) {
			tb.follow(ctx)
		}
	}()
	until(t, fmt.Sprint("a stream for ", tb), func() bool { return tb.client.LastEventID() != "" })
	return tb
}

func (tb *tab) request(ctx context.Context, node string) (*http.Request, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			tb.mu.Lock()
			defer tb.mu.Unlock()
			tb.sent = node
		}
	}})
	query := url.Values{}
	if tb.news {
		query.Set("topic", "news")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, node+"/events?"+query.Encode(), http.NoBody)
	if err == nil {
		request.Header.Set("X-User", tb.user)
	}
	return request, err
}

// follow receives events until the client ends, or leaves.
func (tb *tab) follow(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tb.mu.Lock()
	tb.leave = cancel
	tb.mu.Unlock()
	for e, err := range tb.client.Events(ctx) {
		if tb.err = err; err == nil {
			tb.take(e)
		}
	}
}

func (tb *tab) take(e client.Event) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch stream := tb.opened.Load(); {
	case e.Type == "n":
		n, _ := strconv.Atoi(e.Data)
		tb.seen = append(tb.seen, received{n, e.LastEventID, stream})
	case e.Type == "sse.gap", e.Type == "sse.open" && tb.here && !resumed(e):
		tb.wrong = append(tb.wrong, fmt.Sprintf("%s %s on stream %d", e.Type, e.Data, stream))
	case e.Type == "sse.open":
		tb.here = true
	}
}

func resumed(open client.Event) bool {
	var data struct{ Resumed bool }
	return open.Unmarshal(&data) == nil && data.Resumed
}

// next sets where the tab connects when it has lost its stream.
func (tb *tab) next(node int) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.at = node
}

// move has the tab leave its stream and connect to another node.
func (tb *tab) move(node int) {
	tb.next(node)
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.leave()
}

// asked returns the URL of the node that got the last request. There may be no response yet.
func (tb *tab) asked() string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return tb.sent
}

func (tb *tab) over() bool {
	select {
	case <-tb.ended:
		return true
	default:
		return false
	}
}

func (tb *tab) wantSignedOut(t *testing.T) {
	t.Helper()
	until(t, fmt.Sprint("the end of ", tb), tb.over)
	if closed := (*client.ClosedError)(nil); !errors.As(tb.err, &closed) || closed.Reason != "signed out" {
		t.Errorf("%v ended with %v", tb, tb.err)
	}
}

// wants reports whether an event is for the tab.
func (tb *tab) wants(n int) bool {
	switch to := destinations[n%len(destinations)]; to {
	case "all":
		return true
	case "topic:news":
		return tb.news
	default:
		return to == "user:"+tb.user
	}
}

// verify compares the events received with those that were acknowledged, up to a sequence. An event
// may be repeated on a later stream, with the same id. Otherwise each one is received once, in
// order.
func (tb *tab) verify(t *testing.T, acked map[int]string, end uint64) {
	t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	wrong := slices.Clone(tb.wrong)
	fault := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	first := make(map[int]received)
	last, repeats, unknown := uint64(0), 0, 0
	for _, a := range tb.seen {
		before, again := first[a.n]
		id, known := acked[a.n]
		switch seq := sequence(a.id); {
		case again && before.id == a.id && before.stream < a.stream:
			repeats++
			continue
		case again:
			fault("event %d was received twice, as %d on stream %d and as %d on stream %d", a.n, sequence(before.id), before.stream, seq, a.stream)
		case !tb.wants(a.n):
			fault("event %d is for another user", a.n)
		case known && id != "" && a.id != id:
			fault("event %d was acknowledged as %q and received as %q", a.n, id, a.id)
		case seq <= last:
			fault("event %d was received at %d, after %d", a.n, seq, last)
		default:
			last = seq
		}
		if first[a.n] = a; !known {
			unknown++
		}
	}
	for n, id := range acked {
		if _, ok := first[n]; !ok && tb.wants(n) && sequence(id) <= end {
			fault("event %d was acknowledged at %d, or committed if that is 0, and not received", n, sequence(id))
		}
	}
	for _, text := range wrong[:min(len(wrong), 10)] {
		t.Errorf("%v: %s", tb, text)
	}
	if len(wrong) > 10 {
		t.Errorf("%v: and %d more", tb, len(wrong)-10)
	}
	t.Logf("%v: %d events on %d streams, %d of them not acknowledged, %d repeats", tb, len(first), tb.opened.Load(), unknown, repeats)
}
