// Package logtest is the conformance suite for implementations of [ginsse.Log].
// A log that passes it carries the promises of a [ginsse.Registry].
//
//	func TestConformance(t *testing.T) {
//		logtest.Run(t, logtest.Suite{New: func(t *testing.T, b logtest.Bounds) ginsse.Log {
//			return mylog.Open(t, b)
//		}})
//	}
//
// Run it with -race. It needs a few seconds.
package logtest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// Bounds are the bounds of a log under test. A zero leaves the log's default,
// which must hold at least 256 events of a subject, for at least a minute, and
// 8 MiB.
type Bounds struct {
	EventsPerSubject int
	MaxAge           time.Duration
	MaxBytes         int64
}

// Suite says how to test an implementation.
type Suite struct {
	// New returns a log that holds nothing and is used by nobody else. What it
	// needs to close is closed by t.Cleanup.
	New func(t *testing.T, b Bounds) ginsse.Log
	// Inexact says that the log may report a gap where nothing was lost. It must
	// still report every gap there is.
	Inexact bool
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, Suite)
	}{
		{"append_returns_what_read_finds", appendReturnsWhatReadFinds},
		{"frame_is_kept_as_it_was", frameIsKept},
		{"reading_appends", readingAppends},
		{"without_a_position_reading_starts_at_the_head", startsAtHead},
		{"subjects_are_apart", subjectsAreApart},
		{"subjects_merge_in_log_order", subjectsMerge},
		{"pages_are_bounded_and_lose_nothing", pagesAreBounded},
		{"one_event_larger_than_a_page_is_read", largeEventIsRead},
		{"before_ends_the_read", beforeEndsTheRead},
		{"resume_after_each_position", resumeAfterEachPosition},
		{"resume_near_the_head_of_a_large_history", resumeNearTheHead},
		{"empty_log_has_a_position", emptyLogHasPosition},
		{"watch_reports_every_entry", watchReports},
		{"watch_stops", watchStops},
		{"join_under_fire", joinUnderFire},
		{"trim_by_count_is_a_gap", trimByCount},
		{"trim_by_age_is_a_gap", trimByAge},
		{"trim_by_bytes_is_a_gap", trimByBytes},
		{"trim_of_another_subject_is_none", trimOfAnother},
		{"reader_overrun_is_a_gap", readerOverrun},
		{"another_log_is_an_epoch_gap", anotherLog},
		{"made_up_positions_are_gaps", madeUpPositions},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, s)
		})
	}
}

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
	page, err := r.log.Read(t.Context(), ginsse.Query{
		Subjects: r.subjects, After: r.at, MaxEvents: r.max, MaxBytes: 1 << 20,
	}, nil)
	if err != nil {
		t.Fatalf("reading after %+v: %v", r.at, err)
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
	if page.Gap != "" && len(events) > 0 {
		t.Errorf("%d events beside gap %q", len(events), page.Gap)
	}
	r.at = page.Through
	return page, events
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
	if again, _ := r.page(t); again.Gap != "" {
		t.Errorf("another gap %q after the first", again.Gap)
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
		id, rest, ok := bytes.Cut(text, []byte("\n"))
		at, err := ginsse.ParseCursor(strings.TrimPrefix(string(id), "id: "))
		if !ok || err != nil {
			t.Fatalf("an event begins with %q, not with its id", id)
		}
		end := bytes.Index(rest, []byte("\n\n"))
		if end < 0 {
			t.Fatalf("the frame of event %d does not end: %q", at.Seq, rest)
		}
		events = append(events, event{at, rest[:end+2]})
		text = rest[end+2:]
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
