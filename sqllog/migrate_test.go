package sqllog_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/sqllog"
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

func run(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
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

// TestRoles has roles with the rights that docs/database.md lists: one for nodes, and one for
// others that only send.
func TestRoles(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	list, err := sqllog.PostgresMigrations("ginsse_")
	if err != nil {
		t.Fatal(err)
	}
	run(t, admin, list[0].Statements...)
	run(t, admin,
		`create role node login`, `create role sender login`,
		`grant select, insert, delete on ginsse_log, ginsse_inbox, ginsse_messages to node`,
		`grant select, insert, delete on ginsse_steps to node`, `grant select on ginsse_meta to node`,
		`grant insert on ginsse_inbox to sender`,
	)
	t.Cleanup(func() { // roles are of the whole server
		for _, role := range []string{"node", "sender"} {
			_, _ = admin.Exec(`drop owned by ` + role)
			_, _ = admin.Exec(`drop role ` + role)
		}
	})
	as := func(role string) *sql.DB { return openURL(t, strings.Replace(url, "postgres@", role+"@", 1)) }
	log := inPostgres.openLog(t, as("node"), sqllog.Config{})
	r := newReader(t, log, "user:alice")
	sender := as("sender")
	run(t, sender, `select ginsse_publish('user:alice', 'e', '1')`)
	tx, err := sender.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Tx(tx).Put(t.Context(), record("user:alice", "2")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), record("user:alice", "3")); err != nil {
		t.Fatal(err)
	}
	if got := r.next(t, 3); strings.Join(got, "") != "123" {
		t.Errorf("read %q", got)
	}
	for _, statement := range []string{`select * from ginsse_step('all', '1', '1', 'x', true)`, `select * from ginsse_log`, `delete from ginsse_inbox`} {
		if _, err := sender.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s by a role that only sends: %v", statement, err)
		}
	}
	run(t, admin, `revoke create on schema public from public`)
	_, err = sqllog.OpenPostgres(t.Context(), as("sender"), sqllog.Config{TablePrefix: "other_"})
	if err == nil || !strings.Contains(err.Error(), "PostgresMigrations") {
		t.Errorf("a role that may make no tables: %v", err)
	}
}
