//go:build cgo

package sqllog_test

import (
	"database/sql"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"github.com/ginsse/ginsse/sqllog"
)

// TestConformanceWithMattn has the driver in C, which counts parameters otherwise.
func TestConformanceWithMattn(t *testing.T) {
	t.Parallel()
	with := inSQLite
	with.open = func(t testing.TB, path string) *sql.DB {
		t.Helper()
		db, err := sql.Open("sqlite3", "file:"+path+"?_txlock=immediate&_busy_timeout=5000&_journal_mode=WAL&_synchronous=NORMAL")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	with.conform(t, sqllog.Config{RecentBytes: 16 << 10}, underLoad, onPeers)
}
