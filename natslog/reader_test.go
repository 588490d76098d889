package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

const alice, bob, all = "user:alice", "user:bob", "all"

func frame(n int) []byte { return fmt.Appendf(nil, "data: %d\n\n", n) }

func record(subject string, n int) eventlog.Record {
	return eventlog.Record{Subject: subject, Frame: frame(n)}
}

func add(t *testing.T, log *natslog.Log, subject string, n int) eventlog.Cursor {
	t.Helper()
	at, err := log.Append(t.Context(), record(subject, n))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// reader reads as a stream does: when the log calls its watcher.
type reader struct {
	log      *natslog.Log
	subjects []string
	at       eventlog.Cursor
	news     chan struct{}
}

// newReader returns a reader at the head.
func newReader(t *testing.T, log *natslog.Log, subjects ...string) *reader {
	t.Helper()
	r := &reader{log: log, subjects: subjects, news: make(chan struct{}, 1)}
	t.Cleanup(log.Watch(func(subject string, _ uint64) {
		if subject == "" || strings.Contains(strings.Join(subjects, " "), subject) {
			select {
			case r.news <- struct{}{}:
			default:
			}
		}
	}))
	r.at = head(t, log)
	return r
}

// head returns the head of a log. It asks again after an error: a busy machine may keep the broker from
// answering within a second.
func head(t *testing.T, log *natslog.Log) (at eventlog.Cursor) {
	t.Helper()
	until(t, "the head", func() bool {
		var err error
		at, err = log.Head(t.Context())
		return err == nil
	})
	return at
}

// page reads one page. After an error the caller tries again, as after an empty page.
func (r *reader) page(ctx context.Context) (events []int, gap eventlog.GapReason, err error) {
	page, err := r.log.Read(ctx, eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: 100, MaxBytes: 64 << 10}, nil)
	if err != nil {
		return nil, "", err
	}
	r.at = page.Through
	return numbers(page.Entries), page.Gap, nil
}

// follow reads until done reports true, or until there is a gap.
func (r *reader) follow(t *testing.T, done func(events []int) bool) (events []int, gap eventlog.GapReason) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		more, gap, err := r.page(t.Context())
		events = append(events, more...)
		if gap != "" || done(events) {
			return events, gap
		}
		if len(more) > 0 {
			deadline.Reset(patience)
			continue
		}
		again := (<-chan time.Time)(nil)
		if err != nil {
			again = time.After(100 * time.Millisecond) // as a stream does after an error
		}
		select {
		case <-r.news:
		case <-again:
		case <-deadline.C:
			t.Fatalf("at %d with %d events, and no news; error %v, ready: %v", r.at.Seq, len(events), err, r.log.Ready())
		}
	}
}

// want reads so many events and compares them.
func (r *reader) want(t *testing.T, list ...int) {
	t.Helper()
	got, gap := r.follow(t, func(events []int) bool { return len(events) >= len(list) })
	if fmt.Sprint(got) != fmt.Sprint(list) || gap != "" {
		t.Errorf("read %v, gap %q; want %v", got, gap, list)
	}
}

// wantGap reads until there is a gap.
func (r *reader) wantGap(t *testing.T, reason eventlog.GapReason) {
	t.Helper()
	got, gap := r.follow(t, func([]int) bool { return false })
	if gap != reason || len(got) > 0 {
		t.Errorf("read %v and gap %q; want gap %q", got, gap, reason)
	}
}

// until polls a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	nodetest.Until(t, what, ok)
}

// reach reads until the reader is at a position, and returns the gaps. It polls: the event at the position
// may be for others.
func (r *reader) reach(t *testing.T, at eventlog.Cursor) (gaps []eventlog.GapReason) {
	t.Helper()
	until(t, "a position", func() bool {
		if _, gap, err := r.page(t.Context()); err == nil && gap != "" {
			gaps = append(gaps, gap)
		}
		return r.at.Seq >= at.Seq
	})
	return gaps
}

// read reads a page, and again if the store is unavailable. It does not return the empty page of a node
// without contact, which a busy machine may lose for a moment.
func read(t *testing.T, log *natslog.Log, q eventlog.Query) (page eventlog.Page, err error) {
	t.Helper()
	connected := func() bool { return log.Stats().Store.Connected }
	until(t, "a page", func() bool {
		before := connected()
		page, err = log.Read(t.Context(), q, nil)
		return !errors.Is(err, eventlog.ErrUnavailable) && (page.Gap != "" || page.Through != q.After || before && connected())
	})
	return page, err
}

// readAll returns the entries of one page after a position.
func readAll(t *testing.T, log *natslog.Log, after eventlog.Cursor, subjects ...string) []*eventlog.Entry {
	t.Helper()
	page, err := read(t, log, eventlog.Query{Subjects: subjects, After: after, MaxEntries: 1000, MaxBytes: 1 << 20})
	if err != nil || page.Gap != "" {
		t.Fatalf("gap %q, error %v", page.Gap, err)
	}
	return page.Entries
}

// wantFewMessages fails if reading sends more than a number of messages in each of five attempts. Each has a
// log with little in memory: if the broker does not answer one within a second, it reads without batches for
// a minute.
func wantFewMessages(t *testing.T, nc *nats.Conn, most uint64, attempt func(log *natslog.Log)) {
	t.Helper()
	least := uint64(math.MaxUint64)
	for range 5 {
		log := open(t, nc, natslog.Config{RecentBytes: 1})
		before := nc.Stats().OutMsgs
		attempt(log)
		sent := nc.Stats().OutMsgs - before // some are of the tail
		log.Close()
		if least = min(least, sent); least <= most {
			return
		}
	}
	t.Errorf("%d messages were sent, more than %d", least, most)
}

// numbers returns the numbers of events.
func numbers(entries []*eventlog.Entry) (list []int) {
	for _, e := range entries {
		for line := range strings.Lines(string(e.Block)) {
			if text, ok := strings.CutPrefix(line, "data: "); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(text))
				list = append(list, n)
			}
		}
	}
	return list
}
