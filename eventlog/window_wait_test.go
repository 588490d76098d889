package eventlog

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// waitFor calls Wait beside the test, for an entry that is known by its tag.
func waitFor(w *Window, ctx context.Context, seq uint64, tag uint32) <-chan waitResult {
	return waitAt(w, ctx, Cursor{Epoch: 7, Seq: seq}, tag)
}

func waitAt(w *Window, ctx context.Context, position Cursor, tag uint32) <-chan waitResult {
	result := make(chan waitResult, 1)
	generation := w.Generation()
	go func() {
		at, err := w.Wait(ctx, generation, position, tag)
		result <- waitResult{at, err}
	}()
	synctest.Wait()
	return result
}

type waitResult struct {
	at  Cursor
	err error
}

func (r waitResult) want(t *testing.T, what string, at Cursor, err error) {
	t.Helper()
	if r.at != at || !errors.Is(r.err, err) {
		t.Errorf("%s: %+v, error %v; want %+v, error %v", what, r.at, r.err, at, err)
	}
}

func TestWindowWaitReturnsWhenReadersSeeTheEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{EntriesPerSubject: 9})
		early, hidden := waitFor(w, t.Context(), 1, 1), waitFor(w, t.Context(), 4, 4)
		if len(early) > 0 {
			t.Error("it did not wait")
		}
		addEntries(w, "all", 1)
		(<-early).want(t, "visible", testCursor(1), nil)
		addEntries(w, "all", 3, 4)
		synctest.Wait()
		if len(hidden) > 0 {
			t.Error("it did not wait for an entry after a hole")
		}
		w.ResolveHole(w.Hole(), 4)
		(<-hidden).want(t, "after a hole", testCursor(4), nil)
		(<-waitFor(w, t.Context(), 3, 3)).want(t, "visible before the call", testCursor(3), nil)
		(<-waitFor(w, t.Context(), 3, 0)).want(t, "without a tag", testCursor(3), nil)
	})
}

func TestWindowWaitNoticesThatTheEntryIsAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{}, WindowBounds{})
		other := waitFor(w, t.Context(), 1, 77)
		addEntries(w, "all", 1)
		(<-other).want(t, "another tag", Cursor{}, ErrReplaced)
		(<-waitFor(w, t.Context(), 1, 77)).want(t, "another tag, visible before the call", Cursor{}, ErrReplaced)

		replaced, before := waitFor(w, t.Context(), 2, 2), w.Generation()
		w.Reset(Cursor{Epoch: 8}, WindowBounds{Bytes: 1 << 20})
		(<-replaced).want(t, "reset during the call", Cursor{}, ErrReplaced)
		if _, err := w.Wait(t.Context(), before, Cursor{Epoch: 7, Seq: 1}, 1); !errors.Is(err, ErrReplaced) || !errors.Is(err, ErrNotVisible) {
			t.Errorf("reset before the call: %v", err)
		}
	})
}

func TestWindowWaitFindsTheEntryInAnotherEpoch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{}, WindowBounds{})
		addEntries(w, "all", 1)
		in := func(epoch uint32, seq uint64) *WindowEntry {
			e := testEntry(seq, "all")
			e.At.Epoch = epoch
			return e
		}
		before := w.Generation()
		kept, other, gone := waitAt(w, t.Context(), testCursor(3), 0), waitAt(w, t.Context(), Cursor{Epoch: 7, Seq: 4, Check: 9}, 0), waitAt(w, t.Context(), testCursor(2), 0)
		w.Reset(Cursor{Epoch: 8, Seq: 2}, WindowBounds{Bytes: 1 << 20})
		synctest.Wait()
		if len(kept)+len(other) > 0 {
			t.Error("it did not wait for the entries of the other epoch")
		}
		(<-gone).want(t, "not in memory after a reset", Cursor{}, ErrReplaced)
		w.Add(in(8, 3))
		w.Add(in(8, 4))
		(<-kept).want(t, "kept", in(8, 3).At, nil)
		(<-other).want(t, "another entry", Cursor{}, ErrReplaced)
		if at, err := w.Wait(t.Context(), before, testCursor(3), 0); err != nil || at != in(8, 3).At {
			t.Errorf("kept, and reset before the call: %+v, %v", at, err)
		}
		if _, err := w.Wait(t.Context(), before, testCursor(1), 0); !errors.Is(err, ErrReplaced) {
			t.Errorf("not in memory, and reset before the call: %v", err)
		}
	})
}

