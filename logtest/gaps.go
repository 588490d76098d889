package logtest

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

func trimByCount(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	start := newReader(log, alice)
	start.page(t)
	var positions []ginsse.Cursor
	for n := 1; n <= 25; n++ {
		positions = append(positions, add(t, log, alice, n))
	}
	// 16 to 25 are kept. Nothing is missing after 15; 15 itself is, after 14.
	for _, test := range []struct {
		after int
		gap   bool
	}{{0, true}, {1, true}, {14, true}, {15, false}, {16, false}, {24, false}, {25, false}} {
		r := newReader(log, alice)
		if r.at = start.at; test.after > 0 {
			r.at = positions[test.after-1]
		}
		switch {
		case test.gap:
			r.gap(t, ginsse.GapTrimmed)
		case s.Inexact:
			if page, events := r.page(t); page.Gap == "" {
				want(t, events, from(test.after+1, 25)...)
			}
		default:
			want(t, r.all(t), from(test.after+1, 25)...)
		}
	}
}

func trimByAge(t *testing.T, s Suite) {
	log := s.New(t, Bounds{MaxAge: 100 * time.Millisecond})
	start := newReader(log, alice)
	start.page(t)
	added := time.Now()
	first := add(t, log, alice, 1)
	deadline := added.Add(20 * time.Second)
	for {
		r := newReader(log, alice)
		r.at = start.at
		page, events := r.page(t)
		if page.Gap == ginsse.GapTrimmed {
			break
		}
		if page.Gap != "" || len(events) != 1 {
			t.Fatalf("gap %q with %d events", page.Gap, len(events))
		}
		if time.Now().After(deadline) {
			t.Fatal("the event was kept")
		}
	}
	if kept := time.Since(added); kept < 90*time.Millisecond {
		t.Errorf("the event was kept for %v only", kept)
	}
	// After the event itself nothing is missing.
	r := newReader(log, alice)
	r.at = first
	if page, _ := r.page(t); page.Gap != "" && !s.Inexact {
		t.Errorf("gap %q after the only event", page.Gap)
	}
}

