package sqllog_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

// TestNodesStartAtOnce has nodes make the tables of an empty database together.
func TestNodesStartAtOnce(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := k.make(t)
			logs := make([]*sqllog.Log, 6)
			var starting sync.WaitGroup
			for i := range logs {
				db := k.open(t, address)
				starting.Go(func() {
					var err error
					if logs[i], err = k.log(t.Context(), db, sqllog.Config{}); err != nil {
						t.Error(err)
					}
				})
			}
			starting.Wait()
			for _, log := range logs {
				if log != nil {
					defer log.Close()
				}
			}
			if t.Failed() {
				return
			}
			r := newReader(t, logs[0], "all")
			if _, err := logs[5].Append(t.Context(), record("all", "1")); err != nil {
				t.Fatal(err)
			}
			r.next(t, 1)
		})
	}
}

func TestOwnMigrations(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind
		migrations func(string) ([]sqllog.Migration, error)
		prefix     string
		before     []string
	}{
		"sqlite":          {inSQLite, sqllog.SQLiteMigrations, "my_", nil},
		"postgres":        {inPostgres, sqllog.PostgresMigrations, "my_", nil},
		"postgres_schema": {inPostgres, sqllog.PostgresMigrations, "events.my_", []string{"create schema events"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := test.open(t, test.make(t))
			cfg := sqllog.Config{TablePrefix: test.prefix, SkipMigrations: true}
			if log, err := test.log(t.Context(), db, cfg); err == nil || !strings.Contains(err.Error(), "SkipMigrations") {
				if err == nil {
					_ = log.Close()
				}
				t.Errorf("without tables: %v", err)
			}
			run(t, db, test.before...)
			list, err := test.migrations(test.prefix)
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range list {
				if m.Version != i+1 {
					t.Errorf("migration %d has version %d", i, m.Version)
				}
				run(t, db, m.Statements...)
			}
			log := test.openLog(t, db, cfg)
			r := newReader(t, log, "all")
			if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
				t.Fatal(err)
			}
			r.next(t, 1)
			run(t, db, "update "+test.prefix+"meta set version = 99")
			for _, skip := range []bool{true, false} {
				cfg.SkipMigrations = skip
				if log, err := test.log(t.Context(), db, cfg); err == nil || !strings.Contains(err.Error(), "version 99") {
					if err == nil {
						_ = log.Close()
					}
					t.Errorf("with tables of a later version: %v", err)
				}
			}
		})
	}
}

// allStatements returns the statements of all migrations on Postgres.
func allStatements(t testing.TB, prefix string) (statements []string) {
	t.Helper()
	list, err := sqllog.PostgresMigrations(prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		statements = append(statements, m.Statements...)
	}
	return statements
}

// TestEventInTheTransactionOfTheMigrations has a tool run all migrations in one transaction, one of
// which sends an event. Another transaction ends meanwhile.
func TestEventInTheTransactionOfTheMigrations(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for i, statement := range slices.Concat([]string{`create table before (n int)`}, allStatements(t, "ginsse_"), []string{`select ginsse_publish('all', 'e', '1')`}) {
		if i == 1 {
			run(t, db, `create table elsewhere (n int)`)
		}
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	commit(t, tx)
	log := inPostgres.openLog(t, db, sqllog.Config{SkipMigrations: true})
	if head, err := log.Head(t.Context()); err != nil || head.Seq != 1 {
		t.Errorf("the head is %d, %v, want 1", head.Seq, err)
	}
}

// TestLongestNames has the longest schema and prefix.
func TestLongestNames(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := openURL(t, url)
	listen, err := pgxlog.Listen(url)
	if err != nil {
		t.Fatal(err)
	}
	schema := strings.Repeat("s", 30)
	run(t, db, "create schema "+schema)
	log := inPostgres.openLog(t, db, sqllog.Config{TablePrefix: schema + "." + strings.Repeat("p", 29), Listen: listen})
	if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
		t.Error(err)
	}
	log = inPostgres.openLog(t, db, sqllog.Config{TablePrefix: strings.Repeat("p", 29)}) // beside it
	if at, err := log.Append(t.Context(), record("all", "1")); err != nil || at.Seq != 1 {
		t.Errorf("the first event of another log is at %v, %v", at, err)
	}
}

