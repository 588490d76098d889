package ssetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// Node is an [eventlog.SharedLog] in memory, one of several on the same history. It is for tests of
// an application on several nodes, with a registry on each, of which some may be partitioned.
type Node struct {
	memory  *eventlog.MemoryLog
	network *network
}

// network is what the nodes have in common beside their history.
type network struct {
	mu          sync.Mutex // guards the fields below; not held during calls of watchers or receivers
	partitioned map[*Node]bool
	watchers    map[*func(string, uint64)]*Node
	receivers   map[*receiver]*Node
}

type receiver struct {
	name string
	fn   func(message []byte)
}

// ErrPartitioned is returned by a partitioned [Node].
var ErrPartitioned = errors.New("ssetest: the node is partitioned")

// NewNodes returns a number of nodes on one [eventlog.MemoryLog] with these bounds.
func NewNodes(tb testing.TB, cfg eventlog.MemoryLogConfig, count int) []*Node {
	tb.Helper()
	memory, err := eventlog.NewMemoryLog(cfg)
	if err != nil {
		tb.Fatalf("ssetest: %v", err)
	}
	m := &network{
		partitioned: make(map[*Node]bool),
		watchers:    make(map[*func(string, uint64)]*Node),
		receivers:   make(map[*receiver]*Node),
	}
	nodes := make([]*Node, count)
	for i := range nodes {
		nodes[i] = &Node{memory: memory, network: m}
	}
	return nodes
}

// SetPartitioned cuts the node off from the others and their history, or connects it again.
func (n *Node) SetPartitioned(partitioned bool) {
	n.network.mu.Lock()
	n.network.partitioned[n] = partitioned
	n.network.mu.Unlock()
	if !partitioned {
		if head, err := n.memory.Head(context.Background()); err == nil {
			n.network.wake(n, "", head.Seq)
		}
	}
}

func (n *Node) isPartitioned() bool {
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	return n.network.partitioned[n]
}

// Append implements [eventlog.Log].
func (n *Node) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if n.isPartitioned() {
		return eventlog.Cursor{}, ErrPartitioned
	}
	return n.memory.Append(ctx, r)
}

// Head implements [eventlog.Log]. It returns [ErrPartitioned] while the node is partitioned.
func (n *Node) Head(ctx context.Context) (eventlog.Cursor, error) {
	if n.isPartitioned() {
		return eventlog.Cursor{}, ErrPartitioned
	}
	return n.memory.Head(ctx)
}

// Read implements [eventlog.Log]. It never waits, with and without [eventlog.Query.NoWait]. While the
// node is partitioned, readers stay at their position.
func (n *Node) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if n.isPartitioned() {
		return eventlog.Page{Entries: dst, Through: q.After}, nil
	}
	return n.memory.Read(ctx, q, dst)
}

// Stats implements [eventlog.StatsLog]. The memory is that of all nodes.
func (n *Node) Stats() eventlog.Stats { return n.memory.Stats() }

// Watch implements [eventlog.Log].
func (n *Node) Watch(fn func(subject string, seq uint64)) (stop func()) {
	n.network.mu.Lock()
	n.network.watchers[&fn] = n
	n.network.mu.Unlock()
	forget := n.memory.Watch(func(subject string, seq uint64) {
		if !n.isPartitioned() {
			fn(subject, seq)
		}
	})
	return func() {
		forget()
		n.network.mu.Lock()
		defer n.network.mu.Unlock()
		delete(n.network.watchers, &fn)
	}
}

// wake calls the watchers of a node.
func (m *network) wake(n *Node, subject string, seq uint64) {
	m.mu.Lock()
	watchers := maps.Clone(m.watchers)
	m.mu.Unlock()
	for fn, of := range watchers {
		if of == n {
			(*fn)(subject, seq)
		}
	}
}

// Post implements [eventlog.SharedLog].
func (n *Node) Post(to string, message []byte) error {
	n.network.mu.Lock()
	partitioned := n.network.partitioned[n]
	var receivers []*receiver
	for r, of := range n.network.receivers {
		if (to == "" || to == r.name) && !n.network.partitioned[of] {
			receivers = append(receivers, r)
		}
	}
	n.network.mu.Unlock()
	if partitioned {
		return ErrPartitioned
	}
	for _, r := range receivers {
		r.fn(slices.Clone(message))
	}
	return nil
}

// Receive implements [eventlog.SharedLog].
func (n *Node) Receive(name string, fn func(message []byte)) (stop func()) {
	r := &receiver{name: name, fn: fn}
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	n.network.receivers[r] = n
	return func() {
		n.network.mu.Lock()
		defer n.network.mu.Unlock()
		delete(n.network.receivers, r)
	}
}

var (
	_ eventlog.SharedLog = (*Node)(nil)
	_ eventlog.StatsLog  = (*Node)(nil)
)
