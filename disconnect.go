package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// order tells the other registries to end a user's streams.
type order struct {
	Node   string `json:"node"` // who has given it
	User   string `json:"disconnect"`
	Reason Reason `json:"reason"`
	Given  int64  `json:"given"` // when, in milliseconds since 1970
	// Late: it could not be told at once, and its place in the log is not where it was
	// given.
	Late bool `json:"late,omitempty"`
}

const (
	// maxUntold is how many users' orders wait to be told.
	maxUntold = 10_000
	// clockSkew is by how much the clocks of two nodes may differ.
	clockSkew = 2 * time.Second
	// disconnectPatience is how long streams wait for the order that ends them to have its
	// place in the log.
	disconnectPatience = 250 * time.Millisecond
)

// Disconnect ends all streams of a user, with everything sent to them before
// delivered: those of this registry, and it returns how many there were; and, through
// a [SharedLog], those of the other registries on it, now or when they are in touch
// again. It waits for such a log, within ctx, or without a deadline as long as the log
// does; the streams here end within 250 ms.
//
// The client gets sse.close with the reason, and should not come back; with a reason of
// the kit's that asks for it, it gets sse.reconnect (see [Reason]). "" means
// [ReasonDisconnected]. What cannot be delivered within 10 s to a slow client is announced
// by sse.gap before. A browser's EventSource comes back after sse.close unless its page
// closes it, so what may not come back must also be refused by authentication
// ([AuthConfig.CheckFunc]). A request that passed authentication just before the call may
// still become a stream; to catch it, check again in [RegistryConfig.ConnectFunc].
//
// Errors: [ErrInvalidSubject]; with a SharedLog, [ErrPending] while the other registries
// could not be told, which is tried again until this one is closed; [ErrClosed] or the
// log's when they will not be. With any of these three errors the streams of this node
// have ended all the same. A node that is told late ends only streams that were opened
// before the call, give or take 2 s by the nodes' clocks.
func (r *Registry) Disconnect(ctx context.Context, userID string, reason Reason) (int, error) {
	if ctx == nil {
		return 0, errNilContext
	}
	if err := checkName("user ID", userID); err != nil {
		return 0, err
	}
	streams := r.Streams(userID)
	end := func() {
		for _, s := range streams {
			s.Disconnect(reason)
		}
	}
	if r.shared == nil {
		end()
		return len(streams), nil
	}
	// Its place in the log says what was sent before it, also by other nodes. But nobody
	// stays for a log that is slow.
	late := time.AfterFunc(disconnectPatience, end)
	defer late.Stop()
	at, err := r.tell(ctx, order{User: userID, Reason: reason})
	if err != nil {
		end()
		return len(streams), err
	}
	for _, s := range streams {
		s.endBefore(reason.orDisconnected(), at.Seq)
	}
	return len(streams), nil
}

// tell gives an order, and returns its position in the log. One that the log does not take
// is told again later.
func (r *Registry) tell(ctx context.Context, o order) (Cursor, error) {
	o.Node, o.Given = r.node, time.Now().UnixMilli()
	at, err := r.give(ctx, o)
	if err == nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrEventTooLarge) || !r.control.keep(o) {
		return at, err
	}
	return at, fmt.Errorf("%w: %w", ErrPending, err)
}

// give appends an order to the log.
func (r *Registry) give(ctx context.Context, o order) (Cursor, error) {
	if r.closed.Load() {
		return Cursor{}, ErrClosed
	}
	b := borrowBuffer()
	defer b.release()
	if err := r.encode(b, Event{Type: "control", Data: o}); err != nil {
		return Cursor{}, err
	}
	at, err := r.log.Append(ctx, subjectControl, b.bytes)
	if err == nil {
		r.seen(at.Seq)
	}
	return at, err
}

// keep notes an order that could not be told, if there is room.
func (c *control) keep(o order) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.untold[o.User]
	switch {
	case !ok && len(c.untold) >= maxUntold:
		return false
	case ok && known.Given > o.Given:
		return true // it ends all that this one would
	}
	o.Late = true
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
		if _, err := r.give(ctx, o); err != nil && !errors.Is(err, ErrEventTooLarge) {
			return err
		}
		r.control.told(o)
	}
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
	if o.User == "" || o.Late && o.Node == r.node { // it has been done
		return
	}
	for _, s := range r.Streams(o.User) {
		if o.concerns(s, at) {
			s.endBefore(o.Reason.orDisconnected(), at.Seq)
		}
	}
}

// concerns reports whether a stream was there when the order at a position was given: who
// has come later was let in again. An order that was told at once has its place in the
// log, and a stream the place of the head when it came. Where one has not, only the
// clocks say; in doubt the stream ends.
func (o order) concerns(s *Stream, at Cursor) bool {
	came := s.came.Load()
	switch {
	case came != nil && came.Epoch == at.Epoch && came.Seq >= at.Seq:
		return false
	case o.Late || came == nil:
		return !s.opened.After(time.UnixMilli(o.Given).Add(clockSkew))
	default:
		return true
	}
}
