package logtest

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// mesh is nodes of package ssetest, which share a history.
type mesh struct {
	nodes []*ssetest.Node
	peers int // in use
}

// meshSuite tests what a function makes of such nodes; nil leaves them as they are.
func meshSuite(change func(node *ssetest.Node, peer bool) ginsse.Log) Suite {
	if change == nil {
		change = func(node *ssetest.Node, _ bool) ginsse.Log { return node }
	}
	var mu sync.Mutex
	meshes := make(map[ginsse.Log]*mesh)
	find := func(log ginsse.Log) *mesh {
		mu.Lock()
		defer mu.Unlock()
		return meshes[log]
	}
	return Suite{
		New: func(t *testing.T, b Bounds) ginsse.Log {
			m := &mesh{nodes: ssetest.NewNodes(t, ginsse.MemoryLogConfig(b), 3)}
			log := change(m.nodes[0], false)
			mu.Lock()
			defer mu.Unlock()
			meshes[log] = m
			return log
		},
		Peer: func(_ *testing.T, log ginsse.Log) ginsse.Log {
			m := find(log)
			m.peers++
			return change(m.nodes[m.peers], true)
		},
		Reopen:  func(_ *testing.T, log ginsse.Log) ginsse.Log { return log },
		Restart: func(t *testing.T, log ginsse.Log) { find(log).restart(t) },
	}
}

// lateNode is a node that calls its watchers some time after an event became visible,
// and out of order.
type lateNode struct{ *ssetest.Node }

func (l *lateNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	var mu sync.Mutex
	var calls []posting
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
		for _, p := range now {
			fn(p.subject, p.seq)
		}
	}
	forget := l.Node.Watch(func(subject string, seq uint64) {
		mu.Lock()
		defer mu.Unlock()
		if calls = append(calls, posting{subject, seq}); due == nil {
			due = time.AfterFunc(2*time.Millisecond, call)
		}
	})
	return func() {
		forget()
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
}

// restart has all nodes be out of touch for a while.
func (m *mesh) restart(t *testing.T) {
	for _, n := range m.nodes {
		n.SetAway(true)
	}
	for _, n := range m.nodes {
		if _, err := n.Append(t.Context(), alice, frame(-1)); !errors.Is(err, ssetest.ErrAway) {
			t.Errorf("appending to a node that is away: %v", err)
		}
	}
	<-time.After(30 * time.Millisecond) // in which senders fail, and heartbeats go out
	for _, n := range m.nodes {
		n.SetAway(false)
	}
}
