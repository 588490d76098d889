package logtest

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// exact fails on a gap where nothing was lost, unless the log is inexact.
func exact(t *testing.T, s Suite, page eventlog.Page, where string) {
	t.Helper()
	if page.Gap != "" && !s.Inexact {
		t.Errorf("gap %q %s, and nothing was lost (a log may do so: see Suite.Inexact)\n%s", page.Gap, where, clauseNoGap)
	}
}

func trimByCount(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	start := head(t, log)
	add(t, log, bob, 0)
	slow := readerAt(log, start, alice) // it reads a page before the entries are trimmed
	slow.max = 3
	var positions []eventlog.Cursor
	for n := 1; n <= 25; n++ {
		if positions = append(positions, add(t, log, alice, n)); n == 10 {
			want(t, slow.page(t).Entries, 1, 2, 3)
		}
	}
	// 16 to 25 are kept. Nothing is missing after 15; 15 itself is, after 14.
	for _, test := range []struct {
		after int
		gap   bool
	}{{0, true}, {1, true}, {14, true}, {15, false}, {16, false}, {24, false}, {25, false}} {
		r := readerAt(log, start, alice)
		if test.after > 0 {
			r.at = positions[test.after-1]
		}
		if test.gap {
			r.gap(t, eventlog.GapTrimmed)
			continue
		}
		page := r.page(t)
		if exact(t, s, page, fmt.Sprint("after ", test.after)); page.Gap == "" {
			want(t, page.Entries, from(test.after+1, 25)...)
		}
	}
	slow.gap(t, eventlog.GapTrimmed)
	add(t, log, alice, 26)
	want(t, slow.all(t), 26)

	other := readerAt(log, start, bob).page(t)
	if exact(t, s, other, "of a subject that lost nothing"); other.Gap == "" {
		want(t, other.Entries, 0)
	}
}

// trimByAge lets all entries of a subject expire. Then the log has none left that would show that
// something is missing.
func trimByAge(t *testing.T, s Suite) {
	const age = 100 * time.Millisecond
	log := s.New(t, Bounds{MaxAge: age})
	start := head(t, log)
	added := time.Now()
	first := add(t, log, alice, 1)
	between := time.Since(added)
	last := add(t, log, alice, 2)
	for expired := false; !expired; {
		page := readerAt(log, first, alice).page(t)
		if expired = page.Gap == eventlog.GapTrimmed; !expired {
			want(t, page.Entries, 2)
		}
		if kept := time.Since(added); t.Failed() || kept > 20*time.Second {
			t.Fatalf("after %v there is gap %q", kept, page.Gap)
		}
	}
	if kept := time.Since(added); kept < age-between-age/10 {
		t.Errorf("the entry was kept for %v only", kept)
	}
	exact(t, s, readerAt(log, last, alice).page(t), "after the last entry that expired")
	lost := func(when string) {
		t.Helper()
		for _, subjects := range [][]string{{alice}, {bob, alice}} {
			for _, at := range []eventlog.Cursor{start, first} {
				if page := readerAt(log, at, subjects...).page(t); page.Gap != eventlog.GapTrimmed {
					t.Errorf("%s the gap of %q is %q", when, subjects, page.Gap)
				}
			}
		}
	}
	lost("when all entries have expired")
	for n := range 50 {
		add(t, log, bob, n)
	}
	lost("after entries of another subject")
	next := add(t, log, alice, 3)
	lost("after another entry of the subject")
	// That entry may have expired too.
	if page := readerAt(log, last, alice).page(t); page.Gap == "" {
		want(t, page.Entries, 3)
	}
	lost("after that entry was read")
	exact(t, s, readerAt(log, next, alice).page(t), "after the last entry")
}

func trimByBytes(t *testing.T, s Suite) {
	log := s.New(t, Bounds{MaxBytes: 64 << 10})
	start := head(t, log)
	quiet := add(t, log, bob, 1)
	for n := range 120 {
		subject := []string{alice, "user:carol", "user:dave", "user:erin", "user:frank", "user:grace", "user:heidi", "user:ivan"}[n%8]
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: subject, Frame: longFrame(4 << 10)}); err != nil {
			t.Fatal(err)
		}
	}
	readerAt(log, start, alice).gap(t, eventlog.GapTrimmed)
	// The subject that was quiet for longest lost its entries first.
	readerAt(log, start, bob).gap(t, eventlog.GapTrimmed)
	exact(t, s, readerAt(log, quiet, bob).page(t), "after the last entry of its subject")
}

// trimOfAnySubject has one subject of a query lose entries, at each place among them. Older entries
// of the others are still there.
func trimOfAnySubject(t *testing.T, s Suite) {
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
	start := head(t, log)
	for _, subject := range append(topics(count), bob) {
		add(t, log, subject, 0)
	}
	early := head(t, log)
	var second, sixth eventlog.Cursor // of the subject's entries, of which the last five are kept
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
	for _, at := range []eventlog.Cursor{start, early, second} {
		readerAt(log, at, subjects...).gap(t, eventlog.GapTrimmed)
		readerAt(log, at, subjects[lossy]).gap(t, eventlog.GapTrimmed)
	}
	page := readerAt(log, sixth, subjects...).page(t)
	exact(t, s, page, "after the last entry that was trimmed")
	if page.Gap == "" && len(page.Entries) != 4+count-1 {
		t.Errorf("after the last entry that was trimmed there are %d entries", len(page.Entries))
	}
}

func positionOfAnotherLog(t *testing.T, s Suite) {
	before, after := s.New(t, Bounds{}), s.New(t, Bounds{})
	r := newReader(t, before, alice)
	add(t, before, alice, 1)
	r.all(t)
	for n := 1; n <= 5; n++ {
		add(t, after, alice, n)
	}
	r.log = after
	r.gap(t, eventlog.GapEpoch)
	add(t, after, alice, 6)
	want(t, r.all(t), 6)
}

func madeUpPositions(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	good := add(t, log, alice, 1)
	for name, at := range map[string]eventlog.Cursor{
		"future":       {Epoch: good.Epoch, Seq: good.Seq + 1000, Check: good.Check},
		"far_future":   {Epoch: good.Epoch, Seq: math.MaxUint64, Check: good.Check},
		"other_check":  {Epoch: good.Epoch, Seq: good.Seq, Check: good.Check ^ 1},
		"other_number": {Epoch: good.Epoch, Seq: good.Seq - 1, Check: good.Check ^ 0x5555},
	} {
		t.Run(name, func(t *testing.T) { readerAt(log, at, alice).gap(t, eventlog.GapUnknown) })
	}
}

func zeroCursor(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	for n := range 2 { // empty at first
		r := readerAt(log, eventlog.Cursor{}, alice)
		if page := r.page(t); page.Gap != eventlog.GapEpoch && page.Gap != eventlog.GapUnknown {
			t.Errorf("with %d entries, the zero Cursor has gap %q", n, page.Gap)
		}
		add(t, log, alice, n)
		want(t, r.all(t), n)
	}
}
