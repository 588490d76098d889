//go:build linux

package sqllog_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/logtest"
	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

// TestConformancePostgresThroughPgbouncer runs the cases of the suite that append, insert in
// transactions, or have several nodes.
func TestConformancePostgresThroughPgbouncer(t *testing.T) {
	t.Parallel()
	b := newBouncer(t)
	chosen := []string{"append_is_visible", "inserted_", "peer_", "registries_", "disconnect_has", "messages_"}
	type bouncedNode struct {
		address string
		cfg     sqllog.Config
	}
	var mu sync.Mutex
	nodes := make(map[eventlog.Log]bouncedNode)
	open := func(t *testing.T, n bouncedNode) eventlog.Log {
		log := inPostgres.openNodes(t, n.cfg, b.through(n.address, "simple_protocol"))[0].log
		mu.Lock()
		defer mu.Unlock()
		nodes[log] = n
		return log
	}
	find := func(log eventlog.Log) bouncedNode {
		mu.Lock()
		defer mu.Unlock()
		return nodes[log]
	}
	logtest.Run(t, logtest.Suite{
		New: func(t *testing.T, bounds logtest.Bounds) eventlog.Log {
			for _, name := range chosen {
				if strings.Contains(t.Name(), name) {
					return open(t, bouncedNode{newDatabase(t), sqllog.Config{
						MaxAge: bounds.MaxAge, MaxBytes: bounds.MaxBytes, AppendTimeout: patient,
					}})
				}
			}
			t.Skip("TestConformancePostgres runs it")
			return nil
		},
		Peer: func(t *testing.T, log eventlog.Log) eventlog.Log { return open(t, find(log)) },
		Insert: func(t *testing.T, log eventlog.Log, r eventlog.Record) {
			db := inPostgres.open(t, b.through(find(log).address, "exec"))
			defer db.Close()
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := log.(*sqllog.Log).Tx(tx).Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		},
		NoSubjectBound: true,
		Inexact:        true,
	})
}

// TestModesOfPgxThroughPgbouncer has the modes that docs/database.md names.
func TestModesOfPgxThroughPgbouncer(t *testing.T) {
	t.Parallel()
	b := newBouncer(t)
	for _, mode := range []string{"simple_protocol", "exec", "cache_describe"} {
		t.Run(mode, func(t *testing.T) {
			address := b.through(newDatabase(t), mode)
			nodes := inPostgres.openNodes(t, sqllog.Config{AppendTimeout: patient}, address, address)
			readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log)}
			l := startPatientLoad(t, patient, nodes...) // none may fail
			l.await(t, 300)
			l.verify(t, readers...)
			wantNoGaps(t, readers...)
			for n, s := range l.sent {
				if s.fate == unknown {
					t.Errorf("event %s failed", n)
				}
			}
		})
	}
}

// TestListeningThroughPgbouncer is refused. Straight to the server it works, whatever way the other
// connections take.
func TestListeningThroughPgbouncer(t *testing.T) {
	t.Parallel()
	b := newBouncer(t)
	address := newDatabase(t)
	through := b.through(address, "simple_protocol")
	listen := func(url string) sqllog.ListenFunc {
		fn, err := pgxlog.Listen(url)
		if err != nil {
			t.Fatal(err)
		}
		return fn
	}
	for _, pool := range []string{through, address} {
		_, err := sqllog.OpenPostgres(t.Context(), openURL(t, pool), sqllog.Config{Listen: listen(through)})
		if err == nil || !strings.Contains(err.Error(), "pgbouncer") {
			t.Errorf("listening through pgbouncer: %v", err)
		}
	}
	nodes := inPostgres.openNodes(t, sqllog.Config{Listen: listen(address), PollInterval: seldom}, through, through)
	wantWoken(t, nodes[0].log, newReader(t, nodes[1].log, "all"))
}
