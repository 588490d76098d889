package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// noStore fails a test that asks it.
type noStore struct{}

func (noStore) Last(context.Context) (Cursor, error) { panic("Last was called") }

func (noStore) ReadOlder(context.Context, Query, Cursor, []*Entry) (Page, error) {
	panic("ReadOlder was called")
}

// fakeStore answers with functions.
type fakeStore struct {
	last  func(ctx context.Context) (Cursor, error)
	older func(ctx context.Context, q Query, head Cursor, dst []*Entry) (Page, error)
}

func (s *fakeStore) Last(ctx context.Context) (Cursor, error) { return s.last(ctx) }

func (s *fakeStore) ReadOlder(ctx context.Context, q Query, head Cursor, dst []*Entry) (Page, error) {
	return s.older(ctx, q, head, dst)
}

var errStore = errors.New("the store does not answer")

// newTestWindow returns a window with contact that begins before sequence 1. Contact is not lost while the
// machine does something else, unless the test has a ContactTimeout of its own.
func newTestWindow(t testing.TB, cfg WindowConfig, bounds WindowBounds) *Window {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = noStore{}
	}
	if cfg.ContactTimeout == 0 {
		cfg.ContactTimeout = time.Hour
	}
	if bounds.Bytes == 0 {
		bounds.Bytes = 1 << 20
	}
	w := NewWindow(cfg)
	t.Cleanup(w.Close)
	w.Reset(Cursor{Epoch: 7}, bounds)
	w.ConfirmContact()
	return w
}

// testEntry returns an entry with a check and a tag that follow from its sequence.
func testEntry(seq uint64, subject string) *WindowEntry {
	r := Record{Subject: subject, Frame: fmt.Appendf(nil, "data: %d\n\n", seq)}
	return &WindowEntry{Entry: NewEntry(testCursor(seq), r), Time: time.Now(), Tag: uint32(seq)}
}

func testCursor(seq uint64) Cursor { return Cursor{Epoch: 7, Seq: seq, Check: 100 + uint32(seq)} }

func addEntries(w *Window, subject string, seqs ...uint64) {
	for _, seq := range seqs {
		w.Add(testEntry(seq, subject))
	}
}

// readPage reads a page of many entries, and returns its sequences.
func readPage(t *testing.T, w *Window, after Cursor, subjects ...string) ([]uint64, Page) {
	t.Helper()
	page, err := w.Read(t.Context(), Query{Subjects: subjects, After: after, MaxEntries: 1000, MaxBytes: 1 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sequences(page.Entries), page
}

func sequences(entries []*Entry) (list []uint64) {
	for _, e := range entries {
		list = append(list, e.At.Seq)
	}
	return list
}

func wantRead(t *testing.T, w *Window, after Cursor, want ...uint64) {
	t.Helper()
	got, page := readPage(t, w, after, "user:a", "user:b", "all")
	if !slices.Equal(got, want) || page.Gap != "" {
		t.Errorf("after %d: read %v, gap %q, want %v", after.Seq, got, page.Gap, want)
	}
}

func TestWindowMergesSubjectsInOrder(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{})
	subjects := []string{"user:a", "user:b", "all", "user:c"}
	for seq := range uint64(40) {
		w.Add(testEntry(seq+1, subjects[(seq*seq/3)%4]))
	}
	want := []uint64{}
	for seq := range uint64(40) {
		if seq+1 > 5 && subjects[(seq*seq/3)%4] != "user:c" {
			want = append(want, seq+1)
		}
	}
	wantRead(t, w, testCursor(5), want...)
	if _, page := readPage(t, w, testCursor(5), "user:x"); page.Through != testCursor(40) {
		t.Errorf("a page without entries is through %+v", page.Through)
	}
	many := []string{"user:1", "user:2", "user:3", "user:4", "user:5", "user:6", "user:7", "user:8"}
	if got, _ := readPage(t, w, testCursor(5), append(many, "user:a", "all", "user:b")...); !slices.Equal(got, want) {
		t.Errorf("of many subjects: read %v, want %v", got, want)
	}
}

func TestWindowPageStaysWithinTheBoundsOfTheQuery(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{})
	addEntries(w, "all", 1, 2, 3, 4, 5)
	held := testEntry(9, "all")
	size := len(held.Block)
	for name, test := range map[string]struct {
		entries, bytes int
		want           []uint64
	}{
		"entries":          {2, 1 << 20, []uint64{1, 2}},
		"bytes":            {10, 3 * size, []uint64{1, 2, 3}},
		"at_least_one":     {0, 0, []uint64{1}},
		"all_of_them":      {5, 5 * size, []uint64{1, 2, 3, 4, 5}},
		"more_than_needed": {10, 1 << 20, []uint64{1, 2, 3, 4, 5}},
	} {
		q := Query{Subjects: []string{"all"}, After: Cursor{Epoch: 7}, MaxEntries: test.entries, MaxBytes: test.bytes}
		page, err := w.Read(t.Context(), q, []*Entry{&held.Entry})
		if err != nil || page.Entries[0] != &held.Entry {
			t.Fatalf("%s: entry %v first, error %v", name, page.Entries[0], err)
		}
		last := test.want[len(test.want)-1]
		if got := sequences(page.Entries[1:]); !slices.Equal(got, test.want) || page.More != (last < 5) || page.Through != testCursor(last) {
			t.Errorf("%s: read %v through %d, more %v", name, got, page.Through.Seq, page.More)
		}
	}
}

