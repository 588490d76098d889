package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// control is how the registries on a [SharedLog] tell each other whose streams are to end.
// It goes through the log, and so in order with the events, and to whoever was out of
// touch when it was said.
type control struct {
	wake chan struct{} // has room for one: there may be orders to read
	at   Cursor        // up to where orders have been followed; of runControl alone

	// limit, if not 0, is where there may be an order that has not been followed yet. No
	// stream reads so far, or one would deliver what was sent after the order to end it.
	limit atomic.Uint64

	mu       sync.Mutex       // guards the fields below, and changes of limit; not held during I/O
	news     uint64           // how often there may have been an order
	followed uint64           // the sequence of at
	held     map[*Stream]bool // to be woken when limit is 0
	untold   map[string]order // by user: what the log has not taken yet
}

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
	// controlTick is how often the position is brought up to date, though there was no
	// order: a log may take an old one for a gap.
	controlTick   = time.Second
	followTimeout = 5 * time.Second
	tellTimeout   = 2 * time.Second
	controlBytes  = 256 << 10
	controlEvents = 1024
	// maxUntold is how many users' orders wait to be told.
	maxUntold = 10_000
	// clockSkew is by how much the clocks of two nodes may differ.
	clockSkew = 2 * time.Second
	// disconnectPatience is how long streams wait for the order that ends them to have its
	// place in the log.
	disconnectPatience = 250 * time.Millisecond
)

// start has orders followed from a position on. The log may call already.
func (c *control) start(at Cursor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.followed = at, at.Seq
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
	if _, ok := c.untold[o.User]; !ok && len(c.untold) >= maxUntold {
		return false
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

// listen has the orders read, if an event of the subject at the sequence may be one, and
// no stream read so far before. It does not block.
func (r *Registry) listen(subject string, seq uint64) {
	if r.shared == nil || subject != subjectControl && subject != "" {
		return
	}
	r.control.expect(subject, seq)
	select {
	case r.control.wake <- struct{}{}:
	default:
	}
}

func (c *control) expect(subject string, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.news++
	if subject == "" || seq <= c.followed {
		seq = c.followed + 1
	}
	if limit := c.limit.Load(); limit == 0 || seq < limit {
		c.limit.Store(seq)
	}
}

// hold has a stream woken that met the limit.
func (c *control) hold(s *Stream) {
	c.mu.Lock()
	held := c.limit.Load() != 0
	if held {
		if c.held == nil {
			c.held = make(map[*Stream]bool)
		}
		c.held[s] = true
	}
	c.mu.Unlock()
	if !held {
		s.notify()
	}
}

// release notes up to where orders have been followed, and lifts the limit; if there was
// news meanwhile, only so far.
func (c *control) release(news, followed uint64) {
	c.mu.Lock()
	c.followed = followed
	if c.news == news {
		c.limit.Store(0)
	} else {
		c.limit.Store(followed + 1)
	}
	held := c.held
	c.held = nil
	c.mu.Unlock()
	for s := range held {
		s.notify()
	}
}

func (c *control) heard() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news
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
		err := errors.Join(within(r.life, followTimeout, r.follow), within(r.life, tellTimeout, r.tellAgain))
		if err != nil && !failing && r.life.Err() == nil {
			r.logger.Warn("exchanging with other nodes who is to be disconnected", slog.Any("error", err))
		}
		failing = err != nil
	}
}

func within(ctx context.Context, timeout time.Duration, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return do(ctx)
}

// follow reads the orders that have come and follows them.
func (r *Registry) follow(ctx context.Context) error {
	c := &r.control
	news := c.heard()
	for more := true; more; {
		page, err := r.log.Read(ctx, Query{Subjects: []string{subjectControl}, After: c.at, MaxEvents: controlEvents, MaxBytes: controlBytes}, nil)
		if err != nil {
			return err
		}
		if page.Gap != "" {
			// Orders may be missing. Whoever may not be here any more must not stay: all
			// clients come back, and show again who they are.
			r.logger.Warn("what other nodes have said is lost: ending all streams", slog.String("reason", string(page.Gap)))
			r.restart(ctx, page.Through)
			go func() { _ = disperse(r.life, r.audience(subjectAll), r.cfg.ShutdownWindow, ReasonLifetime) }()
		}
		for block := range bytes.SplitSeq(page.Blocks, []byte("\n\n")) {
			r.obey(block)
		}
		c.at = page.Through
		more = page.More
	}
	c.release(news, c.at.Seq)
	return nil
}

// restart has the head begin again at a position: the history may be another, and shorter.
func (r *Registry) restart(ctx context.Context, at Cursor) {
	r.head.Store(at.Seq)
	if page, err := r.log.Read(ctx, Query{}, nil); err == nil {
		r.seen(page.Through.Seq) // what has become visible meanwhile
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
