package sqllog_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
)

func TestSQLiteSettingsAreChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options string
		change  func(*sql.DB)
		want    string
	}{
		"no_wal":          {"_pragma=busy_timeout(5000)", nil, "needs WAL"},
		"no_busy_timeout": {"_pragma=journal_mode(wal)", nil, "set 5000 ms"},
		"one_connection": {
			"_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)",
			func(db *sql.DB) { db.SetMaxOpenConns(1) }, "a pool of its own",
		},
		"settings_of_one_connection_of_the_pool": {
			"", func(db *sql.DB) {
				_, _ = db.ExecContext(t.Context(), `pragma journal_mode = wal; pragma busy_timeout = 5000`)
			}, "all connections",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "events.db")+"?"+test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if test.change != nil {
				test.change(db)
			}
			log, err := sqllog.OpenSQLite(t.Context(), db, sqllog.Config{})
			if err == nil {
				_ = log.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("opening: %v, want %q", err, test.want)
			}
		})
	}
}

// TestRestoredFileIsAGap has a reader whose position is in a history that was rolled back, as after
// a power cut or when a backup was restored. Other events have its number.
func TestRestoredFileIsAGap(t *testing.T) {
	t.Parallel()
	path := inSQLite.make(t)
	db := openFile(t, path)
	log := inSQLite.openLog(t, db, sqllog.Config{PollInterval: time.Millisecond})
	live := newReader(t, log, "user:alice")
	for _, data := range []string{"1", "2", "3"} {
		if _, err := log.Append(t.Context(), record("user:alice", data)); err != nil {
			t.Fatal(err)
		}
	}
	live.next(t, 3)
	returns := *live
	for _, statement := range []string{
		`delete from ginsse_log where seq > 1`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range []string{"4", "5", "6"} {
		for {
			if _, err := log.Append(t.Context(), record("user:alice", data)); err == nil {
				break
			}
			if t.Context().Err() != nil {
				t.Fatal(t.Context().Err())
			}
		}
	}
	_ = log.Close()
	log = inSQLite.openLog(t, db, sqllog.Config{})
	live.log, returns.log = log, log
	if page := returns.read(t); page.Gap != "unknown" {
		t.Errorf("a client that returns has gap %q", page.Gap)
	}
}
