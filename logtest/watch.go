package logtest

import (
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// watcher records the calls of a log's Watch.
type watcher struct {
	stop func()
	news chan struct{} // has room for one: there was a call

	mu     sync.Mutex        // guards newest
	newest map[string]uint64 // sequence, by subject
}

func watch(log eventlog.Log) *watcher {
	w := &watcher{news: make(chan struct{}, 1), newest: make(map[string]uint64)}
	w.stop = log.Watch(w.record)
	return w
}

func (w *watcher) record(subject string, seq uint64) {
	w.mu.Lock()
	w.newest[subject] = max(w.newest[subject], seq)
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// reported reports whether a call stood for an entry: its own, that of a later entry of its
// subject, or that of a later entry of any subject.
func (w *watcher) reported(subject string, seq uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.newest[subject], w.newest[""]) >= seq
}

// latest is the newest sequence of any call.
func (w *watcher) latest() (seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, newest := range w.newest {
		seq = max(seq, newest)
	}
	return seq
}

// await waits until an entry is reported, and ends the test if it is not.
func (w *watcher) await(t *testing.T, limit time.Duration, subject string, seq uint64) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for !w.reported(subject, seq) {
		select {
		case <-w.news:
		case <-deadline.C:
			t.Fatalf("Watch did not report entry %d of %q", seq, subject)
		}
	}
}

func watchReportsEveryEntry(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	add(t, log, alice, 0)
	w := watch(log)
	defer w.stop()
	// One after another, so that no call can stand for several.
	for n := range 100 {
		subject := []string{alice, bob, all}[n%3]
		w.await(t, s.patience, subject, add(t, log, subject, n).Seq)
	}
	// And many at once. The last of each subject is reported in any case.
	var mu sync.Mutex
	last := make(map[string]uint64)
	var appending sync.WaitGroup
	for range 4 {
		appending.Go(func() {
			for n := range 50 {
				subject := []string{alice, bob, all}[n%3]
				at, err := log.Append(t.Context(), record(subject, n))
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
		w.await(t, s.patience, subject, seq)
	}
}

// watchReportsVisibleEntries reads the log after each call. For each entry there must be a call
// after which Read finds it. A call that comes too early wakes a stream that finds nothing, and
// that no other call wakes.
func watchReportsVisibleEntries(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, alice)
	calls := make(chan chan struct{}, 1) // to this goroutine, which reads and closes what it gets
	defer log.Watch(func(string, uint64) {
		done := make(chan struct{})
		select {
		case calls <- done:
		default:
			return // the reader has not looked after an earlier call yet
		}
		// Waiting a little gives a log that calls too early the time to be caught.
		brief := time.NewTimer(5 * time.Millisecond)
		defer brief.Stop()
		select {
		case <-done:
		case <-brief.C:
		}
	})()
	deadline := time.NewTimer(s.patience)
	defer deadline.Stop()
	for n := 1; n <= 50; n++ {
		deadline.Reset(s.patience)
		appended := make(chan error, 1)
		go func() {
			_, err := log.Append(t.Context(), record(alice, n))
			appended <- err
		}()
		for found := false; !found; {
			select {
			case done := <-calls:
				page := r.page(t)
				found = len(page.Entries) > 0 || page.Gap != ""
				close(done)
			case <-deadline.C:
				t.Fatalf("there was no call after which event %d was found", n)
			}
		}
		if err := <-appended; err != nil {
			t.Fatal(err)
		}
	}
}

// watchersStopOneByOne stops watchers while others show which entries are reported. No call for
// an entry begins if stop had returned before its append.
func watchersStopOneByOne(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	var watchers []*watcher
	for range 5 {
		watchers = append(watchers, watch(log))
	}
	// A function that watches twice is two watchers.
	twice := watch(log)
	log.Watch(twice.record)()
	watchers = append(watchers, twice)
	stopped := make(map[*watcher]bool)
	for round, i := range []int{2, 0, 4, 1} {
		watchers[i].stop()
		watchers[i].stop() // may be repeated
		stopped[watchers[i]] = true
		for n := range 5 {
			at := add(t, log, alice, 5*round+n)
			for j, w := range watchers {
				switch {
				case !stopped[w]:
					w.await(t, s.patience, alice, at.Seq)
				case w.latest() >= at.Seq:
					t.Errorf("watcher %d was called for entry %d after it had stopped", j, at.Seq)
				}
			}
		}
	}
	for _, w := range watchers {
		w.stop()
	}
}

// insertedEntries has records come to the contents otherwise than by Append, between appended
// ones. Every node reads and reports all of them, in one order.
func insertedEntries(t *testing.T, s Suite) {
	const count = 40
	logs := openNodes(t, s, Bounds{})
	log := logs[0]
	start := head(t, log)
	var readers []*reader
	for _, log := range logs {
		readers = append(readers, readerAt(log, start, alice, bob))
	}
	var first []eventlog.Cursor
	for n := 1; n <= count; n++ {
		if subject := []string{alice, bob}[n/2%2]; n%2 == 0 {
			add(t, log, subject, n)
		} else {
			s.Insert(t, log, record(subject, n))
		}
		for i, r := range readers {
			entries, gap := r.follow(t, s, 1)
			if gap != "" && s.Inexact {
				continue
			}
			want(t, entries, n)
			if t.Failed() {
				t.Fatalf("node %d, event %d: gap %q", i, n, gap)
			}
			if i == 0 {
				first = append(first, entries[0].At)
			}
		}
	}
	for _, log := range logs {
		entries := readerAt(log, start, alice, bob).all(t)
		want(t, entries, from(1, count)...)
		if len(first) == count {
			wantPositions(t, entries, first)
		}
	}
}
