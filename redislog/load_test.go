//go:build linux

package redislog_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
)

// sent is an event that was sent.
type sent struct {
	stored bool            // it was acknowledged; otherwise it may have been stored or not
	at     eventlog.Cursor // of an event that was appended and acknowledged
	began  time.Time
	took   time.Duration
	err    error
}

// load appends and commits numbered events at its nodes until it is stopped. Each number is sent
// once: what comes twice was stored twice by a retry of the log, or of the client.
type load struct {
	nodes []node
	stop  func()

	mu     sync.Mutex      // guards the fields below
	sent   map[string]sent // by number, which begins with a for appended, t for a transaction
	tried  int
	stored int
}

// operationTimeout bounds an append and a transaction.
const operationTimeout = 3 * time.Second

// startLoad has two appenders and two committers at each node.
func startLoad(t testing.TB, nodes ...node) *load {
	t.Helper()
	l := &load{nodes: nodes, sent: make(map[string]sent)}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	var sending sync.WaitGroup
	l.stop = sync.OnceFunc(func() {
		close(stopped)
		sending.Wait()
		cancel()
	})
	t.Cleanup(l.stop)
	for _, n := range nodes {
		for range 2 {
			l.repeat(&sending, stopped, func() { l.append(ctx, n) })
			l.repeat(&sending, stopped, func() { l.commit(ctx, n) })
		}
	}
	return l
}

// repeat calls fn until the load is stopped. Pauses bound how much the nodes have to do.
func (l *load) repeat(sending *sync.WaitGroup, stopped <-chan struct{}, fn func()) {
	sending.Go(func() {
		for {
			select {
			case <-time.After(time.Duration(rand.Int64N(int64(4 * time.Millisecond)))):
				fn()
			case <-stopped:
				return
			}
		}
	})
}

func (l *load) next(kind string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried++
	return fmt.Sprint(kind, l.tried)
}

func (l *load) note(n string, s sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.took = time.Since(s.began)
	l.sent[n] = s
	if s.stored {
		l.stored++
	}
}

var allSubjects = []string{"user:alice", "all", "topic:news"}

// subjectOf determines the subject of an event by its number.
func subjectOf(n string) string { return allSubjects[int(n[len(n)-1])%len(allSubjects)] }

func (l *load) append(ctx context.Context, at node) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	n, s := l.next("a"), sent{began: time.Now()}
	s.at, s.err = at.log.Append(ctx, record(subjectOf(n), n))
	s.stored = s.err == nil
	l.note(n, s)
}

func (l *load) commit(ctx context.Context, at node) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	n, s := l.next("t"), sent{began: time.Now()}
	defer func() { l.note(n, s) }()
	pipe := at.client.TxPipeline()
	if s.err = at.log.Tx(pipe).Put(ctx, record(subjectOf(n), n)); s.err != nil {
		return
	}
	_, s.err = pipe.Exec(ctx)
	s.stored = s.err == nil
}

// await waits until so many more events were acknowledged.
func (l *load) await(t testing.TB, more int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.stored
	}
	had := count()
	defer func() {
		if t.Failed() {
			l.logErrors(t)
		}
	}()
	until(t, fmt.Sprint(more, " events"), func() bool { return count() >= had+more })
}

// logErrors logs the different errors of the load.
func (l *load) logErrors(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make(map[string]int)
	for n, s := range l.sent {
		if s.err != nil {
			counts[n[:1]+": "+s.err.Error()]++
		}
	}
	for _, text := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%d times %s", counts[text], text)
	}
}

// settle stops the load. It has each node append an event, and returns the last position.
func (l *load) settle(t testing.TB) (end eventlog.Cursor) {
	t.Helper()
	l.stop()
	for _, n := range l.nodes {
		end = appendPatiently(t, n.log, "end")
	}
	return end
}

// recovers waits until an event that each node appends has come to all readers. It fails after the
// bound.
func (l *load) recovers(t testing.TB, bound time.Duration, readers ...*follower) {
	t.Helper()
	began := time.Now()
	for _, n := range l.nodes {
		at := appendPatiently(t, n.log, "recovered")
		for i, r := range readers {
			until(t, fmt.Sprintf("position %v at reader %d, which is at %v", at, i, r.position()), func() bool { return r.reached(at) })
		}
		until(t, "readiness after the fault", func() bool { return n.log.Ready() == nil })
	}
	l.awaitMessages(t)
	took := time.Since(began).Round(time.Millisecond)
	if t.Logf("all nodes work again after %v", took); took > bound {
		t.Errorf("all nodes work again after %v, more than %v", took, bound)
	}
}

