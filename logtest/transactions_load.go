package logtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const loadTransactors, loadTransactionAppenders, loadBatches = 6, 3, 10

// interleavedTransactions has transactions of one to four records, and appends, in random order at
// all nodes. Some of them are rolled back, and one at a time stays open while others begin and end.
// Readers at all nodes read meanwhile. After each batch all readers read to the end: no later entry
// wakes a reader then that Watch has not called.
func interleavedTransactions(t *testing.T, s Suite) {
	count := s.Interleavings
	if count == 0 {
		count = 2000
		if testing.Short() {
			count = 200
		}
	}
	logs := openNodes(t, s, loadBounds)
	l := &interleaving{s: s, logs: logs, end: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(t.Context())
	defer l.cancel()
	l.changed.L = &l.mu
	start := head(t, logs[0])
	var reading sync.WaitGroup
	for _, log := range logs {
		for _, polls := range []bool{false, true} {
			r := &interleavedReader{reader: readerAt(log, start, alice, all), polls: polls}
			l.readers = append(l.readers, r)
			reading.Go(func() { l.read(t, r) })
		}
	}
	stop := sync.OnceFunc(func() {
		close(l.end)
		reading.Wait()
	})
	defer stop()
	for batch := range loadBatches {
		l.write(t, (count+batch)/loadBatches)
		if l.wait(t); t.Failed() {
			break
		}
	}
	stop()
	for _, log := range logs {
		r := readerAt(log, start, alice, all)
		l.readers = append(l.readers, &interleavedReader{reader: r, got: r.all(t)})
	}
	l.judge(t)
}

// interleaving is what the goroutines of the case have in common.
type interleaving struct {
	s       Suite
	logs    []eventlog.Log
	ctx     context.Context // of the writers
	cancel  func()
	readers []*interleavedReader
	writer  sync.Mutex    // held by each writer with Suite.OneWriter
	end     chan struct{} // closed when the readers stop

	mu        sync.Mutex // guards the fields below, and got of readers
	changed   sync.Cond  // any of them has
	left      int        // transactions of the batch that have not begun
	writers   int        // that have not ended
	ended     int        // transactions and appends
	number    int        // of the last record
	committed [][]int    // the records of each transaction and append, in order
	total     int        // records committed
}

// interleavedReader reads like loadReader, from one node.
type interleavedReader struct {
	*reader

	polls bool // it reads all the time; others wait for Watch
	got   []*eventlog.Entry
}

// set changes what the lock guards.
func (l *interleaving) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.changed.Broadcast()
}

// write starts the writers of a batch.
func (l *interleaving) write(t *testing.T, count int) {
	l.set(func() { l.left, l.writers = count, loadTransactors+loadTransactionAppenders })
	start := func(write func()) {
		go func() {
			defer l.set(func() { l.writers-- })
			write()
		}()
	}
	for i := range loadTransactors {
		start(func() {
			for l.take() {
				l.transact(t, i == 0 && !l.s.OneWriter)
			}
		})
	}
	for range loadTransactionAppenders {
		start(func() {
			for n := 0; n < count/2/loadTransactionAppenders && !t.Failed(); n++ {
				l.append(t)
			}
		})
	}
}

// wait waits until the writers have ended and the readers have read everything. After an error it
// waits for the writers only. It ends the test if they do not end.
func (l *interleaving) wait(t *testing.T) {
	t.Helper()
	late, seen := false, -1
	timer := time.AfterFunc(l.s.longPatience(), func() { l.set(func() { late = true }) })
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		progress, least := l.ended, l.total
		for _, r := range l.readers {
			progress += len(r.got)
			least = min(least, len(r.got))
		}
		switch {
		case l.writers == 0 && (least == l.total || t.Failed()):
			return
		case late && l.ctx.Err() != nil:
			t.FailNow()
		case progress != seen:
			late, seen = false, progress
			timer.Reset(l.s.longPatience())
		case late:
			t.Errorf("%d transactions and appends have ended, %d goroutines write, and of %d records that were committed a reader has %d",
				l.ended, l.writers, l.total, least)
			l.cancel()
			late = false
			timer.Reset(l.s.longPatience())
			continue
		}
		if t.Failed() {
			l.left = 0
		}
		l.changed.Wait()
	}
}

// take reports whether there is a transaction left to do.
func (l *interleaving) take() (ok bool) {
	l.set(func() {
		if ok = l.left > 0; ok {
			l.left--
		}
	})
	return ok
}

// next returns the number of another record.
func (l *interleaving) next() (n int) {
	l.set(func() {
		l.number++
		n = l.number
	})
	return n
}

// count counts a transaction or an append, of which these records are in the log.
func (l *interleaving) count(list ...int) {
	l.set(func() {
		l.ended++
		l.total += len(list)
		if len(list) > 0 {
			l.committed = append(l.committed, list)
		}
	})
}

// lock keeps other writers out if the store has one at a time.
func (l *interleaving) lock() (unlock func()) {
	if !l.s.OneWriter {
		return func() {}
	}
	l.writer.Lock()
	return l.writer.Unlock
}

func (l *interleaving) anyLog() eventlog.Log { return l.logs[rand.IntN(len(l.logs))] }

func pause() {
	for range rand.IntN(20) {
		runtime.Gosched()
	}
}

