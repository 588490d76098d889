package sqllog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/sqllog"
)

// holdLock takes the lock of writers of the log, until the function is called.
func holdLock(t *testing.T, url string) (release func()) {
	t.Helper()
	tx, err := openURL(t, url).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.ExecContext(t.Context(), `select pg_advisory_xact_lock(7451600000000000000 + 'ginsse_steps'::regclass::oid::bigint)`); err != nil {
		t.Fatal(err)
	}
	return func() { _ = tx.Rollback() }
}

// Something holds the lock of the log. The node has contact, and the inbox shows what does not come out.
func TestStatsCountWhatWaitsInTheInbox(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := openURL(t, url)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	inbox := func(n int) func() bool { return func() bool { return log.Stats().Store.Inbox == n } }
	until(t, "the first look into the inbox", inbox(0))
	open := begin(t, db, log, "open")
	release := holdLock(t, url)
	insert := func(count int) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), insertBulk, count, 0); err != nil {
			t.Fatal(err)
		}
	}
	insert(30)
	until(t, "30 events, without that of an open transaction", inbox(30))
	until(t, "contact: the database answers", func() bool { return log.Ready() == nil })
	if n := scan[int](t, db, `select count(*) from pg_locks l join pg_stat_activity a using (pid) where l.locktype = 'advisory'`); n == 0 {
		t.Error("docs/operating.md has a query that does not find the lock")
	}
	commit(t, open)
	until(t, "31 events", inbox(31))
	insert(10_000)
	until(t, "more events than are counted", inbox(10_000))
	release()
	until(t, "an empty inbox", inbox(0))
	until(t, "all events", func() bool {
		s := log.Stats()
		return s.Entries == 10_031 && s.Store.Behind == 0 && s.Store.Connected
	})
}

// The tail of a node hangs. The node says how far it is behind, and since when.
func TestStatsSayHowFarTheTailIsBehind(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]kind{"postgres": inPostgres, "sqlite": inSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := kind.make(t)
			nodes := kind.openNodes(t, sqllog.Config{}, address, address)
			first, second := nodes[0].log, nodes[1].log
			entered, release := nodetest.HangTail(t, first)
			const events = 100
			tx, err := nodes[1].db.BeginTx(t.Context(), nil) // so that they come with one query
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			for n := range events {
				if err := second.Tx(tx).Put(t.Context(), record("all", fmt.Sprint(n))); err != nil {
					t.Fatal(err)
				}
			}
			commit(t, tx)
			<-entered
			if s := first.Stats().Store; s.Behind == 0 || s.Behind >= events {
				t.Errorf("the tail hangs after an event of %d: %+v", events, s)
			}
			nodetest.AwaitLostContact(t, first)
			release()
			until(t, "the node has all", func() bool {
				s := first.Stats()
				return s.Store.Behind == 0 && s.Entries == events && s.Store.Connected
			})
			inbox := 0
			if kind.oneWriter {
				inbox = -1 // there is none
			}
			until(t, "all at the other node, and its first look into the inbox", func() bool {
				s := second.Stats()
				return s.Entries == events && s.Store.Inbox == inbox
			})
			if s := second.Stats(); s.Bytes == 0 || time.Since(s.Since) > 10*time.Minute {
				t.Errorf("the other node: %+v, %+v", s, s.Store)
			}
		})
	}
}

func TestStatsCountReadsOfOlderEvents(t *testing.T) {
	t.Parallel()
	nodetest.StatsOfOlderEvents(t, inSQLite.openLog(t, inSQLite.open(t, inSQLite.make(t)), sqllog.Config{RecentBytes: 1 << 10}))
}
