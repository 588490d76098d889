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

// Node is a [eventlog.SharedLog] in memory, one of several on the same history: for tests of
// what an application does on several nodes, with a registry on each, and when one of them
// is out of touch with the others.
type Node struct {
	memory *eventlog.MemoryLog
	mesh   *mesh
}

// mesh is what nodes tell each other.
type mesh struct {
	mu       sync.Mutex // guards the fields below; not held during calls to watchers or receivers
	away     map[*Node]bool
	watchers map[*func(string, uint64)]*Node
	mailbox  map[*mailbox]*Node
}

type mailbox struct {
	name string
	fn   func(message []byte)
}

// ErrAway is what a [Node] returns while it is out of touch.
var ErrAway = errors.New("ssetest: node is out of touch")

// NewNodes returns so many nodes on a [eventlog.MemoryLog] with these bounds.
func NewNodes(tb testing.TB, cfg eventlog.MemoryLogConfig, count int) []*Node {
	tb.Helper()
	memory, err := eventlog.NewMemoryLog(cfg)
	if err != nil {
		tb.Fatalf("ssetest: %v", err)
	}
	m := &mesh{
		away:     make(map[*Node]bool),
		watchers: make(map[*func(string, uint64)]*Node),
		mailbox:  make(map[*mailbox]*Node),
	}
	nodes := make([]*Node, count)
	for i := range nodes {
		nodes[i] = &Node{memory: memory, mesh: m}
	}
	return nodes
}

// SetAway takes the node out of touch with the others and their history, or back in.
func (n *Node) SetAway(away bool) {
	n.mesh.mu.Lock()
	n.mesh.away[n] = away
	n.mesh.mu.Unlock()
	if !away {
		if head, err := n.memory.Head(context.Background()); err == nil {
			n.mesh.wake(n, "", head.Seq)
		}
	}
}

func (n *Node) isAway() bool {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	return n.mesh.away[n]
}

// Append implements [eventlog.Log].
func (n *Node) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if n.isAway() {
		return eventlog.Cursor{}, ErrAway
	}
	return n.memory.Append(ctx, r)
}

// Head implements [eventlog.Log]. It returns [ErrAway] while the node is partitioned.
func (n *Node) Head(ctx context.Context) (eventlog.Cursor, error) {
	if n.isAway() {
		return eventlog.Cursor{}, ErrAway
	}
	return n.memory.Head(ctx)
}

// Read implements [eventlog.Log]. While the node is partitioned, readers stay at their position.
func (n *Node) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if n.isAway() {
		return eventlog.Page{Entries: dst, Through: q.After}, nil
	}
	return n.memory.Read(ctx, q, dst)
}

// Watch implements [eventlog.Log].
func (n *Node) Watch(fn func(subject string, seq uint64)) (stop func()) {
	n.mesh.mu.Lock()
	n.mesh.watchers[&fn] = n
	n.mesh.mu.Unlock()
	forget := n.memory.Watch(func(subject string, seq uint64) {
		if !n.isAway() {
			fn(subject, seq)
		}
	})
	return func() {
		forget()
		n.mesh.mu.Lock()
		defer n.mesh.mu.Unlock()
		delete(n.mesh.watchers, &fn)
	}
}

// wake calls the watchers of a node.
func (m *mesh) wake(n *Node, subject string, seq uint64) {
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
	n.mesh.mu.Lock()
	away := n.mesh.away[n]
	var boxes []*mailbox
	for box, of := range n.mesh.mailbox {
		if (to == "" || to == box.name) && !n.mesh.away[of] {
			boxes = append(boxes, box)
		}
	}
	n.mesh.mu.Unlock()
	if away {
		return ErrAway
	}
	for _, box := range boxes {
		box.fn(slices.Clone(message))
	}
	return nil
}

// Receive implements [eventlog.SharedLog].
func (n *Node) Receive(name string, fn func(message []byte)) (stop func()) {
	box := &mailbox{name: name, fn: fn}
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	n.mesh.mailbox[box] = n
	return func() {
		n.mesh.mu.Lock()
		defer n.mesh.mu.Unlock()
		delete(n.mesh.mailbox, box)
	}
}

var _ eventlog.SharedLog = (*Node)(nil)
