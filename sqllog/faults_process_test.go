//go:build linux

package sqllog_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// TestKilledNodesLoseNothing kills nodes at random moments while senders and clients use all of
// them, and starts each again. At the end it disconnects a user at one node.
func TestKilledNodesLoseNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind        kind
		recentBytes int
	}{
		"postgres":                       {inPostgres, 0},
		"postgres_with_little_in_memory": {inPostgres, 16 << 10},
		"sqlite":                         {inSQLite, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killNodes(t, newFleet(t, test.kind, test.recentBytes))
		})
	}
}

func killNodes(t *testing.T, f *fleet) {
	others := []*tab{
		f.open(t, &tab{user: "bob", node: roaming, news: true}),
		f.open(t, &tab{user: "carol", node: roaming, news: true}),
	}
	alices := []*tab{f.open(t, &tab{user: "alice", node: roaming})}
	for i := range f.nodes { // each returns to its node, with a position from before the crash
		alices = append(alices, f.open(t, &tab{user: "alice", node: i}))
	}
	p := f.post(t)
	for i := range 2 * len(f.nodes) {
		p.await(t, 50+rand.IntN(50))
		f.kill(t, i%len(f.nodes))
		p.await(t, 50+rand.IntN(50))
		f.start(t, i%len(f.nodes))
	}
	p.await(t, 200)
	p.verify(t, slices.Concat(alices, others)...)
	for _, tb := range alices[1:] {
		if tb.opened.Load() < 3 {
			t.Errorf("%v has not had to reconnect", tb)
		}
	}

	f.disconnect(t, 0, "alice")
	for _, tb := range alices {
		tb.wantSignedOut(t)
	}
	p.mark(t, roaming, others...)
}

// TestFrozenNodesHoldUpNobody stops nodes at random moments. The others go on meanwhile.
func TestFrozenNodesHoldUpNobody(t *testing.T) {
	t.Parallel()
	const bound, some = 2 * time.Second, 40
	f := newFleet(t, inPostgres, 0)
	tabs := []*tab{f.open(t, &tab{user: "bob", node: roaming, news: true})}
	for i := range f.nodes {
		tabs = append(tabs, f.open(t, &tab{user: "alice", node: i}))
	}
	p := f.post(t)
	var usual, longest time.Duration // for some events, with all nodes and while one is frozen
	await := func(longest *time.Duration) {
		began := time.Now()
		p.await(t, some)
		*longest = max(*longest, time.Since(began))
	}
	var freezes []failure
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		await(&usual)
		p.await(t, rand.IntN(20))
		i %= len(f.nodes)
		f.setOut(i, true) // first, as otherwise all posters may wait for it
		freeze := failure{url: f.url(i), began: time.Now()}
		f.signal(t, i, syscall.SIGSTOP)
		await(&longest)
		freeze.ended = time.Now()
		freezes = append(freezes, freeze)
		f.signal(t, i, syscall.SIGCONT)
		f.setOut(i, false)
	}
	p.stop()
	for _, failed := range p.failures {
		if !slices.ContainsFunc(freezes, func(freeze failure) bool {
			return freeze.url == failed.url && freeze.began.Before(failed.ended) && freeze.ended.After(failed.began)
		}) {
			t.Errorf("a request to a node that was not frozen failed after %v: %v", failed.ended.Sub(failed.began), failed.err)
		}
	}
	// A node that holds up others does so until it goes on: no await would end. The bound is above what
	// a busy machine needs anyway.
	if t.Logf("%d events took %v, and %v while a node was frozen", some, usual, longest); longest > bound+2*usual {
		t.Errorf("more than %v", bound)
	}
	p.verify(t, tabs...)
}

// TestFrozenNodeCatchesUp stops a node while senders and clients use the others. Some of its
// clients wait for it. Others leave, and one returns with a position that the node has not reached.
// The log of a node that was stopped briefly never lost contact, and lags all the same.
func TestFrozenNodeCatchesUp(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]time.Duration{"briefly": 0, "until_contact_is_lost": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			freezeNode(t, newFleet(t, inPostgres, 0), least)
		})
	}
}

func freezeNode(t *testing.T, f *fleet, least time.Duration) {
	const frozen, live = 0, 1
	waiting := f.open(t, &tab{user: "alice", node: frozen})
	leaving := f.open(t, &tab{user: "alice", node: frozen, idle: time.Second})
	leaving.next(roaming)
	returning := f.open(t, &tab{user: "bob", node: frozen, news: true})
	var daves []*tab
	for i := range f.nodes {
		daves = append(daves, f.open(t, &tab{user: "dave", node: i, news: true}))
	}
	streams := map[*tab]int64{waiting: 1, daves[frozen]: 1, returning: 3}
	p := f.post(t)
	p.await(t, 200)

	f.signal(t, frozen, syscall.SIGSTOP)
	stopped := time.Now()
	f.setOut(frozen, true)
	returning.move(roaming)
	// The live node delivers all events up to this one before it disconnects the user.
	before := p.mark(t, live)
	f.disconnect(t, live, "dave")
	daves[live].wantSignedOut(t)
	p.await(t, 200)
	p.mark(t, roaming, returning)
	if least > leaving.idle {
		until(t, "the time", func() bool { return time.Since(stopped) > least })
		p.mark(t, roaming, leaving)
		streams[leaving] = 2
	}
	if daves[frozen].over() {
		t.Errorf("%v has ended", daves[frozen])
	}
	returning.move(frozen)
	until(t, "a request to the frozen node", func() bool { return returning.asked() == f.url(frozen) })

	f.signal(t, frozen, syscall.SIGCONT)
	t.Logf("frozen for %v", time.Since(stopped).Round(time.Millisecond))
	f.setOut(frozen, false)
	p.await(t, 200)
	p.mark(t, frozen)
	p.verify(t, waiting, leaving, returning)
	for _, tb := range daves {
		tb.wantSignedOut(t)
		tb.verify(t, p.acknowledged(), before)
	}
	for tb, want := range streams {
		if got := tb.opened.Load(); got < want || want == 1 && got > 1 {
			t.Errorf("%v has had %d streams, want %d", tb, got, want)
		}
	}
}

