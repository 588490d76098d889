package logtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// restartUnderFire has senders go on while the store goes away and comes back, twice.
// The second time each of them stops after the append that met it, and nothing follows
// that could wake a reader who was not told.
func restartUnderFire(t *testing.T, s Suite) {
	const some = 100 // events
	log := s.New(t, fireBounds)
	logs := []ginsse.Log{log}
	if s.Peer != nil {
		logs = append(logs, s.Peer(t, log))
	}
	start := newReader(log, alice, all)
	start.page(t)
	f := &siege{s: s, end: make(chan struct{}), acknowledged: make(map[int]ginsse.Cursor)}
	f.changed.L = &f.mu
	var readers []*siegeReader
	for _, log := range logs {
		r := &siegeReader{reader: newReader(log, alice, all)}
		r.at = start.at
		readers = append(readers, r)
	}
	f.readers = readers
	var running sync.WaitGroup
	defer running.Wait()
	defer f.stop()
	for _, r := range readers {
		running.Go(func() { f.read(t, r) })
	}
	for i := range fireAppenders {
		running.Go(func() { f.append(t, logs[i%len(logs)], []string{alice, alice, all, all}[i], i) })
	}
	f.await(t, some)
	s.Restart(t, log)
	f.await(t, some)
	f.set(func() { f.wary = true })
	s.Restart(t, log)
	f.hold(true)
	f.wait(t, "senders to come to an end, and readers to be told of all there is", f.quietLocked)
	f.set(func() { f.wary = false })
	f.hold(false)
	f.await(t, some)
	f.hold(true)
	f.wait(t, "the end of the last appends", f.quietLocked)
	f.stop()
	running.Wait()
	// Who comes afterwards reads the same.
	for _, log := range logs {
		r := &siegeReader{reader: newReader(log, alice, all)}
		r.at = start.at
		f.catchUp(t, r)
		readers = append(readers, r)
	}
	f.judge(t, readers)
}

// siege is what senders and readers share. That an append failed says nothing about its
// event, and nobody asks: the next one has the next number.
type siege struct {
	s       Suite
	end     chan struct{} // closed by stop
	ending  sync.Once
	readers []*siegeReader // those that run

	mu           sync.Mutex // guards the fields below, and those of readers
	changed      sync.Cond  // any of them has
	over         bool
	wary         bool                // who sees that the store is away is held
	held         [fireAppenders]bool // senders who begin nothing more
	busy         int                 // appends that have begun and not ended
	begun        int
	acknowledged map[int]ginsse.Cursor // by number
	newest       uint64                // sequence acknowledged
}

type siegeReader struct {
	*reader

	seq  uint64 // of at
	got  []event
	gaps [][2]uint64 // after the first and up to the second everything may be missing
}

// ahead is how far senders may be before the slowest reader, in sequences.
const ahead = 1000

func (f *siege) append(t *testing.T, log ginsse.Log, subject string, i int) {
	// Some wait for the store to come back, and some give up.
	patience := f.s.long()
	if i >= fireAppenders/2 {
		patience = f.s.patience / 10
	}
	for {
		n, ok := f.begin(i)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		begun := time.Now()
		at, err := log.Append(ctx, subject, frame(n))
		cancel()
		f.set(func() {
			f.busy--
			f.held[i] = f.held[i] || f.wary && (err != nil || time.Since(begun) > again)
			if err == nil {
				f.acknowledged[n] = at
				f.newest = max(f.newest, at.Seq)
			}
		})
		if err != nil {
			select {
			case <-time.After(again):
			case <-f.end:
			}
		}
	}
}

// begin waits until a sender may append, and returns the next number.
func (f *siege) begin(i int) (n int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.over && (f.held[i] || f.newest >= f.slowestLocked()+ahead) {
		f.changed.Wait()
	}
	if f.over {
		return 0, false
	}
	f.busy++
	f.begun++
	return f.begun, true
}

func (f *siege) slowestLocked() uint64 {
	return slices.MinFunc(f.readers, func(a, b *siegeReader) int { return cmp.Compare(a.seq, b.seq) }).seq
}

// set changes what the lock guards.
func (f *siege) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.changed.Broadcast()
}

// read reads when it is told to, as a stream does, or soon after the log could not.
func (f *siege) read(t *testing.T, r *siegeReader) {
	e := listen(r.log)
	defer e.stop()
	for {
		more, err := f.page(t, r)
		if more {
			continue
		}
		var retry <-chan time.Time
		if err != nil {
			retry = time.After(again)
		}
		select {
		case <-e.news:
		case <-retry:
		case <-f.end:
			return
		}
	}
}

