package sqllog_test

import (
	"context"
	"errors"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// TestCloseEndsReads closes a log while a read waits for the database.
func TestCloseEndsReads(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db, other := openURL(t, address), openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{RecentBytes: 1})
	r := newReader(t, log, "all")
	for range 3 {
		if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `lock table ginsse_log in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	waiting := func() (n int) {
		if err := other.QueryRowContext(t.Context(), `select count(*) from pg_locks where not granted and mode = 'AccessShareLock'
			and database = (select oid from pg_database where datname = current_database())`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, "the tail", func() bool { return waiting() > 0 })
	before := waiting()
	done := make(chan error, 1)
	go func() {
		_, err := log.Read(context.Background(), eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: 9, MaxBytes: 9999}, nil)
		done <- err
	}()
	until(t, "the read", func() bool { return waiting() > before || len(done) > 0 })
	if len(done) > 0 && log.Ready() != nil {
		t.Skip("the machine is too busy: without its tail, the log has lost contact before the read")
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if n := db.Stats().InUse; n > 0 {
		t.Errorf("after Close, %d connections are in use", n)
	}
	if err := <-done; !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("Read returned %v", err)
	}
}