func TestWindowWaitForAnEntryThatIsNotHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{Bytes: 1})
		missing, skipped := waitFor(w, t.Context(), 3, 3), waitFor(w, t.Context(), 6, 6)
		addEntries(w, "all", 1, 2, 4)
		w.GiveUpHole(w.Hole())
		(<-missing).want(t, "in a hole given up", Cursor{Epoch: 7, Seq: 3}, nil)
		(<-waitFor(w, t.Context(), 1, 1)).want(t, "evicted", Cursor{Epoch: 7, Seq: 1}, nil)
		w.SkipTo(4, 7)
		(<-skipped).want(t, "skipped", Cursor{Epoch: 7, Seq: 6}, nil)
		(<-waitAt(w, t.Context(), testCursor(1), 0)).want(t, "evicted, with its check", testCursor(1), nil)
	})
}

func TestWindowWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{}, WindowBounds{})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := waitFor(w, ctx, 1, 1), waitFor(w, t.Context(), 1, 1)
		cancel()
		(<-first).want(t, "cancelled", Cursor{}, context.Canceled)
		if n := len(w.waiting[1]); n != 1 {
			t.Errorf("%d calls wait", n)
		}
		addEntries(w, "all", 1)
		(<-second).want(t, "another call", testCursor(1), nil)
		if len(w.waiting) > 0 {
			t.Errorf("%d sequences are waited for", len(w.waiting))
		}
	})
}

// lastStore answers Last when the test says so.
type lastStore struct {
	noStore

	asked   atomic.Int64
	answers chan Cursor
}

func (s *lastStore) Last(ctx context.Context) (Cursor, error) {
	s.asked.Add(1)
	select {
	case at := <-s.answers:
		if at.IsZero() {
			return at, errStore
		}
		return at, nil
	case <-ctx.Done():
		return Cursor{}, ctx.Err()
	}
}

// headOf calls Head beside the test.
func headOf(t *testing.T, w *Window) <-chan waitResult {
	result := make(chan waitResult, 1)
	go func() {
		at, err := w.Head(t.Context())
		result <- waitResult{at, err}
	}()
	synctest.Wait()
	return result
}

func TestWindowHeadsShareRequestsThatBeginAfterThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &lastStore{answers: make(chan Cursor)}
		w := newTestWindow(t, WindowConfig{Store: s, ContactTimeout: time.Hour}, WindowBounds{})
		addEntries(w, "all", 1, 2)
		first := headOf(t, w)
		var others []<-chan waitResult
		for range 100 {
			others = append(others, headOf(t, w))
		}
		if s.asked.Load() != 1 {
			t.Errorf("%d requests are in progress", s.asked.Load())
		}
		s.answers <- Cursor{Epoch: 7, Seq: 1}
		(<-first).want(t, "the first", testCursor(2), nil)
		synctest.Wait()
		for _, other := range others {
			if len(other) > 0 {
				t.Fatal("a call got the answer to a request that began before it")
			}
		}
		s.answers <- Cursor{Epoch: 7, Seq: 2}
		for _, other := range others {
			(<-other).want(t, "another", testCursor(2), nil)
		}
		if s.asked.Load() != 2 {
			t.Errorf("%d requests for 101 calls", s.asked.Load())
		}
		last := headOf(t, w)
		s.answers <- Cursor{Epoch: 7, Seq: 2}
		(<-last).want(t, "a later call", testCursor(2), nil)
	})
}

