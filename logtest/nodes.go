package logtest

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// follow reads, woken by the log's calls as a stream is, until there are so many
// events or a gap.
func (r *reader) follow(t *testing.T, s Suite, count int) (events []event, gap ginsse.GapReason) {
	t.Helper()
	e := listen(r.log)
	defer e.stop()
	deadline := time.NewTimer(s.patience)
	defer deadline.Stop()
	for {
		page, more := r.page(t)
		events = append(events, more...)
		switch {
		case page.Gap != "":
			return events, page.Gap
		case len(events) >= count:
			return events, ""
		case page.More:
			continue
		}
		select {
		case <-e.news:
		case <-deadline.C:
			t.Fatalf("read %d events of %d, and was not told of more", len(events), count)
		}
	}
}

// same fails unless the events are at these positions.
func same(t *testing.T, events []event, positions []ginsse.Cursor) {
	t.Helper()
	for i, e := range events {
		if i >= len(positions) || e.at != positions[i] {
			t.Fatalf("event %d is at %+v, appended at %+v", i, e.at, positions)
		}
	}
}

func peersShare(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	peer := s.Peer(t, log)
	for _, way := range []struct {
		name     string
		from, to ginsse.Log
	}{{"there", log, peer}, {"back", peer, log}} {
		t.Run(way.name, func(t *testing.T) {
			r := newReader(way.to, alice, all)
			r.page(t)
			e := listen(way.to)
			defer e.stop()
			var positions []ginsse.Cursor
			for n := 1; n <= 20; n++ {
				subject := []string{alice, all}[n%2]
				at := add(t, way.from, subject, n)
				positions = append(positions, at)
				e.await(t, s, subject, at.Seq)
				// It became visible before the call.
				page, events := r.page(t)
				if page.Gap != "" && s.Inexact {
					continue
				}
				if page.Gap != "" || len(events) != 1 || number(events[0]) != n {
					t.Fatalf("event %d: gap %q, %d events", n, page.Gap, len(events))
				}
				same(t, events, positions[n-1:])
			}
		})
	}
}

// peerResumes has a client that has just read at one node come back to the other,
// which may not have heard of its position yet.
func peerResumes(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	peer := s.Peer(t, log)
	for _, way := range []struct {
		name     string
		from, to ginsse.Log
	}{{"there", log, peer}, {"back", peer, log}} {
		t.Run(way.name, func(t *testing.T) {
			start := newReader(way.from, alice)
			start.page(t)
			positions := []ginsse.Cursor{start.at}
			const count = 50
			for n := 1; n <= count; n++ {
				at := add(t, way.from, alice, n)
				positions = append(positions, at)
				fresh := newReader(way.to, alice)
				fresh.at = at
				if page, events := fresh.page(t); page.Gap != "" && !s.Inexact || len(events) > 0 {
					t.Fatalf("after %+v, which was just appended: gap %q, %d events", at, page.Gap, len(events))
				}
			}
			for after, at := range positions {
				r := newReader(way.to, alice)
				r.at = at
				if after == count {
					break
				}
				events, gap := r.follow(t, s, count-after)
				if gap != "" {
					if !s.Inexact {
						t.Fatalf("gap %q after %d", gap, after)
					}
					continue
				}
				want(t, events, from(after+1, count)...)
				same(t, events, positions[after+1:])
			}
		})
	}
}

// peerMissesNoGap trims at one node and reads at the other: it may still have what is
// gone there, or not.
func peerMissesNoGap(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	peer := s.Peer(t, log)
	r := newReader(peer, bob, alice)
	r.page(t)
	add(t, log, bob, 1)
	for n := 2; n <= 26; n++ {
		add(t, log, alice, n)
	}
	events, gap := r.follow(t, s, 26)
	if gap == "" {
		want(t, events, from(1, 26)...)
		return
	}
	if gap != ginsse.GapTrimmed {
		t.Errorf("gap is %q", gap)
	}
	want(t, events, from(1, len(events))...)
	// What comes after the gap is not lost again.
	e := listen(peer)
	defer e.stop()
	last := add(t, log, alice, 27)
	e.await(t, s, alice, last.Seq)
	for gap != "" {
		page, _ := r.page(t)
		gap = page.Gap
	}
	if r.at.Seq < last.Seq {
		t.Errorf("at %d after event %d was reported", r.at.Seq, last.Seq)
	}
}

func peersUnderFire(t *testing.T, s Suite) {
	for _, test := range []struct {
		name string
		lag  int
	}{{"join", 1000}, {"live", 2 * fireAppenders}} {
		t.Run(test.name, func(t *testing.T) {
			log := s.New(t, fireBounds)
			fire(t, s, 2000, test.lag, log, s.Peer(t, log))
		})
	}
}

func reopenedResumes(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	start := newReader(log, alice, bob)
	start.page(t)
	positions := []ginsse.Cursor{start.at}
	const count = 20
	for n := 1; n <= count; n++ {
		positions = append(positions, add(t, log, []string{alice, bob}[n%2], n))
	}
	start.all(t)
	head := start.at
	log = s.Reopen(t, log)
	for after, at := range append(positions, head) {
		r := newReader(log, alice, bob)
		r.at = at
		after = min(after, count)
		if page, err := log.Read(t.Context(), ginsse.Query{Subjects: r.subjects, After: at, Before: 1}, nil); err != nil || page.Gap != "" || page.Through != at {
			t.Fatalf("resuming after %+v: page %+v, error %v", at, page, err)
		}
		events := r.all(t)
		want(t, events, from(after+1, count)...)
		same(t, events, positions[after+1:])
	}
	fresh := newReader(log, alice, bob)
	fresh.page(t)
	if last := positions[count]; fresh.at.Seq < last.Seq || fresh.at.Epoch != last.Epoch {
		t.Errorf("the head is %+v after the log was reopened, was %+v", fresh.at, head)
	}
	e := listen(log)
	defer e.stop()
	next := add(t, log, alice, count+1)
	if next.Seq <= head.Seq || next.Epoch != head.Epoch {
		t.Errorf("the next event is at %+v, the head was at %+v", next, head)
	}
	e.await(t, s, alice, next.Seq)
	want(t, fresh.all(t), count+1)
	start.log = log
	want(t, start.all(t), count+1)
}

func reopenedEmpty(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	r.log = s.Reopen(t, log)
	want(t, r.all(t))
	if at := add(t, r.log, alice, 1); at.Epoch != r.at.Epoch {
		t.Errorf("the first event is of epoch %d, the position of %d", at.Epoch, r.at.Epoch)
	}
	want(t, r.all(t), 1)
}

func reopenedRemembers(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	start := newReader(log, bob, alice)
	start.page(t)
	add(t, log, bob, 1)
	var positions []ginsse.Cursor
	for n := 1; n <= 25; n++ {
		positions = append(positions, add(t, log, alice, n))
	}
	log = s.Reopen(t, log)
	for _, at := range []ginsse.Cursor{start.at, positions[0], positions[13]} {
		r := newReader(log, bob, alice)
		r.at = at
		r.gap(t, ginsse.GapTrimmed)
	}
	r := newReader(log, bob, alice)
	r.at = positions[14]
	if page, events := r.page(t); page.Gap == "" {
		want(t, events, from(16, 25)...)
	} else if !s.Inexact {
		t.Errorf("gap %q, and nothing was lost", page.Gap)
	}
}