func TestWindowSharesEntriesWithReaders(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{})
	e := testEntry(1, "all")
	w.Add(e)
	for range 2 {
		if _, page := readPage(t, w, Cursor{Epoch: 7}, "all"); page.Entries[0] != &e.Entry {
			t.Error("the reader got a copy")
		}
	}
}

func TestWindowDeliversNoEntryWithoutABlock(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{})
	addEntries(w, "all", 1)
	w.Add(&WindowEntry{Entry: Entry{At: testCursor(2), Subject: "all"}})
	wantRead(t, w, Cursor{Epoch: 7}, 1)
	addEntries(w, "all", 3)
	wantRead(t, w, Cursor{Epoch: 7}, 1, 3)
	wantRead(t, w, testCursor(2), 3)
}

func TestWindowIgnoresEntriesItHas(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{})
	addEntries(w, "all", 1, 2, 1, 2, 3, 3)
	wantRead(t, w, Cursor{Epoch: 7}, 1, 2, 3)
}

func TestWindowReportsPositionsThatAreNotOfTheLog(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{})
	addEntries(w, "all", 1, 2)
	for at, want := range map[Cursor]GapReason{
		{}:                                GapEpoch,
		{Epoch: 8, Seq: 1, Check: 101}:    GapEpoch,
		{Epoch: 7, Seq: 1, Check: 999}:    GapUnknown,
		{Epoch: 7, Seq: 2, Check: 0}:      GapUnknown,
		{Epoch: 7, Seq: 0, Check: 1}:      GapUnknown,
		{Epoch: 7, Seq: 1, Check: 101}:    "",
		{Epoch: 7, Seq: 0, Check: 0}:      "",
		{Epoch: 7, Seq: 2, Check: 102}:    "",
		{Epoch: 0, Seq: 2, Check: 102}:    GapEpoch,
		{Epoch: 7, Seq: 0, Check: 1 << 9}: GapUnknown,
	} {
		got, page := readPage(t, w, at, "all")
		if page.Gap != want || want != "" && (page.Through != testCursor(2) || len(got) > 0) {
			t.Errorf("%+v: gap %q through %+v with %v, want %q", at, page.Gap, page.Through, got, want)
		}
	}
}

func TestWindowAsksTheStoreAboutPositionsAfterItsHead(t *testing.T) {
	t.Parallel()
	var last Cursor
	var failure error
	w := newTestWindow(t, WindowConfig{Store: &fakeStore{last: func(context.Context) (Cursor, error) { return last, failure }}}, WindowBounds{})
	addEntries(w, "all", 1)
	q := Query{Subjects: []string{"all"}, After: testCursor(5), MaxEntries: 1, MaxBytes: 1}
	for _, test := range []struct {
		last    Cursor
		gap     GapReason
		through Cursor
	}{
		{Cursor{Epoch: 7, Seq: 4}, GapUnknown, testCursor(1)}, // no node can have given the position out
		{Cursor{Epoch: 7, Seq: 5}, "", q.After},               // the reader waits
		{Cursor{Epoch: 8, Seq: 1}, "", q.After},               // the tail has not noticed yet
	} {
		last = test.last
		if page, err := w.Read(t.Context(), q, nil); err != nil || page.Gap != test.gap || page.Through != test.through {
			t.Errorf("store at %+v: gap %q, through %+v, error %v", test.last, page.Gap, page.Through, err)
		}
	}
	failure = errStore
	if _, err := w.Read(t.Context(), q, nil); !errors.Is(err, errStore) {
		t.Errorf("error is %v", err)
	}
}