// transact does a transaction. If it is a long one, it stays open until 20 others have ended.
func (l *interleaving) transact(t *testing.T, long bool) {
	defer l.lock()()
	tx := l.s.Begin(t, l.anyLog())
	ended := false
	defer func() {
		if !ended {
			_ = tx.Rollback()
		}
	}()
	var list []int
	for range 1 + rand.IntN(4) {
		pause()
		if tx.Savepoint != nil && rand.IntN(5) == 0 && !l.undone(t, tx) {
			return
		}
		n := l.next()
		if err := tx.Outbox.Put(l.ctx, record(subjectOf(n), n)); err != nil {
			t.Errorf("putting record %d: %v", n, err)
			return
		}
		list = append(list, n)
	}
	pause()
	if long {
		l.awaitOthers(20)
	}
	ended = true
	end := tx.Commit
	if rand.IntN(4) == 0 {
		end, list = tx.Rollback, nil
	}
	if err := end(); err != nil {
		t.Errorf("a transaction of %v did not end: %v", list, err)
		return
	}
	l.count(list...)
}

// undone puts a record and rolls back to a savepoint before it.
func (l *interleaving) undone(t *testing.T, tx Transaction) bool {
	n := l.next()
	rollback, err := tx.Savepoint()
	if err == nil {
		err = tx.Outbox.Put(l.ctx, record(subjectOf(n), n))
	}
	if err == nil {
		err = rollback()
	}
	if err != nil {
		t.Errorf("rolling record %d back to a savepoint: %v", n, err)
	}
	return err == nil
}

func (l *interleaving) awaitOthers(count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for enough := l.ended + count; l.ended < enough && l.left > 0; {
		l.changed.Wait()
	}
}

func (l *interleaving) append(t *testing.T) {
	defer l.lock()()
	pause()
	n := l.next()
	ctx, cancel := context.WithTimeout(l.ctx, l.s.longPatience())
	defer cancel()
	if _, err := l.anyLog().Append(ctx, record(subjectOf(n), n)); err != nil {
		t.Errorf("appending event %d: %v", n, err)
		return
	}
	l.count(n)
}

// read reads until the end. A reader that does not poll waits for Watch, as a stream does.
func (l *interleaving) read(t *testing.T, r *interleavedReader) {
	w := watch(r.log)
	defer w.stop()
	var poll <-chan time.Time
	if r.polls {
		poll = closedChannel
	}
	for l.readOn(t, r) {
		select {
		case <-w.news:
		case <-poll:
			runtime.Gosched()
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

// readOn reads pages of random sizes until there is no more. As if the connection had broken, the
// reader sometimes reads the rest of a page again.
func (l *interleaving) readOn(t *testing.T, r *interleavedReader) bool {
	for {
		r.max = 1 + rand.IntN(50)
		page, err := r.try(t)
		if errors.Is(err, eventlog.ErrUnavailable) { // the machine is busy: see hasLostContact
			select {
			case <-time.After(retryInterval):
				continue
			case <-l.end:
				return true
			}
		}
		if err != nil || page.Gap != "" {
			t.Errorf("reading: gap %q, error %v", page.Gap, err)
			l.set(func() {}) // so that wait notices
			return false
		}
		entries := page.Entries
		if n := len(entries); n > 0 && rand.IntN(4) == 0 {
			entries = entries[:1+rand.IntN(n)]
			r.at = entries[len(entries)-1].At
		}
		if len(entries) == 0 {
			return true
		}
		l.set(func() { r.got = append(r.got, entries...) })
	}
}

// judge compares what was read with what was committed.
func (l *interleaving) judge(t *testing.T) {
	t.Helper()
	owner := make(map[int]int) // by record; which transaction or append it is of
	for i, list := range l.committed {
		for _, n := range list {
			owner[n] = i
		}
	}
	first := l.readers[0]
	for i, r := range l.readers {
		if err := l.compare(r, owner); err != nil {
			breaksf(t, clauseCommit, "reader %d: %v", i, err)
		}
		if !slices.EqualFunc(r.got, first.got, func(a, b *eventlog.Entry) bool { return a.At == b.At && number(a) == number(b) }) {
			breaksf(t, clauseOrder, "reader %d read %d entries, and other ones than the first reader, which read %d", i, len(r.got), len(first.got))
		}
	}
}

// compare returns an error for records that a reader got twice, missed, or got in another order
// than that in which their transaction put them.
func (l *interleaving) compare(r *interleavedReader, owner map[int]int) error {
	var wrong []error
	got := make(map[int]bool)
	lists := make([][]int, len(l.committed))
	for _, e := range r.got {
		n := number(e)
		i, ok := owner[n]
		switch {
		case !ok:
			wrong = append(wrong, fmt.Errorf("record %d came at %d and was not committed", n, e.At.Seq))
			continue
		case got[n]:
			wrong = append(wrong, fmt.Errorf("record %d came twice, the second time at %d", n, e.At.Seq))
		}
		got[n] = true
		lists[i] = append(lists[i], n)
	}
	for i, list := range l.committed {
		if !slices.Equal(list, lists[i]) {
			wrong = append(wrong, fmt.Errorf("records %v were committed together, and %v came", list, lists[i]))
		}
	}
	return errors.Join(wrong[:min(len(wrong), 5)]...)
}
