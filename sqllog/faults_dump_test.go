//go:build linux

package sqllog_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// dump writes a database into a file that restore reads.
func (s *server) dump(t testing.TB, database string) (path string) {
	t.Helper()
	path = filepath.Join(openDir(t), "dump.sql")
	if err := s.command("pg_dump", "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-U", "postgres", "-f", path, database); err != nil {
		t.Fatal(err)
	}
	return path
}

// restore makes a database from a dump, and returns its address.
func (s *server) restore(t testing.TB, database, path string) (address string) {
	t.Helper()
	createDatabase(t, s, database)
	err := s.command("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-U", "postgres", "-d", database, "-f", path)
	if err != nil {
		t.Fatal(err)
	}
	return s.url(database)
}

// useTransactions has a server give out many transaction ids.
func useTransactions(t testing.TB, s *server, count int) {
	t.Helper()
	db := openURL(t, s.url("postgres"))
	defer db.Close()
	_, err := db.ExecContext(t.Context(), fmt.Sprintf(`do $$ begin for i in 1..%d loop perform pg_current_xact_id(); commit; end loop; end $$`, count))
	if err != nil {
		t.Fatal(err)
	}
}

// TestDumpIsRestored dumps a database with events that have no place in the log yet, and restores it
// elsewhere. Transaction ids mean nothing on another server.
func TestDumpIsRestored(t *testing.T) {
	t.Parallel()
	old, fresh := ownServer(t), otherServer(t)
	useTransactions(t, old, 20_000)
	createDatabase(t, old, "app")
	switched := newProxy(t, old.url("app"))
	source := inPostgres.openNodes(t, sqllog.Config{}, old.url("app"), switched.through(old.url("app"))+"&application_name=switched")
	log, db := source[0].log, source[0].db
	staying := follow(t, source[1].log) // on a node whose server becomes another one

	// The order of their ids in the inbox is not that of their commits.
	late := begin(t, db, log, "late")
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprint("a", i), fmt.Sprint("t", i))
		if _, err := log.Append(t.Context(), record("all", fmt.Sprint("a", i))); err != nil {
			t.Fatal(err)
		}
		commit(t, begin(t, db, log, fmt.Sprint("t", i)))
		until(t, "the events", func() bool { return staying.count() == 2*i+2 })
	}
	never := begin(t, db, log, "never")
	positions := append(staying.positions(10), staying.from)
	switched.Refuse(true)
	switched.DropAll()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of what the other node had asked for", func() bool {
		return scan[int](t, db, `select count(*) from pg_stat_activity where application_name = 'switched'`) == 0
	})
	commit(t, begin(t, db, log, "later"))
	commit(t, late)
	path := old.dump(t, "app")
	var rows int
	if err := db.QueryRowContext(t.Context(), `select count(*) from ginsse_inbox`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	t.Logf("the inbox has %d rows, 2 of them without a place", rows)
	if err := never.Rollback(); err != nil {
		t.Fatal(err)
	}

	// works compares the events, and has new ones flow. It returns the log and a later position.
	works := func(t *testing.T, address string, want ...string) (log *sqllog.Log, at eventlog.Cursor) {
		t.Helper()
		n := inPostgres.openNodes(t, sqllog.Config{}, address)[0]
		if got := contents(t, n.log); !slices.Equal(got, want) {
			t.Errorf("the log has %q, want %q", got, want)
		}
		r := follow(t, n.log)
		for i := range 3 {
			if _, err := n.log.Append(t.Context(), record("all", "new")); err != nil {
				t.Fatal(err)
			}
			commit(t, begin(t, n.db, n.log, "newer"))
			until(t, "new events", func() bool { return r.count() == 2*i+2 })
		}
		return n.log, r.positions(6)[5]
	}
	all := append(slices.Clone(want), "late", "later")

	// Before the log is opened, a program there has sent an event.
	address := fresh.restore(t, "app", path)
	if _, err := openURL(t, address).ExecContext(t.Context(), `select ginsse_publish('all', '', '"early"')`); err != nil {
		t.Fatal(err)
	}
	lower, _ := works(t, address, append(slices.Clone(all), `"early"`)...)
	useTransactions(t, fresh, 60_000)
	higher, _ := works(t, fresh.restore(t, "again", path), all...)
	for _, at := range positions {
		if one, two := gapAfter(t, lower, at), gapAfter(t, higher, at); one != eventlog.GapEpoch || two != eventlog.GapEpoch {
			t.Fatalf("position %v of the other server: gaps %q, %q", at, one, two)
		}
	}
	switched.SetServer(fmt.Sprint("127.0.0.1:", fresh.port))
	switched.Refuse(false)
	until(t, "a gap", func() bool { return staying.gapCount() > 0 })
	if _, err := lower.Append(t.Context(), record("all", "last")); err != nil {
		t.Fatal(err)
	}
	until(t, "an event of the new server", func() bool {
		staying.mu.Lock()
		defer staying.mu.Unlock()
		return staying.got[len(staying.got)-1].n == "last"
	})

	// On the same server, transaction ids go on. Both databases go on from the same log.
	_, at := works(t, old.url("app"), all...)
	copied, beyond := works(t, old.restore(t, "copy", path), all...)
	for _, at := range positions {
		if gap := gapAfter(t, copied, at); gap != eventlog.GapEpoch {
			t.Errorf("position %v from before the dump: gap %q", at, gap)
		}
	}
	if gap := gapAfter(t, copied, at); gap == "" {
		t.Errorf("position %v of the other database has no gap; this one is at %v", at, beyond)
	}

	// A backup that is restored in place.
	admin := openURL(t, old.url("postgres"))
	if _, err := admin.ExecContext(t.Context(), `drop database app with (force)`); err != nil {
		t.Fatal(err)
	}
	restored, _ := works(t, old.restore(t, "app", path), all...)
	if gap := gapAfter(t, restored, at); gap == "" {
		t.Errorf("position %v from after the backup has no gap", at)
	}
}

