package logtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// loadBounds keep everything that a load appends.
var loadBounds = Bounds{EventsPerSubject: 1 << 20, MaxBytes: 1 << 30}

const loadAppenders, loadReaders = 4, 4

// orderUnderLoad has readers resume at random positions, and at other nodes, while appenders run at
// full speed. Far behind, readers read old pages while new entries come. At the head, they meet
// entries that have a place in the order before they can be read, or the other way round.
func orderUnderLoad(t *testing.T, s Suite) {
	ordersUnderLoad(t, s, func(t *testing.T) []eventlog.Log { return []eventlog.Log{s.New(t, loadBounds)} })
}

func orderUnderLoadOnPeers(t *testing.T, s Suite) {
	ordersUnderLoad(t, s, func(t *testing.T) []eventlog.Log {
		log := s.New(t, loadBounds)
		return []eventlog.Log{log, s.Peer(t, log)}
	})
}

func ordersUnderLoad(t *testing.T, s Suite, open func(t *testing.T) []eventlog.Log) {
	for _, test := range []struct {
		name       string
		count, lag int // entries; how many of them readers may be behind
	}{{"far_behind", 8000, math.MaxInt}, {"at_the_head", 4000, 2 * loadAppenders}} {
		t.Run(test.name, func(t *testing.T) {
			logs := open(t)
			count := test.count / len(logs)
			if testing.Short() {
				count /= 4
			}
			l := newLoadTest(t, s, logs, loadReaders)
			l.lag, l.limit = test.lag, count
			l.readers[0].polls, l.moves = true, true
			defer l.start(t)()
			l.finish(t)
		})
	}
}

// loadTest has entries appended, and read meanwhile, on logs with the same contents. That an append
// failed says nothing about its entry: the next one has the next number.
type loadTest struct {
	s       Suite
	logs    []eventlog.Log
	from    eventlog.Cursor // where readers begin
	moves   bool            // readers reconnect to another node at times, as clients do
	readers []*loadReader
	running sync.WaitGroup
	end     chan struct{} // closed by stop
	ending  sync.Once

	mu       sync.Mutex // guards the fields below, and those of readers
	changed  sync.Cond  // any of them has
	lag      int        // how far the slowest reader may be behind, in sequences and appends
	limit    int        // appends that may begin
	failing  bool       // appends may fail, because the store restarts
	watchful bool       // an appender that notices a restart is held
	held     [loadAppenders]bool
	over     bool
	busy     int // appends that have begun and not ended
	begun    int
	appended map[int]eventlog.Cursor // acknowledged, by number
	newest   uint64                  // sequence acknowledged
	progress int                     // counts pages and acknowledgements
}

type loadReader struct {
	*reader

	polls bool // it reads all the time; others wait for Watch, as a stream does
	seq   uint64
	got   []*eventlog.Entry
	gaps  [][2]uint64 // entries after the first sequence, up to the second, may be missing
}

func newLoadTest(t *testing.T, s Suite, logs []eventlog.Log, readers int) *loadTest {
	t.Helper()
	l := &loadTest{
		s: s, logs: logs, from: head(t, logs[0]), lag: 1000, limit: math.MaxInt,
		end: make(chan struct{}), appended: make(map[int]eventlog.Cursor),
	}
	l.changed.L = &l.mu
	for i := range readers {
		l.readers = append(l.readers, l.newReader(logs[i%len(logs)]))
	}
	return l
}

func (l *loadTest) newReader(log eventlog.Log) *loadReader {
	return &loadReader{reader: readerAt(log, l.from, alice, all), seq: l.from.Seq}
}

// start starts appenders and readers. stop ends them and waits for them.
func (l *loadTest) start(t *testing.T) (stop func()) {
	for i, r := range l.readers {
		l.running.Go(func() { l.read(t, r, i) })
	}
	for i := range loadAppenders {
		log, subject := l.logs[i%len(l.logs)], []string{alice, alice, all, all}[i]
		l.running.Go(func() { l.append(t, log, subject, i) })
	}
	return l.stop
}

func (l *loadTest) stop() {
	l.set(func() { l.over = true })
	l.ending.Do(func() { close(l.end) })
	l.running.Wait()
}

