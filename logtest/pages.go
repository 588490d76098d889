package logtest

import (
	"bytes"
	"context"
	"testing"

	"github.com/ginsse/ginsse"
)

// readingAppends has each kind of page read behind each kind of dst.
func readingAppends(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	r := newReader(log, alice)
	r.page(t)
	start := r.at
	for n := 1; n <= 3; n++ {
		add(t, log, alice, n)
	}
	for n := range 25 {
		add(t, log, bob, n)
	}
	r.page(t)
	made := start
	made.Check ^= 1
	old := start
	old.Epoch ^= 1
	for _, page := range []struct {
		name   string
		q      ginsse.Query
		events []int
		gap    ginsse.GapReason
	}{
		{name: "no_position", q: ginsse.Query{MaxEvents: 10, MaxBytes: 1000}},
		{name: "nothing_new", q: ginsse.Query{After: r.at, MaxEvents: 10, MaxBytes: 1000}},
		{name: "nothing_wanted", q: ginsse.Query{After: start, Before: 1}},
		{name: "nothing_to_read", q: ginsse.Query{Subjects: []string{"user:nobody"}, After: start, MaxEvents: 10, MaxBytes: 1000}},
		{name: "events", q: ginsse.Query{After: start, MaxEvents: 10, MaxBytes: 1000}, events: from(1, 3)},
		{name: "full", q: ginsse.Query{After: start, MaxEvents: 2, MaxBytes: 1000}, events: from(1, 2)},
		{name: "trimmed", q: ginsse.Query{Subjects: []string{alice, bob}, After: start, MaxEvents: 10, MaxBytes: 1000}, gap: ginsse.GapTrimmed},
		{name: "epoch", q: ginsse.Query{After: old, MaxEvents: 10, MaxBytes: 1000}, gap: ginsse.GapEpoch},
		{name: "unknown", q: ginsse.Query{After: made, MaxEvents: 10, MaxBytes: 1000}, gap: ginsse.GapUnknown},
	} {
		if page.q.Subjects == nil {
			page.q.Subjects = r.subjects
		}
		for _, dst := range []struct {
			name      string
			len, room int // room -1: there is no dst
		}{
			{"nil", 0, -1}, {"empty", 0, 0}, {"empty_with_room", 0, 4096}, {"full", 200, 0}, {"with_little_room", 200, 10}, {"with_room", 200, 4096},
		} {
			t.Run(page.name+"/"+dst.name, func(t *testing.T) {
				d := newDst(dst.len, dst.room)
				found := d.read(t, t.Context(), log, page.q)
				if found.Gap != page.gap && !s.Inexact {
					t.Errorf("gap is %q, want %q", found.Gap, page.gap)
				}
				if events := d.behind(t, found.Blocks); found.Gap == page.gap {
					want(t, events, page.events...)
				}
				// Whether the log has to ask anybody, and gives up, is its own affair.
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				_, _ = log.Read(ended, page.q, d.bytes)
				if events := d.behind(t, d.read(t, t.Context(), log, page.q).Blocks); found.Gap == page.gap {
					want(t, events, page.events...)
				}
			})
		}
	}
}

// dst is what a page is read into, a slice of something larger.
type dst struct {
	bytes, held, beyond []byte
}

func newDst(length, room int) *dst {
	if room < 0 {
		return &dst{}
	}
	space := bytes.Repeat([]byte("#"), length+room+100)
	return &dst{bytes: space[: length : length+room], held: bytes.Clone(space[:length]), beyond: space[length+room:]}
}