// TestBacklogMovesToAnotherServer restores a dump with more events than a step adds, on a server
// whose transaction ids are lower, between the last step's and those of the events, or higher.
func TestBacklogMovesToAnotherServer(t *testing.T) {
	t.Parallel()
	const count = 9000
	old, fresh := ownServer(t), otherServer(t)
	useTransactions(t, old, 20_000)
	createDatabase(t, old, "app")
	db := openURL(t, old.url("app"))
	log := inPostgres.openLog(t, db, sqllog.Config{AppendTimeout: patient})
	if _, err := log.Append(t.Context(), record("all", "first")); err != nil {
		t.Fatal(err)
	}
	log.Close()
	useTransactions(t, old, 20_000)
	if _, err := db.ExecContext(t.Context(), insertBulk, count, 0); err != nil {
		t.Fatal(err)
	}
	path := old.dump(t, "app")
	for i, name := range []string{"lower", "between", "higher"} {
		if i > 0 {
			useTransactions(t, fresh, 30_000)
		}
		db := openURL(t, fresh.restore(t, name, path))
		run(t, db, `select ginsse_publish('all', 'e', '"early"')`)
		log := inPostgres.openLog(t, db, sqllog.Config{AppendTimeout: patient})
		epoch := headOf(t, log)
		if _, err := log.Append(t.Context(), record("all", "appended")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		commit(t, begin(t, db, log, "late"))
		var got []string
		until(t, "all events with transaction ids that are "+name, func() bool {
			got = contents(t, log)
			return len(got) >= count+4
		})
		if len(got) != count+4 {
			t.Errorf("%s: the log has %d events", name, len(got))
		}
		if others := wantBulk(t, got, count); others[0] != 1 {
			t.Errorf("%s: %d events are before the bulk", name, others[0])
		}
		if at := headOf(t, log); at.Epoch != epoch.Epoch {
			t.Errorf("%s: the epoch has changed again", name)
		}
	}
}