// set changes what the lock guards.
func (l *loadTest) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.changed.Broadcast()
}

func (l *loadTest) append(t *testing.T, log eventlog.Log, subject string, i int) {
	// Some appenders wait for a store to come back, and some give up.
	patience := l.s.longPatience()
	if i >= loadAppenders/2 {
		patience = min(time.Second, l.s.patience/10)
	}
	for {
		n, failing, ok := l.begin(i)
		if !ok {
			return
		}
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if failing {
			ctx, cancel = context.WithTimeout(ctx, patience)
		}
		begun := time.Now()
		at, err := log.Append(ctx, record(subject, n))
		cancel()
		l.set(func() {
			l.busy--
			l.held[i] = l.held[i] || l.watchful && (err != nil || time.Since(begun) > retryInterval)
			if err == nil {
				l.appended[n] = at
				l.newest = max(l.newest, at.Seq)
				l.progress++
			}
		})
		switch {
		case err != nil && !failing:
			t.Errorf("appending: %v", err)
			l.set(func() { l.over = true })
		case err != nil:
			select {
			case <-time.After(retryInterval):
			case <-l.end:
			}
		}
	}
}

// begin waits until an appender may append, and returns the next number.
func (l *loadTest) begin(i int) (n int, failing, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.over && (l.held[i] || l.begun >= l.limit || l.behindLocked() >= l.lag) {
		l.changed.Wait()
	}
	if l.over {
		return 0, false, false
	}
	l.busy++
	l.begun++
	return l.begun, l.failing, true
}

// behindLocked returns how far the slowest reader is behind.
func (l *loadTest) behindLocked() int {
	slowest := l.slowestLocked()
	return l.busy + int(max(l.newest, slowest)-slowest)
}

func (l *loadTest) slowestLocked() uint64 {
	return slices.MinFunc(l.readers, func(a, b *loadReader) int { return cmp.Compare(a.seq, b.seq) }).seq
}

func (l *loadTest) read(t *testing.T, r *loadReader, i int) {
	w := watch(r.log)
	defer func() { w.stop() }()
	for {
		if l.moves && rand.IntN(10) == 0 {
			w.stop()
			r.log = l.logs[rand.IntN(len(l.logs))]
			w = watch(r.log)
		}
		more, err := l.page(t, r)
		if err != nil && !l.isFailing() && !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("reader %d: %v", i, err)
			return
		}
		var retry <-chan time.Time
		switch {
		case more:
			continue
		case err != nil:
			retry = time.After(retryInterval)
		case r.polls:
			runtime.Gosched()
			retry = closedChannel
		}
		select {
		case <-w.news:
		case <-retry:
		case <-l.end:
			return
		}
		select {
		case <-l.end:
			return
		default:
		}
	}
}

var closedChannel = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

func (l *loadTest) isFailing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failing
}

// page reads one page, and reports whether it has something. As if the connection had broken, the
// reader keeps only some of its entries, and reads the rest again.
func (l *loadTest) page(t *testing.T, r *loadReader) (more bool, err error) {
	before := r.at.Seq
	r.max = 1 + rand.IntN(50)
	page, err := r.try(t)
	if err != nil {
		return false, err
	}
	entries := page.Entries
	if n := len(entries); n > 0 {
		entries = entries[:1+rand.IntN(n)]
		r.at = entries[len(entries)-1].At
	}
	l.set(func() {
		r.seq, r.got = r.at.Seq, append(r.got, entries...)
		if page.Gap != "" {
			r.gaps = append(r.gaps, [2]uint64{before, r.seq})
		}
		l.progress += len(entries)
	})
	return len(entries) > 0 || page.Gap != "", nil
}

// hold has all appenders begin nothing more, or go on.
func (l *loadTest) hold(held bool) {
	l.set(func() {
		for i := range l.held {
			l.held[i] = held
		}
	})
}

// quietLocked reports whether no append is in progress or may begin, and all readers have read
// everything.
func (l *loadTest) quietLocked() bool {
	ended := l.begun >= l.limit || !slices.Contains(l.held[:], false)
	return ended && l.busy == 0 && l.slowestLocked() >= l.newest
}

