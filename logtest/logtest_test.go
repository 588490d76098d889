package logtest

import (
	"fmt"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A log in one memory is its own peer, and is reopened by using it on.
func TestMemoryLogConformsAsItsOwnPeer(t *testing.T) {
	t.Parallel()
	itself := func(_ *testing.T, log eventlog.Log) eventlog.Log { return log }
	s := memorySuite(func(log eventlog.Log) eventlog.Log { return &wrong{Log: log} })
	s.Peer, s.Reopen = itself, itself
	Run(t, s)
}

func TestNodesOfAStoreWithOneWriterConform(t *testing.T) {
	t.Parallel()
	for _, immediate := range []bool{false, true} {
		t.Run(fmt.Sprintf("immediate=%v", immediate), func(t *testing.T) {
			t.Parallel()
			s := storeSuite(storeConfig{oneWriter: true, immediate: immediate})
			s.OneWriter = true
			Run(t, s)
		})
	}
}

func TestStoreWithoutSavepointsConforms(t *testing.T) {
	t.Parallel()
	s := storeSuite(storeConfig{})
	begin := s.Begin
	s.Begin = func(t *testing.T, log eventlog.Log) Transaction {
		tx := begin(t, log)
		tx.Savepoint = nil
		return tx
	}
	Run(t, s)
}

func TestNodesInMemoryConform(t *testing.T) {
	t.Parallel()
	Run(t, clusterSuite(nil))
}

func TestNodesThatCallWatchersLateConform(t *testing.T) {
	t.Parallel()
	Run(t, clusterSuite(func(node *ssetest.Node, _ bool) eventlog.Log { return &lateNode{node} }))
}

// The suite must not ask for more than the contract. A log that differs from MemoryLog as much as
// the contract allows passes too.
func TestNodesOfAStoreConform(t *testing.T) {
	t.Parallel()
	Run(t, storeSuite(storeConfig{}))
}

func TestInexactLogConforms(t *testing.T) {
	t.Parallel()
	s := storeSuite(storeConfig{inexact: true})
	s.Inexact = true
	Run(t, s)
}

// memorySuite tests what a function makes of a MemoryLog.
func memorySuite(change func(eventlog.Log) eventlog.Log) Suite {
	var transactions memoryTransactions
	return Suite{
		New: func(t *testing.T, b Bounds) eventlog.Log {
			log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig(b))
			if err != nil {
				t.Fatal(err)
			}
			return transactions.add(change(log), b)
		},
		Begin: transactions.begin,
	}
}

// storeSuite tests the nodes of stores.
func storeSuite(cfg storeConfig) Suite {
	return Suite{
		New:  func(t *testing.T, b Bounds) eventlog.Log { return newStore(cfg, b).open(t, false) },
		Peer: func(t *testing.T, log eventlog.Log) eventlog.Log { return log.(*storeNode).store.open(t, true) },
		Reopen: func(t *testing.T, log eventlog.Log) eventlog.Log {
			n := log.(*storeNode)
			n.close()
			n.store.reopen()
			return n.store.open(t, n.peer)
		},
		Restart: func(_ *testing.T, log eventlog.Log) { log.(*storeNode).store.restart() },
		Partition: func(_ *testing.T, log eventlog.Log) (reconnect func()) {
			n := log.(*storeNode)
			return n.store.partition(n)
		},
		Insert: func(t *testing.T, log eventlog.Log, r eventlog.Record) {
			if _, err := log.(*storeNode).store.append(nil, r); err != nil {
				t.Error(err)
			}
		},
		Begin: func(t *testing.T, log eventlog.Log) Transaction { return log.(*storeNode).begin(t) },
	}
}
