package logtest

import (
	"math"
	"testing"

	"github.com/ginsse/ginsse"
)

func beforeEndsTheRead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	add(t, log, alice, 1)
	second := add(t, log, alice, 2)
	third := add(t, log, alice, 3)
	q := ginsse.Query{Subjects: []string{alice}, After: r.at, Before: third.Seq, MaxEvents: 10, MaxBytes: 1000}
	page, err := log.Read(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, blocks(t, page.Blocks), 1, 2)
	if page.More || page.Through.Seq < second.Seq || page.Through.Seq >= third.Seq {
		t.Errorf("read through %d, more %v, before %d", page.Through.Seq, page.More, third.Seq)
	}
	q.After = page.Through
	if page, err = log.Read(t.Context(), q, nil); err != nil || len(page.Blocks) != 0 || page.Through != q.After {
		t.Errorf("reading on found %q through %+v, %v", page.Blocks, page.Through, err)
	}
	r.at = page.Through
	want(t, r.all(t), 3)
}

func beforeBeyondTheHead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	for n, beyond := range []uint64{1, 2, 1000, math.MaxUint64} {
		last := add(t, log, alice, n)
		before := last.Seq + min(beyond, math.MaxUint64-last.Seq)
		page, err := log.Read(t.Context(), ginsse.Query{Subjects: r.subjects, After: r.at, Before: before, MaxEvents: 10, MaxBytes: 1000}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want(t, blocks(t, page.Blocks), n)
		if page.Through.Seq < last.Seq || page.More {
			t.Errorf("read through %d of %d, more %v", page.Through.Seq, last.Seq, page.More)
		}
		r.at = page.Through // what comes next is behind it
	}
}

// wanted are the bounds that a query which wants nothing may come with: none, as when
// a stream looks whether it can resume, or those of a page.
var wanted = []ginsse.Query{{}, {MaxEvents: 10, MaxBytes: 1000}}

func beforeBelowThePosition(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice, bob)
	r.page(t)
	check := func(at ginsse.Cursor, before uint64) {
		t.Helper()
		for _, q := range wanted {
			q.Subjects, q.After, q.Before = r.subjects, at, before
			page, err := log.Read(t.Context(), q, nil)
			if err != nil || len(page.Blocks) != 0 || !page.Last.IsZero() || page.More || page.Gap != "" || page.Through != at {
				t.Errorf("after %+v, before %d, at most %d events: page %+v, error %v", at, before, q.MaxEvents, page, err)
			}
		}
	}
	check(r.at, 1) // of an empty log
	positions := []ginsse.Cursor{r.at}
	for n := 1; n <= 10; n++ {
		positions = append(positions, add(t, log, []string{alice, bob, all}[n%3], n))
	}
	r.all(t)
	for _, at := range append(positions, r.at) {
		for _, before := range []uint64{1, 2, at.Seq - 1, at.Seq} {
			if before > 0 && before <= max(at.Seq, 1) {
				check(at, before)
			}
		}
	}
	r.at = positions[0]
	var list []int
	for n := 1; n <= 10; n++ {
		if n%3 != 2 {
			list = append(list, n)
		}
	}
	want(t, r.all(t), list...)
}

// beforeHidesNoGap asks as a stream does that looks whether it can resume.
func beforeHidesNoGap(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	r := newReader(log, alice, bob)
	r.page(t)
	add(t, log, bob, 1)
	var early ginsse.Cursor
	for n := range 25 {
		if at := add(t, log, alice, n); n == 5 {
			early = at
		}
	}
	last := add(t, log, bob, 2)
	other, made, future := last, last, last
	other.Epoch ^= 1
	made.Check ^= 1
	future.Seq += 1000
	for name, test := range map[string]struct {
		at  ginsse.Cursor
		gap ginsse.GapReason
	}{
		"trimmed":               {r.at, ginsse.GapTrimmed},
		"trimmed_from_the_next": {early, ginsse.GapTrimmed},
		"epoch":                 {other, ginsse.GapEpoch},
		"unknown":               {made, ginsse.GapUnknown},
		"future":                {future, ginsse.GapUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			for _, q := range wanted {
				for _, before := range []uint64{1, test.at.Seq} {
					if before == 0 {
						continue
					}
					q.Subjects, q.After, q.Before = r.subjects, test.at, before
					page, err := log.Read(t.Context(), q, nil)
					if err != nil || page.Gap != test.gap || len(page.Blocks) != 0 || page.More || page.Through.Seq < last.Seq {
						t.Errorf("before %d: page %+v, error %v; want gap %q at the head %d", before, page, err, test.gap, last.Seq)
					}
					next := newReader(log, r.subjects...)
					next.at = page.Through
					want(t, next.all(t))
				}
			}
		})
	}
}

func beforeWithoutPosition(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	read := func(before uint64) *reader {
		t.Helper()
		r := newReader(log, alice, bob)
		for _, q := range wanted {
			q.Subjects, q.Before = r.subjects, before
			page, err := log.Read(t.Context(), q, nil)
			if err != nil || len(page.Blocks) != 0 || page.More || page.Gap != "" || page.Through.IsZero() {
				t.Fatalf("before %d: page %+v, error %v", before, page, err)
			}
			r.at = page.Through
		}
		return r
	}
	empty := read(1)
	middle := add(t, log, alice, 1)
	last := add(t, log, bob, 2)
	for _, before := range []uint64{1, middle.Seq, last.Seq, last.Seq + 1, last.Seq + 1000} {
		r := read(before)
		if r.at.Seq < last.Seq {
			t.Errorf("before %d: starts at %d, the head is at %d", before, r.at.Seq, last.Seq)
		}
		want(t, r.all(t))
		last = add(t, log, alice, 3)
		want(t, r.all(t), 3)
	}
	want(t, empty.all(t), 1, 2, 3, 3, 3, 3, 3)
}
