package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const alice, bob, all = "user:alice", "user:bob", "all"

// reader reads page by page from a position, as a stream does, and checks each page.
type reader struct {
	log      eventlog.Log
	subjects []string
	at       eventlog.Cursor
	max      int
	latest   bool
}

// newReader returns a reader at the head of a log.
func newReader(t *testing.T, log eventlog.Log, subjects ...string) *reader {
	t.Helper()
	return readerAt(log, head(t, log), subjects...)
}

func readerAt(log eventlog.Log, at eventlog.Cursor, subjects ...string) *reader {
	return &reader{log: log, subjects: subjects, at: at, max: 100}
}

func head(t *testing.T, log eventlog.Log) eventlog.Cursor {
	t.Helper()
	at, err := tryHead(t.Context(), log)
	if err != nil {
		t.Fatalf("the head of the log: %v", err)
	}
	return at
}

// tryHead is Head of a log that no case has partitioned.
func tryHead(ctx context.Context, log eventlog.Log) (at eventlog.Cursor, err error) {
	err = withContact(ctx, func() (err error) {
		at, err = log.Head(ctx)
		return err
	})
	return at, err
}

// withContact calls a function that asks for the head of a log, and again while that counts as
// partitioned: see hasLostContact.
func withContact(ctx context.Context, fn func() error) error {
	for start := time.Now(); ; <-time.After(retryInterval) {
		err := fn()
		if !errors.Is(err, eventlog.ErrUnavailable) || ctx.Err() != nil || time.Since(start) > defaultPatience {
			return err
		}
	}
}

// readPage is Read of a log that no case has partitioned.
func readPage(t *testing.T, log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (page eventlog.Page, err error) {
	t.Helper()
	for start := time.Now(); ; <-time.After(retryInterval) {
		page, err = log.Read(t.Context(), q, dst)
		if !hasLostContact(log, len(page.Entries)-len(dst), page.Gap, err) || time.Since(start) > defaultPatience {
			return page, err
		}
	}
}

// hasLostContact reports whether a page lacks entries because the log counts as partitioned from its
// store. A log that the machine has kept from running for a while may do so, until it has heard of its
// store again. If it has a method Ready, that says so.
func hasLostContact(log eventlog.Log, entries int, gap eventlog.GapReason, err error) bool {
	if err != nil {
		return errors.Is(err, eventlog.ErrUnavailable)
	}
	l, ok := log.(interface{ Ready() error })
	return ok && entries == 0 && gap == "" && l.Ready() != nil
}

// query asks for a page of at most max entries.
func (r *reader) query() eventlog.Query {
	return eventlog.Query{Subjects: r.subjects, After: r.at, Latest: r.latest, MaxEntries: r.max, MaxBytes: 1 << 20}
}

// page reads one page and moves to its end.
func (r *reader) page(t *testing.T) eventlog.Page {
	t.Helper()
	page, err := readPage(t, r.log, r.query(), nil)
	if err != nil {
		t.Fatalf("reading after %+v: %v", r.at, err)
	}
	r.check(t, page)
	r.at = page.Through
	return page
}

// try is page for a log that may fail, or is partitioned.
func (r *reader) try(t *testing.T) (eventlog.Page, error) {
	t.Helper()
	page, err := r.log.Read(t.Context(), r.query(), nil)
	if err != nil {
		return eventlog.Page{}, err
	}
	r.check(t, page)
	r.at = page.Through
	return page, nil
}

func (r *reader) check(t *testing.T, page eventlog.Page) {
	t.Helper()
	last := r.at
	for _, e := range page.Entries {
		r.checkEntry(t, e)
		if e.At.Seq <= last.Seq && e.At.Epoch == last.Epoch {
			breaksf(t, clauseRead, "entry %d came after position %d", e.At.Seq, last.Seq)
		}
		last = e.At
	}
	switch {
	case page.Gap != "":
		if len(page.Entries) > 0 || page.More {
			breaksf(t, clauseGapPage, "there are %d entries beside gap %q, More is %v", len(page.Entries), page.Gap, page.More)
		}
	case page.Through.Seq < last.Seq:
		breaksf(t, clauseThrough, "Through is %d, the reader had reached %d", page.Through.Seq, last.Seq)
	case page.More && len(page.Entries) == 0:
		breaksf(t, clauseMore, "the page is empty, and More is true")
	case page.More && page.Through != last:
		breaksf(t, clauseThrough, "Through of a full page is %+v, its last entry is at %+v", page.Through, last)
	}
}

// checkEntry checks that an entry is for the reader and is its own frame with its position.
func (r *reader) checkEntry(t *testing.T, e *eventlog.Entry) {
	t.Helper()
	if !slices.Contains(r.subjects, e.Subject) {
		breaksf(t, clauseSubject, "a reader of %q got an entry of %q", r.subjects, e.Subject)
	}
	if !bytes.HasSuffix(e.Block, idLine(e)) || bytes.Count(e.Block, []byte("\n\n")) != 1 {
		breaksf(t, clauseBlock, "the last field of %q is not the id %s", e.Block, e.At)
	}
}

func idLine(e *eventlog.Entry) []byte { return []byte("\nid: " + e.At.String() + "\n\n") }

// frameOf returns the frame that an entry was appended with.
func frameOf(e *eventlog.Entry) []byte {
	return append(bytes.TrimSuffix(bytes.Clone(e.Block), idLine(e)), "\n\n"...)
}

// all reads until there is no more, and fails on a gap.
func (r *reader) all(t *testing.T) (entries []*eventlog.Entry) {
	t.Helper()
	for {
		page := r.page(t)
		if page.Gap != "" {
			t.Fatalf("unexpected gap %q", page.Gap)
		}
		if entries = append(entries, page.Entries...); !page.More {
			return entries
		}
	}
}

// follow reads when the log's calls wake it, as a stream does, until it has so many entries or
// meets a gap.
func (r *reader) follow(t *testing.T, s Suite, count int) (entries []*eventlog.Entry, gap eventlog.GapReason) {
	t.Helper()
	w := watch(r.log)
	defer w.stop()
	deadline := time.NewTimer(s.longPatience())
	defer deadline.Stop()
	for {
		page := r.page(t)
		entries = append(entries, page.Entries...)
		switch {
		case page.Gap != "", len(entries) >= count:
			return entries, page.Gap
		case page.More:
			continue
		}
		select {
		case <-w.news:
		case <-deadline.C:
			t.Fatalf("read %d entries of %d, and Watch reported no more", len(entries), count)
		}
	}
}

// gap fails unless the next page is a gap of this reason. The reader asks as a stream does that
// opens, then as one that reads, and is at the head afterwards.
func (r *reader) gap(t *testing.T, want eventlog.GapReason) {
	t.Helper()
	opening := eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: 1}
	page, err := readPage(t, r.log, opening, nil)
	if err != nil || page.Gap != want {
		t.Fatalf("a query for one entry met gap %q, want %q; error %v", page.Gap, want, err)
	}
	r.check(t, page)
	if page := r.page(t); page.Gap != want {
		t.Fatalf("gap is %q, want %q", page.Gap, want)
	}
	if next := r.page(t); next.Gap != "" || len(next.Entries) > 0 {
		breaksf(t, clauseGapPage, "after the gap there is %q with %d entries", next.Gap, len(next.Entries))
	}
}

