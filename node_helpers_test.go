package ginsse_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// nodes returns nodes that share a history, each with a registry.
func nodes(t *testing.T, cfg ginsse.MemoryLogConfig) (logs [2]*ssetest.Node, registries [2]*ginsse.Registry) {
	t.Helper()
	for i, node := range ssetest.NewNodes(t, cfg, len(logs)) {
		logs[i] = node
		registries[i] = newRegistry(t, ginsse.RegistryConfig{Log: node})
	}
	return logs, registries
}

// What can be wrong with a node, besides being away.

// secluded is a node that neither reads nor gives orders for a while.
type secluded struct {
	*ssetest.Node

	now atomic.Bool
}

func (s *secluded) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	if s.now.Load() && subject == "control" {
		return ginsse.Cursor{}, ssetest.ErrAway
	}
	return s.Node.Append(ctx, subject, frame)
}

func (s *secluded) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if s.now.Load() && len(q.Subjects) == 1 {
		return ginsse.Page{}, ssetest.ErrAway
	}
	return s.Node.Read(ctx, q, dst)
}

// unwoken is a node that is not told of events of others, until they are read.
type unwoken struct{ *ssetest.Node }

func (u unwoken) Watch(func(string, uint64)) (stop func()) { return func() {} }

// busy is a node whose streams read late.
type busy struct {
	*ssetest.Node

	reading chan struct{} // nil, or closed when they may
}

func (b *busy) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if b.reading != nil && len(q.Subjects) > 1 {
		<-b.reading
	}
	return b.Node.Read(ctx, q, dst)
}

// believing is a node that is out of touch for a while, and so takes any position for one
// that another node has given out.
type believing struct {
	*ssetest.Node

	now atomic.Bool
}

func (b *believing) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	switch {
	case !b.now.Load():
		return b.Node.Read(ctx, q, dst)
	case q.After.IsZero():
		return ginsse.Page{}, ssetest.ErrAway
	default:
		return ginsse.Page{Blocks: dst, Through: q.After}, nil
	}
}

// hanging is a node whose appends wait.
type hanging struct {
	*ssetest.Node

	until chan struct{}
}

func (h *hanging) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	select {
	case <-h.until:
		return h.Node.Append(ctx, subject, frame)
	case <-ctx.Done():
		return ginsse.Cursor{}, ctx.Err()
	}
}

// far is a node whose reads of orders take a while, as those from a broker do.
type far struct{ *ssetest.Node }

func (f far) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := f.Node.Read(ctx, q, dst)
	if len(q.Subjects) == 1 {
		select {
		case <-time.After(3 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return page, err
}

// replaced is a node whose history is replaced by another's.
type replaced struct {
	now     atomic.Pointer[ssetest.Node]
	watcher func(subject string, seq uint64)
}

func (r *replaced) replace(by *ssetest.Node) {
	r.now.Store(by)
	if r.watcher != nil {
		by.Watch(r.watcher)
		r.watcher("", 0)
	}
}

func (r *replaced) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	return r.now.Load().Append(ctx, subject, frame)
}

func (r *replaced) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	return r.now.Load().Read(ctx, q, dst)
}

func (r *replaced) Watch(fn func(subject string, seq uint64)) (stop func()) {
	r.watcher = fn
	return r.now.Load().Watch(fn)
}

func (r *replaced) Post(to string, message []byte) error { return r.now.Load().Post(to, message) }

func (r *replaced) Receive(name string, fn func(message []byte)) (stop func()) {
	return r.now.Load().Receive(name, fn)
}
