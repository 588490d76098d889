package sqllog_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

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

// TestEventInTheTransactionOfTheMigrations has a tool run all migrations in one transaction, one of
// which sends an event. Another transaction ends meanwhile.
func TestEventInTheTransactionOfTheMigrations(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	list, err := sqllog.PostgresMigrations("ginsse_")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for i, statement := range slices.Concat([]string{`create table before (n int)`}, list[0].Statements, []string{`select ginsse_publish('all', 'e', '1')`}) {
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