func TestWindowReadsOlderPositionsFromTheStore(t *testing.T) {
	t.Parallel()
	var asked []uint64
	older := testEntry(3, "all")
	w := newTestWindow(t, WindowConfig{Store: &fakeStore{older: func(_ context.Context, q Query, head Cursor, dst []*Entry) (Page, error) {
		asked = append(asked, q.After.Seq, head.Seq)
		return Page{Entries: append(dst, &older.Entry), Through: head}, nil
	}}}, WindowBounds{Bytes: 3 * testEntry(1, "all").cost()})
	addEntries(w, "all", 1, 2, 3, 4, 5) // 3 to 5 are held
	wantRead(t, w, testCursor(2), 3, 4, 5)
	wantRead(t, w, testCursor(1), 3)
	if _, page := readPage(t, w, Cursor{Epoch: 7, Seq: 2, Check: 1}, "all"); page.Gap != GapUnknown {
		t.Errorf("at a made-up position before the oldest entry held the gap is %q", page.Gap)
	}
	if !slices.Equal(asked, []uint64{1, 5}) {
		t.Errorf("the store was asked for %v", asked)
	}
}

// noStore shows that the store is not asked.
func TestWindowDoesNotAskTheStoreIfTheReaderMustNotWait(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{Bytes: 3 * testEntry(1, "all").cost()})
	addEntries(w, "all", 1, 2, 3, 4, 5) // 3 to 5 are held
	for name, test := range map[string]struct {
		at   Cursor
		want []uint64
		gap  GapReason
		err  error
	}{
		"before_all_entries":  {Cursor{Epoch: 7}, nil, "", ErrWouldWait},
		"before_the_floor":    {testCursor(1), nil, "", ErrWouldWait},
		"at_the_floor":        {testCursor(2), []uint64{3, 4, 5}, "", nil},
		"held":                {testCursor(4), []uint64{5}, "", nil},
		"at_the_head":         {testCursor(5), nil, "", nil},
		"after_the_head":      {testCursor(6), nil, "", ErrWouldWait},
		"of_another_epoch":    {Cursor{Epoch: 8, Seq: 1}, nil, GapEpoch, nil},
		"made_up":             {Cursor{Epoch: 7, Seq: 4, Check: 1}, nil, GapUnknown, nil},
		"made_up_at_the_head": {Cursor{Epoch: 7, Seq: 5, Check: 1}, nil, GapUnknown, nil},
	} {
		marker := &Entry{Subject: "marker"}
		dst := []*Entry{marker, nil, nil, nil, nil}
		q := Query{Subjects: []string{"all"}, After: test.at, MaxEntries: 10, MaxBytes: 1 << 20, NoWait: true}
		page, err := w.Read(t.Context(), q, dst[:1])
		if !errors.Is(err, test.err) {
			t.Errorf("%s: error %v, want %v", name, err, test.err)
		}
		if dst[0] != marker || err != nil && dst[1] != nil {
			t.Errorf("%s: dst was overwritten", name)
		}
		if err != nil {
			continue
		}
		if got := sequences(page.Entries[1:]); !slices.Equal(got, test.want) || page.Gap != test.gap || page.Through != testCursor(5) {
			t.Errorf("%s: read %v through %+v, gap %q", name, got, page.Through, page.Gap)
		}
	}
}

func TestWindowReadsTheSameFromMemoryIfTheReaderMustNotWait(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{EntriesPerSubject: 4})
	subjects := []string{"user:a", "user:b", "all"}
	for seq := uint64(1); seq <= 20; seq++ {
		if seq != 18 { // readers see up to 17
			addEntries(w, subjects[seq%3], seq)
		}
	}
	pages := 0
	for at := range uint64(18) {
		for _, most := range []int{1, 3, 100} {
			q := Query{Subjects: subjects, MaxEntries: most, MaxBytes: 1 << 20, After: testCursor(at)}
			if at == 0 {
				q.After = Cursor{Epoch: 7}
			}
			want, err := w.Read(t.Context(), q, nil)
			if err != nil {
				t.Fatal(err)
			}
			q.NoWait = true
			page, err := w.Read(t.Context(), q, nil)
			if err != nil || !slices.Equal(page.Entries, want.Entries) || page.Through != want.Through || page.More != want.More || page.Gap != want.Gap {
				t.Errorf("at most %d after %d: %+v and error %v with NoWait, %+v without", most, at, page, err, want)
			}
			pages += len(page.Entries)
		}
	}
	if pages == 0 {
		t.Error("no page had an entry")
	}
}