// TestTablesOfVersion1AreMigrated has tables with contents, and a node of version 1 that is open.
func TestTablesOfVersion1AreMigrated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind
		migrations func(string) ([]sqllog.Migration, error)
		add        string // as version 1 does, 'all' with the frame $1 and the check $2
		poll       string
	}{
		"postgres": {
			inPostgres, sqllog.PostgresMigrations,
			`select last from ginsse_step('all', length($1::bytea)::text, $2::text, $1::bytea, true)`,
			`select last from ginsse_step(null::text, null::text, null::text, null::bytea, true)`,
		},
		"sqlite": {
			inSQLite, sqllog.SQLiteMigrations,
			`insert into ginsse_log (subject, chk, frame, total) values ('all', cast($2 as integer), $1, 100 + coalesce((select max(total) from ginsse_log), 0))`,
			`insert into ginsse_log (subject, frame, total) values ('all', x'00', 1)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := test.make(t)
			db := test.open(t, address)
			list, err := test.migrations("ginsse_")
			if err != nil {
				t.Fatal(err)
			}
			run(t, db, list[0].Statements...)
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprint(i))
				if _, err := db.ExecContext(t.Context(), test.add, event(fmt.Sprint(i)), fmt.Sprint(100+i)); err != nil {
					t.Fatal(err)
				}
			}
			if name == "postgres" {
				run(t, db, `insert into ginsse_inbox (subject, frame) values ('all', convert_to(E'data: put\n\n', 'UTF8'))`)
				want = append(want, "put")
			}
			old := make(chan error)
			if name == "postgres" {
				polling := test.open(t, address)
				go func() { // as an open node
					for {
						// A call in progress fails too.
						if _, err := polling.Exec(test.poll); err != nil && !strings.Contains(err.Error(), "ginsse_fresh") {
							old <- err
							return
						}
					}
				}()
			}
			log := test.openLog(t, db, sqllog.Config{RecentBytes: 1})
			if name == "sqlite" {
				go func() {
					_, err := db.Exec(test.poll)
					old <- err
				}()
			}
			if err := <-old; err == nil || !strings.Contains(err.Error(), "have version 2") {
				t.Errorf("a node of version 1: %v", err)
			}
			if got := contents(t, log); !slices.Equal(got, want) {
				t.Errorf("the log has %q, want %q", got, want)
			}
			head, err := log.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tenth := eventlog.Cursor{Epoch: head.Epoch, Seq: 10, Check: 109}
			if got := readAfter(t, log, tenth, false, "all"); !slices.Equal(got, want[10:]) {
				t.Errorf("after the tenth event, read %q", got)
			}
			commit(t, begin(t, db, log, "new"))
			until(t, "the new event", func() bool {
				got := readAfter(t, log, tenth, false, "all")
				return len(got) > 0 && got[len(got)-1] == "new"
			})
			for _, data := range []string{"a", "b"} {
				appendRecord(t, log, keyedRecord("all", "k", data))
			}
			if got := readAfter(t, log, tenth, true, "all"); !slices.Equal(got, []string{"b"}) {
				t.Errorf("read %q with keys", got)
			}
			if n := scan[int](t, db, `select version from ginsse_meta`); n != 2 {
				t.Errorf("the tables have version %d", n)
			}
			_ = test.openLog(t, test.open(t, address), sqllog.Config{}).Close() // again
		})
	}
}

// TestMigrationDoesNotWaitForever has a transaction open that has sent an event.
func TestMigrationDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	list, err := sqllog.PostgresMigrations("ginsse_")
	if err != nil {
		t.Fatal(err)
	}
	run(t, db, list[0].Statements...)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `select ginsse_publish('all', 'e', '"open"')`); err != nil {
		t.Fatal(err)
	}
	if log, err := sqllog.OpenPostgres(t.Context(), db, sqllog.Config{}); err == nil || !strings.Contains(err.Error(), "transaction that has sent events is open") {
		if err == nil {
			_ = log.Close()
		}
		t.Errorf("opening: %v", err)
	}
	commit(t, tx)
	if got := contents(t, inPostgres.openLog(t, db, sqllog.Config{})); !slices.Equal(got, []string{`"open"`}) {
		t.Errorf("the log has %q", got)
	}
}
