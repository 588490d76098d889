package natslog

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse"
)

// past is the source of what is not held in memory any more. The leader says which event
// comes first; any replica may add those behind it, in a batch, of which the leader then
// confirms the last.
//
// A replica that lags sends the beginning of what the leader has. The leader is asked what
// follows, so nothing is missing at the end. A replica whose history is another one does not
// have both the first and the last event as the leader has them.
//
// A replica may also remove events while it sends them, and before the leader does: the
// oldest of the stream by age, by its own clock, or the oldest of a subject by count. It has
// sent the first event of the batch, so it can only miss the next if it removes both at that
// moment. Batches are used only where that cannot be: the position is far from its end by
// age, and the subject has room for as many events as are asked for.
type past struct {
	broker *broker
	epoch  uint32
	end    uint64              // the last sequence that is wanted
	bound  uint64              // the most events of a subject; 0 is none
	size   batchRequest        // of one batch; none if Batch is 0
	ahead  map[string][]*entry // by subject: from batches, and confirmed
	single map[string]bool     // subjects that are read event by event

	used    bool  // a batch has been used
	failure error // of a batch, after which there is no other; nil if all were answered
}

const (
	// withoutBatches is how long reads do without batches when one was not answered.
	withoutBatches = time.Minute
	// A batch is asked for leastBatch to mostBatch events, and for mostBatchBytes at most.
	leastBatch, mostBatch = 8, 1024
	mostBatchBytes        = 1 << 20
)

// newPast returns a source for the events of a query up to the head. The event at its
// position may be nil.
func (l *Log) newPast(q *ginsse.Query, info *jetstream.StreamInfo, at *entry, head uint64) *past {
	p := &past{broker: &l.broker, epoch: q.After.Epoch, end: head, bound: uint64(max(0, info.Config.MaxMsgsPerSubject))}
	if q.Before != 0 {
		p.end = min(p.end, q.Before-1)
	}
	if !info.Config.AllowDirect || isOwn(q) || !isYoung(at, info) || l.now() < l.noBatches.Load() {
		return p
	}
	share := max(1, len(q.Subjects)) // of the page
	p.size.Batch = min(max(leastBatch, q.MaxEvents/share), mostBatch)
	p.size.MaxBytes = min(max(1, q.MaxBytes/share), mostBatchBytes)
	if p.bound > 0 {
		p.size.Batch = min(p.size.Batch, int(p.bound/4))
	}
	p.ahead, p.single = make(map[string][]*entry), make(map[string]bool)
	return p
}

// isYoung reports whether an event is so far from its end by age that no replica's clock
// has come to it.
func isYoung(e *entry, info *jetstream.StreamInfo) bool {
	maxAge := info.Config.MaxAge
	return e != nil && (maxAge <= 0 || time.Since(e.at) < maxAge/4*3)
}

// batchesFailed has reads do without batches for a while if they are not answered.
func (l *Log) batchesFailed(err error) {
	if !errors.Is(err, errNoBatches) {
		return
	}
	l.noBatches.Store(l.now() + int64(withoutBatches))
	l.noBatchesLogged.Do(func() {
		l.cfg.Logger.Warn("reading old events one by one: $JS.API.DIRECT.GET does not answer with batches",
			slog.String("stream", l.cfg.Stream), slog.Any("error", err))
	})
}

// next implements source.
func (p *past) next(ctx context.Context, subject string, after uint64) (*entry, error) {
	for {
		e, err := p.following(ctx, subject, after)
		if err != nil || e == nil || len(e.block) > 0 {
			return e, err
		}
		after = e.seq
	}
}

// following returns the first message of a subject behind a sequence; nil if there is none.
func (p *past) following(ctx context.Context, subject string, after uint64) (*entry, error) {
	list := p.ahead[subject]
	for len(list) > 0 && list[0].seq <= after {
		list = list[1:]
	}
	if len(list) > 0 {
		p.ahead[subject] = list
		return list[0], nil
	}
	e, err := p.first(ctx, subject, after+1)
	if err == nil && e != nil && e.seq < p.end {
		err = p.fetch(ctx, subject, e)
	}
	return e, err
}

// fetch puts ahead what a replica has behind an event that the leader has sent. If there is
// nothing to rely on, the subject is read event by event.
func (p *past) fetch(ctx context.Context, subject string, first *entry) error {
	if !p.inBatches(subject) {
		return nil
	}
	all := p.request(ctx, subject, first.seq)
	if all == nil {
		return nil
	}
	proven, err := p.isProven(ctx, subject, first, all)
	if err != nil {
		return err
	}
	if proven {
		p.used, p.ahead[subject] = true, all.entries
	} else {
		p.single[subject] = true
	}
	return nil
}

func (p *past) inBatches(subject string) bool {
	return p.size.Batch > 1 && p.failure == nil && !p.single[subject]
}

// request returns a batch of a subject from a sequence on, or nil after a failure.
func (p *past) request(ctx context.Context, subject string, seq uint64) *batch {
	q := p.size
	q.Seq = seq
	if q.NextFor, p.failure = natsSubject(p.broker.prefix, subject); p.failure != nil {
		return nil
	}
	var all *batch
	all, p.failure = p.broker.getBatch(ctx, p.epoch, q)
	return all
}

// isProven reports whether all events between the first and the last of a batch are in it.
func (p *past) isProven(ctx context.Context, subject string, first *entry, all *batch) (bool, error) {
	n := len(all.entries)
	switch {
	case n == 0 || !all.entries[0].same(first):
		return false, nil
	case p.bound > 0 && all.pending+uint64(p.size.Batch) > p.bound:
		return false, nil // the replica may remove some that it has not sent
	case n == 1:
		return true, nil
	}
	last := all.entries[n-1]
	e, err := p.first(ctx, subject, last.seq)
	return e != nil && e.same(last), err
}

// same reports whether two entries are of one message.
func (e *entry) same(other *entry) bool { return e.seq == other.seq && e.at.Equal(other.at) }

// first returns the first message of a subject from a sequence on, by the leader.
func (p *past) first(ctx context.Context, subject string, from uint64) (*entry, error) {
	of, err := natsSubject(p.broker.prefix, subject)
	if err != nil {
		return nil, err
	}
	e, err := p.broker.get(ctx, p.epoch, getRequest{Seq: from, NextFor: of})
	if errors.Is(err, errNoMessage) {
		return nil, nil //nolint:nilnil // there is none
	}
	return e, err
}

// lost implements source, as far as a subject's own bound is concerned: a subject over
// it loses its oldest events. So none behind the position has gone that way if there is
// one before it, or fewer than the bound altogether.
func (p *past) lost(ctx context.Context, subject string, after ginsse.Cursor) (bool, error) {
	of, err := natsSubject(p.broker.prefix, subject)
	if err != nil {
		return false, err
	}
	info, err := p.broker.info(ctx, of)
	if err != nil {
		return false, err
	}
	if most := info.Config.MaxMsgsPerSubject; most <= 0 || info.State.Subjects[of] < uint64(most) {
		return false, nil
	}
	oldest, err := p.first(ctx, subject, 1)
	return err == nil && (oldest == nil || oldest.seq > after.Seq), err
}

// check implements source.
func (p *past) check(ctx context.Context, seq uint64) (uint32, error) {
	e, err := p.broker.get(ctx, p.epoch, getRequest{Seq: seq})
	switch {
	case errors.Is(err, errNoMessage):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return e.check, nil
}

var (
	_ source = (*past)(nil)
	_ source = (*recent)(nil)
)
