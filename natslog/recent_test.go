package natslog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// store is a stream, and what a consumer and requests make of it, in steps that the test
// puts in any order.
type store struct {
	*rand.Rand

	log    *Log
	bound  int      // of a subject
	events []*entry // by sequence less one
	gone   map[*entry]bool
	next   int // index of what the consumer delivers

	asked            bool // there is a hole to look into
	answer           bool // there is an answer, to the question of
	hole, end        uint64
	first, last      uint64
	waiting          map[uint64]waiter
	readers          []*storeReader
	subjects         []string
	delivered, holes int
}

type storeReader struct {
	at       ginsse.Cursor
	subjects []string
	own      bool // its position is from this node
}

func newStore(seed uint64) *store {
	s := &store{
		Rand:     rand.New(rand.NewPCG(seed, 0)),
		gone:     make(map[*entry]bool),
		waiting:  make(map[uint64]waiter),
		subjects: []string{"user:a", "user:b", "topic:c", "all"},
	}
	s.bound = 2 + s.IntN(4)
	limit := 1 << 20
	if s.IntN(2) == 0 {
		limit = entryOverhead * (1 + s.IntN(12))
	}
	s.log = &Log{waiting: make(map[uint64][]waiter), recent: &recent{epoch: 7, limit: limit, perSubject: int64(s.bound - 1)}}
	for range s.IntN(40) {
		s.append()
	}
	s.trim(s.IntN(10))
	start := s.IntN(len(s.events) + 1) // the node has not been there from the beginning
	for start < len(s.events) && s.beginning() > uint64(start)+1 {
		start++
	}
	var check uint32
	if start > 0 && !s.gone[s.events[start-1]] {
		check = s.events[start-1].check
	}
	s.log.recent.skip(uint64(start), check)
	s.next = start
	return s
}

// beginning is the first sequence of the stream.
func (s *store) beginning() uint64 {
	for _, e := range s.events {
		if !s.gone[e] {
			return e.seq
		}
	}
	return uint64(len(s.events)) + 1
}

func (s *store) append() *entry {
	subject := s.subjects[min(s.IntN(2*len(s.subjects)), len(s.subjects)-1)] // mostly to all
	seq := uint64(len(s.events)) + 1
	frame := "data: x\n\n"
	if s.IntN(8) == 0 {
		frame = "no event"
	}
	e := newEntry(7, seq, time.Unix(0, int64(seq)), subject, []byte(frame))
	e.tag = uint32(seq)
	s.events = append(s.events, e)
	kept := 0
	for _, other := range slices.Backward(s.events) {
		if other.subject == subject && !s.gone[other] {
			if kept++; kept > s.bound {
				s.gone[other] = true
			}
		}
	}
	return e
}

// trim removes so many of the oldest events, as age and size do.
func (s *store) trim(count int) {
	for _, e := range s.events {
		if count > 0 && !s.gone[e] {
			s.gone[e] = true
			count--
		}
	}
}

// deliver is tail.take.
func (s *store) deliver() {
	for s.next < len(s.events) && s.gone[s.events[s.next]] {
		s.next++
	}
	if s.next == len(s.events) {
		return
	}
	e, r := s.events[s.next], s.log.recent
	s.next++
	if e.seq <= r.tip {
		return
	}
	head := r.head
	r.add(e)
	s.delivered++
	if r.hole != 0 && r.until == 0 {
		s.asked = true
		s.holes++
	}
	s.log.reachedLocked(head)
}

// ask and examine are tail.examine, before and after the answer.
func (s *store) ask() {
	r := s.log.recent
	if s.asked && !s.answer && r.hole != 0 {
		s.asked, s.answer = false, true
		s.hole, s.end, s.first, s.last = r.hole, r.holeEnd, s.beginning(), uint64(len(s.events))
	}
}

func (s *store) examine() {
	r := s.log.recent
	if s.answer && r.hole == s.hole && r.holeEnd == s.end {
		head := r.head
		r.settle(s.first, s.last, int64(s.bound-1))
		s.log.reachedLocked(head)
	}
	s.answer = false
}

// skip is the end of tail.check.
func (s *store) skip() {
	r := s.log.recent
	for _, e := range s.events[r.tip:] {
		if !s.gone[e] {
			return
		}
	}
	if uint64(len(s.events)) > r.tip {
		r.skip(uint64(len(s.events)), 0)
		s.log.passedLocked()
	}
}

func (s *store) join() {
	reader := &storeReader{at: s.log.recent.cursor(s.log.recent.head), own: true}
	if s.IntN(3) == 0 && len(s.events) > 0 {
		e := s.events[s.IntN(len(s.events))]
		reader = &storeReader{at: ginsse.Cursor{Epoch: 7, Seq: e.seq, Check: e.check}}
	}
	for _, subject := range s.subjects {
		if s.IntN(2) == 0 {
			reader.subjects = append(reader.subjects, subject)
		}
	}
	if !reader.at.IsZero() {
		s.readers = append(s.readers, reader)
	}
}