func trimByBytes(t *testing.T, s Suite) {
	log := s.New(t, Bounds{MaxBytes: 64 << 10})
	start := newReader(log, alice, bob)
	start.page(t)
	quiet := add(t, log, bob, 1)
	for n := range 120 {
		subject := []string{alice, "user:carol", "user:dave", "user:erin", "user:frank", "user:grace", "user:heidi", "user:ivan"}[n%8]
		if _, err := log.Append(t.Context(), subject, long(4<<10)); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(log, alice)
	r.at = start.at
	r.gap(t, ginsse.GapTrimmed)
	// The subject that was quiet for longest went first.
	r = newReader(log, bob)
	r.at = start.at
	r.gap(t, ginsse.GapTrimmed)
	r = newReader(log, bob)
	r.at = quiet
	if page, _ := r.page(t); page.Gap != "" && !s.Inexact {
		t.Errorf("gap %q after the last event of its subject", page.Gap)
	}
}

func trimOfAnother(t *testing.T, s Suite) {
	if s.Inexact {
		t.Skip("the log may report gaps where nothing was lost")
	}
	log := s.New(t, Bounds{EventsPerSubject: 5})
	r := newReader(log, alice)
	r.page(t)
	add(t, log, alice, 1)
	for n := range 100 {
		add(t, log, bob, n)
	}
	want(t, r.all(t), 1)
}

// trimOfAny has one subject of a query lose events, at each place among them, while
// older ones of the others are still there.
func trimOfAny(t *testing.T, s Suite) {
	for _, count := range []int{1, 2, 3, 10, 20} {
		t.Run(fmt.Sprint(count, "_subjects"), func(t *testing.T) {
			for lossy := range count {
				if testing.Short() && lossy > 0 && lossy < count-1 {
					continue
				}
				trimOne(t, s, count, lossy)
			}
		})
	}
}

func trimOne(t *testing.T, s Suite, count, lossy int) {
	log := s.New(t, Bounds{EventsPerSubject: 5})
	subjects := topics(count)
	r := newReader(log, subjects...)
	r.page(t)
	for _, subject := range append(topics(count), bob) {
		add(t, log, subject, 0)
	}
	early := newReader(log, subjects...)
	early.page(t)
	var second, sixth ginsse.Cursor // of those of the subject, which keeps the last five
	for n := 1; n <= 10; n++ {
		switch at := add(t, log, subjects[lossy], n); n {
		case 2:
			second = at
		case 6:
			sixth = at
		}
	}
	for _, subject := range append(topics(count), bob) {
		if subject != subjects[lossy] {
			add(t, log, subject, 11)
		}
	}
	for _, at := range []ginsse.Cursor{r.at, early.at, second} {
		for _, whole := range []bool{true, false} {
			reader := newReader(log, subjects...)
			if !whole {
				reader.subjects = subjects[lossy : lossy+1]
			}
			reader.at = at
			reader.gap(t, ginsse.GapTrimmed)
		}
	}
	r.at = sixth
	page, events := r.page(t)
	if page.Gap == "" && len(events) != 4+count-1 || page.Gap != "" && !s.Inexact {
		t.Errorf("after the last event that was trimmed: %d events, gap %q", len(events), page.Gap)
	}
}

// lossIsRemembered lets all events of a subject grow old, so that there is nothing of
// it left by which its loss could be known.
func lossIsRemembered(t *testing.T, s Suite) {
	log := s.New(t, Bounds{MaxAge: 100 * time.Millisecond})
	start := newReader(log, alice, bob)
	start.page(t)
	first := add(t, log, alice, 1)
	last := add(t, log, alice, 2)
	deadline := time.Now().Add(20 * time.Second)
	for aged := false; !aged; {
		r := newReader(log, alice)
		r.at = first
		page, events := r.page(t)
		if aged = page.Gap != ""; !aged && len(events) == 0 {
			t.Fatal("events are gone, and there is no gap")
		}
		if time.Now().After(deadline) {
			t.Fatal("the events were kept")
		}
	}
	lost := func(when string) {
		t.Helper()
		for _, subjects := range [][]string{{alice}, {bob, alice}} {
			for _, at := range []ginsse.Cursor{start.at, first} {
				r := newReader(log, subjects...)
				r.at = at
				if page, _ := r.page(t); page.Gap != ginsse.GapTrimmed {
					t.Errorf("%s: the gap of %q is %q", when, subjects, page.Gap)
				}
			}
		}
	}
	lost("when all events have gone")
	for n := range 50 {
		add(t, log, bob, n)
	}
	lost("after events of another subject")
	again := add(t, log, alice, 3)
	lost("after another event of the subject")
	r := newReader(log, alice)
	r.at = last
	// That event too may be gone by now.
	if page, events := r.page(t); page.Gap == "" {
		want(t, events, 3)
	}
	lost("when it was read")
	if s.Inexact {
		return
	}
	r.at = again
	if page, _ := r.page(t); page.Gap != "" {
		t.Errorf("gap %q after the last event", page.Gap)
	}
}

// readerOverrun is a slow reader that the appenders have overtaken.
func readerOverrun(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	r := newReader(log, alice)
	r.max = 3
	r.page(t)
	for n := 1; n <= 10; n++ {
		add(t, log, alice, n)
	}
	_, events := r.page(t)
	want(t, events, 1, 2, 3)
	for n := 11; n <= 13; n++ {
		add(t, log, alice, n)
	}
	if !s.Inexact {
		_, events = r.page(t)
		want(t, events, 4, 5, 6)
	}
	for n := 14; n <= 30; n++ {
		add(t, log, alice, n)
	}
	r.gap(t, ginsse.GapTrimmed)
	add(t, log, alice, 31)
	want(t, r.all(t), 31)
}

func anotherLog(t *testing.T, s Suite) {
	before, after := s.New(t, Bounds{}), s.New(t, Bounds{})
	r := newReader(before, alice)
	r.page(t)
	add(t, before, alice, 1)
	r.all(t)
	for n := 1; n <= 5; n++ {
		add(t, after, alice, n)
	}
	r.log = after
	r.gap(t, ginsse.GapEpoch)
	add(t, after, alice, 6)
	want(t, r.all(t), 6)
}

func madeUpPositions(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	good := add(t, log, alice, 1)
	for name, at := range map[string]ginsse.Cursor{
		"future":       {Epoch: good.Epoch, Seq: good.Seq + 1000, Check: good.Check},
		"far_future":   {Epoch: good.Epoch, Seq: math.MaxUint64, Check: good.Check},
		"other_check":  {Epoch: good.Epoch, Seq: good.Seq, Check: good.Check ^ 1},
		"other_number": {Epoch: good.Epoch, Seq: good.Seq - 1, Check: good.Check ^ 0x5555},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReader(log, alice)
			r.at = at
			r.gap(t, ginsse.GapUnknown)
		})
	}
}