// posters have the nodes send numbered events until they are stopped. Each number is used for one
// event, and determines its destination and whether it is part of a transaction.
type posters struct {
	fleet *fleet
	http  *http.Client
	stop  func()
	tried atomic.Int64

	mu       sync.Mutex     // guards the fields below
	acked    map[int]string // ids; "" for an event that was committed and not received yet
	failures []failure
}

// failure is a request without an answer.
type failure struct {
	url          string // of the node
	began, ended time.Time
	err          error
}

// destinations are the subjects of the events: number n has the one at n modulo their count.
var destinations = [...]string{"user:alice", "user:bob", "topic:news", "all"}

func committed(n int) bool { return n/len(destinations)%2 == 1 }

func (f *fleet) post(t *testing.T) *posters {
	p := &posters{fleet: f, acked: make(map[int]string)}
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	p.http = &http.Client{Transport: transport, Timeout: time.Second}
	var posting sync.WaitGroup
	over := make(chan struct{})
	p.stop = sync.OnceFunc(func() {
		close(over)
		posting.Wait()
	})
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(p.stop)
	for range 6 {
		posting.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				n := int(p.tried.Add(1))
				url, began := f.url(roaming), time.Now()
				id, err := p.send(url, destinations[n%len(destinations)], "n", n)
				p.mu.Lock()
				if err == nil {
					p.acked[n] = id
				} else {
					p.failures = append(p.failures, failure{url, began, time.Now(), err})
				}
				p.mu.Unlock()
			}
		})
	}
	return p
}

// send returns the event's id. After an error it may have been stored or not.
func (p *posters) send(node, subject, kind string, n int) (id string, err error) {
	how := "send"
	if committed(n) {
		how = "commit"
	}
	response, err := p.http.Post(fmt.Sprintf("%s/%s/%s?type=%s&n=%d", node, how, subject, kind, n), "", http.NoBody)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return string(body), err
}

func (p *posters) acknowledged() map[int]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.acked)
}

// await waits until so many more events were acknowledged.
func (p *posters) await(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.acked)
	}
	had := count()
	until(t, fmt.Sprint(more, " events"), func() bool { return count() >= had+more })
}

// mark broadcasts an event through a node. It returns the event's sequence when the tabs have
// received everything up to it.
func (p *posters) mark(t *testing.T, node int, tabs ...*tab) (seq uint64) {
	t.Helper()
	until(t, "an event that is acknowledged", func() bool {
		id, err := p.send(p.fleet.url(node), "all", "mark", 0)
		seq = sequence(id)
		return err == nil
	})
	for _, tb := range tabs {
		until(t, fmt.Sprintf("event %d for %v", seq, tb), func() bool { return tb.over() || sequence(tb.client.LastEventID()) >= seq })
		if tb.over() {
			t.Errorf("%v has ended: %v", tb, tb.err)
		}
	}
	return seq
}

// sequence returns the sequence in an id; 0 if the id is invalid.
func sequence(id string) uint64 {
	at, _ := eventlog.ParseCursor(id)
	return at.Seq
}

// verify stops the posters and compares what they sent with what the tabs received, and with the
// rows that were committed.
func (p *posters) verify(t *testing.T, tabs ...*tab) {
	t.Helper()
	p.stop()
	end := p.mark(t, roaming, tabs...)
	p.addRows(t, tabs)
	t.Logf("%d events tried, %d stored, %d failed", p.tried.Load(), len(p.acknowledged()), len(p.failures))
	for _, tb := range tabs {
		tb.verify(t, p.acknowledged(), end)
	}
}

// addRows counts all events as acknowledged whose rows are there. It takes their ids from those who
// received them.
func (p *posters) addRows(t *testing.T, tabs []*tab) {
	t.Helper()
	rows := appRows(t, p.fleet.db)
	p.mu.Lock()
	defer p.mu.Unlock()
	there := make(map[int]bool)
	for text := range rows {
		n, _ := strconv.Atoi(text)
		there[n] = true
		p.acked[n] = ""
	}
	for n := range p.acked {
		if committed(n) && !there[n] {
			t.Errorf("event %d was committed, and its row is not there", n)
		}
	}
	for _, tb := range tabs {
		tb.mu.Lock()
		for _, a := range tb.seen {
			if committed(a.n) && !there[a.n] {
				t.Errorf("event %d was received at %d, and its row is not there", a.n, sequence(a.id))
			} else if committed(a.n) && p.acked[a.n] == "" {
				p.acked[a.n] = a.id
			}
		}
		tb.mu.Unlock()
	}
}
