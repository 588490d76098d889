package logtest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
)

// A reader reads as a stream does: page by page, from a position.
type reader struct {
	log      ginsse.Log
	subjects []string
	at       ginsse.Cursor
	max      int
}

func newReader(log ginsse.Log, subjects ...string) *reader {
	return &reader{log: log, subjects: subjects, max: 100}
}

// page reads one page and moves on.
func (r *reader) page(t *testing.T) (ginsse.Page, []event) {
	t.Helper()
	page, events, err := r.try(t)
	if err != nil {
		t.Fatalf("reading after %+v: %v", r.at, err)
	}
	return page, events
}

// try reads one page, if the log can, and moves on.
func (r *reader) try(t *testing.T) (ginsse.Page, []event, error) {
	t.Helper()
	page, err := r.log.Read(t.Context(), ginsse.Query{
		Subjects: r.subjects, After: r.at, MaxEvents: r.max, MaxBytes: 1 << 20,
	}, nil)
	if err != nil {
		return ginsse.Page{}, nil, err
	}
	events := blocks(t, bytes.Clone(page.Blocks))
	clear(page.Blocks[:cap(page.Blocks)]) // they are the reader's, to do with as it likes
	for _, e := range events {
		if e.at.Seq <= r.at.Seq && e.at.Epoch == r.at.Epoch {
			t.Errorf("read %d after position %d", e.at.Seq, r.at.Seq)
		}
		if e.at.Seq > page.Through.Seq {
			t.Errorf("read %d beyond the page's end %d", e.at.Seq, page.Through.Seq)
		}
	}
	if last := (ginsse.Cursor{}); len(events) > 0 {
		last = events[len(events)-1].at
		if page.Last != last {
			t.Errorf("the last event is at %+v, the page says at %+v", last, page.Last)
		}
	} else if page.Last != last {
		t.Errorf("the page has no event, and a last one at %+v", page.Last)
	}
	if page.Gap == "" && !r.at.IsZero() && page.Through.Seq < r.at.Seq {
		t.Errorf("the position went back from %d to %d", r.at.Seq, page.Through.Seq)
	}
	if page.Gap != "" && (len(events) > 0 || page.More) {
		t.Errorf("%d events beside gap %q, more %v", len(events), page.Gap, page.More)
	}
	if page.More && page.Last.IsZero() {
		t.Error("the page is empty, and More says it was full")
	}
	if page.More && page.Through != page.Last {
		t.Errorf("a full page ends at %+v, its last event is at %+v", page.Through, page.Last)
	}
	r.at = page.Through
	return page, events, nil
}

// all reads until there is no more, and fails on a gap.
func (r *reader) all(t *testing.T) []event {
	t.Helper()
	var all []event
	for {
		page, events := r.page(t)
		if page.Gap != "" {
			t.Fatalf("unexpected gap %q", page.Gap)
		}
		all = append(all, events...)
		if !page.More {
			return all
		}
	}
}

// gap reads once and fails unless there is a gap of the reason.
func (r *reader) gap(t *testing.T, want ginsse.GapReason) {
	t.Helper()
	page, _ := r.page(t)
	if page.Gap != want {
		t.Fatalf("gap is %q, want %q", page.Gap, want)
	}
	// After a gap the reader is at the head, and goes on without another.
	if again, events := r.page(t); again.Gap != "" || len(events) > 0 {
		t.Errorf("after the gap, another %q and %d events", again.Gap, len(events))
	}
}

// event is what a page has of one event.
type event struct {
	at    ginsse.Cursor
	frame []byte
}

// blocks takes a page's events apart.
func blocks(t *testing.T, text []byte) (events []event) {
	t.Helper()
	for len(text) > 0 {
		block, rest, ok := bytes.Cut(text, []byte("\n\n"))
		if !ok {
			t.Fatalf("an event does not end: %q", text)
		}
		start := bytes.LastIndexByte(block, '\n') + 1
		at, err := ginsse.ParseCursor(strings.TrimPrefix(string(block[start:]), "id: "))
		if err != nil {
			t.Fatalf("an event ends with %q, not with its id", block[start:])
		}
		events = append(events, event{at, append(block[:start:start], '\n')})
		text = rest
	}
	return events
}

// add appends an event and returns its position.
func add(t *testing.T, log ginsse.Log, subject string, n int) ginsse.Cursor {
	t.Helper()
	at, err := log.Append(t.Context(), subject, frame(n))
	if err != nil {
		t.Fatalf("appending to %q: %v", subject, err)
	}
	return at
}

func frame(n int) []byte { return fmt.Appendf(nil, "data: %d\n\n", n) }

// block is an event as a page has it, of the length of each whose number has as many
// digits.
func block(n int) []byte { return ginsse.AppendBlock(nil, ginsse.Cursor{Epoch: 1}, frame(n)) }

// long is a frame of about a number of bytes.
func long(size int) []byte {
	return append(append([]byte("data: "), bytes.Repeat([]byte("x"), size)...), "\n\n"...)
}

// number is what frame put in.
func number(e event) int {
	text := string(e.frame)
	n, err := strconv.Atoi(text[len("data: ") : len(text)-2])
	if err != nil {
		return -1
	}
	return n
}

func numbers(events []event) []int {
	list := make([]int, len(events))
	for i, e := range events {
		list[i] = number(e)
	}
	return list
}

// want fails unless the events are these, in this order.
func want(t *testing.T, events []event, list ...int) {
	t.Helper()
	if got := numbers(events); !slices.Equal(got, list) {
		t.Errorf("read %v, want %v", got, list)
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
