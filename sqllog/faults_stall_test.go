package sqllog_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/sqllog"
)

// TestNodeThatDoesNotReadHoldsUpNobody has a node lag by many bytes. It asks for them and for what
// was committed, and then takes no more of the answer, as a process that is frozen just then.
func TestNodeThatDoesNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	p := newProxy(t, address)
	lagging := inPostgres.openNodes(t, sqllog.Config{}, p.through(address))[0]
	p.Refuse(true)
	p.DropAll()
	until(t, "the loss of contact", unavailable(lagging.log))
	writer := inPostgres.openNodes(t, sqllog.Config{}, address)[0]
	for range 16 {
		if _, err := writer.log.Append(t.Context(), record("all", strings.Repeat("x", 1<<20-64))); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.log.Close(); err != nil { // so that the lagging node is the one that moves the next event
		t.Fatal(err)
	}
	if _, err := writer.db.ExecContext(t.Context(), `insert into ginsse_inbox (subject, frame) values ('all', $1)`, event("1")); err != nil {
		t.Fatal(err)
	}
	var stuck atomic.Bool
	p.OnAnswer(func(total int, _ []byte) nodetest.Verdict {
		if total < 256<<10 {
			return nodetest.Forward
		}
		stuck.Store(true)
		return nodetest.Hold
	})
	p.Refuse(false)
	until(t, "a long answer", stuck.Load)

	// It would be held until all of the answer was taken, or the connection has ended.
	until(t, "the end of the lock of the node that does not read", func() bool {
		return scan[int](t, writer.db, `select count(*) from pg_locks where locktype = 'advisory' and granted
			and database = (select oid from pg_database where datname = current_database())`) == 0
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	log, err := sqllog.OpenPostgres(ctx, writer.db, sqllog.Config{})
	if err != nil {
		t.Fatalf("another node is held up: %v", err)
	}
	defer log.Close()
	if _, err := log.Append(ctx, record("all", "2")); err != nil {
		t.Errorf("another node is held up: %v", err)
	}
}