func TestWindowReturnsAtOnceIfTheReaderMustNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		entered, proceed := make(chan struct{}, 1), make(chan struct{})
		store := &fakeStore{older: func(_ context.Context, _ Query, head Cursor, dst []*Entry) (Page, error) {
			entered <- struct{}{}
			<-proceed
			return Page{Entries: dst, Through: head}, nil
		}}
		w := newTestWindow(t, WindowConfig{Store: store, StoreReads: 1, ContactTimeout: 3 * time.Second}, WindowBounds{Bytes: 1})
		addEntries(w, "all", 1, 2, 3)
		q := Query{Subjects: []string{"all"}, After: testCursor(1), MaxEntries: 10, MaxBytes: 1 << 20}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if page, err := w.Read(t.Context(), q, nil); err != nil || page.Through != testCursor(3) {
				t.Errorf("the read that waits: through %+v, error %v", page.Through, err)
			}
		})
		<-entered // no other read may ask the store now
		q.NoWait = true
		start := time.Now()
		if _, err := w.Read(t.Context(), q, nil); !errors.Is(err, ErrWouldWait) {
			t.Errorf("while another read waits: error %v", err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v", took)
		}
		close(proceed)
		waiting.Wait()

		time.Sleep(3 * time.Second) // without contact
		if page, err := w.Read(t.Context(), q, nil); err != nil || len(page.Entries) > 0 || page.Gap != "" || page.Through != q.After {
			t.Errorf("without contact: %+v, error %v", page, err)
		}
		w.Close()
		if _, err := w.Read(t.Context(), q, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: error %v", err)
		}
	})
}

func TestWindowStaysWithinItsBytes(t *testing.T) {
	t.Parallel()
	one := testEntry(1, "all").cost()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{Bytes: 10 * one})
	for seq := range uint64(100) {
		addEntries(w, fmt.Sprint("user:", seq%3), seq+1)
		if w.bytes > 10*one+30 || len(w.entries) == 0 {
			t.Fatalf("%d entries of %d bytes are held", len(w.entries), w.bytes)
		}
	}
	large := testEntry(101, "all")
	large.Block = append(large.Block, make([]byte, 100*one)...)
	w.Add(large)
	wantRead(t, w, testCursor(100), 101)
	if len(w.entries) != 1 || len(w.subjects) != 1 {
		t.Errorf("%d entries of %d subjects are held beside one that is too large", len(w.entries), len(w.subjects))
	}
}

func TestWindowReportsLossByCount(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{EntriesPerSubject: 3})
	addEntries(w, "all", 1, 2, 3)
	wantRead(t, w, Cursor{Epoch: 7}, 1, 2, 3)
	addEntries(w, "user:a", 4)
	addEntries(w, "all", 5)
	if got, page := readPage(t, w, Cursor{Epoch: 7}, "user:a", "all"); page.Gap != GapTrimmed || len(got) > 0 || page.Through != testCursor(5) {
		t.Errorf("read %v, gap %q, through %d", got, page.Gap, page.Through.Seq)
	}
	wantRead(t, w, testCursor(1), 2, 3, 4, 5)
	if got, page := readPage(t, w, Cursor{Epoch: 7}, "user:a"); page.Gap != "" || len(got) != 1 {
		t.Errorf("of another subject: read %v, gap %q", got, page.Gap)
	}
	w.SetEntriesPerSubject(2)
	if _, page := readPage(t, w, testCursor(1), "all"); page.Gap != GapTrimmed {
		t.Errorf("after the bound was lowered the gap is %q", page.Gap)
	}
}

func TestWindowReportsLossByAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{}, WindowBounds{MaxAge: time.Minute})
		addEntries(w, "all", 1)
		time.Sleep(30 * time.Second)
		addEntries(w, "all", 2)
		time.Sleep(30*time.Second - 1)
		w.ConfirmContact()
		wantRead(t, w, Cursor{Epoch: 7}, 1, 2)
		time.Sleep(time.Nanosecond)
		if _, page := readPage(t, w, Cursor{Epoch: 7}, "all"); page.Gap != GapTrimmed {
			t.Errorf("gap is %q", page.Gap)
		}
		wantRead(t, w, testCursor(1), 2)
	})
}

