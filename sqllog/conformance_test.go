package sqllog_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/logtest"
	"github.com/ginsse/ginsse/sqllog"
)

// openFile opens a database file as docs/database.md says.
func openFile(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// kind is a kind of database, with a driver.
type kind struct {
	make func(t testing.TB) string                                                     // an empty database; returns its address
	open func(t testing.TB, address string) *sql.DB                                    // a pool, closed with the test
	log  func(ctx context.Context, db *sql.DB, cfg sqllog.Config) (*sqllog.Log, error) // OpenSQLite or OpenPostgres

	oneWriter bool // a transaction that has written keeps others waiting
}

var (
	inSQLite = kind{
		make: func(t testing.TB) string { return filepath.Join(t.TempDir(), "events.db") },
		open: openFile,
		log:  sqllog.OpenSQLite,

		oneWriter: true,
	}
	inPostgres = kind{make: newDatabase, open: openURL, log: sqllog.OpenPostgres}
)

// interleavings is how many transactions the conformance suite interleaves.
var interleavings, _ = strconv.Atoi(os.Getenv("SQLLOG_TEST_INTERLEAVINGS"))

// Cases that take long.
const (
	underLoad   = "order_holds_under_load"
	onPeers     = "order_holds_under_load_on_peers"
	interleaved = "order_holds_with_interleaved_transactions"
)

// beginTransaction begins a transaction of the application.
func beginTransaction(t *testing.T, db *sql.DB, log *sqllog.Log) logtest.Transaction {
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	savepoints := 0
	return logtest.Transaction{
		Outbox:   log.Tx(tx),
		Commit:   tx.Commit,
		Rollback: tx.Rollback,
		Savepoint: func() (rollback func() error, err error) {
			savepoints++
			name := fmt.Sprint("s", savepoints)
			_, err = tx.ExecContext(t.Context(), "savepoint "+name)
			return func() error {
				_, err := tx.ExecContext(t.Context(), "rollback to savepoint "+name)
				return err
			}, err
		},
	}
}

// openLog opens a log that is closed with the test, before its pool.
func (k kind) openLog(t testing.TB, db *sql.DB, cfg sqllog.Config) *sqllog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	log, err := k.log(ctx, db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func TestConformanceSQLite(t *testing.T) {
	t.Parallel()
	inSQLite.conform(t, sqllog.Config{})
}

// TestConformanceSQLiteWithLittleInMemory has nearly all positions read from the database.
func TestConformanceSQLiteWithLittleInMemory(t *testing.T) {
	t.Parallel()
	inSQLite.conform(t, sqllog.Config{RecentBytes: 16 << 10}, underLoad, onPeers, interleaved)
}

func TestConformancePostgres(t *testing.T) {
	t.Parallel()
	inPostgres.conform(t, sqllog.Config{})
}

func TestConformancePostgresWithLittleInMemory(t *testing.T) {
	t.Parallel()
	inPostgres.conform(t, sqllog.Config{RecentBytes: 16 << 10}, underLoad, interleaved)
}

// conform runs the suite without some cases, which take long and which other tests have. With a number
// of interleavings it runs all.
func (k kind) conform(t *testing.T, cfg sqllog.Config, without ...string) {
	type node struct {
		address string
		cfg     sqllog.Config
		db      *sql.DB
	}
	var mu sync.Mutex
	nodes := make(map[eventlog.Log]node)
	open := func(t *testing.T, n node) eventlog.Log {
		n.db = k.open(t, n.address)
		log := k.openLog(t, n.db, n.cfg)
		mu.Lock()
		defer mu.Unlock()
		nodes[log] = n
		return log
	}
	find := func(log eventlog.Log) node {
		mu.Lock()
		defer mu.Unlock()
		return nodes[log]
	}
	logtest.Run(t, logtest.Suite{
		New: func(t *testing.T, b logtest.Bounds) eventlog.Log {
			if slices.Contains(without, strings.Split(t.Name(), "/")[1]) && interleavings == 0 {
				t.Skip("other tests run it")
			}
			n := node{address: k.make(t), cfg: cfg}
			n.cfg.MaxAge, n.cfg.MaxBytes, n.cfg.AppendTimeout = b.MaxAge, b.MaxBytes, patient
			return open(t, n)
		},
		Peer: func(t *testing.T, log eventlog.Log) eventlog.Log { return open(t, find(log)) },
		Reopen: func(t *testing.T, log eventlog.Log) eventlog.Log {
			n := find(log)
			_ = log.(*sqllog.Log).Close()
			_ = n.db.Close()
			return open(t, n)
		},
		Insert: func(t *testing.T, log eventlog.Log, r eventlog.Record) {
			tx, err := find(log).db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := log.(*sqllog.Log).Tx(tx).Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		},
		Begin: func(t *testing.T, log eventlog.Log) logtest.Transaction {
			return beginTransaction(t, find(log).db, log.(*sqllog.Log))
		},
		OneWriter:      k.oneWriter,
		Interleavings:  interleavings,
		NoSubjectBound: true,
		Inexact:        true,
	})
}
