package logtest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// readAppendsToDst reads each kind of page after each kind of dst.
func readAppendsToDst(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	r := newReader(t, log, alice)
	start := r.at
	for n := 1; n <= 3; n++ {
		add(t, log, alice, n)
	}
	for n := range 25 {
		add(t, log, bob, n)
	}
	r.page(t)
	madeUp, old := start, start
	madeUp.Check ^= 1
	old.Epoch ^= 1
	const most, bytes = 10, 1000
	for _, page := range []struct {
		name   string
		q      eventlog.Query
		events []int
		gap    eventlog.GapReason
	}{
		{name: "nothing_new", q: eventlog.Query{After: r.at, MaxEntries: most, MaxBytes: bytes}},
		{name: "nothing_to_read", q: eventlog.Query{Subjects: []string{"user:quiet"}, After: start, MaxEntries: most, MaxBytes: bytes}},
		{name: "events", q: eventlog.Query{After: start, MaxEntries: most, MaxBytes: bytes}, events: from(1, 3)},
		{name: "full", q: eventlog.Query{After: start, MaxEntries: 2, MaxBytes: bytes}, events: from(1, 2)},
		{name: "trimmed", q: eventlog.Query{Subjects: []string{alice, bob}, After: start, MaxEntries: most, MaxBytes: bytes}, gap: eventlog.GapTrimmed},
		{name: "epoch", q: eventlog.Query{After: old, MaxEntries: most, MaxBytes: bytes}, gap: eventlog.GapEpoch},
		{name: "unknown", q: eventlog.Query{After: madeUp, MaxEntries: most, MaxBytes: bytes}, gap: eventlog.GapUnknown},
	} {
		if page.gap == eventlog.GapTrimmed && s.NoSubjectBound {
			continue
		}
		if page.q.Subjects == nil {
			page.q.Subjects = r.subjects
		}
		for _, dst := range []struct {
			name      string
			len, room int // room -1: dst is nil
		}{
			{"nil", 0, -1}, {"empty", 0, 0}, {"empty_with_room", 0, 100}, {"full", 20, 0}, {"with_little_room", 20, 1}, {"with_room", 20, 100},
		} {
			t.Run(page.name+"/"+dst.name, func(t *testing.T) {
				d := newDst(dst.len, dst.room)
				found := d.read(t, log, page.q)
				if found.Gap != page.gap && !s.Inexact {
					t.Errorf("gap is %q, want %q", found.Gap, page.gap)
				}
				if entries := d.added(t, found); found.Gap == page.gap {
					want(t, entries, page.events...)
				}
				// A log that asks its store may give up.
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				_, _ = log.Read(ended, page.q, d.entries)
				if entries := d.added(t, d.read(t, log, page.q)); found.Gap == page.gap {
					want(t, entries, page.events...)
				}
			})
		}
	}
}

// dst is a slice that pages are read into. It is part of a larger one.
type dst struct{ entries, beyond []*eventlog.Entry }

// marker fills a dst.
var marker = &eventlog.Entry{Subject: "marker"}

func isMarker(e *eventlog.Entry) bool { return e == marker }

func isOther(e *eventlog.Entry) bool { return e != marker }

// newDst returns a dst of a length, with room for more entries.
func newDst(length, room int) *dst {
	if room < 0 {
		return &dst{}
	}
	space := slices.Repeat([]*eventlog.Entry{marker}, length+room+10)
	return &dst{entries: space[: length : length+room], beyond: space[length+room:]}
}