// add appends an event and returns its position.
func add(t *testing.T, log eventlog.Log, subject string, n int) eventlog.Cursor {
	t.Helper()
	at, err := log.Append(t.Context(), record(subject, n))
	if err != nil {
		t.Fatalf("appending to %q: %v", subject, err)
	}
	return at
}

func record(subject string, n int) eventlog.Record {
	return eventlog.Record{Subject: subject, Frame: frame(n)}
}

func frame(n int) []byte { return fmt.Appendf(nil, "data: %d\n\n", n) }

// longFrame is a frame of about a number of bytes.
func longFrame(size int) []byte {
	return append(append([]byte("data: "), bytes.Repeat([]byte("x"), size)...), "\n\n"...)
}

// number is what frame put in; -1 for any other frame.
func number(e *eventlog.Entry) int {
	text, _ := bytes.CutPrefix(e.Block, []byte("data: "))
	text, _, _ = bytes.Cut(text, []byte("\n"))
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return -1
	}
	return n
}

func numbers(entries []*eventlog.Entry) []int {
	list := make([]int, len(entries))
	for i, e := range entries {
		list[i] = number(e)
	}
	return list
}

// want fails unless the entries have these numbers, in this order.
func want(t *testing.T, entries []*eventlog.Entry, list ...int) {
	t.Helper()
	if got := numbers(entries); !slices.Equal(got, list) {
		t.Errorf("read %v, want %v", got, list)
	}
}

// wantPositions fails unless the entries are at these positions.
func wantPositions(t *testing.T, entries []*eventlog.Entry, positions []eventlog.Cursor) {
	t.Helper()
	for i, e := range entries {
		if i >= len(positions) || e.At != positions[i] {
			breaksf(t, clausePositions, "entry %d was read at %+v; Append returned %+v", i, e.At, positions)
			return
		}
	}
}

// from returns the numbers from first to last.
func from(first, last int) []int {
	var list []int
	for n := first; n <= last; n++ {
		list = append(list, n)
	}
	return list
}
