package eventlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// modelStore is a store, and what a tail and requests make of it, in steps that the test puts in
// any order. It removes entries by the bound of a subject, oldest entries first, and most of those
// that were replaced, which do not count for the bound.
type modelStore struct {
	*rand.Rand

	window  *Window
	bound   int            // of a subject
	entries []*WindowEntry // by sequence less one
	removed map[*WindowEntry]bool
	newest  map[subjectKey]*WindowEntry
	newer   map[*WindowEntry]*WindowEntry // the entries that have replaced others
	next    int                           // index of the entry that the tail adds next

	undecided   bool // there is a hole to decide on
	answered    bool // the store has answered about the hole
	hole        Hole
	first, last uint64 // the answer: what the store holds
	waiting     map[uint64]*waiter
	readers     []*modelReader
	subjects    []string
	added       int
	holes       int
}

type modelReader struct {
	at       Cursor
	subjects []string
	own      bool // its position is from this node
}

func newModelStore(seed uint64) *modelStore {
	s := &modelStore{
		Rand:     rand.New(rand.NewPCG(seed, 0)),
		removed:  make(map[*WindowEntry]bool),
		newest:   make(map[subjectKey]*WindowEntry),
		newer:    make(map[*WindowEntry]*WindowEntry),
		waiting:  make(map[uint64]*waiter),
		subjects: []string{"user:a", "user:b", "topic:c", "all"},
	}
	s.bound = 2 + s.IntN(4)
	bytes := 1 << 20
	if s.IntN(2) == 0 {
		bytes = WindowEntryOverhead * (1 + s.IntN(12))
	}
	s.window = NewWindow(WindowConfig{Store: noStore{}, Numbers: NumbersDecided})
	for range s.IntN(40) {
		s.append()
	}
	s.trim(s.IntN(10))
	start := s.IntN(len(s.entries) + 1) // the node has not been there from the beginning
	for start < len(s.entries) && s.beginning() > uint64(start)+1 {
		start++
	}
	at := Cursor{Epoch: 7, Seq: uint64(start)}
	if start > 0 && !s.removed[s.entries[start-1]] {
		at = s.entries[start-1].At
	}
	s.window.Reset(at, WindowBounds{Bytes: bytes, EntriesPerSubject: int64(s.bound - 1)})
	s.next = start
	return s
}

// beginning returns the first sequence that the store holds.
func (s *modelStore) beginning() uint64 {
	for _, e := range s.entries {
		if !s.removed[e] {
			return e.At.Seq
		}
	}
	return uint64(len(s.entries)) + 1
}

func (s *modelStore) append() *WindowEntry {
	subject := s.subjects[min(s.IntN(2*len(s.subjects)), len(s.subjects)-1)] // mostly to all
	seq := uint64(len(s.entries)) + 1
	at := Cursor{Epoch: 7, Seq: seq, Check: uint32(seq)}
	e := &WindowEntry{Entry: NewEntry(at, Record{Subject: subject, Frame: []byte("data: x\n\n")}), Tag: uint32(seq)}
	switch s.IntN(8) {
	case 0:
		e.Block = nil // not an event
	case 1, 2, 3:
		e.Key = string('a' + rune(s.IntN(4)))
		key := subjectKey{e.Subject, e.Key}
		if old := s.newest[key]; old != nil {
			s.newer[old], s.removed[old] = e, s.removed[old] || s.IntN(4) > 0
		}
		s.newest[key] = e
	}
	s.entries = append(s.entries, e)
	kept := 0
	for _, other := range slices.Backward(s.entries) {
		if other.Subject == subject && !s.removed[other] && s.newer[other] == nil {
			if kept++; kept > s.bound {
				s.removed[other] = true
			}
		}
	}
	return e
}

// trim removes so many of the oldest entries, as age and size do.
func (s *modelStore) trim(count int) {
	for _, e := range s.entries {
		if count > 0 && !s.removed[e] {
			s.removed[e] = true
			count--
		}
	}
}

// add is the tail with its next entry.
func (s *modelStore) add() {
	for s.next < len(s.entries) && s.removed[s.entries[s.next]] {
		s.next++
	}
	if s.next == len(s.entries) {
		return
	}
	e := s.entries[s.next]
	s.next++
	if e.At.Seq > s.window.Tip().Seq {
		s.added++
	}
	if s.window.Add(e) {
		s.undecided = true
		s.holes++
	}
}

// ask and decide are the tail that decides on a hole, before and after the store's answer.
func (s *modelStore) ask() {
	if hole := s.window.Hole(); s.undecided && !s.answered && hole.First != 0 {
		s.undecided, s.answered = false, true
		s.hole, s.first, s.last = hole, s.beginning(), uint64(len(s.entries))
	}
}

func (s *modelStore) decide() {
	switch {
	case !s.answered:
	case s.first < s.hole.First:
		s.window.ResolveHole(s.hole, s.last)
	default:
		s.window.GiveUpHole(s.hole)
	}
	s.answered = false
}

// skip is the tail that finds the end of the store removed.
func (s *modelStore) skip() {
	tip := s.window.Tip().Seq
	for _, e := range s.entries[tip:] {
		if !s.removed[e] {
			return
		}
	}
	s.window.SkipTo(tip, uint64(len(s.entries)))
}

func (s *modelStore) join() {
	reader := &modelReader{at: s.window.Visible(), own: true}
	if s.IntN(3) == 0 && len(s.entries) > 0 {
		reader = &modelReader{at: s.entries[s.IntN(len(s.entries))].At}
	}
	for _, subject := range s.subjects {
		if s.IntN(2) == 0 {
			reader.subjects = append(reader.subjects, subject)
		}
	}
	s.readers = append(s.readers, reader)
}

