package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// keyedEntry is testEntry with a key.
func keyedEntry(seq uint64, subject, key string) *WindowEntry {
	e := testEntry(seq, subject)
	e.Key = key
	return e
}

// readLatest reads a page with [Query.Latest].
func readLatest(t *testing.T, w *Window, after Cursor, subjects ...string) ([]uint64, Page) {
	t.Helper()
	page, err := w.Read(t.Context(), Query{Subjects: subjects, After: after, Latest: true, MaxEntries: 1000, MaxBytes: 1 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sequences(page.Entries), page
}

func TestWindowReadsTheNewestOfEachKey(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{EntriesPerSubject: 4})
	first := keyedEntry(1, "user:a", "k")
	w.Add(first)
	wantRead(t, w, Cursor{Epoch: 7}, 1)
	block := string(first.Block)
	for seq := range uint64(10) {
		w.Add(keyedEntry(seq+2, "user:a", "k"))
	}
	addEntries(w, "user:a", 12)
	w.Add(keyedEntry(13, "user:b", "k"))
	w.Add(keyedEntry(14, "user:a", "o"))
	for seq := range uint64(11) {
		at := testCursor(seq)
		if seq == 0 {
			at = Cursor{Epoch: 7}
		}
		wantRead(t, w, at, 11, 12, 13, 14)
		if got, page := readLatest(t, w, at, "user:a", "user:b"); !slices.Equal(got, []uint64{11, 13, 14}) || page.Through != testCursor(14) {
			t.Errorf("the latest after %d are %v through %+v", seq, got, page.Through)
		}
	}
	wrong := testCursor(5)
	wrong.Check++
	if _, page := readPage(t, w, wrong, "user:a"); page.Gap != GapUnknown {
		t.Errorf("a made-up position at a replaced entry has gap %q", page.Gap)
	}
	if at, err := w.Wait(t.Context(), w.Generation(), testCursor(5), 5); err != nil || at != testCursor(5) {
		t.Errorf("waiting for a replaced entry: %+v, %v", at, err)
	}
	if string(first.Block) != block || first.Key != "k" {
		t.Error("an entry that readers hold has changed")
	}
	addEntries(w, "user:a", 15, 16)
	if _, page := readPage(t, w, testCursor(1), "user:a"); page.Gap != GapTrimmed {
		t.Errorf("5 entries of a subject of 4 have gap %q", page.Gap)
	}
	if got, page := readLatest(t, w, testCursor(1), "user:a"); !slices.Equal(got, []uint64{11, 14}) || page.Gap != "" {
		t.Errorf("the latest of 5 entries of a subject of 4 are %v, gap %q", got, page.Gap)
	}
}

// What was replaced leaves memory, and a list of a subject does not grow by it.
func TestWindowFreesReplacedEntries(t *testing.T) {
	t.Parallel()
	const keys, updates = 1000, 20_000
	w := newTestWindow(t, WindowConfig{}, WindowBounds{Bytes: 1 << 30})
	seq := uint64(0)
	add := func(n int) {
		seq++
		w.Add(keyedEntry(seq, "topic:t", fmt.Sprint("k", 1000+n)))
	}
	for n := range keys {
		add(n)
	}
	bytes := w.bytes
	for n := range updates {
		add(n * 7 % keys)
	}
	// The numbers in the frames have become longer.
	if most := bytes + 4*keys + updates*replacedCost; w.bytes > most {
		t.Errorf("%d bytes are held, want %d", w.bytes, most)
	}
	if n := len(w.subjects["topic:t"]); n > 2*keys+1 || len(w.keys.newest) != keys {
		t.Errorf("%d entries of the subject and %d keys, want %d", n, len(w.keys.newest), keys)
	}
	w.discardLocked(seq)
	if w.bytes != 0 || len(w.keys.newest) != 0 || len(w.keys.replaced) != 0 || len(w.subjects) != 0 {
		t.Errorf("an empty window holds %d bytes, %d keys, %d subjects with replaced entries, %d subjects",
			w.bytes, len(w.keys.newest), len(w.keys.replaced), len(w.subjects))
	}
}

// An entry behind a hole replaces none before readers see it.
func TestWindowEntryBehindAHoleReplacesNone(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{EntriesPerSubject: 2})
	w.Add(keyedEntry(1, "user:a", "k"))
	for seq := range uint64(4) {
		w.Add(keyedEntry(seq+3, "user:a", "k"))
	}
	wantRead(t, w, Cursor{Epoch: 7}, 1) // no gap, though 5 entries of the key are held
	w.ResolveHole(w.Hole(), 6)
	wantRead(t, w, Cursor{Epoch: 7}, 6)
	wantRead(t, w, testCursor(1), 6)
}

func TestWindowExpiresEntriesWithKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{ContactTimeout: time.Hour}, WindowBounds{MaxAge: time.Minute})
		w.Add(keyedEntry(1, "user:a", "k"))
		w.Add(keyedEntry(2, "user:a", "o"))
		time.Sleep(30 * time.Second)
		w.Add(keyedEntry(3, "user:a", "k"))
		time.Sleep(30 * time.Second)
		if _, page := readPage(t, w, Cursor{Epoch: 7}, "user:a"); page.Gap != GapTrimmed {
			t.Errorf("gap is %q after an entry has expired", page.Gap)
		}
		wantRead(t, w, testCursor(2), 3)
		if got, page := readLatest(t, w, Cursor{Epoch: 7}, "user:a"); !slices.Equal(got, []uint64{3}) || page.Gap != "" {
			t.Errorf("the latest are %v, gap %q", got, page.Gap)
		}
		w.Add(keyedEntry(4, "user:a", "o"))
		wantRead(t, w, Cursor{Epoch: 7}, 3, 4) // what has expired was replaced
	})
}

// The store returns entries of which it does not know that they were replaced.
func TestWindowLeavesOutWhatTheStoreDoesNot(t *testing.T) {
	t.Parallel()
	entries := []*WindowEntry{
		keyedEntry(1, "user:a", "k"), keyedEntry(2, "user:a", "o"), testEntry(3, "user:a"), keyedEntry(4, "user:a", "p"),
		keyedEntry(6, "user:a", "k"), keyedEntry(7, "user:a", "p"),
	}
	var w *Window
	asked := 0
	var meanwhile []*WindowEntry // added while the store is asked
	store := &fakeStore{older: func(_ context.Context, q Query, head Cursor, dst []*Entry) (Page, error) {
		asked++
		for _, e := range meanwhile {
			w.Add(e)
		}
		s := &fakeSource{entries: make(map[string][]*Entry)}
		for _, e := range slices.Concat(entries, meanwhile) {
			s.entries[e.Subject] = append(s.entries[e.Subject], &e.Entry)
		}
		return ReadSource(t.Context(), s, q, head, dst)
	}}
	open := func(t *testing.T, late ...*WindowEntry) {
		t.Helper()
		w = newTestWindow(t, WindowConfig{Store: store, Numbers: NumbersSparse}, WindowBounds{})
		w.Reset(testCursor(5), WindowBounds{Bytes: 1 << 20})
		w.ConfirmContact()
		for _, e := range entries[4:] {
			w.Add(e)
		}
		asked, meanwhile = 0, late
	}
	read := func(t *testing.T, q Query, dst ...*Entry) ([]uint64, Page) {
		t.Helper()
		q.Subjects, q.MaxBytes = []string{"user:a"}, 1<<20
		page, err := w.Read(t.Context(), q, dst)
		if err != nil {
			t.Fatal(err)
		}
		return sequences(page.Entries[len(dst):]), page
	}
	start := Cursor{Epoch: 7}
	for _, test := range []struct {
		name    string
		q       Query
		late    []*WindowEntry
		want    []uint64
		through uint64
		more    bool
		asked   int
	}{
		{"all", Query{After: start, MaxEntries: 10}, nil, []uint64{2, 3, 6, 7}, 7, false, 1},
		{"latest", Query{After: start, MaxEntries: 10, Latest: true}, nil, []uint64{2, 6, 7}, 7, false, 1},
		{"page_without_the_last", Query{After: start, MaxEntries: 4}, nil, []uint64{2, 3}, 3, true, 1},
		{"page_with_nothing_left", Query{After: start, MaxEntries: 1}, nil, []uint64{2}, 2, true, 2},
		{
			"replaced_meanwhile", Query{After: start, MaxEntries: 10}, []*WindowEntry{keyedEntry(8, "user:a", "k"), testEntry(9, "all")},
			[]uint64{2, 3, 7, 8}, 9, false, 1,
		},
		{
			"latest_replaced_meanwhile", Query{After: start, MaxEntries: 10, Latest: true}, []*WindowEntry{keyedEntry(8, "user:a", "o")},
			[]uint64{6, 7, 8}, 8, false, 1,
		},
		{
			"replaced_meanwhile_and_full", Query{After: testCursor(1), MaxEntries: 5}, []*WindowEntry{keyedEntry(8, "user:a", "p"), testEntry(9, "user:a"), testEntry(10, "user:a"), testEntry(11, "user:a")},
			[]uint64{2, 3, 6, 8, 9}, 9, true, 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			open(t, test.late...)
			held := testEntry(100, "all")
			got, page := read(t, test.q, &held.Entry)
			if !slices.Equal(got, test.want) || page.Through != testCursor(test.through) || page.More != test.more || page.Gap != "" || asked != test.asked {
				t.Errorf("read %v through %d, more %v, gap %q, asked %d times", got, page.Through.Seq, page.More, page.Gap, asked)
			}
			if page.Entries[0] != &held.Entry {
				t.Error("what dst held was replaced")
			}
		})
	}
}

// fakeKeyedSource also knows which of its entries were replaced.
type fakeKeyedSource struct {
	*fakeSource

	nexts int // calls of Next
}

func (s *fakeKeyedSource) Next(ctx context.Context, subject string, after uint64) (*Entry, error) {
	s.nexts++
	return s.fakeSource.Next(ctx, subject, after)
}

