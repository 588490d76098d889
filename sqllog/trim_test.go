package sqllog_test

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
)

// TestTrimLeavesNothing has another node remove some of the rows that a node is about to remove.
func TestTrimLeavesNothing(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db, other := openURL(t, address), openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{MaxAge: time.Second})
	if _, err := db.ExecContext(t.Context(), insertBulk, 600, 0); err != nil {
		t.Fatal(err)
	}
	count := func(query string) (n int) {
		if err := other.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, "the rows", func() bool { return count(`select coalesce(max(seq), 0) from ginsse_steps`) == 600 })
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	done, err := tx.ExecContext(t.Context(), `delete from ginsse_log where seq <= 200`)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := done.RowsAffected(); n != 200 {
		t.Skipf("the machine is too busy: %d rows of 200 are left", n)
	}
	if _, err := log.Append(t.Context(), record("all", "newest")); err != nil {
		t.Fatal(err)
	}
	until(t, "the node to wait for the other one", func() bool {
		return count(`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like 'delete from%'`) > 0
	})
	commit(t, tx)
	until(t, "the end of the rows", func() bool { return count(`select count(*) from ginsse_log where seq <= 600`) == 0 })
}
