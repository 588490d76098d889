//go:build linux

package redislog_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/logtest"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, program := range redistest.Programs(t) {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			conform(t, func(t testing.TB) store { return single{redistest.StartProgram(t, program, redistest.AOF)} }, redislog.Config{})
		})
	}
}

// TestConformanceWithLittleInMemory has nearly all positions read from Redis.
func TestConformanceWithLittleInMemory(t *testing.T) {
	t.Parallel()
	conform(t, func(t testing.TB) store { return single{redistest.Start(t, redistest.AOF)} },
		redislog.Config{RecentBytes: 16 << 10})
}

func TestConformanceOnCluster(t *testing.T) {
	t.Parallel()
	conform(t, func(t testing.TB) store { return cluster{redistest.StartCluster(t, false, redistest.AOF)} }, redislog.Config{},
		// They take long, and TestConformance has them.
		"order_holds_under_load", "order_holds_under_load_on_peers", "order_holds_with_interleaved_transactions")
}

// store is a server or a cluster.
type store interface {
	// client returns a client of a node, and the network between.
	client(t testing.TB) (redis.UniversalClient, *network)
	// kill ends what has the log of a prefix. restart starts it again.
	kill(t testing.TB, prefix string)
	restart(t testing.TB, prefix string)
}

type single struct{ server *redistest.Server }

func (s single) client(t testing.TB) (redis.UniversalClient, *network) {
	n := newNetwork(t, s.server.Addr())
	return n.client(t, s.server.Addr()), n
}

func (s single) kill(t testing.TB, _ string)    { s.server.Kill(t) }
func (s single) restart(t testing.TB, _ string) { s.server.Restart(t) }

type cluster struct{ *redistest.Cluster }

func (c cluster) client(t testing.TB) (redis.UniversalClient, *network) {
	n := newNetwork(t, c.Addrs()...)
	return n.clusterClient(t, c.Addrs()...), n
}

func (c cluster) owner(t testing.TB, prefix string) *redistest.Server {
	return c.Masters[c.Owner(t, prefix)]
}

func (c cluster) kill(t testing.TB, prefix string)    { c.owner(t, prefix).Kill(t) }
func (c cluster) restart(t testing.TB, prefix string) { c.owner(t, prefix).Restart(t) }

// conform runs the suite without some cases.
func conform(t *testing.T, start func(testing.TB) store, cfg redislog.Config, without ...string) {
	// contents are the contents of logs under test.
	type contents struct {
		store    store
		restarts int
	}
	// conformingNode is a log under test.
	type conformingNode struct {
		*contents
		node

		cfg redislog.Config
	}
	shared := start(t)
	var mu sync.Mutex
	nodes := make(map[eventlog.Log]conformingNode)
	add := func(t *testing.T, n conformingNode) eventlog.Log {
		n.client, n.network = n.store.client(t)
		n.log = openLog(t, n.client, n.cfg)
		mu.Lock()
		defer mu.Unlock()
		nodes[n.log] = n
		return n.log
	}
	find := func(log eventlog.Log) conformingNode {
		mu.Lock()
		defer mu.Unlock()
		return nodes[log]
	}
	logtest.Run(t, logtest.Suite{
		New: func(t *testing.T, b logtest.Bounds) eventlog.Log {
			if name := t.Name(); slices.Contains(without, name[strings.LastIndex(name, "/")+1:]) {
				t.Skip("another test runs it")
			}
			c := &contents{store: shared}
			if strings.Contains(t.Name(), "/reopened_") || strings.Contains(t.Name(), "restart") {
				c.store = start(t) // it is going to be restarted
			}
			n := conformingNode{contents: c, cfg: cfg}
			n.cfg.Prefix, n.cfg.MaxAge, n.cfg.MaxBytes = newPrefix(), b.MaxAge, b.MaxBytes
			return add(t, n)
		},
		Peer: func(t *testing.T, log eventlog.Log) eventlog.Log { return add(t, find(log)) },
		Reopen: func(t *testing.T, log eventlog.Log) eventlog.Log {
			n := find(log)
			_ = n.log.Close()
			_ = n.client.Close()
			n.store.kill(t, n.cfg.Prefix)
			n.store.restart(t, n.cfg.Prefix)
			return add(t, n)
		},
		Restart: func(t *testing.T, log eventlog.Log) {
			n := find(log)
			n.store.kill(t, n.cfg.Prefix)
			// Every other time for so long that the nodes lose contact.
			if n.restarts++; n.restarts%2 == 0 {
				until(t, "the loss of contact", unavailable(n.log))
			}
			n.store.restart(t, n.cfg.Prefix)
		},
		Partition: func(t *testing.T, log eventlog.Log) (reconnect func()) {
			n := find(log)
			n.network.stall(true)
			until(t, "the loss of contact", unavailable(n.log))
			return func() { n.network.stall(false) }
		},
		Insert: func(t *testing.T, log eventlog.Log, r eventlog.Record) {
			tx := beginTransaction(find(log).node)
			if err := tx.Outbox.Put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		},
		Begin:          func(_ *testing.T, log eventlog.Log) logtest.Transaction { return beginTransaction(find(log).node) },
		NoSubjectBound: true,
		Inexact:        true,
	})
}

// beginTransaction begins a transaction of the application: MULTI and EXEC.
func beginTransaction(n node) logtest.Transaction {
	pipe := n.client.TxPipeline()
	return logtest.Transaction{
		Outbox: n.log.Tx(pipe),
		Commit: func() error {
			_, err := pipe.Exec(context.Background())
			return err
		},
		Rollback: func() error {
			pipe.Discard()
			return nil
		},
	}
}