// page reads one page, and reports whether it has something.
func (f *siege) page(t *testing.T, r *siegeReader) (more bool, err error) {
	before := r.at.Seq
	page, events, err := r.try(t)
	if err != nil {
		return false, err
	}
	f.set(func() {
		r.seq, r.got = r.at.Seq, append(r.got, events...)
		if page.Gap != "" {
			r.gaps = append(r.gaps, [2]uint64{before, r.seq})
		}
	})
	return len(events) > 0 || page.Gap != "", nil
}

// catchUp reads to the end, as one who comes when all is over.
func (f *siege) catchUp(t *testing.T, r *siegeReader) {
	t.Helper()
	deadline := time.Now().Add(f.s.long())
	for r.seq < f.newest {
		_, err := f.page(t, r)
		if time.Now().After(deadline) {
			t.Fatalf("reading from the start came to %d of %d: %v", r.seq, f.newest, err)
		}
		if err != nil {
			<-time.After(again)
		}
	}
}

// hold has all senders begin nothing more, or go on.
func (f *siege) hold(held bool) {
	f.set(func() {
		for i := range f.held {
			f.held[i] = held
		}
	})
}

// quietLocked reports whether nobody appends any more, and all have read all.
func (f *siege) quietLocked() bool {
	return f.busy == 0 && !slices.Contains(f.held[:], false) && f.slowestLocked() >= f.newest
}

// await waits until so many events more were acknowledged.
func (f *siege) await(t *testing.T, more int) {
	t.Helper()
	f.mu.Lock()
	enough := len(f.acknowledged) + more
	f.mu.Unlock()
	f.wait(t, "senders to go on", func() bool { return len(f.acknowledged) >= enough })
}

func (f *siege) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	late := false
	defer time.AfterFunc(f.s.long(), func() { f.set(func() { late = true }) }).Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !done() {
		if late {
			t.Fatalf("waited for %s: %d events begun, %d of them not ended, %d acknowledged up to %d, read up to %d",
				what, f.begun, f.busy, len(f.acknowledged), f.newest, f.slowestLocked())
		}
		f.changed.Wait()
	}
}

func (f *siege) stop() {
	f.set(func() { f.over = true })
	f.ending.Do(func() { close(f.end) })
}

// judge compares what was read with what was acknowledged.
func (f *siege) judge(t *testing.T, readers []*siegeReader) {
	t.Helper()
	given := make(map[uint64]int)
	for n, at := range f.acknowledged {
		if other, ok := given[at.Seq]; ok {
			t.Errorf("events %d and %d were both acknowledged at %d", n, other, at.Seq)
		}
		given[at.Seq] = n
	}
	for i, r := range readers {
		if err := f.compare(r); err != nil {
			t.Errorf("reader %d: %v", i, err)
		}
		if len(r.gaps) > 0 && !f.s.Inexact {
			t.Errorf("reader %d met a gap in %v, and nothing was lost", i, r.gaps)
		}
		if len(r.gaps)+len(readers[0].gaps) == 0 && !slices.EqualFunc(r.got, readers[0].got, func(a, b event) bool { return a.at == b.at && number(a) == number(b) }) {
			t.Errorf("reader %d read %d events, and not what the first did, who read %d", i, len(r.got), len(readers[0].got))
		}
	}
}

// compare says what a reader got twice, missed, or got elsewhere.
func (f *siege) compare(r *siegeReader) error {
	var wrong []error
	got := make(map[int]ginsse.Cursor)
	for _, e := range r.got {
		n := number(e)
		if at, ok := got[n]; ok {
			wrong = append(wrong, fmt.Errorf("event %d came at %d and at %d", n, at.Seq, e.at.Seq))
		}
		got[n] = e.at
	}
	for n, at := range f.acknowledged {
		there, ok := got[n]
		covered := slices.ContainsFunc(r.gaps, func(gap [2]uint64) bool { return gap[0] < at.Seq && at.Seq <= gap[1] })
		switch {
		case !ok && !covered:
			wrong = append(wrong, fmt.Errorf("event %d was acknowledged at %d and did not come", n, at.Seq))
		case ok && there != at:
			wrong = append(wrong, fmt.Errorf("event %d was acknowledged at %+v and came at %+v", n, at, there))
		}
	}
	return errors.Join(wrong...)
}
