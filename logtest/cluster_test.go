package logtest

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// cluster is nodes of package ssetest, which share a history. The last one is for Insert.
type cluster struct {
	nodes  []*ssetest.Node
	bounds Bounds
	logs   map[eventlog.Log]*ssetest.Node // those that the suite uses
}

// clusterSuite tests such nodes, or what a function makes of them.
func clusterSuite(change func(node *ssetest.Node, peer bool) eventlog.Log) Suite {
	if change == nil {
		change = func(node *ssetest.Node, _ bool) eventlog.Log { return node }
	}
	var mu sync.Mutex
	clusters := make(map[eventlog.Log]*cluster)
	var transactions memoryTransactions
	find := func(log eventlog.Log) *cluster {
		mu.Lock()
		defer mu.Unlock()
		return clusters[log]
	}
	add := func(c *cluster, peer bool) eventlog.Log {
		mu.Lock()
		defer mu.Unlock()
		node := c.nodes[len(c.logs)]
		log := change(node, peer)
		c.logs[log], clusters[log] = node, c
		return transactions.add(log, c.bounds)
	}
	return Suite{
		New: func(t *testing.T, b Bounds) eventlog.Log {
			return add(&cluster{ssetest.NewNodes(t, eventlog.MemoryLogConfig(b), 3), b, make(map[eventlog.Log]*ssetest.Node)}, false)
		},
		Peer:    func(_ *testing.T, log eventlog.Log) eventlog.Log { return add(find(log), true) },
		Reopen:  func(_ *testing.T, log eventlog.Log) eventlog.Log { return log },
		Restart: func(t *testing.T, log eventlog.Log) { find(log).restart(t) },
		Partition: func(_ *testing.T, log eventlog.Log) (reconnect func()) {
			node := find(log).logs[log]
			node.SetPartitioned(true)
			return func() { node.SetPartitioned(false) }
		},
		Insert: func(t *testing.T, log eventlog.Log, r eventlog.Record) {
			if _, err := find(log).nodes[2].Append(t.Context(), r); err != nil {
				t.Error(err)
			}
		},
		Begin: transactions.begin,
	}
}

// lateNode is a node that calls its watchers some time after an event became visible, and out of
// order.
type lateNode struct{ *ssetest.Node }

func (l *lateNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	var mu sync.Mutex
	var calls []report
	var due *time.Timer
	stopped := false
	call := func() {
		mu.Lock()
		now := calls
		calls, due = nil, nil
		if stopped {
			now = nil
		}
		mu.Unlock()
		rand.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
		for _, r := range now {
			fn(r.subject, r.seq)
		}
	}
	remove := l.Node.Watch(func(subject string, seq uint64) {
		mu.Lock()
		defer mu.Unlock()
		if calls = append(calls, report{subject, seq}); due == nil {
			due = time.AfterFunc(2*time.Millisecond, call)
		}
	})
	return func() {
		remove()
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
}

// restart partitions all nodes for a while.
func (c *cluster) restart(t *testing.T) {
	for _, n := range c.nodes {
		n.SetPartitioned(true)
	}
	for _, n := range c.nodes {
		if _, err := n.Append(t.Context(), record(alice, -1)); !errors.Is(err, ssetest.ErrPartitioned) {
			t.Errorf("appending to a node that is partitioned: %v", err)
		}
	}
	<-time.After(30 * time.Millisecond) // in which senders fail, and heartbeats go out
	for _, n := range c.nodes {
		n.SetPartitioned(false)
	}
}
