package sqllog_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
)

// TestReviewTrimLeavesRows: another node has removed a batch at the same time, and was stopped then.
func TestReviewTrimLeavesRows(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db, other := openURL(t, address), openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{MaxAge: 2 * time.Second})
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		if err := log.Tx(tx).Put(t.Context(), record("all", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Head(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx, err = other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `delete from ginsse_log where seq <= 200`); err != nil {
		t.Fatal(err)
	}
	beat := func(count int) {
		for range count {
			if _, err := log.Append(t.Context(), record("all", "newer")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(250 * time.Millisecond)
		}
	}
	beat(16) // the node's trimmer waits for these rows
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	beat(20) // many turns
	var left int
	if err := other.QueryRow(`select count(*) from ginsse_log where seq <= 600`).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left > 0 {
		t.Errorf("%d rows are left, 9 s after they were too old by 2 s", left)
	}
}

// TestReviewSmallPoolPostgres: OpenSQLite refuses such a pool.
func TestReviewSmallPoolPostgres(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	db.SetMaxOpenConns(1)
	log, err := sqllog.OpenPostgres(t.Context(), db, sqllog.Config{})
	if err != nil {
		t.Skip("refused:", err)
	}
	t.Cleanup(func() { _ = log.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	time.Sleep(3 * time.Second)
	if err := log.Ready(); err != nil {
		t.Errorf("with one transaction of the application open: %v", err)
	}
	if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
		t.Errorf("with one transaction of the application open: %v", err)
	}
}

// TestReviewSharedCache: with a shared cache, readers meet the locks of the application's
// transaction, which no busy timeout bounds.
func TestReviewSharedCache(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"sqlite", "sqlite3"} {
		t.Run(driver, func(t *testing.T) {
			path := inSQLite.make(t)
			options := "?cache=shared&_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)"
			if driver == "sqlite3" {
				options = "?cache=shared&_txlock=immediate&_busy_timeout=5000&_journal_mode=WAL"
			}
			db, err := sql.Open(driver, "file:"+path+options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			log, err := sqllog.OpenSQLite(t.Context(), db, sqllog.Config{})
			if err != nil {
				t.Skip("refused:", err)
			}
			t.Cleanup(func() { _ = log.Close() })
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := log.Tx(tx).Put(ctx, record("all", "1")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			if err := log.Ready(); err != nil {
				t.Errorf("while a transaction is open: %v", err)
			}
			_ = tx.Rollback()
		})
	}
}

// TestReviewLongPollInterval: with Listen it is natural to look less often. Contact is confirmed by
// looking alone.
func TestReviewLongPollInterval(t *testing.T) {
	t.Parallel()
	log := inPostgres.openLog(t, openURL(t, newDatabase(t)), sqllog.Config{PollInterval: 5 * time.Second})
	time.Sleep(3 * time.Second)
	if err := log.Ready(); err != nil {
		t.Error(err)
	}
	if _, err := log.Head(t.Context()); err != nil {
		t.Error(err)
	}
}
