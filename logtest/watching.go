package logtest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// ear is a watcher that notes what it is told.
type ear struct {
	stop func()
	news chan struct{} // has room for one: it was told something

	mu     sync.Mutex        // guards the field below
	newest map[string]uint64 // sequence told, by subject
}

func listen(log ginsse.Log) *ear {
	e := &ear{news: make(chan struct{}, 1), newest: make(map[string]uint64)}
	e.stop = log.Watch(e.hear)
	return e
}

func (e *ear) hear(subject string, seq uint64) {
	e.mu.Lock()
	e.newest[subject] = max(e.newest[subject], seq)
	e.mu.Unlock()
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// heard reports whether a call came for an event, or one that stands for it too: for
// a later one of its subject, or for all subjects.
func (e *ear) heard(subject string, seq uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(e.newest[subject], e.newest[""]) >= seq
}

// latest is the newest sequence it was told of.
func (e *ear) latest() (seq uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, newest := range e.newest {
		seq = max(seq, newest)
	}
	return seq
}

// await waits until an event is heard of, and ends the test if it is not.
func (e *ear) await(t *testing.T, s Suite, subject string, seq uint64) {
	t.Helper()
	deadline := time.NewTimer(s.patience)
	defer deadline.Stop()
	for !e.heard(subject, seq) {
		select {
		case <-e.news:
		case <-deadline.C:
			t.Fatalf("event %d of %q was not reported", seq, subject)
		}
	}
}

func watchReports(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	add(t, log, alice, 0)
	e := listen(log)
	defer e.stop()
	// One after the other, so that none is made up for by the next.
	for n := range 100 {
		subject := []string{alice, bob, all}[n%3]
		e.await(t, s, subject, add(t, log, subject, n).Seq)
	}
	// And many at once, of which the last of each subject is reported in any case.
	var mu sync.Mutex
	last := make(map[string]uint64)
	var appending sync.WaitGroup
	for range 4 {
		appending.Go(func() {
			for n := range 50 {
				subject := []string{alice, bob, all}[n%3]
				at, err := log.Append(t.Context(), subject, frame(n))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				last[subject] = max(last[subject], at.Seq)
				mu.Unlock()
			}
		})
	}
	appending.Wait()
	for subject, seq := range last {
		e.await(t, s, subject, seq)
	}
}

// watchReportsTheVisible has the log read after each call: for each event there must
// be a call after which it is found. One that comes too early wakes a stream which
// finds nothing, and is not woken again.
func watchReportsTheVisible(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	// task is to find event n, the only one after a position.
	type task struct {
		n  int64
		at ginsse.Cursor
	}
	var current atomic.Pointer[task]
	current.Store(&task{0, r.at})
	var found atomic.Int64               // the last n
	news := make(chan struct{}, 1)       // it was found
	calls := make(chan chan struct{}, 1) // to the goroutine that reads; it closes what it gets
	stop := log.Watch(func(string, uint64) {
		done := make(chan struct{})
		select {
		case calls <- done:
		default:
			return // there is one that nobody has looked after yet
		}
		// That fn takes its time, if not much, gives a log that calls too early the
		// time to be caught.
		brief := time.NewTimer(5 * time.Millisecond)
		defer brief.Stop()
		select {
		case <-done:
		case <-brief.C:
		}
	})
	end := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case done := <-calls:
				now := current.Load()
				page, err := log.Read(t.Context(), ginsse.Query{Subjects: r.subjects, After: now.at, MaxEvents: 10, MaxBytes: 1000}, nil)
				if err == nil && (len(page.Blocks) > 0 || page.Gap != "") {
					found.Store(now.n)
					select {
					case news <- struct{}{}:
					default:
					}
				}
				close(done)
			case <-end:
				return
			}
		}
	})
	defer reading.Wait()
	defer close(end)
	defer stop()
	deadline := time.NewTimer(s.patience)
	defer deadline.Stop()
	for n := 1; n <= 50; n++ {
		current.Store(&task{int64(n), r.at})
		r.at = add(t, log, alice, n)
		for found.Load() != int64(n) {
			select {
			case <-news:
			case <-deadline.C:
				t.Fatalf("there was no call after which event %d was found", n)
			}
		}
	}
}

// watchStops has a second watcher say when the first would have been called: a call
// in progress may end after stop has returned, but none begins for what was appended
// later.
func watchStops(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	e, other := listen(log), listen(log)
	defer other.stop()
	e.await(t, s, alice, add(t, log, alice, 0).Seq)
	e.stop()
	first := add(t, log, alice, 1)
	other.await(t, s, alice, first.Seq)
	for n := 2; n <= 20; n++ {
		other.await(t, s, alice, add(t, log, alice, n).Seq)
	}
	if seq := e.latest(); seq >= first.Seq {
		t.Errorf("event %d was reported; stop had returned before event %d was appended", seq, first.Seq)
	}
}

func watchersStopApart(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	var ears []*ear
	for range 5 {
		ears = append(ears, listen(log))
	}
	// One function may watch twice, and is two watchers.
	twice := &ear{news: make(chan struct{}, 1), newest: make(map[string]uint64)}
	twice.stop = log.Watch(twice.hear)
	again := log.Watch(twice.hear)
	again()
	ears = append(ears, twice)
	for _, i := range []int{2, 0, 4, 1} {
		ears[i].stop()
		ears[i].stop() // may be repeated
		ears[i].stop = nil
		at := add(t, log, alice, i)
		for j, e := range ears {
			switch {
			case e.stop != nil:
				e.await(t, s, alice, at.Seq)
			case e.latest() >= at.Seq:
				t.Errorf("watcher %d was told of event %d after it had stopped", j, at.Seq)
			}
		}
	}
	for _, e := range ears {
		if e.stop != nil {
			e.stop()
		}
	}
}