func (d *dst) read(t *testing.T, log eventlog.Log, q eventlog.Query) eventlog.Page {
	t.Helper()
	page, err := readPage(t, log, q, d.entries)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// added returns the entries of a page after those that dst held.
func (d *dst) added(t *testing.T, page eventlog.Page) []*eventlog.Entry {
	t.Helper()
	if slices.ContainsFunc(d.entries, isOther) || slices.ContainsFunc(d.beyond, isOther) {
		t.Error("what dst held, or the memory after dst, was overwritten")
	}
	held := len(d.entries)
	if len(page.Entries) < held || slices.ContainsFunc(page.Entries[:held], isOther) || slices.ContainsFunc(page.Entries[held:], isMarker) {
		t.Fatalf("the page has %d entries, and does not begin with the %d that dst held", len(page.Entries), held)
	}
	return page.Entries[held:]
}

// pagesAreBounded reads one subject and several, into a nil dst and after other entries.
func pagesAreBounded(t *testing.T, s Suite) {
	const count, much = 60, 1 << 20
	log := s.New(t, Bounds{})
	var readers []*reader
	for _, subjects := range [][]string{
		{alice},
		{all, bob, "topic:quiet", "user:carol"},
		topics(10),
	} {
		r := newReader(t, log, subjects...)
		for n := range count {
			add(t, log, subjects[n*n%len(subjects)], 100+n)
		}
		readers = append(readers, r)
	}
	bytesOf := func(entries int) int { return entries * (len(frame(100)) + eventlog.BlockOverhead) }
	for _, test := range []struct {
		name              string
		maxEntries, bytes int
		fit               int // entries
	}{
		{"entries", 7, much, 7},
		{"bytes", much, bytesOf(4), 4},
		{"not_quite_bytes", much, bytesOf(5) - 1, 4},
		{"entries_before_bytes", 3, bytesOf(4), 3},
		{"bytes_before_entries", 4, bytesOf(3), 3},
		{"one_entry", 1, much, 1},
		{"one_entry_of_too_many_bytes", much, bytesOf(1) - 1, 1},
		{"no_entries", 0, much, 1},
		{"no_bytes", much, 0, 1},
		{"nothing", 0, 0, 1},
		{"all_but_one", count - 1, much, count - 1},
		{"more_than_there_are", count + 1, much, count},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range readers {
				for _, d := range []*dst{newDst(0, -1), newDst(1000, 0)} {
					q := eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: test.maxEntries, MaxBytes: test.bytes}
					for next := 100; next < 100+count; {
						last := min(next+test.fit, 100+count) - 1
						page := d.read(t, log, q)
						entries := d.added(t, page)
						want(t, entries, from(next, last)...)
						// A page that is exactly full may not know that no entry follows.
						if full := len(entries) == test.fit; page.More != (last < 99+count) && !full {
							breaksf(t, clauseMore, "More is %v after %d", page.More, last)
						}
						if t.Failed() {
							t.Fatalf("reading %q after %d entries", r.subjects, len(d.entries))
						}
						q.After, next = page.Through, last+1
					}
				}
			}
		})
	}
}

// entriesNeverChange has readers look at entries that they have read earlier, after all that a
// log does, and has them write on slices that are theirs.
func entriesNeverChange(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 50})
	r := newReader(t, log, alice, bob)
	add(t, log, alice, 1)
	add(t, log, bob, 2)
	add(t, log, alice, 3)
	read := func(dst []*eventlog.Entry, subjects ...string) []*eventlog.Entry {
		page, err := readPage(t, log, eventlog.Query{Subjects: subjects, After: r.at, MaxEntries: 10, MaxBytes: 1000}, dst)
		if err != nil {
			t.Error(err)
		}
		return page.Entries
	}
	var kept entryCopies
	for _, subjects := range [][]string{{alice}, {bob}, {alice, bob}, {alice, bob}} {
		kept.add(read(nil, subjects...))
	}
	want(t, kept.entries, 1, 3, 2, 1, 2, 3, 1, 2, 3)

	// A slice of entries belongs to its reader.
	for _, mine := range [][]*eventlog.Entry{read(nil, alice, bob), read(nil, alice), read(make([]*eventlog.Entry, 0, 100), alice)} {
		writeOver(mine)
		want(t, read(nil, alice, bob), 1, 2, 3)
		kept.check(t, "after another reader wrote on its slice")
	}
	mine := writeOver(read(make([]*eventlog.Entry, 0, 100), alice))
	var working sync.WaitGroup
	working.Go(func() {
		for range 100 {
			read(nil, alice, bob)
		}
	})
	for n := range 200 {
		add(t, log, alice, n)
		add(t, log, bob, n)
	}
	working.Wait()
	kept.check(t, "while others were appended, read and trimmed")
	latest := newReader(t, log, alice, bob)
	add(t, log, alice, 4)
	want(t, latest.all(t), 4)
	kept.check(t, "when a later entry was read")
	if slices.ContainsFunc(mine, isOther) {
		breaksf(t, clauseDst, "the log wrote into a dst after Read had returned")
	}
}

// entryCopies are pages with what their entries were when they were read.
type entryCopies struct {
	pages   [][]*eventlog.Entry
	entries []*eventlog.Entry
	were    []eventlog.Entry
}

func (c *entryCopies) add(page []*eventlog.Entry) {
	c.pages, c.entries = append(c.pages, page), append(c.entries, page...)
	for _, e := range page {
		was := *e
		was.Block = bytes.Clone(e.Block)
		c.were = append(c.were, was)
	}
}

func (c *entryCopies) check(t *testing.T, when string) {
	t.Helper()
	if !slices.Equal(slices.Concat(c.pages...), c.entries) {
		breaksf(t, clauseDst, "the entries of a page were replaced %s", when)
	}
	for i, e := range c.entries {
		if was := c.were[i]; e.At != was.At || e.Subject != was.Subject || !bytes.Equal(e.Block, was.Block) {
			t.Errorf("entry %+v changed %s: the block was %q and is %q", was.At, when, was.Block, e.Block)
		}
	}
}

// writeOver fills a slice, and the room after it, with the marker.
func writeOver(entries []*eventlog.Entry) []*eventlog.Entry {
	entries = entries[:cap(entries)]
	for i := range entries {
		entries[i] = marker
	}
	return entries
}
