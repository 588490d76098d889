package ginsse_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// nodes returns two nodes that share a log, and a registry on each.
func nodes(t *testing.T, cfg eventlog.MemoryLogConfig) (logs [2]*ssetest.Node, registries [2]*ginsse.Registry) {
	t.Helper()
	for i, node := range ssetest.NewNodes(t, cfg, len(logs)) {
		logs[i] = node
		registries[i] = newRegistry(t, ginsse.RegistryConfig{Log: node})
	}
	return logs, registries
}

// changedNode is a node with functions that run before or after its methods. A nil function changes
// nothing.
type changedNode struct {
	*ssetest.Node

	onAppend func(ctx context.Context, r eventlog.Record) error // the method returns its error
	onRead   func(ctx context.Context, q eventlog.Query) error
	onHead   func(ctx context.Context) error

	afterAppend func(r eventlog.Record)
	afterRead   func(q eventlog.Query)

	unwatch      bool         // no watcher is called
	failCommands atomic.Int64 // how many reads of commands fail
}

func (n *changedNode) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if n.onAppend != nil {
		if err := n.onAppend(ctx, r); err != nil {
			return eventlog.Cursor{}, err
		}
	}
	at, err := n.Node.Append(ctx, r)
	if n.afterAppend != nil {
		n.afterAppend(r)
	}
	return at, err
}

func (n *changedNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if n.onRead != nil {
		if err := n.onRead(ctx, q); err != nil {
			return eventlog.Page{}, err
		}
	}
	if readsCommands(q) && n.failCommands.Add(-1) >= 0 {
		return eventlog.Page{}, errBrokerAway
	}
	page, err := n.Node.Read(ctx, q, dst)
	if n.afterRead != nil {
		n.afterRead(q)
	}
	return page, err
}

// readsTurn reports whether a stream reads a turn with q. Other reads find out whether a stream can
// resume, or look for commands.
func readsTurn(q eventlog.Query) bool { return q.MaxEntries > 1 && !readsCommands(q) }

// readsCommands reports whether a stream looks for commands with q, and not for events.
func readsCommands(q eventlog.Query) bool {
	return len(q.Subjects) == 1 && strings.HasPrefix(q.Subjects[0], "command:")
}

// holdTurns holds all reads of turns until release is called. It is called before the node is used.
func (n *changedNode) holdTurns() (release func()) {
	gate := make(chan struct{})
	n.onRead = func(ctx context.Context, q eventlog.Query) error {
		if readsTurn(q) {
			select {
			case <-gate:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	return func() { close(gate) }
}

func (n *changedNode) Head(ctx context.Context) (eventlog.Cursor, error) {
	if n.onHead != nil {
		if err := n.onHead(ctx); err != nil {
			return eventlog.Cursor{}, err
		}
	}
	return n.Node.Head(ctx)
}

func (n *changedNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	if n.unwatch {
		return func() {}
	}
	return n.Node.Watch(fn)
}

// recreatedNode is a node whose store can be replaced by an empty one.
type recreatedNode struct {
	current atomic.Pointer[ssetest.Node]
	watcher func(subject string, seq uint64)
}

func (r *recreatedNode) replace(by *ssetest.Node) {
	r.current.Store(by)
	if r.watcher != nil {
		by.Watch(r.watcher)
		r.watcher("", 0)
	}
}

func (r *recreatedNode) Append(ctx context.Context, record eventlog.Record) (eventlog.Cursor, error) {
	return r.current.Load().Append(ctx, record)
}

func (r *recreatedNode) Head(ctx context.Context) (eventlog.Cursor, error) {
	return r.current.Load().Head(ctx)
}

func (r *recreatedNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return r.current.Load().Read(ctx, q, dst)
}

func (r *recreatedNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	r.watcher = fn
	return r.current.Load().Watch(fn)
}

func (r *recreatedNode) Post(to string, message []byte) error {
	return r.current.Load().Post(to, message)
}

func (r *recreatedNode) Receive(name string, fn func(message []byte)) (stop func()) {
	return r.current.Load().Receive(name, fn)
}
