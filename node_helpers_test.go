package ginsse_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// nodes returns nodes that share a history, each with a registry.
func nodes(t *testing.T, cfg eventlog.MemoryLogConfig) (logs [2]*ssetest.Node, registries [2]*ginsse.Registry) {
	t.Helper()
	for i, node := range ssetest.NewNodes(t, cfg, len(logs)) {
		logs[i] = node
		registries[i] = newRegistry(t, ginsse.RegistryConfig{Log: node})
	}
	return logs, registries
}

// changedNode is a node with functions in front of its methods; nil leaves a method as it is.
type changedNode struct {
	*ssetest.Node

	onAppend func(ctx context.Context, r eventlog.Record) error // an error is returned
	onRead   func(ctx context.Context, q eventlog.Query) error
	onHead   func(ctx context.Context) error
	unwatch  bool // no watcher is ever called
}

func (n *changedNode) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if n.onAppend != nil {
		if err := n.onAppend(ctx, r); err != nil {
			return eventlog.Cursor{}, err
		}
	}
	return n.Node.Append(ctx, r)
}

func (n *changedNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if n.onRead != nil {
		if err := n.onRead(ctx, q); err != nil {
			return eventlog.Page{}, err
		}
	}
	return n.Node.Read(ctx, q, dst)
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

// wait returns a function that waits until a channel is closed, or its context ends.
func wait(until <-chan struct{}) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-until:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// recreatedNode is a node whose store can be replaced by another one.
type recreatedNode struct {
	now     atomic.Pointer[ssetest.Node]
	watcher func(subject string, seq uint64)
}

func (r *recreatedNode) replace(by *ssetest.Node) {
	r.now.Store(by)
	if r.watcher != nil {
		by.Watch(r.watcher)
		r.watcher("", 0)
	}
}

func (r *recreatedNode) Append(ctx context.Context, record eventlog.Record) (eventlog.Cursor, error) {
	return r.now.Load().Append(ctx, record)
}

func (r *recreatedNode) Head(ctx context.Context) (eventlog.Cursor, error) {
	return r.now.Load().Head(ctx)
}

func (r *recreatedNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return r.now.Load().Read(ctx, q, dst)
}

func (r *recreatedNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	r.watcher = fn
	return r.now.Load().Watch(fn)
}

func (r *recreatedNode) Post(to string, message []byte) error { return r.now.Load().Post(to, message) }

func (r *recreatedNode) Receive(name string, fn func(message []byte)) (stop func()) {
	return r.now.Load().Receive(name, fn)
}
