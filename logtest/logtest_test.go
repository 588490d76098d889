package logtest

import (
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A log that is in one memory is its own peer, and reopened by using it on.
func TestMemoryLogConformsAsItsOwnPeer(t *testing.T) {
	t.Parallel()
	itself := func(_ *testing.T, log ginsse.Log) ginsse.Log { return log }
	s := memorySuite(func(log ginsse.Log) ginsse.Log { return &wrong{Log: log} })
	s.Peer, s.Reopen = itself, itself
	Run(t, s)
}

// The nodes of a mesh share a MemoryLog, and can lose touch with it.
func TestNodesInMemoryConform(t *testing.T) {
	t.Parallel()
	Run(t, meshSuite(nil))
}

func TestNodesThatAreLateToCallConform(t *testing.T) {
	t.Parallel()
	Run(t, meshSuite(func(node *ssetest.Node, _ bool) ginsse.Log { return &lateNode{node} }))
}

// The suite must not ask for more than the contract does: a log that is as different
// from MemoryLog as it allows has to pass as well.
func TestNodesOfAStoreConform(t *testing.T) {
	t.Parallel()
	Run(t, storeSuite(storeConfig{}))
}

func TestLogThatReportsGapsWhereNothingWasLostConforms(t *testing.T) {
	t.Parallel()
	s := storeSuite(storeConfig{inexact: true})
	s.Inexact = true
	Run(t, s)
}

// memorySuite tests what a function makes of a MemoryLog.
func memorySuite(change func(ginsse.Log) ginsse.Log) Suite {
	return Suite{New: func(t *testing.T, b Bounds) ginsse.Log {
		log, err := ginsse.NewMemoryLog(ginsse.MemoryLogConfig(b))
		if err != nil {
			t.Fatal(err)
		}
		return change(log)
	}}
}

// storeSuite tests the nodes of stores.
func storeSuite(cfg storeConfig) Suite {
	return Suite{
		New:  func(t *testing.T, b Bounds) ginsse.Log { return newStore(cfg, b).open(t, false) },
		Peer: func(t *testing.T, log ginsse.Log) ginsse.Log { return log.(*node).store.open(t, true) },
		Reopen: func(t *testing.T, log ginsse.Log) ginsse.Log {
			n := log.(*node)
			n.close()
			n.store.reopen()
			return n.store.open(t, n.peer)
		},
		Restart: func(_ *testing.T, log ginsse.Log) { log.(*node).store.restart() },
	}
}
