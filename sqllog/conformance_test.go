package sqllog_test

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/logtest"
	"github.com/ginsse/ginsse/sqllog"
)

// openFile opens a database file as docs/nodes.md says.
func openFile(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)&_pragma=synchronous(normal)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// openLog opens a log that is closed with the test.
func openLog(t testing.TB, db *sql.DB, cfg sqllog.Config) *sqllog.Log {
	t.Helper()
	log, err := sqllog.OpenSQLite(t.Context(), db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conform(t, 0)
}

// TestConformanceWithLittleInMemory has nearly all positions read from the database.
func TestConformanceWithLittleInMemory(t *testing.T) {
	t.Parallel()
	conform(t, 16<<10)
}

func conform(t *testing.T, recentBytes int) {
	type node struct {
		path string
		cfg  sqllog.Config
		db   *sql.DB
	}
	var mu sync.Mutex
	nodes := make(map[eventlog.Log]node)
	open := func(t *testing.T, n node) eventlog.Log {
		n.db = openFile(t, n.path)
		log := openLog(t, n.db, n.cfg)
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
			return open(t, node{path: filepath.Join(t.TempDir(), "events.db"), cfg: sqllog.Config{
				RecentBytes: recentBytes, MaxAge: b.MaxAge, MaxBytes: b.MaxBytes,
			}})
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
	})
}