// await appends an event and waits for it, as Append does.
func (s *store) await() {
	e := s.append()
	w := waiter{e.tag, make(chan ginsse.Cursor, 1)}
	s.waiting[e.seq], s.log.waiting[e.seq] = w, []waiter{w}
}

// reached looks whether somebody has waited long enough.
func (s *store) reached() error {
	for seq, w := range s.waiting {
		select {
		case at, ok := <-w.reached:
			delete(s.waiting, seq)
			if ok && at.Seq != seq {
				return fmt.Errorf("who waits for %d was told of %d", seq, at.Seq)
			}
			if !ok && s.log.recent.head < seq { // it waits again
				w.reached = make(chan ginsse.Cursor, 1)
				s.waiting[seq], s.log.waiting[seq] = w, []waiter{w}
			}
		default:
		}
	}
	return nil
}

// read is Log.Read, but for the broker's part, and compares.
func (s *store) read(t *testing.T, reader *storeReader) error {
	r := s.log.recent
	head := r.cursor(r.head)
	here, gap := r.place(reader.at)
	switch {
	case gap == "" && !here && reader.at.Seq > head.Seq:
		return nil // it waits
	case gap == "" && !here: // the broker would say
		reader.at, reader.own = head, true
		return nil
	case gap != "":
		if reader.own || gap != ginsse.GapTrimmed {
			return fmt.Errorf("gap %q at %+v", gap, reader.at)
		}
		reader.at, reader.own = head, true
		return nil
	}
	q := &ginsse.Query{Subjects: reader.subjects, After: reader.at, MaxEvents: 1 + s.IntN(5), MaxBytes: 1 << 20}
	if s.IntN(4) == 0 {
		q.Before = 1 + s.Uint64N(uint64(len(s.events))+2)
	}
	page, err := collect(t.Context(), r, q, ginsse.Page{Through: q.After}, head, time.Time{})
	if err != nil {
		return err
	}
	count := make(map[string]int)
	most := 0
	var want []byte
	for _, e := range s.events[reader.at.Seq:] {
		for _, subject := range reader.subjects {
			if e.subject != subject {
				continue
			}
			if count[subject]++; count[subject] > most {
				most = count[subject]
			}
			if e.seq <= page.Through.Seq {
				want = append(want, e.block...)
			}
		}
	}
	switch {
	case page.Gap != "" && most < s.bound:
		return fmt.Errorf("a gap after %d, and no subject has more than %d events there", reader.at.Seq, most)
	case page.Gap == "" && page.Through.Seq < reader.at.Seq:
		return fmt.Errorf("back from %d to %d", reader.at.Seq, page.Through.Seq)
	case page.Gap == "" && !bytes.Equal(page.Blocks, want):
		return fmt.Errorf("of %q after %d through %d came\n%swant\n%s", reader.subjects, reader.at.Seq, page.Through.Seq, page.Blocks, want)
	case page.Last.IsZero() != (len(page.Blocks) == 0) || page.More && page.Last.IsZero():
		return fmt.Errorf("the last event is %+v, more %v, of\n%s", page.Last, page.More, page.Blocks)
	}
	reader.at, reader.own = page.Through, true
	return nil
}

// TestRecentLosesNothingInSilence has events come, go and be looked for in any order. No
// reader misses one without being told, or is told of a gap who has missed nothing; and in
// the end all is visible.
func TestRecentLosesNothingInSilence(t *testing.T) {
	delivered, holes := 0, 0
	for seed := range uint64(3000) {
		s := newStore(seed)
		steps := []func(){func() { s.append() }, s.await, s.deliver, s.ask, s.examine, func() { s.trim(1 + s.IntN(3)) }, s.skip, s.join}
		weights := []int{1 + s.IntN(30), 1 + s.IntN(5), 1 + s.IntN(30), 1 + s.IntN(10), 1 + s.IntN(10), s.IntN(3), 3, 8}
		var deck []int
		for step, weight := range weights {
			for range weight {
				deck = append(deck, step)
			}
		}
		check := func() {
			t.Helper()
			if err := s.reached(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, reader := range s.readers[max(0, len(s.readers)-20):] {
				if s.IntN(2) == 0 {
					if err := s.read(t, reader); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			}
		}
		for range 300 {
			steps[deck[s.IntN(len(deck))]]()
			check()
		}
		for range len(s.events) + 2 {
			s.deliver()
			s.ask()
			s.examine()
			check()
		}
		s.skip()
		check()
		if r := s.log.recent; r.head != uint64(len(s.events)) || r.hole != 0 || len(s.waiting) > 0 {
			t.Fatalf("seed %d: the head is %d of %d, hole %d, and %d wait", seed, r.head, len(s.events), r.hole, len(s.waiting))
		}
		delivered += s.delivered
		holes += s.holes
	}
	if t.Logf("%d events delivered, %d behind a hole", delivered, holes); holes < 1000 {
		t.Error("there were few holes")
	}
}