func TestWindowDiscardsWhatIsBeforeAMissingNumber(t *testing.T) {
	t.Parallel()
	var asked uint64
	w := newTestWindow(t, WindowConfig{Store: &fakeStore{older: func(_ context.Context, q Query, head Cursor, dst []*Entry) (Page, error) {
		asked = q.After.Seq
		return Page{Entries: dst, Through: head, Gap: GapTrimmed}, nil
	}}}, WindowBounds{})
	addEntries(w, "all", 1, 2)
	if w.Add(testEntry(5, "user:b")) {
		t.Error("the log has to decide on a hole")
	}
	if _, page := readPage(t, w, testCursor(2), "all"); asked != 2 || page.Gap != GapTrimmed {
		t.Errorf("the store was asked for %d, gap %q", asked, page.Gap)
	}
	if w.Visible() != testCursor(5) {
		t.Errorf("readers see up to %+v", w.Visible())
	}
	addEntries(w, "all", 6)
	wantRead(t, w, testCursor(5), 6)
}

func TestWindowOfSparseNumbersHasNoHoles(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Numbers: NumbersSparse}, WindowBounds{})
	for seq := uint64(10); seq <= 1000; seq += 10 {
		addEntries(w, "all", seq)
	}
	wantRead(t, w, testCursor(970), 980, 990, 1000)
	got, _ := readPage(t, w, Cursor{Epoch: 7}, "all")
	if len(got) != 100 {
		t.Errorf("read %d entries", len(got))
	}
	if _, page := readPage(t, w, testCursor(975), "all"); page.Gap == "" {
		t.Error("no gap at a number that no entry has")
	}
}

func TestWindowHidesWhatFollowsAHoleUntilItIsResolved(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{EntriesPerSubject: 10})
	addEntries(w, "all", 1, 2)
	if !w.Add(testEntry(5, "user:a")) {
		t.Error("the hole was not reported")
	}
	first := w.Hole()
	if first.First != 3 || first.Last != 4 || first.Before.IsZero() {
		t.Errorf("the hole is %+v", first)
	}
	addEntries(w, "all", 7)
	wantRead(t, w, testCursor(1), 2)
	w.ResolveHole(first, 7) // it has grown meanwhile
	wantRead(t, w, testCursor(1), 2)
	grown := w.Hole()
	if grown.First != 3 || grown.Last != 6 {
		t.Errorf("the hole is %+v", grown)
	}
	w.ResolveHole(grown, 8)
	wantRead(t, w, testCursor(1), 2)
	if w.Add(testEntry(8, "user:b")) {
		t.Error("a resolved hole was reported")
	}
	wantRead(t, w, testCursor(1), 2, 5, 7, 8)
	if w.Hole().First != 0 {
		t.Errorf("there is a hole %+v", w.Hole())
	}
	if _, page := readPage(t, w, testCursor(3), "all"); page.Gap != GapTrimmed {
		t.Errorf("at a position in the hole the gap is %q", page.Gap)
	}
}

func TestWindowDiscardsWhatIsBeforeAHoleThatIsGivenUp(t *testing.T) {
	t.Parallel()
	asked := 0
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided, Store: &fakeStore{older: func(_ context.Context, _ Query, head Cursor, dst []*Entry) (Page, error) {
		asked++
		return Page{Entries: dst, Through: head}, nil
	}}}, WindowBounds{})
	addEntries(w, "all", 1, 2, 4)
	hole := w.Hole()
	addEntries(w, "all", 6, 7)
	w.GiveUpHole(Hole{First: 2, Last: 3}) // another one
	wantRead(t, w, testCursor(1), 2)
	w.GiveUpHole(hole)
	wantRead(t, w, testCursor(2))
	if asked != 1 {
		t.Errorf("the store was asked %d times", asked)
	}
	wantRead(t, w, Cursor{Epoch: 7, Seq: 5}, 6, 7)
	wantRead(t, w, testCursor(6), 7)
}

