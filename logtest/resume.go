package logtest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// resumeAfterEachPosition reads from each position, and then near the head of a large log.
func resumeAfterEachPosition(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	positions := []eventlog.Cursor{head(t, log)}
	for n := 1; n <= 60; n++ {
		positions = append(positions, add(t, log, []string{alice, all, bob}[n%3], n))
	}
	for i, at := range positions {
		at, err := eventlog.ParseCursor(at.String()) // as a client sends it
		if err != nil {
			t.Fatal(err)
		}
		var list []int
		for n := i + 1; n <= 60; n++ {
			if n%3 != 2 {
				list = append(list, n)
			}
		}
		want(t, readerAt(log, at, alice, all).all(t), list...)
	}

	fill(t, log, 20_000)
	r := readerAt(log, add(t, log, "user:1", 1), "user:1", "user:2")
	want(t, r.all(t))
	add(t, log, "user:2", 2)
	want(t, r.all(t), 2)
}

// fill appends many entries for a hundred users. It does so from several goroutines, because an
// append across a network takes its time.
func fill(t *testing.T, log eventlog.Log, count int) {
	t.Helper()
	if testing.Short() {
		count /= 10
	}
	const appenders = 16
	var appending sync.WaitGroup
	for i := range appenders {
		appending.Go(func() {
			for n := i; n < count; n += appenders {
				if _, err := log.Append(t.Context(), record(fmt.Sprint("user:", n%100), n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	appending.Wait()
}

func reopenedResumes(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	start := newReader(t, log, alice, bob)
	positions := []eventlog.Cursor{start.at}
	const count = 20
	for n := 1; n <= count; n++ {
		positions = append(positions, add(t, log, []string{alice, bob}[n%2], n))
	}
	start.all(t)
	before := start.at
	log = s.Reopen(t, log)
	for after, at := range append(positions, before) {
		after = min(after, count)
		entries := readerAt(log, at, alice, bob).all(t)
		want(t, entries, from(after+1, count)...)
		wantPositions(t, entries, positions[after+1:])
	}
	fresh := newReader(t, log, alice, bob)
	if last := positions[count]; fresh.at.Seq < last.Seq || fresh.at.Epoch != last.Epoch {
		t.Errorf("the head is %+v after the log was reopened, was %+v", fresh.at, before)
	}
	w := watch(log)
	defer w.stop()
	next := add(t, log, alice, count+1)
	if next.Seq <= before.Seq || next.Epoch != before.Epoch {
		breaksf(t, clauseNumbers, "the next entry is at %+v, the head was at %+v", next, before)
	}
	w.await(t, s.patience, alice, next.Seq)
	want(t, fresh.all(t), count+1)
	start.log = log
	want(t, start.all(t), count+1)
}

func reopenedEmpty(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, alice)
	r.log = s.Reopen(t, log)
	want(t, r.all(t))
	if at := add(t, r.log, alice, 1); at.Epoch != r.at.Epoch {
		t.Errorf("the first entry is of epoch %d, the head was of %d", at.Epoch, r.at.Epoch)
	}
	want(t, r.all(t), 1)
}

func reopenedReportsGaps(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	start := head(t, log)
	add(t, log, bob, 1)
	var positions []eventlog.Cursor
	for n := 1; n <= 25; n++ {
		positions = append(positions, add(t, log, alice, n))
	}
	log = s.Reopen(t, log)
	for _, at := range []eventlog.Cursor{start, positions[0], positions[13]} {
		readerAt(log, at, bob, alice).gap(t, eventlog.GapTrimmed)
	}
	if page := readerAt(log, positions[14], bob, alice).page(t); page.Gap == "" {
		want(t, page.Entries, from(16, 25)...)
	} else if !s.Inexact {
		t.Errorf("gap %q, and nothing was lost", page.Gap)
	}
}