// awaitMessages waits until a message of each node has come to all. Messages may be lost, so they are
// sent again.
func (l *load) awaitMessages(t testing.TB) {
	t.Helper()
	var mu sync.Mutex
	came := make(map[string]bool)
	for i, n := range l.nodes {
		defer n.log.Receive(fmt.Sprint("node", i), func(message []byte) {
			mu.Lock()
			defer mu.Unlock()
			came[fmt.Sprintf("%s to %d", message, i)] = true
		})()
	}
	until(t, "a message of each node at each", func() bool {
		for i, n := range l.nodes {
			_ = n.log.Post("", fmt.Append(nil, i)) // it is repeated after an error
		}
		mu.Lock()
		defer mu.Unlock()
		return len(came) == len(l.nodes)*len(l.nodes)
	})
}

// follower reads logs as a stream does, while a test goes on: when a log calls its watcher, or
// after an error. With several logs it reads from each in turn, as a client whose requests go to
// different nodes.
type follower struct {
	logs []*redislog.Log
	from eventlog.Cursor
	done chan struct{}
	stop context.CancelFunc

	mu   sync.Mutex // guards the fields below
	at   eventlog.Cursor
	got  []arrival
	gaps []gap
}

// arrival is an event as a reader got it.
type arrival struct {
	at eventlog.Cursor
	n  string
}

// gap is a gap that a reader got.
type gap struct {
	reason eventlog.GapReason
	before int // events
	when   time.Time
}

// follow returns a follower that starts at the head of its first log.
func follow(t testing.TB, logs ...*redislog.Log) *follower {
	t.Helper()
	return followFrom(t, head(t, logs[0]), logs...)
}

// followAll returns a follower at each node, and one that reads from all of them.
func followAll(t testing.TB, nodes ...node) (readers []*follower) {
	t.Helper()
	var logs []*redislog.Log
	for _, n := range nodes {
		logs = append(logs, n.log)
		readers = append(readers, follow(t, n.log))
	}
	return append(readers, follow(t, logs...))
}

func followFrom(t testing.TB, at eventlog.Cursor, logs ...*redislog.Log) *follower {
	t.Helper()
	r := &follower{logs: logs, from: at, at: at, done: make(chan struct{})}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(t.Context())
	t.Cleanup(func() {
		r.stop()
		<-r.done
	})
	news := make(chan struct{}, 1)
	var stops []func()
	for _, log := range logs {
		stops = append(stops, log.Watch(func(string, uint64) {
			select {
			case news <- struct{}{}:
			default:
			}
		}))
	}
	go func() {
		defer close(r.done)
		for turn := 0; ctx.Err() == nil; turn++ {
			if r.page(ctx, logs[turn%len(logs)]) {
				continue
			}
			again := time.After(patience)
			if len(logs) > 1 {
				again = time.After(20 * time.Millisecond) // the next one may not have been read when this one called
			}
			select {
			case <-news:
			case <-again:
			case <-ctx.Done():
			}
		}
		for _, stop := range stops {
			stop()
		}
	}()
	return r
}

// page reads one page. It reports whether to read on at once.
func (r *follower) page(ctx context.Context, log *redislog.Log) (more bool) {
	page, err := log.Read(ctx, eventlog.Query{Subjects: allSubjects, After: r.at, MaxEntries: 100, MaxBytes: 64 << 10}, nil)
	if err != nil {
		select {
		case <-time.After(100 * time.Millisecond): // as a stream does after an error
		case <-ctx.Done():
		}
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = page.Through
	if page.Gap != "" {
		r.gaps = append(r.gaps, gap{page.Gap, len(r.got), time.Now()})
	}
	for _, e := range page.Entries {
		r.got = append(r.got, arrival{e.At, dataOf(e)})
	}
	return page.More || page.Gap != ""
}

func (r *follower) position() eventlog.Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *follower) reached(at eventlog.Cursor) bool {
	now := r.position()
	return now.Epoch == at.Epoch && now.Seq >= at.Seq
}

// positions returns positions that the reader had, evenly spread, and the one where it began.
func (r *follower) positions(count int) (list []eventlog.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list = append(list, r.from)
	for i := range min(count, len(r.got)) {
		list = append(list, r.got[i*(len(r.got)-1)/max(count-1, 1)].at)
	}
	return list
}

// events returns the events that came so far.
func (r *follower) events() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.got {
		list = append(list, a.n)
	}
	return list
}

func (r *follower) allGaps() []gap {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.gaps)
}

// verify settles the load and compares what it sent with what the readers got.
func (l *load) verify(t testing.TB, readers ...*follower) {
	t.Helper()
	end := l.settle(t)
	for i, r := range readers {
		until(t, fmt.Sprintf("position %v at reader %d", end, i), func() bool { return r.reached(end) })
		r.stop()
		<-r.done
	}
	l.judge(t, readers...)
}