func TestWindowHeadWaitsUntilReadersSeeTheEndOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &lastStore{answers: make(chan Cursor)}
		w := newTestWindow(t, WindowConfig{Store: s, ContactTimeout: time.Hour, Numbers: NumbersDecided}, WindowBounds{})
		addEntries(w, "all", 1)
		head := headOf(t, w)
		s.answers <- Cursor{Epoch: 7, Seq: 3}
		addEntries(w, "all", 2)
		synctest.Wait()
		if len(head) > 0 {
			t.Error("it did not wait")
		}
		addEntries(w, "all", 3)
		(<-head).want(t, "added", testCursor(3), nil)

		head = headOf(t, w)
		s.answers <- Cursor{Epoch: 7, Seq: 5}
		synctest.Wait()
		w.SkipTo(3, 5)
		(<-head).want(t, "skipped", Cursor{Epoch: 7, Seq: 5}, nil)

		start := time.Now()
		head = headOf(t, w)
		s.answers <- Cursor{Epoch: 7, Seq: 6}
		(<-head).want(t, "never added", Cursor{}, context.DeadlineExceeded)
		if took := time.Since(start); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestWindowHeadReportsWhatKeepsItFromTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &lastStore{answers: make(chan Cursor)}
		w := newTestWindow(t, WindowConfig{Store: s, ContactTimeout: time.Hour}, WindowBounds{})
		head := headOf(t, w)
		s.answers <- Cursor{}
		(<-head).want(t, "the store fails", Cursor{}, errStore)

		head = headOf(t, w)
		s.answers <- Cursor{Epoch: 8, Seq: 1}
		(<-head).want(t, "the store is another one", Cursor{}, ErrReplaced)

		head = headOf(t, w)
		s.answers <- Cursor{Epoch: 7, Seq: 1}
		synctest.Wait()
		w.Reset(Cursor{Epoch: 8}, WindowBounds{Bytes: 1})
		(<-head).want(t, "reset during the call", Cursor{}, ErrReplaced)
	})
}

// TestWindowUnderConcurrentUse has a tail add while appenders wait, readers follow and streams ask
// for the head. It is for the race detector, and compares what the readers get.
func TestWindowUnderConcurrentUse(t *testing.T) {
	t.Parallel()
	const count = 3000
	var stored atomic.Uint64
	s := &fakeStore{
		last: func(context.Context) (Cursor, error) { return Cursor{Epoch: 7, Seq: stored.Load()}, nil },
		older: func(_ context.Context, q Query, _ Cursor, dst []*Entry) (Page, error) {
			return Page{Entries: dst, Through: q.After}, errStore // the window is large enough
		},
	}
	w := newTestWindow(t, WindowConfig{Store: s, Numbers: NumbersDecided, ContactTimeout: time.Hour}, WindowBounds{})
	w.Reset(Cursor{Epoch: 7}, WindowBounds{Bytes: 1 << 30, EntriesPerSubject: count})
	w.ConfirmContact()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for seq := uint64(1); seq <= count; seq++ {
			if seq%100 == 50 {
				continue // removed by the store
			}
			stored.Store(seq)
			if w.Add(testEntry(seq, "all")) {
				w.ResolveHole(w.Hole(), seq+1)
			}
			w.ConfirmContact()
		}
	})
	for range 4 {
		running.Go(func() {
			news := make(chan struct{}, 1)
			defer w.Watch(func(string, uint64) {
				select {
				case news <- struct{}{}:
				default:
				}
			})()
			at, read := Cursor{Epoch: 7}, 0
			for at.Seq < count {
				page, err := w.Read(t.Context(), Query{Subjects: []string{"all"}, After: at, MaxEntries: 10, MaxBytes: 1 << 20}, nil)
				if err != nil || page.Gap != "" || !slices.IsSortedFunc(page.Entries, func(a, b *Entry) int { return int(a.At.Seq) - int(b.At.Seq) }) {
					t.Errorf("gap %q, error %v", page.Gap, err)
					return
				}
				read += len(page.Entries)
				if at = page.Through; !page.More && at.Seq < count {
					<-news
				}
			}
			if read != count-count/100 {
				t.Errorf("read %d entries", read)
			}
		})
		running.Go(func() {
			for range 200 {
				seq := 1 + rand.Uint64N(count)
				if at, err := w.Wait(t.Context(), w.Generation(), Cursor{Epoch: 7, Seq: seq}, uint32(seq)); err != nil || at.Seq != seq || (at.Check == 0) != (seq%100 == 50) {
					t.Errorf("waiting for %d: %+v, %v", seq, at, err)
				}
			}
		})
		running.Go(func() {
			for range 200 {
				before := w.Visible().Seq
				if at, err := w.Head(t.Context()); err != nil || at.Seq < before {
					t.Errorf("head %+v after %d, error %v", at, before, err)
				}
			}
		})
	}
}
