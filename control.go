package ginsse

import (
	"bytes"
	"context"
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
	// open stream reads so far, or one would deliver what was sent after the order to end it.
	limit atomic.Uint64

	mu       sync.Mutex       // guards the fields below, and changes of limit; not held during I/O
	news     uint64           // how often there may have been an order
	followed uint64           // the sequence of at
	held     map[*Stream]bool // to be woken when limit has moved
	untold   map[string]order // by user: what the log has not taken yet
}

const (
	// controlTick is how often the position is brought up to date, though there was no
	// order: a log may take an old one for a gap.
	controlTick   = time.Second
	followTimeout = 5 * time.Second
	tellTimeout   = 2 * time.Second
	controlBytes  = 256 << 10
	controlEvents = 1024
)

// start has orders followed from a position on. The log may call already.
func (c *control) start(at Cursor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.followed = at, at.Seq
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

// runControl follows orders until the registry is closed.
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
		err := within(r.life, followTimeout, r.follow)
		if err != nil && !failing && r.life.Err() == nil {
			r.logger.Warn("reading whom other nodes have disconnected", slog.Any("error", err))
		}
		failing = err != nil
	}
}

// runTelling tells orders that could not be told, until the registry is closed.
func (r *Registry) runTelling() {
	ticker := time.NewTicker(controlTick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = within(r.life, tellTimeout, r.tellAgain) // whose callers know
		case <-r.life.Done():
			return
		}
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
	news, gap := c.heard(), false
	// Out of touch there is no head, and nothing that was heard of can be read yet.
	head, err := r.log.Read(ctx, Query{}, nil)
	if err != nil {
		return err
	}
	for more := true; more; {
		page, err := r.log.Read(ctx, Query{Subjects: []string{subjectControl}, After: c.at, MaxEvents: controlEvents, MaxBytes: controlBytes}, nil)
		if err != nil {
			return err
		}
		if page.Gap != "" {
			// Orders may be missing. Whoever may not be here any more must not stay: all
			// clients come back, and show again who they are.
			r.logger.Warn("what other nodes have said is lost: ending all streams", slog.String("reason", string(page.Gap)))
			gap = true
			r.restart(ctx, page.Through)
			go func() { _ = disperse(r.life, r.audience(subjectAll), r.cfg.ShutdownWindow, ReasonLifetime) }()
		}
		for block := range bytes.SplitSeq(page.Blocks, []byte("\n\n")) {
			r.obey(block)
		}
		c.at = page.Through
		more = page.More
	}
	if gap || c.at.Seq >= head.Through.Seq { // or touch was lost meanwhile
		c.release(news, c.at.Seq)
	}
	return nil
}

// restart has the head begin again at a position: the history may be another, and shorter.
func (r *Registry) restart(ctx context.Context, at Cursor) {
	r.head.Store(at.Seq)
	if page, err := r.log.Read(ctx, Query{}, nil); err == nil {
		r.seen(page.Through.Seq) // what has become visible meanwhile
	}
}
