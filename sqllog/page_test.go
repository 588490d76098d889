package sqllog_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/sqllog"
)

// TestPageAfterRowsThatAreNotEvents reads past rows that are not events, which fill a page.
func TestPageAfterRowsThatAreNotEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind
		insert string
	}{
		"postgres": {inPostgres, `insert into ginsse_inbox (subject, frame) values ('user:alice', $1)`},
		"sqlite":   {inSQLite, `insert into ginsse_log (total, net, subject, frame) values (0, 0, 'user:alice', $1)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := test.open(t, test.make(t))
			log := test.openLog(t, db, sqllog.Config{RecentBytes: 1})
			if _, err := log.Append(t.Context(), record("user:alice", "0")); err != nil {
				t.Fatal(err)
			}
			r := newReader(t, log, "user:alice")
			for _, size := range []int{1<<20 + 1, 10, 10, 10} { // one is larger than a page
				if _, err := db.ExecContext(t.Context(), test.insert, bytes.Repeat([]byte("x"), size)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 5 {
				if _, err := log.Append(t.Context(), record("user:alice", fmt.Sprint(i+1))); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.next(t, 5); strings.Join(got, "") != "12345" || len(r.gaps) > 0 {
				t.Errorf("read %q, gaps %v", got, r.gaps)
			}
		})
	}
}

// TestRecordsOfTheLoggerHoldNoEvent has a row that is not an event.
func TestRecordsOfTheLoggerHoldNoEvent(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind
		insert string
	}{
		"postgres": {inPostgres, `insert into ginsse_inbox (subject, frame) values ('all', $1)`},
		"sqlite":   {inSQLite, `insert into ginsse_log (total, net, subject, frame) values (0, 0, 'all', $1)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := test.open(t, test.make(t))
			records := new(logged)
			log := test.openLog(t, db, sqllog.Config{Logger: textLogger(records)})
			r := newReader(t, log, "all")
			for range 3 {
				if _, err := db.ExecContext(t.Context(), test.insert, []byte("data: private\n"+strings.Repeat("x", 100_000))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
				t.Fatal(err)
			}
			r.next(t, 1)
			if text := records.String(); strings.Count(text, "not an event") != 1 || len(text) > 500 || strings.Contains(text, "private") {
				t.Errorf("the records have %d bytes: %.500s", len(text), text)
			}
		})
	}
}