func (s *fakeKeyedSource) NextKeyed(ctx context.Context, subject string, after uint64) (*Entry, error) {
	for {
		e, err := s.fakeSource.Next(ctx, subject, after)
		if err != nil || e == nil || e.Key != "" {
			return e, err
		}
		after = e.At.Seq
	}
}

func (s *fakeKeyedSource) IsReplaced(_ context.Context, e *Entry, end uint64) (bool, error) {
	return slices.ContainsFunc(s.entries[e.Subject], func(other *Entry) bool {
		return other.Key == e.Key && other.At.Seq > e.At.Seq && other.At.Seq <= end
	}), s.failure
}

func newKeyedSource(keys ...string) *fakeKeyedSource {
	s := &fakeKeyedSource{fakeSource: newFakeSource()}
	for i, key := range keys {
		s.entries["all"] = append(s.entries["all"], &keyedEntry(uint64(i)+1, "all", key).Entry)
	}
	return s
}

// While the store is asked, a window with little memory loses what followed the page.
func TestWindowKeepsThePageThatItCannotExtend(t *testing.T) {
	t.Parallel()
	var w *Window
	source := newKeyedSource("k", "o", "k")
	w = newTestWindow(t, WindowConfig{Store: &fakeStore{older: func(ctx context.Context, q Query, head Cursor, dst []*Entry) (Page, error) {
		addEntries(w, "all", 4, 5, 6)
		w.Add(keyedEntry(7, "all", "o"))
		return ReadSource(ctx, source, q, head, dst)
	}}}, WindowBounds{})
	w.Reset(testCursor(3), WindowBounds{Bytes: 2 * WindowEntryOverhead})
	w.ConfirmContact()
	got, page := readLatest(t, w, Cursor{Epoch: 7}, "all")
	if !slices.Equal(got, []uint64{2, 3}) || page.Through != testCursor(3) || page.More {
		t.Errorf("read %v through %+v, more %v", got, page.Through, page.More)
	}
}

func TestReadSourceLeavesOutReplacedEntries(t *testing.T) {
	t.Parallel()
	s := newKeyedSource("k", "", "o", "k", "o", "", "k")
	for name, test := range map[string]struct {
		q       Query
		want    []uint64
		through uint64
		more    bool
	}{
		"up_to_head":      {Query{MaxEntries: 10}, []uint64{2, 4, 5, 6}, 6, false}, // 7 is behind it
		"latest":          {Query{MaxEntries: 10, Latest: true}, []uint64{4, 5}, 6, false},
		"page":            {Query{MaxEntries: 2}, []uint64{2, 4}, 4, true},
		"page_of_latest":  {Query{MaxEntries: 1, Latest: true}, []uint64{4}, 4, true},
		"exactly_as_many": {Query{MaxEntries: 2, Latest: true}, []uint64{4, 5}, 6, false},
	} {
		test.q.Subjects, test.q.After, test.q.MaxBytes = []string{"all"}, Cursor{Epoch: 7}, 1<<20
		s.nexts = 0
		page, err := ReadSource(t.Context(), s, test.q, testCursor(6), nil)
		if got := sequences(page.Entries); err != nil || !slices.Equal(got, test.want) || page.Through != testCursor(test.through) || page.More != test.more {
			t.Errorf("%s: read %v through %+v, more %v, error %v", name, got, page.Through, page.More, err)
		}
		if test.q.Latest && s.nexts > 0 {
			t.Errorf("%s: Next was called", name)
		}
	}
	q := Query{Subjects: []string{"all"}, After: Cursor{Epoch: 7}, Latest: true, MaxEntries: 10, MaxBytes: 1 << 20}
	s.lost = "all"
	if page, err := ReadSource(t.Context(), s, q, testCursor(6), nil); err != nil || page.Gap != "" {
		t.Errorf("the latest have gap %q, error %v", page.Gap, err)
	}
	if page, err := ReadSource(t.Context(), s.fakeSource, q, testCursor(6), nil); err != nil || !slices.Equal(sequences(page.Entries), []uint64{1, 3, 4, 5}) {
		t.Errorf("the latest of a source that is no KeyedSource are %v, error %v", sequences(page.Entries), err)
	}
	s.failure = errStore
	if _, err := ReadSource(t.Context(), s, q, testCursor(6), nil); !errors.Is(err, errStore) {
		t.Errorf("error is %v", err)
	}
}

// A page that holds an entry ends after a second, also among entries that were replaced.
func TestReadSourceEndsThePageAmongReplacedEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newKeyedSource("a", "k", "k", "k", "k", "k", "k", "k", "k")
		s.delay = 300 * time.Millisecond
		q := Query{Subjects: []string{"all"}, After: Cursor{Epoch: 7}, MaxEntries: 10, MaxBytes: 1 << 20}
		start := time.Now()
		page, err := ReadSource(t.Context(), s, q, testCursor(9), nil)
		if took := time.Since(start); err != nil || !slices.Equal(sequences(page.Entries), []uint64{1}) || !page.More || page.Through != testCursor(1) || took > 2*time.Second {
			t.Errorf("read %v through %+v, more %v, error %v in %v", sequences(page.Entries), page.Through, page.More, err, took)
		}
	})
}
