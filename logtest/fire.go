package logtest

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// joinUnderFire has readers stop and resume at random positions while appenders
// run at full speed: the seam where other systems lose or repeat. They soon are far
// behind.
func joinUnderFire(t *testing.T, s Suite) {
	fire(t, s, 8000, math.MaxInt, s.New(t, fireBounds))
}

// liveUnderFire keeps the readers at the head, where an event may have its place in
// the order before it can be read, or the other way round.
func liveUnderFire(t *testing.T, s Suite) {
	fire(t, s, 4000, 2*fireAppenders, s.New(t, fireBounds))
}

const fireAppenders, fireReaders = 4, 4

var fireBounds = Bounds{EventsPerSubject: 1 << 20, MaxBytes: 1 << 30}

// fire appends events, and reads them meanwhile, on all of the logs, which have the
// same contents. Readers are behind by no more events than the lag, and those of the
// appends in progress.
func fire(t *testing.T, s Suite, count, lag int, logs ...ginsse.Log) {
	t.Helper()
	if testing.Short() {
		count /= 4
	}
	start := newReader(logs[0], alice, all)
	start.page(t)
	f := &fireplace{s: s, count: count, lag: lag}
	f.moved.L = &f.mu
	// The appends go on with the test's context: one whose wait was abandoned may have
	// been stored or not.
	ctx, cancel := context.WithTimeout(t.Context(), s.patience+time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, f.giveUp)()
	var wg sync.WaitGroup
	for i := range fireAppenders {
		log, subject := logs[i%len(logs)], []string{alice, alice, all, all}[i%4]
		wg.Go(func() { f.append(t, log, subject) })
	}
	for i := range fireReaders {
		r := newReader(logs[i%len(logs)], alice, all)
		r.at = start.at
		wg.Go(func() { f.read(t, r, i) })
	}
	wg.Wait()
	f.judge(t)
}

// fireplace is what appenders and readers share.
type fireplace struct {
	s          Suite
	count, lag int

	mu       sync.Mutex // guards the fields below
	moved    sync.Cond  // a reader has
	begun    int        // appends
	over     bool       // something has failed: nobody waits any more
	appended []ginsse.Cursor
	seen     [fireReaders][]ginsse.Cursor // by each reader
}

func (f *fireplace) giveUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.moved.Broadcast()
}

// begin waits until the readers are near enough, and reports whether there is
// another event to append.
func (f *fireplace) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.over && f.begun < f.count && f.begun-f.slowestLocked() >= f.lag {
		f.moved.Wait()
	}
	f.begun++
	return !f.over && f.begun <= f.count
}

func (f *fireplace) slowestLocked() int {
	least := math.MaxInt
	for i := range f.seen {
		least = min(least, len(f.seen[i]))
	}
	return least
}

func (f *fireplace) append(t *testing.T, log ginsse.Log, subject string) {
	for f.begin() {
		at, err := log.Append(t.Context(), subject, frame(1))
		if err != nil {
			t.Error(err)
			f.giveUp()
			return
		}
		f.mu.Lock()
		f.appended = append(f.appended, at)
		f.mu.Unlock()
	}
}

// read reads until it has as many events as there will be. Most readers wait to be
// told, as a stream does; the first looks all the time.
func (f *fireplace) read(t *testing.T, r *reader, i int) {
	finished := false
	defer func() {
		if !finished {
			f.giveUp()
		}
	}()
	e := listen(r.log)
	defer e.stop()
	idle := time.NewTimer(f.s.patience)
	defer idle.Stop()
	for read := 0; read < f.count; {
		r.max = 1 + rand.IntN(50)
		page, events := r.page(t)
		if page.Gap != "" {
			t.Errorf("reader %d met gap %q", i, page.Gap)
			return
		}
		if n := len(events); n > 0 {
			// The connection breaks after some of the page: the rest is read again.
			events = events[:1+rand.IntN(n)]
			r.at = events[len(events)-1].at
			read = f.reached(i, events)
			idle.Reset(f.s.patience)
			continue
		}
		if i == 0 {
			runtime.Gosched()
			select {
			case <-idle.C:
			default:
				continue
			}
		} else {
			select {
			case <-e.news:
				continue
			case <-idle.C:
			}
		}
		t.Errorf("reader %d has read %d events of %d, and neither finds another nor is told of one", i, read, f.count)
		return
	}
	finished = true
}

// reached notes what a reader has read, and returns how many events that makes.
func (f *fireplace) reached(i int, events []event) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		f.seen[i] = append(f.seen[i], e.at)
	}
	f.moved.Broadcast()
	return len(f.seen[i])
}

// judge compares what was read with what was appended.
func (f *fireplace) judge(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.appended, func(a, b ginsse.Cursor) int { return cmp.Compare(a.Seq, b.Seq) })
	for n, at := range f.appended {
		if n > 0 && at.Seq == f.appended[n-1].Seq {
			t.Fatalf("sequence %d was given twice", at.Seq)
		}
	}
	for i, seen := range f.seen {
		for n, at := range seen {
			if n >= len(f.appended) || at != f.appended[n] {
				t.Errorf("reader %d, event %d of %d: %+v is not what was appended there", i, n, f.count, at)
				break
			}
		}
		if len(seen) != len(f.appended) {
			t.Errorf("reader %d read %d events of %d", i, len(seen), len(f.appended))
		}
	}
}
