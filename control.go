package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"time"
)

// control is how the registries on a [SharedLog] tell each other what is not for clients.
// It goes through the log too, and so in order with the events, and to whoever was out of
// touch when it was said.
type control struct {
	shared bool   // there may be others on the log
	node   string // who this registry is among them

	// news counts what may have come since hear last looked. Whoever raises it from 0
	// starts hear, and only hear brings it back to 0.
	news  atomic.Int64
	heard atomic.Uint64 // the sequence of at
	at    Cursor        // up to where hear has read; its own
	done  chan struct{} // closed with the registry
}

// order tells the other registries to end a user's streams.
type order struct {
	Node   string `json:"node"` // who has given it, and done it
	User   string `json:"disconnect"`
	Reason Reason `json:"reason"`
}

const (
	// hearEvery is after how many events the position is brought up to date, though
	// none was an order: a log may take an old position for a gap.
	hearEvery   = 1024
	hearTimeout = 5 * time.Second
	hearPause   = time.Second
	hearBytes   = 256 << 10
	hearEvents  = 1024
)

// tell gives an order to the other registries on the log.
func (r *Registry) tell(ctx context.Context, o order) error {
	if !r.control.shared {
		return nil
	}
	o.Node = r.control.node
	b := borrowBuffer()
	defer b.release()
	if err := r.encode(b, Event{Type: "control", Data: o}); err != nil {
		return err
	}
	_, err := r.append(ctx, subjectControl, b.bytes)
	return err
}

// listen has hear look whether there are orders, if an event at the sequence may be one
// or it is time to. It does not block.
func (r *Registry) listen(subject string, seq uint64) {
	if !r.control.shared || subject != subjectControl && subject != "" && seq < r.control.heard.Load()+hearEvery {
		return
	}
	if r.control.news.Add(1) == 1 {
		go r.hear()
	}
}

// hear follows the orders that have come.
func (r *Registry) hear() {
	c := &r.control
	for {
		news := c.news.Load()
		if err := r.follow(); err != nil {
			if r.closed.Load() {
				return
			}
			r.logger.Warn("reading what other nodes have said", slog.Any("error", err))
			select {
			case <-time.After(hearPause):
			case <-c.done:
				return
			}
			continue
		}
		if c.news.CompareAndSwap(news, 0) {
			return
		}
	}
}

// follow reads the orders that have come and follows them.
func (r *Registry) follow() error {
	for more := true; more; {
		ctx, cancel := context.WithTimeout(context.Background(), hearTimeout)
		page, err := r.log.Read(ctx, Query{Subjects: []string{subjectControl}, After: r.control.at, MaxEvents: hearEvents, MaxBytes: hearBytes}, nil)
		cancel()
		if err != nil {
			return err
		}
		if page.Gap != "" {
			// Orders may be missing. Whoever may not be here any more must not stay: all
			// clients come back, and show again who they are.
			r.logger.Warn("what other nodes have said is lost: ending all streams", slog.String("reason", string(page.Gap)))
			for _, s := range r.audience(subjectAll) {
				s.end(ReasonLifetime)
			}
		}
		for block := range bytes.SplitSeq(page.Blocks, []byte("\n\n")) {
			r.obey(block)
		}
		r.control.at = page.Through
		r.control.heard.Store(page.Through.Seq)
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
	if o.User == "" || o.Node == r.control.node {
		return
	}
	for _, s := range r.Streams(o.User) {
		// Who has come after it was given, as far as this node had got by then, was let in
		// again.
		if since := s.since.Load(); since == 0 || since <= at.Seq {
			s.Disconnect(o.Reason)
		}
	}
}
