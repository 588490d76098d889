package nodetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/client"
)

// Tab is a client and the events that it has received. The exported fields are set before
// [Fleet.Open] and not changed.
type Tab struct {
	User string        // alice, bob, or one to whom no event is sent alone
	Node int           // where the tab connects at first, or Roaming
	News bool          // it subscribes to the topic "news"
	Idle time.Duration // after which it leaves a node that sends nothing; 0 for never

	client *client.Client
	opened atomic.Int64  // streams
	ended  chan struct{} // closed when err is final
	err    error         // why the client ended; read after ended

	mu    sync.Mutex         // guards the fields below
	at    int                // the node where it connects now
	leave context.CancelFunc // ends the current connection
	sent  string             // URL of the node that got the last request
	here  bool               // it has a position
	seen  []arrival
	wrong []string // events of the kit that no node had a reason to send
}

// arrival is an event as a tab has received it.
type arrival struct {
	n      int
	id     string
	stream int64
}

func (tb *Tab) String() string { return fmt.Sprintf("the tab of %s at node %d", tb.User, tb.Node) }

// Open connects a tab, and returns it when it has a stream. The tab reconnects until its user is
// disconnected, or until the end of the test.
func (f *Fleet) Open(t testing.TB, tb *Tab) *Tab {
	t.Helper()
	tb.at, tb.ended = tb.Node, make(chan struct{})
	cfg := client.Config{
		NewRequest: func(ctx context.Context) (*http.Request, error) {
			tb.mu.Lock()
			node := f.URL(tb.at)
			tb.mu.Unlock()
			return tb.request(ctx, node)
		},
		IdleTimeout:      -1,
		ReconnectionTime: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond,
		RetryStatus: client.RetryTransient,
		OnOpen:      func(*http.Response) { tb.opened.Add(1) },
	}
	if tb.Idle > 0 {
		cfg.IdleTimeout, cfg.ConnectTimeout = tb.Idle, tb.Idle
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
	Until(t, fmt.Sprint("a stream for ", tb), func() bool { return tb.client.LastEventID() != "" })
	return tb
}

func (tb *Tab) request(ctx context.Context, node string) (*http.Request, error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			tb.mu.Lock()
			defer tb.mu.Unlock()
			tb.sent = node
		}
	}})
	query := url.Values{}
	if tb.News {
		query.Set("topic", "news")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, node+"/events?"+query.Encode(), http.NoBody)
	if err == nil {
		request.Header.Set("X-User", tb.User)
	}
	return request, err
}

// follow receives events until the client ends, or leaves.
func (tb *Tab) follow(ctx context.Context) {
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

func (tb *Tab) take(e client.Event) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch stream := tb.opened.Load(); {
	case e.Type == "n":
		n, _ := strconv.Atoi(e.Data)
		tb.seen = append(tb.seen, arrival{n, e.LastEventID, stream})
	case e.Type == typeGap, e.Type == typeOpen && tb.here && !resumed(e):
		tb.wrong = append(tb.wrong, fmt.Sprintf("%s %s on stream %d", e.Type, e.Data, stream))
	case e.Type == typeOpen:
		tb.here = true
	}
}

// allow says that an event that the tab has received is not a fault.
func (tb *Tab) allow(kind, data string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.wrong = slices.DeleteFunc(tb.wrong, func(fault string) bool { return strings.HasPrefix(fault, kind+" "+data+" ") })
}

// Types of the kit's events.
const (
	typeOpen = "sse.open"
	typeGap  = "sse.gap"
)

func resumed(open client.Event) bool {
	var data struct{ Resumed bool }
	return open.Unmarshal(&data) == nil && data.Resumed
}

// Received returns the events that the tab has received so far: their numbers and ids. Of an event
// that was repeated it has the first id.
func (tb *Tab) Received() map[int]string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	ids := make(map[int]string)
	for _, a := range tb.seen {
		if _, again := ids[a.n]; !again {
			ids[a.n] = a.id
		}
	}
	return ids
}

// next sets where the tab connects when it has lost its stream.
func (tb *Tab) next(node int) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.at = node
}

// move has the tab leave its stream and connect to another node.
func (tb *Tab) move(node int) {
	tb.next(node)
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.leave()
}

// asked returns the URL of the node that got the last request. There may be no response yet.
func (tb *Tab) asked() string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return tb.sent
}

func (tb *Tab) over() bool {
	select {
	case <-tb.ended:
		return true
	default:
		return false
	}
}

// wantSignedOut waits for the end of the tab, and fails unless its user was disconnected.
func (tb *Tab) wantSignedOut(t testing.TB) {
	t.Helper()
	Until(t, fmt.Sprint("the end of ", tb), tb.over)
	if closed := (*client.ClosedError)(nil); !errors.As(tb.err, &closed) || closed.Reason != signedOut {
		t.Errorf("%v ended with %v", tb, tb.err)
	}
}