// wait appends an entry and waits for it, as Append does. It goes beneath Wait, which blocks.
func (s *modelStore) wait() {
	e := s.append()
	one := &waiter{ready: make(chan struct{})}
	s.waiting[e.At.Seq], s.window.waiting[e.At.Seq] = one, []*waiter{one}
}

// released checks the waiters that were released.
func (s *modelStore) released() error {
	for seq, one := range s.waiting {
		select {
		case <-one.ready:
			delete(s.waiting, seq)
			switch {
			case one.entry != nil && one.entry.At.Seq != seq:
				return fmt.Errorf("the waiter for %d got %d", seq, one.entry.At.Seq)
			case s.window.Visible().Seq < seq:
				return fmt.Errorf("the waiter for %d was released at head %d", seq, s.window.Visible().Seq)
			}
		default:
			if s.window.Visible().Seq >= seq {
				return fmt.Errorf("the waiter for %d waits at head %d", seq, s.window.Visible().Seq)
			}
		}
	}
	return nil
}

// read reads a page, without the store's part, and compares it with the model.
func (s *modelStore) read(reader *modelReader) error {
	head := s.window.Visible()
	held, gap := s.window.place(reader.at)
	switch {
	case gap == "" && !held && reader.at.Seq > head.Seq:
		return nil // it waits
	case gap == "" && !held: // the store would answer
		reader.at, reader.own = head, true
		return nil
	case gap != "":
		if reader.own || gap != GapTrimmed {
			return fmt.Errorf("gap %q at %+v", gap, reader.at)
		}
		reader.at, reader.own = head, true
		return nil
	}
	q := &Query{Subjects: reader.subjects, After: reader.at, MaxEntries: 1 + s.IntN(5), MaxBytes: 1 << 20}
	page := Page{Through: q.After}
	s.window.readHeld(q, head, &page)
	count := make(map[string]int)
	most := 0
	var want []*Entry
	for _, e := range s.entries[reader.at.Seq:] {
		if newer := s.newer[e]; newer != nil && newer.At.Seq <= head.Seq || !slices.Contains(reader.subjects, e.Subject) {
			continue
		}
		count[e.Subject]++
		most = max(most, count[e.Subject])
		if e.At.Seq <= page.Through.Seq && len(e.Block) > 0 {
			want = append(want, &e.Entry)
		}
	}
	switch {
	case page.Gap != "" && most < s.bound:
		return fmt.Errorf("a gap after %d, and no subject has more than %d entries there", reader.at.Seq, most)
	case page.Gap != "" && (page.Through != head || len(page.Entries) > 0 || page.More):
		return fmt.Errorf("a gap after %d through %+v, with %d entries, more %v", reader.at.Seq, page.Through, len(page.Entries), page.More)
	case page.Gap == "" && page.Through.Seq < reader.at.Seq:
		return fmt.Errorf("back from %d to %d", reader.at.Seq, page.Through.Seq)
	case page.Gap == "" && !slices.Equal(page.Entries, want):
		return fmt.Errorf("of %q after %d through %d came %d entries, want %d", reader.subjects, reader.at.Seq, page.Through.Seq, len(page.Entries), len(want))
	case len(page.Entries) > q.MaxEntries, page.More && page.Through != page.Entries[len(page.Entries)-1].At, !page.More && page.Gap == "" && page.Through.Seq != head.Seq:
		return fmt.Errorf("%d entries through %+v, more %v", len(page.Entries), page.Through, page.More)
	}
	reader.at, reader.own = page.Through, true
	return nil
}

// TestWindowLosesNothingSilently appends, removes, adds and reads entries in any order. A reader
// gets each entry or a gap, and no gap if it has lost nothing. In the end all is visible.
func TestWindowLosesNothingSilently(t *testing.T) {
	t.Parallel()
	added, holes, seeds := 0, 0, uint64(3000)
	if testing.Short() {
		seeds = 300
	}
	for seed := range seeds {
		s := newModelStore(seed)
		steps := []func(){func() { s.append() }, s.wait, s.add, s.ask, s.decide, func() { s.trim(1 + s.IntN(3)) }, s.skip, s.join}
		weights := []int{1 + s.IntN(30), 1 + s.IntN(5), 1 + s.IntN(30), 1 + s.IntN(10), 1 + s.IntN(10), s.IntN(3), 3, 8}
		var choices []int
		for step, weight := range weights {
			choices = append(choices, slices.Repeat([]int{step}, weight)...)
		}
		check := func() {
			t.Helper()
			if err := s.released(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, reader := range s.readers[max(0, len(s.readers)-20):] {
				if s.IntN(2) == 0 {
					if err := s.read(reader); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			}
		}
		for range 300 {
			steps[choices[s.IntN(len(choices))]]()
			check()
		}
		for range len(s.entries) + 2 {
			s.add()
			s.ask()
			s.decide()
			check()
		}
		s.skip()
		check()
		if head := s.window.Visible().Seq; head != uint64(len(s.entries)) || s.window.Hole().First != 0 || len(s.waiting) > 0 {
			t.Fatalf("seed %d: the head is %d of %d, hole %+v, and %d wait", seed, head, len(s.entries), s.window.Hole(), len(s.waiting))
		}
		added += s.added
		holes += s.holes
	}
	if t.Logf("%d entries added, %d after a hole", added, holes); holes < 1000 {
		t.Error("there were few holes")
	}
}