func TestWindowSkipsWhatTheStoreHasRemoved(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{})
	addEntries(w, "all", 1)
	if w.SkipTo(0, 5) || w.Tip().Seq != 1 {
		t.Error("it skipped from a tip that it has passed")
	}
	if !w.SkipTo(1, 5) || w.Visible() != (Cursor{Epoch: 7, Seq: 5}) {
		t.Errorf("readers see up to %+v", w.Visible())
	}
	if w.Add(testEntry(6, "all")) {
		t.Error("there is a hole after skipping")
	}
	wantRead(t, w, Cursor{Epoch: 7, Seq: 5}, 6)
}

func TestWindowCallsWatchersForWhatReadersSee(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{})
	var calls []string
	stop := w.Watch(func(subject string, seq uint64) {
		calls = append(calls, fmt.Sprint(subject, seq))
		if w.Visible().Seq < seq {
			t.Errorf("a call for %d, and readers see up to %d", seq, w.Visible().Seq)
		}
	})
	want := func(what string, list ...string) {
		t.Helper()
		if !slices.Equal(calls, list) {
			t.Errorf("%s: calls %q, want %q", what, calls, list)
		}
		calls = nil
	}
	addEntries(w, "all", 1)
	want("an entry", "all1")
	addEntries(w, "user:a", 3, 4)
	want("hidden entries")
	w.ResolveHole(w.Hole(), 5)
	addEntries(w, "all", 5)
	want("the entry that ends a hole", "5")
	addEntries(w, "all", 7)
	w.GiveUpHole(w.Hole())
	want("a hole given up", "7")
	w.SkipTo(7, 9)
	want("skipping", "9")
	stop()
	addEntries(w, "all", 10)
	want("after stop")
}

func TestWindowCallsWatchersForAllSubjectsAtAMissingNumber(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{}, WindowBounds{})
	addEntries(w, "all", 1)
	var calls []string
	defer w.Watch(func(subject string, _ uint64) { calls = append(calls, subject) })()
	addEntries(w, "all", 5) // readers of any subject may have lost an entry
	if !slices.Equal(calls, []string{""}) {
		t.Errorf("calls %q", calls)
	}
}

func TestWindowWithoutContactServesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTestWindow(t, WindowConfig{ContactTimeout: 3 * time.Second}, WindowBounds{})
		var calls []string
		defer w.Watch(func(subject string, seq uint64) { calls = append(calls, fmt.Sprint(subject, seq)) })()
		addEntries(w, "all", 1)
		time.Sleep(3*time.Second - 1)
		wantRead(t, w, Cursor{Epoch: 7}, 1)
		time.Sleep(time.Nanosecond)
		if got, page := readPage(t, w, Cursor{Epoch: 9}, "all"); len(got) > 0 || page.Gap != "" || page.Through != (Cursor{Epoch: 9}) {
			t.Errorf("read %v, gap %q, through %+v", got, page.Gap, page.Through)
		}
		if _, err := w.Head(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("the head's error is %v", err)
		}
		calls = nil
		if !w.ConfirmContact() || !slices.Equal(calls, []string{"1"}) {
			t.Errorf("after contact was regained: calls %q", calls)
		}
		if w.ConfirmContact() || len(calls) > 1 {
			t.Errorf("contact was regained twice: calls %q", calls)
		}
		wantRead(t, w, Cursor{Epoch: 7}, 1)
		w.Reset(Cursor{Epoch: 8}, WindowBounds{Bytes: 1})
		if w.HasContact() {
			t.Error("there is contact right after Reset")
		}
	})
}

func TestWindowResetEmptiesIt(t *testing.T) {
	t.Parallel()
	w := newTestWindow(t, WindowConfig{Numbers: NumbersDecided}, WindowBounds{})
	addEntries(w, "all", 1, 2, 4)
	w.Reset(testCursor(10), WindowBounds{Bytes: 1 << 20})
	w.ConfirmContact()
	if w.Tip() != testCursor(10) || w.Visible() != testCursor(10) || w.Hole().First != 0 {
		t.Errorf("tip %+v, readers see up to %+v, hole %+v", w.Tip(), w.Visible(), w.Hole())
	}
	addEntries(w, "all", 11)
	wantRead(t, w, testCursor(10), 11)
}

func TestWindowBoundsReadsFromTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		entered, proceed := make(chan struct{}, 100), make(chan struct{})
		w := newTestWindow(t, WindowConfig{StoreReads: most, ContactTimeout: time.Hour, Store: &fakeStore{older: func(ctx context.Context, _ Query, head Cursor, dst []*Entry) (Page, error) {
			entered <- struct{}{}
			select {
			case <-proceed:
				return Page{Entries: dst, Through: head}, nil
			case <-ctx.Done():
				return Page{}, ctx.Err()
			}
		}}}, WindowBounds{Bytes: 1})
		addEntries(w, "all", 1, 2, 3)
		read := func(ctx context.Context) error {
			_, err := w.Read(ctx, Query{Subjects: []string{"all"}, After: testCursor(1)}, nil)
			return err
		}
		var reading sync.WaitGroup
		for range 10 {
			reading.Go(func() {
				if err := read(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if len(entered) != most {
			t.Errorf("%d reads ask the store", len(entered))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a read whose context ended: %v", err)
		}
		close(proceed)
		reading.Wait()

		proceed = nil // a store that does not answer
		start := time.Now()
		if err := read(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestWindowCloseEndsWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) (Cursor, error) { <-ctx.Done(); return Cursor{}, ctx.Err() }
		w := newTestWindow(t, WindowConfig{Store: &fakeStore{last: hang}}, WindowBounds{})
		results := make(chan error, 2)
		go func() { _, err := w.Wait(t.Context(), w.Generation(), testCursor(5), 0); results <- err }()
		go func() { _, err := w.Head(t.Context()); results <- err }()
		synctest.Wait()
		start := time.Now()
		w.Close()
		w.Close()
		for range 2 {
			if err := <-results; !errors.Is(err, ErrClosed) {
				t.Errorf("error is %v", err)
			}
		}
		_, reading := w.Read(t.Context(), Query{After: Cursor{Epoch: 7}}, nil)
		_, asking := w.Head(t.Context())
		if !errors.Is(reading, ErrClosed) || !errors.Is(asking, ErrClosed) {
			t.Errorf("after Close: %v, %v", reading, asking)
		}
		if time.Since(start) > 0 {
			t.Errorf("it took %v", time.Since(start))
		}
	})
}

func TestWindowReadNearTheHeadDoesNotAllocate(t *testing.T) {
	w := newTestWindow(t, WindowConfig{ContactTimeout: time.Hour}, WindowBounds{EntriesPerSubject: 1000, MaxAge: time.Hour})
	for seq := range uint64(100) {
		addEntries(w, []string{"user:a", "all", "command:a", "user:b"}[seq%4], seq+1)
	}
	q := Query{Subjects: []string{"user:a", "command:a", "all"}, MaxEntries: 512, MaxBytes: 1 << 20}
	dst := make([]*Entry, 0, 100)
	for _, at := range []uint64{10, 98, 99, 100} {
		q.After = testCursor(at)
		if n := testing.AllocsPerRun(100, func() { _, _ = w.Read(t.Context(), q, dst) }); n > 0 {
			t.Errorf("a read at %d allocates %v times", at, n)
		}
	}
}

func BenchmarkWindowRead(b *testing.B) {
	for name, at := range map[string]uint64{"one_new": 9_999, "none_new": 10_000, "100_new": 9_900} {
		b.Run(name, func(b *testing.B) {
			w := newTestWindow(b, WindowConfig{ContactTimeout: time.Hour}, WindowBounds{Bytes: 1 << 30, EntriesPerSubject: 10_000, MaxAge: time.Hour})
			for seq := range uint64(10_000) {
				addEntries(w, []string{"user:a", "all"}[seq%2], seq+1)
			}
			q := Query{Subjects: []string{"user:a", "command:a", "all"}, After: testCursor(at), MaxEntries: 512, MaxBytes: 64 << 10}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				buffer := make([]*Entry, 0, 512)
				for pb.Next() {
					if page, err := w.Read(context.Background(), q, buffer[:0]); err != nil || page.Gap != "" {
						b.Error(page.Gap, err)
					}
				}
			})
		})
	}
}

func BenchmarkWindowAdd(b *testing.B) {
	w := newTestWindow(b, WindowConfig{}, WindowBounds{Bytes: 1 << 20})
	e, seq := testEntry(1, "all"), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		next := *e
		next.At.Seq = seq
		w.Add(&next)
	}
}

func TestNewWindowPanicsWithoutAStore(t *testing.T) {
	t.Parallel()
	defer func() {
		if text := fmt.Sprint(recover()); !strings.Contains(text, "WindowConfig.Store") {
			t.Errorf("the panic is %q", text)
		}
	}()
	NewWindow(WindowConfig{})
}