// judge compares. After a gap, a reader may lack what was sent before it, never what was sent later,
// and may get again what it had before the gap.
func (l *load) judge(t testing.TB, readers ...*follower) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	order := make(map[eventlog.Cursor]string) // the same for all readers
	for i, r := range readers {
		name := fmt.Sprint("reader ", i)
		place := make(map[string]eventlog.Cursor)
		since := make(map[string]int) // gaps before an event came
		last, gaps := r.from, 0
		for j, a := range r.got {
			for gaps < len(r.gaps) && r.gaps[gaps].before <= j {
				gaps++
				last = eventlog.Cursor{Epoch: a.at.Epoch}
			}
			if a.at.Epoch != last.Epoch {
				fault("%s: position %v came after %v without a gap", name, a.at, last)
			} else if a.at.Seq <= last.Seq {
				fault("%s: position %d came after %d", name, a.at.Seq, last.Seq)
			}
			last = a.at
			if other, ok := order[a.at]; ok && other != a.n {
				fault("%s: position %d is event %s, and for another reader %s", name, a.at.Seq, a.n, other)
			}
			order[a.at] = a.n
			if a.n == "end" || a.n == "recovered" {
				continue
			}
			if before, again := place[a.n]; again && since[a.n] == gaps {
				fault("%s: event %s came at %v and at %v", name, a.n, before, a.at)
			}
			place[a.n], since[a.n] = a.at, gaps
			switch s, ok := l.sent[a.n]; {
			case !ok:
				fault("%s: event %s was not sent", name, a.n)
			case s.at != (eventlog.Cursor{}) && s.at != a.at && len(r.gaps) == 0:
				fault("%s: event %s was acknowledged at %v and came at %v", name, a.n, s.at, a.at)
			}
		}
		var covered time.Time // what was sent before is covered by a gap
		for _, g := range r.gaps {
			covered = g.when
		}
		for n, s := range l.sent {
			if _, ok := place[n]; !ok && s.stored && s.began.After(covered) {
				fault("%s: event %s was acknowledged at %v and did not come", name, n, s.at)
			}
		}
		t.Logf("%s: %d events, gaps %v", name, len(r.got), r.gaps)
	}
	slices.Sort(faults)
	for _, text := range faults[:min(len(faults), 12)] {
		t.Error(text)
	}
	if len(faults) > 12 {
		t.Errorf("and %d more", len(faults)-12)
	}
	for n, s := range l.sent {
		if n[0] == 'a' && s.took > operationTimeout+5*time.Second {
			t.Errorf("the append of event %s took %v, and its context ended after %v", n, s.took, operationTimeout)
		}
	}
	longest := slices.MaxFunc(slices.Collect(maps.Values(l.sent)), func(a, b sent) int { return int(a.took - b.took) })
	t.Logf("%d events sent, %d acknowledged; the longest took %v", len(l.sent), l.stored, longest.took.Round(time.Millisecond))
}

// wantNoGaps fails if a reader has a gap.
func wantNoGaps(t testing.TB, readers ...*follower) {
	t.Helper()
	for i, r := range readers {
		if gaps := r.allGaps(); len(gaps) > 0 {
			t.Errorf("reader %d has gaps: %v", i, gaps)
		}
	}
}

// awaitGaps waits until each reader has a gap of reason epoch, and fails if one took longer than the
// bound, counted from a moment. With -short there is no bound: the machine may pause for a second.
func awaitGaps(t testing.TB, since time.Time, bound time.Duration, readers ...*follower) {
	t.Helper()
	var longest time.Duration
	for i, r := range readers {
		until(t, fmt.Sprint("a gap at reader ", i), func() bool { return len(r.allGaps()) > 0 })
		g := r.allGaps()[0]
		if g.reason != eventlog.GapEpoch && len(r.logs) == 1 { // nodes may differ for a moment
			t.Errorf("reader %d has a gap of reason %q", i, g.reason)
		}
		longest = max(longest, g.when.Sub(since))
	}
	if t.Logf("each reader knows after %v", longest.Round(time.Millisecond)); longest > bound && !testing.Short() {
		t.Fatalf("a reader knows after %v, later than %v", longest, bound)
	}
}

// wantOldPositionsRefused fails unless each log reports a gap after each position.
func wantOldPositionsRefused(t testing.TB, positions []eventlog.Cursor, logs ...*redislog.Log) {
	t.Helper()
	for i, log := range logs {
		for _, at := range positions {
			if gap := gapAfter(t, log, at); gap != eventlog.GapEpoch {
				t.Fatalf("log %d, at position %v from before the fault: gap %q", i, at, gap)
			}
		}
	}
}
