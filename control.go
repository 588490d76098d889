package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// control is how the registries on a [SharedLog] tell each other whose streams are to end.
// It goes through the log, and so in order with the events, and to whoever was out of
// touch when it was said.
type control struct {
	wake chan struct{} // has room for one: there may be orders to read
	at   Cursor        // up to where orders have been read; of runControl alone

	mu     sync.Mutex       // guards the field below; not held during I/O
	untold map[string]order // by user: what the log has not taken yet
}

// order tells the other registries to end a user's streams.
type order struct {
	Node   string `json:"node"` // who has given it, and done it
	User   string `json:"disconnect"`
	Reason Reason `json:"reason"`
	// Given is when, in milliseconds since 1970, if it could not be told at once. Who
	// has come since then may have been let in again.
	Given int64 `json:"given,omitempty"`
}

const (
	// controlTick is how often the position is brought up to date, though there was no
	// order: a log may take an old one for a gap.
	controlTick    = time.Second
	controlTimeout = 5 * time.Second
	controlBytes   = 256 << 10
	controlEvents  = 1024
	// maxUntold is how many users' orders wait to be told.
	maxUntold = 10_000
	// clockSkew is by how much the clocks of two nodes may differ.
	clockSkew = 2 * time.Second
)

// tell gives an order to the other registries on the log.
func (r *Registry) tell(ctx context.Context, o order) error {
	o.Node = r.node
	b := borrowBuffer()
	defer b.release()
	if err := r.encode(b, Event{Type: "control", Data: o}); err != nil {
		return err
	}
	_, err := r.append(ctx, subjectControl, b.bytes)
	if err == nil || errors.Is(err, ErrClosed) || !r.control.keep(o) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrPending, err)
}

// keep notes an order that could not be told, if there is room.
func (c *control) keep(o order) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.untold[o.User]; !ok && len(c.untold) >= maxUntold {
		return false
	}
	if o.Given == 0 {
		o.Given = time.Now().UnixMilli()
	}
	c.untold[o.User] = o
	return true
}

// next returns an order that could not be told.
func (c *control) next() (o order, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.untold {
		return o, true
	}
	return o, false
}

// told forgets an order, unless another has taken its place.
func (c *control) told(o order) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.untold[o.User] == o {
		delete(c.untold, o.User)
	}
}

// tellAgain tells what could not be told, until that fails again.
func (r *Registry) tellAgain(ctx context.Context) error {
	for {
		o, ok := r.control.next()
		if !ok {
			return nil
		}
		if err := r.tell(ctx, o); err != nil {
			return err
		}
		r.control.told(o)
	}
}

// listen has the orders read, if an event of the subject may be one. It does not block.
func (r *Registry) listen(subject string) {
	if r.shared == nil || subject != subjectControl && subject != "" {
		return
	}
	select {
	case r.control.wake <- struct{}{}:
	default:
	}
}

// runControl follows and tells orders until the registry is closed.
func (r *Registry) runControl() {
	ticker := time.NewTicker(controlTick)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-r.control.wake:
		case <-ticker.C:
		case <-r.life.Done():
			return
		}
		ctx, cancel := context.WithTimeout(r.life, controlTimeout)
		err := errors.Join(r.follow(ctx), r.tellAgain(ctx))
		cancel()
		if err != nil && !failing && r.life.Err() == nil {
			r.logger.Warn("exchanging with other nodes who is to be disconnected", slog.Any("error", err))
		}
		failing = err != nil
	}
}

// follow reads the orders that have come and follows them.
func (r *Registry) follow(ctx context.Context) error {
	for more := true; more; {
		page, err := r.log.Read(ctx, Query{Subjects: []string{subjectControl}, After: r.control.at, MaxEvents: controlEvents, MaxBytes: controlBytes}, nil)
		if err != nil {
			return err
		}
		if page.Gap != "" {
			// Orders may be missing. Whoever may not be here any more must not stay: all
			// clients come back, and show again who they are.
			r.logger.Warn("what other nodes have said is lost: ending all streams", slog.String("reason", string(page.Gap)))
			go func() { _ = disperse(r.life, r.audience(subjectAll), r.cfg.ShutdownWindow, ReasonLifetime) }()
		}
		for block := range bytes.SplitSeq(page.Blocks, []byte("\n\n")) {
			r.obey(block)
		}
		r.control.at = page.Through
		more = page.More
	}
	return nil
}

// obey follows one order, as it is in the log. What it cannot read is another version's.
func (r *Registry) obey(block []byte) {
	var at Cursor
	var o order
	for line := range bytes.SplitSeq(block, []byte("\n")) {
		if id, ok := bytes.CutPrefix(line, []byte(idField)); ok {
			at, _ = ParseCursor(string(id))
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			_ = json.Unmarshal(data, &o)
		}
	}
	if o.User == "" || o.Node == r.node {
		return
	}
	for _, s := range r.Streams(o.User) {
		if o.concerns(s, at.Seq) {
			s.Disconnect(o.Reason)
		}
	}
}

// concerns reports whether a stream was there when the order was given, as far as this
// node had got by then: who has come later was let in again. An order told at once is in
// the log where it was given. For one told later only the clocks say when that was; in
// doubt the stream ends.
func (o order) concerns(s *Stream, seq uint64) bool {
	if since := s.since.Load(); since > seq {
		return false
	}
	return o.Given == 0 || !s.opened.After(time.UnixMilli(o.Given).Add(clockSkew))
}
