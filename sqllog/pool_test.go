package sqllog_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
)

// TestApplicationMayHoldAllOtherConnections has transactions of the application hold what the log
// leaves of the smallest pool, and others wait for it.
func TestApplicationMayHoldAllOtherConnections(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := k.make(t)
			db := k.open(t, address)
			db.SetMaxOpenConns(4)
			log := k.openLog(t, db, sqllog.Config{})
			if _, err := log.Append(t.Context(), record("all", "0")); err != nil {
				t.Fatal(err)
			}
			r := newReader(t, log, "all")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			waiting := make(chan struct{}, 8)
			until(t, "a full pool", func() bool { return db.Stats().InUse == 2 })
			for range 2 {
				conn, err := db.Conn(ctx)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				for _, statement := range []string{`begin`, `select * from ginsse_meta`} { // reads: SQLite has one writer
					if _, err := conn.ExecContext(ctx, statement); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range cap(waiting) {
				go func() {
					if conn, err := db.Conn(ctx); err == nil {
						_ = conn.Close()
					}
					waiting <- struct{}{}
				}()
			}
			defer func() {
				cancel()
				for range cap(waiting) {
					<-waiting
				}
			}()
			until(t, "others that wait", func() bool { return db.Stats().WaitCount >= int64(cap(waiting)) })
			other := k.openLog(t, k.open(t, address), sqllog.Config{})
			for range 20 {
				for _, log := range []*sqllog.Log{log, other} {
					if _, err := log.Append(ctx, record("all", "1")); err != nil {
						t.Fatal(err)
					}
				}
				r.next(t, 2)
			}
			until(t, "contact", func() bool { return log.Ready() == nil })
		})
	}
}

func TestSmallPoolIsRefused(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	for most := range 4 {
		db.SetMaxOpenConns(most) // 0 for no bound
		log, err := sqllog.OpenPostgres(t.Context(), db, sqllog.Config{})
		if err == nil {
			_ = log.Close()
		}
		if (err == nil) != (most == 0) || err != nil && !strings.Contains(err.Error(), "a pool of its own") {
			t.Errorf("a pool of %d connections: %v", most, err)
		}
	}
}

// TestHeldConnectionMayDie has the server close the connections that the log holds while none of
// them sends: the node goes on, and the next send does not fail.
func TestHeldConnectionMayDie(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits until a connection counts as idle")
	}
	address := newDatabase(t)
	log := inPostgres.openLog(t, openURL(t, address), sqllog.Config{})
	if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
		t.Fatal(err)
	}
	run(t, openURL(t, address), `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`)
	idle := time.After(1100 * time.Millisecond)
	until(t, "contact", func() bool {
		_, err := log.Head(t.Context())
		return err == nil
	})
	<-idle
	if _, err := log.Append(t.Context(), record("all", "2")); err != nil {
		t.Errorf("the node is ready, and a send fails: %v", err)
	}
}
