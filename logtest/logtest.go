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
	"fmt"
	"slices"
	"strconv"
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
func (r *reader) page(t *testing.T) ginsse.Page {
	t.Helper()
	page, err := r.log.Read(t.Context(), ginsse.Query{
		Subjects: r.subjects, After: r.at, MaxEvents: r.max, MaxBytes: 1 << 20,
	}, nil)
	if err != nil {
		t.Fatalf("reading after %+v: %v", r.at, err)
	}
	for _, e := range page.Entries {
		if e.Cursor.Seq <= r.at.Seq && e.Cursor.Epoch == r.at.Epoch {
			t.Errorf("read %d after position %d", e.Cursor.Seq, r.at.Seq)
		}
		if e.Cursor.Seq > page.Through.Seq {
			t.Errorf("read %d beyond the page's end %d", e.Cursor.Seq, page.Through.Seq)
		}
	}
	if page.Gap == "" && !r.at.IsZero() && page.Through.Seq < r.at.Seq {
		t.Errorf("the position went back from %d to %d", r.at.Seq, page.Through.Seq)
	}
	if page.Gap != "" && len(page.Entries) > 0 {
		t.Errorf("%d entries beside gap %q", len(page.Entries), page.Gap)
	}
	r.at = page.Through
	return page
}

// all reads until there is no more, and fails on a gap.
func (r *reader) all(t *testing.T) []*ginsse.Entry {
	t.Helper()
	var entries []*ginsse.Entry
	for {
		page := r.page(t)
		if page.Gap != "" {
			t.Fatalf("unexpected gap %q", page.Gap)
		}
		entries = append(entries, page.Entries...)
		if !page.More {
			return entries
		}
	}
}

// gap reads once and fails unless there is a gap of the reason.
func (r *reader) gap(t *testing.T, want ginsse.GapReason) {
	t.Helper()
	page := r.page(t)
	if page.Gap != want {
		t.Fatalf("gap is %q, want %q", page.Gap, want)
	}
	// After a gap the reader is at the head, and goes on without another.
	if again := r.page(t); again.Gap != "" {
		t.Errorf("another gap %q after the first", again.Gap)
	}
}

// add appends an event and returns its entry.
func add(t *testing.T, log ginsse.Log, subject string, n int) *ginsse.Entry {
	t.Helper()
	e, err := log.Append(t.Context(), subject, frame(n))
	if err != nil {
		t.Fatalf("appending to %q: %v", subject, err)
	}
	return e
}

func frame(n int) []byte { return fmt.Appendf(nil, "data: %d\n\n", n) }

// number is what frame put in.
func number(e *ginsse.Entry) int {
	text := string(e.Frame)
	n, err := strconv.Atoi(text[len("data: ") : len(text)-2])
	if err != nil {
		return -1
	}
	return n
}

func numbers(entries []*ginsse.Entry) []int {
	list := make([]int, len(entries))
	for i, e := range entries {
		list[i] = number(e)
	}
	return list
}

// want fails unless the entries are these, in this order.
func want(t *testing.T, entries []*ginsse.Entry, list ...int) {
	t.Helper()
	if got := numbers(entries); !slices.Equal(got, list) {
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
