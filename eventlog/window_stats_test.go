package eventlog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// withKey returns the entry, with a key.
func (e *WindowEntry) withKey(key string) *WindowEntry {
	e.Key = key
	return e
}

func TestWindowStatsCountEachEntryOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{Numbers: NumbersSparse}, WindowBounds{Bytes: 20 << 10})
		var stored []time.Time
		for seq := uint64(1); seq <= 200; seq++ {
			time.Sleep(time.Second)
			e := testEntry(seq, "user:alice")
			if seq%4 == 0 {
				e = e.withKey(fmt.Sprint(seq % 8))
			}
			w.Add(e)
			stored = append(stored, e.Time)
			s := w.Stats()
			v := s.Evicted
			if sum := uint64(s.Entries) + v.Size + v.Replaced; sum != seq || v.Subject+v.Age+v.Reset != 0 {
				t.Fatalf("%d entries came, and %d are counted: %+v", seq, sum, s)
			}
			if s.Bytes > 20<<10 || s.MaxBytes != 20<<10 || !s.Since.Equal(stored[w.floor]) {
				t.Fatalf("the window begins after %d, which is after %v: %+v", w.floor, stored[w.floor], s)
			}
		}
		before := w.Stats()
		if before.Evicted.Size == 0 || before.Evicted.Replaced == 0 || before.Entries < 10 {
			t.Fatalf("%+v", before)
		}
		w.Reset(Cursor{Epoch: 8}, WindowBounds{Bytes: 1 << 20})
		after := w.Stats()
		if after.Evicted.Reset != uint64(before.Entries) || after.Entries != 0 || after.Bytes != 0 || !after.Since.IsZero() || after.MaxBytes != 1<<20 {
			t.Errorf("after a reset: %+v", after)
		}
	})
}

func TestWindowStatsSayHowFarReadersAreBehind(t *testing.T) {
	t.Parallel()
	last := func(context.Context) (Cursor, error) { return Cursor{Epoch: 7, Seq: 30}, nil }
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided, Store: &fakeStore{last: last}}, WindowBounds{EntriesPerSubject: 9})
	want := func(what string, behind uint64) {
		t.Helper()
		if s := w.Stats(); s.Store.Behind != behind {
			t.Errorf("%s: %d behind, want %d", what, s.Store.Behind, behind)
		}
	}
	want("an empty store", 0)
	addEntries(w, "all", 1, 2)
	want("all is read", 0)
	w.NoteLast(10)
	w.NoteLast(9) // an answer that is late
	want("the store has more", 8)
	addEntries(w, "all", 4)
	want("an entry is hidden behind a hole", 8)
	addEntries(w, "all", 12)
	want("an entry is newer than what is known of the store", 10)
	w.GiveUpHole(w.Hole())
	want("the hole was given up", 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := w.Head(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the head is not reached: %v", err)
	}
	for start := time.Now(); w.Stats().Store.Behind != 18; <-time.After(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the store has named its last entry, and that does not count")
		}
	}
	w.Reset(Cursor{Epoch: 8, Seq: 3}, WindowBounds{Bytes: 1})
	want("another store", 0)
}

func TestWindowStatsSayWhenTheStoreWasHeard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := NewWindow(WindowConfig{Store: noStore{}})
		defer w.Close()
		if s := w.Stats().Store; s.Connected || !s.Heard.IsZero() || s.Failures != 0 || s.Inbox != -1 {
			t.Errorf("before contact: %+v", s)
		}
		w.Reset(Cursor{Epoch: 7}, WindowBounds{Bytes: 1})
		time.Sleep(time.Minute)
		for range 3 {
			w.NoteFailure(errStore) // three attempts of one outage
		}
		w.ConfirmContact()
		heard := time.Now()
		if s := w.Stats().Store; !s.Connected || !s.Heard.Equal(heard) || s.Failures != 1 {
			t.Errorf("with contact at %v: %+v", heard, s)
		}
		time.Sleep(time.Minute)
		w.NoteFailure(errStore)
		if s := w.Stats().Store; s.Connected || !s.Heard.Equal(heard) || s.Failures != 2 {
			t.Errorf("a minute after contact at %v: %+v", heard, s)
		}
	})
}

func TestWindowStatsCountReadsOfTheStore(t *testing.T) {
	t.Parallel()
	answers := 0
	older := func(_ context.Context, q Query, head Cursor, dst []*Entry) (Page, error) {
		if answers++; answers > 2 {
			return Page{}, errStore
		}
		for seq := q.After.Seq + 1; seq <= head.Seq && len(dst) < 3; seq++ {
			dst = append(dst, &testEntry(seq, "all").Entry)
		}
		return Page{Entries: dst, Through: head}, nil
	}
	w := newTestWindow(t, WindowConfig{Store: &fakeStore{older: older}}, WindowBounds{Bytes: 1}) // holds one entry
	addEntries(w, "all", 1, 2, 3, 4, 5)
	read := func(ctx context.Context, noWait bool) {
		_, _ = w.Read(ctx, Query{Subjects: []string{"all"}, After: testCursor(2), MaxEntries: 1000, MaxBytes: 1 << 20, NoWait: noWait}, nil)
	}
	readPage(t, w, testCursor(4), "all")
	read(t.Context(), true)
	if s := w.Stats().Store; s.Reads != 0 {
		t.Errorf("the store was not asked: %+v", s)
	}
	read(t.Context(), false)
	read(t.Context(), false)
	read(t.Context(), false)
	left, leave := context.WithCancel(t.Context())
	leave()
	read(left, false) // the client's fault
	if s := w.Stats().Store; s.Reads != 4 || s.ReadEntries != 6 || s.ReadErrors != 1 {
		t.Errorf("four reads, two with three entries, and one with an error: %+v", s)
	}
}