// await waits until so many more entries were acknowledged.
func (l *loadTest) await(t *testing.T, more int) {
	t.Helper()
	l.mu.Lock()
	enough := len(l.appended) + more
	l.mu.Unlock()
	l.wait(t, "appenders to go on", func() bool { return len(l.appended) >= enough })
}

// wait ends the test if nothing happens for a long time before done reports true.
func (l *loadTest) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	late, seen := false, 0
	timer := time.AfterFunc(l.s.longPatience(), func() { l.set(func() { late = true }) })
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !done() && !l.over {
		switch {
		case l.progress != seen:
			late, seen = false, l.progress
			timer.Reset(l.s.longPatience())
		case late:
			t.Fatalf("waited for %s: %d appends begun, %d of them not ended, %d acknowledged up to %d, read up to %d",
				what, l.begun, l.busy, len(l.appended), l.newest, l.slowestLocked())
		}
		l.changed.Wait()
	}
}

// finish waits for the last appends and their readers, and compares what all have read: also
// readers that come afterwards.
func (l *loadTest) finish(t *testing.T) {
	t.Helper()
	l.wait(t, "appends to end, and readers to read all entries", l.quietLocked)
	l.stop()
	readers := l.readers
	for _, log := range l.logs {
		r := l.newReader(log)
		l.catchUp(t, r)
		readers = append(readers, r)
	}
	l.judge(t, readers)
}

// catchUp reads to the end.
func (l *loadTest) catchUp(t *testing.T, r *loadReader) {
	t.Helper()
	deadline := time.Now().Add(l.s.longPatience())
	for r.seq < l.newest {
		more, err := l.page(t, r)
		switch {
		case more:
			deadline = time.Now().Add(l.s.longPatience())
		case time.Now().After(deadline):
			t.Fatalf("reading from the start came to %d of %d: %v", r.seq, l.newest, err)
		default:
			<-time.After(retryInterval)
		}
	}
}

// judge compares what was read with what was acknowledged.
func (l *loadTest) judge(t *testing.T, readers []*loadReader) {
	t.Helper()
	numberAt := make(map[uint64]int)
	for n, at := range l.appended {
		if other, ok := numberAt[at.Seq]; ok {
			breaksf(t, clauseNumbers, "events %d and %d were both acknowledged at %d", n, other, at.Seq)
		}
		numberAt[at.Seq] = n
	}
	first := readers[0]
	for i, r := range readers {
		if err := l.compare(r); err != nil {
			t.Errorf("reader %d: %v", i, err)
		}
		if len(r.gaps) > 0 && (!l.failing || !l.s.Inexact) {
			t.Errorf("reader %d met a gap in %v, and nothing was lost", i, r.gaps)
		}
		same := slices.EqualFunc(r.got, first.got, func(a, b *eventlog.Entry) bool { return a.At == b.At && number(a) == number(b) })
		if !same && len(r.gaps)+len(first.gaps) == 0 {
			breaksf(t, clauseOrder, "reader %d read %d entries, and other ones than the first reader, which read %d", i, len(r.got), len(first.got))
		}
	}
}

// compare returns an error for entries that a reader got twice, missed, or got elsewhere.
func (l *loadTest) compare(r *loadReader) error {
	var wrong []error
	got := make(map[int]eventlog.Cursor)
	for _, e := range r.got {
		n := number(e)
		if at, ok := got[n]; ok {
			wrong = append(wrong, fmt.Errorf("event %d came at %d and at %d", n, at.Seq, e.At.Seq))
		}
		got[n] = e.At
	}
	for n, at := range l.appended {
		there, ok := got[n]
		covered := slices.ContainsFunc(r.gaps, func(gap [2]uint64) bool { return gap[0] < at.Seq && at.Seq <= gap[1] })
		switch {
		case !ok && !covered:
			wrong = append(wrong, fmt.Errorf("event %d was acknowledged at %d and did not come", n, at.Seq))
		case ok && there != at:
			wrong = append(wrong, fmt.Errorf("event %d was acknowledged at %+v and came at %+v", n, at, there))
		}
	}
	return errors.Join(wrong[:min(len(wrong), 5)]...)
}
