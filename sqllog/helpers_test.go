package sqllog_test

import (
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/sqllog"
)

func event(data string) []byte { return []byte("event: e\ndata: " + data + "\n\n") }

func record(subject, data string) eventlog.Record {
	return eventlog.Record{Subject: subject, Frame: event(data)}
}

// reader reads a log from a position on, as a stream does.
type reader struct {
	log      eventlog.Log
	subjects []string
	at       eventlog.Cursor
	gaps     []eventlog.GapReason
}

func newReader(t testing.TB, log eventlog.Log, subjects ...string) *reader {
	t.Helper()
	return &reader{log: log, subjects: subjects, at: headOf(t, log)}
}

// headOf returns the head of a log, and pageOf a page, when the log has contact with its database. On a
// machine that stands still for two seconds, it loses contact for a moment. Then Head fails, and a page
// is empty.
func headOf(t testing.TB, log eventlog.Log) eventlog.Cursor {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		at, err := log.Head(t.Context())
		switch {
		case err == nil:
			return at
		case !errors.Is(err, eventlog.ErrUnavailable), time.Now().After(deadline):
			t.Fatal(err)
		}
	}
}

func pageOf(t testing.TB, log eventlog.Log, q eventlog.Query) eventlog.Page {
	t.Helper()
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		page, err := log.Read(t.Context(), q, nil)
		switch lost := err == nil && len(page.Entries) == 0 && page.Gap == "" && log.(*sqllog.Log).Ready() != nil; {
		case err == nil && !lost:
			return page
		case err != nil && !errors.Is(err, eventlog.ErrUnavailable), time.Now().After(deadline):
			t.Fatalf("reading after %v: no contact, error %v", q.After, err)
		}
	}
}

// next reads until it has count entries. It returns their data.
func (r *reader) next(t testing.TB, count int) []string {
	t.Helper()
	wake := make(chan struct{}, 1)
	stop := r.log.Watch(func(string, uint64) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer stop()
	var got []string
	for end := time.After(20 * time.Second); ; {
		page, err := r.log.Read(t.Context(), eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: 256, MaxBytes: 1 << 20}, nil)
		if err == nil {
			if page.Gap != "" {
				r.gaps = append(r.gaps, page.Gap)
			}
			r.at = page.Through
			for _, e := range page.Entries {
				_, data, _ := strings.Cut(string(e.Block), "data: ")
				data, _, _ = strings.Cut(data, "\n")
				got = append(got, data)
			}
		}
		if len(got) >= count {
			return got
		}
		if err == nil && page.More {
			continue
		}
		select {
		case <-wake:
		case <-time.After(50 * time.Millisecond): // a read that failed is repeated
		case <-end:
			t.Fatalf("read %d entries of %d: %q; the last error: %v", len(got), count, got, err)
		}
	}
}

// read reads one page.
func (r *reader) read(t testing.TB) eventlog.Page {
	t.Helper()
	return pageOf(t, r.log, eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: 256, MaxBytes: 1 << 20})
}

func run(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func begin(t testing.TB, db *sql.DB, log *sqllog.Log, event string) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if err := log.Tx(tx).Put(t.Context(), record("all", event)); err != nil {
		t.Fatal(err)
	}
	return tx
}

func commit(t testing.TB, tx *sql.Tx) {
	t.Helper()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// contents returns the events of a log that has lost none, in order.
func contents(t testing.TB, log *sqllog.Log) (events []string) {
	t.Helper()
	at := headOf(t, log)
	at.Seq, at.Check = 0, 0
	for {
		page := pageOf(t, log, eventlog.Query{Subjects: allSubjects, After: at, MaxEntries: 100, MaxBytes: 1 << 20})
		if page.Gap != "" {
			t.Fatalf("gap %q", page.Gap)
		}
		for _, e := range page.Entries {
			events = append(events, dataOf(e))
		}
		if at = page.Through; !page.More {
			return events
		}
	}
}

func gapAfter(t testing.TB, log *sqllog.Log, at eventlog.Cursor) eventlog.GapReason {
	t.Helper()
	return pageOf(t, log, eventlog.Query{Subjects: allSubjects, After: at, MaxEntries: 1, MaxBytes: 1 << 20}).Gap
}

const patience = nodetest.Patience

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	nodetest.Until(t, what, ok)
}

func unavailable(log *sqllog.Log) func() bool {
	return func() bool { return errors.Is(log.Ready(), eventlog.ErrUnavailable) }
}

// logged is a log handler's output that a test looks into.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// seldom is the longest PollInterval.
const seldom = 500 * time.Millisecond

// wantWoken has one node append events, each when the other one has delivered the one before. A node
// that polls alone would need nearly the whole PollInterval for each: it has just polled. On a busy
// machine it may take as long with notifications, but not three times in a row.
func wantWoken(t testing.TB, from *sqllog.Log, to *reader) {
	t.Helper()
	const events = 20
	var took time.Duration
	for range 3 {
		began := time.Now()
		for range events {
			if _, err := from.Append(t.Context(), record("all", "1")); err != nil {
				t.Fatal(err)
			}
			to.next(t, 1)
		}
		if took = time.Since(began); took <= events*seldom/2 {
			return
		}
	}
	t.Errorf("%d events took %v, as long as without notifications", events, took)
}

// patient is an AppendTimeout for a busy machine, and for appends behind 16 MB or more.
const patient = 20 * time.Second

func textLogger(records *logged) *slog.Logger { return slog.New(slog.NewTextHandler(records, nil)) }