func (d *dst) read(t *testing.T, ctx context.Context, log ginsse.Log, q ginsse.Query) ginsse.Page {
	t.Helper()
	page, err := log.Read(ctx, q, d.bytes)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// behind returns the events of a page behind what dst held.
func (d *dst) behind(t *testing.T, page []byte) []event {
	t.Helper()
	if !bytes.Equal(d.bytes, d.held) {
		t.Errorf("dst holds %q now", d.bytes)
	}
	if bytes.Trim(d.beyond, "#") != nil {
		t.Errorf("something was written beyond dst: %q", d.beyond)
	}
	rest, ok := bytes.CutPrefix(page, d.held)
	if !ok {
		t.Fatalf("what dst held is not on the page, but %q", page)
	}
	return blocks(t, rest)
}

// pagesAreTheReaders writes on pages, and looks at those that were not written on.
func pagesAreTheReaders(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 100})
	r := newReader(log, alice)
	r.page(t)
	add(t, log, alice, 1)
	add(t, log, bob, 2)
	add(t, log, alice, 3)
	read := func(dst []byte, subjects ...string) []byte {
		t.Helper()
		page, err := log.Read(t.Context(), ginsse.Query{Subjects: subjects, After: r.at, MaxEvents: 10, MaxBytes: 1000}, dst)
		if err != nil {
			t.Fatal(err)
		}
		return page.Blocks
	}
	first, other, both := read(nil, alice), read(nil, bob), read(nil, alice, bob)
	keptFirst, keptOther := bytes.Clone(first), bytes.Clone(other)
	want(t, blocks(t, keptFirst), 1, 3)
	want(t, blocks(t, keptOther), 2)
	want(t, blocks(t, bytes.Clone(both)), 1, 2, 3)
	for _, page := range [][]byte{both, read(nil, alice), read(make([]byte, 0, 4096), alice)} {
		scribble(page)
		want(t, blocks(t, read(nil, alice, bob)), 1, 2, 3)
	}
	room := scribble(read(make([]byte, 0, 4096), alice))
	check := func(when string) {
		t.Helper()
		if !bytes.Equal(first, keptFirst) || !bytes.Equal(other, keptOther) {
			t.Errorf("a page was changed %s", when)
		}
		if bytes.Trim(room, "#") != nil {
			t.Errorf("the log wrote into what had been dst %s", when)
		}
	}
	check("when others were read or written on")
	for n := range 200 {
		add(t, log, alice, n)
		add(t, log, bob, n)
	}
	check("by what was appended later")
	latest := newReader(log, alice, bob)
	latest.page(t)
	add(t, log, alice, 4)
	want(t, latest.all(t), 4)
	check("by what was read later")
}

// scribble writes all over a page, and what room there is behind it.
func scribble(page []byte) []byte {
	page = page[:cap(page)]
	for i := range page {
		page[i] = '#'
	}
	return page
}

// pagesAreBounded reads one subject and several, into nothing and behind something.
func pagesAreBounded(t *testing.T, s Suite) {
	const count, much = 60, 1 << 20
	log := s.New(t, Bounds{})
	var readers []*reader
	for _, subjects := range [][]string{
		{alice},
		{all, bob, "topic:quiet", "user:carol"},
		topics(10),
	} {
		r := newReader(log, subjects...)
		r.page(t)
		for n := range count {
			add(t, log, subjects[n*n%len(subjects)], 100+n)
		}
		readers = append(readers, r)
	}
	bytesOf := func(events int) int { return events * len(block(100)) }
	for _, test := range []struct {
		name             string
		maxEvents, bytes int
		fit              int // events
	}{
		{"events", 7, much, 7},
		{"bytes", much, bytesOf(4), 4},
		{"not_quite_bytes", much, bytesOf(5) - 1, 4},
		{"events_before_bytes", 3, bytesOf(4), 3},
		{"bytes_before_events", 4, bytesOf(3), 3},
		{"one_event", 1, much, 1},
		{"one_event_of_too_many_bytes", much, bytesOf(1) - 1, 1},
		{"no_events", 0, much, 1},
		{"no_bytes", much, 0, 1},
		{"nothing", 0, 0, 1},
		{"all_but_one", count - 1, much, count - 1},
		{"more_than_there_are", count + 1, much, count},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range readers {
				for _, d := range []*dst{newDst(0, -1), newDst(1000, 0)} {
					q := ginsse.Query{Subjects: r.subjects, After: r.at, MaxEvents: test.maxEvents, MaxBytes: test.bytes}
					for next := 100; next < 100+count; {
						last := min(next+test.fit, 100+count) - 1
						page := d.read(t, t.Context(), log, q)
						events := d.behind(t, page.Blocks)
						want(t, events, from(next, last)...)
						// A page that is exactly full may not know that nothing follows.
						if full := len(events) == test.fit; page.More != (last < 99+count) && !full {
							t.Errorf("More is %v after %d", page.More, last)
						}
						if t.Failed() {
							t.Fatalf("reading %q behind %d bytes", r.subjects, len(d.bytes))
						}
						q.After, next = page.Through, last+1
					}
				}
			}
		})
	}
}

func largeEventIsRead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(log, alice)
	r.page(t)
	add(t, log, alice, 1)
	if _, err := log.Append(t.Context(), alice, long(100_000)); err != nil {
		t.Fatal(err)
	}
	add(t, log, alice, 3)
	q := ginsse.Query{Subjects: []string{alice}, After: r.at, MaxEvents: 10, MaxBytes: 1000}
	for i := range 3 {
		page, err := log.Read(t.Context(), q, nil)
		if n := len(blocks(t, page.Blocks)); err != nil || n != 1 || page.More != (i < 2) {
			t.Fatalf("page %d: %d events, more %v, %v", i, n, page.More, err)
		}
		q.After = page.Through
	}
}
