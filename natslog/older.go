package natslog

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

// olderSource reads the entries of a page that are not in memory. Of the entries with keys it reads
// only the newest of each key; see readKeys. Of those without, the leader says which event comes
// first. Any replica may add those after it, in a batch, of which the leader then confirms the
// last.
//
// A replica that lags sends the beginning of what the leader has. The leader is asked what
// follows, so nothing is missing at the end. A replica whose history is another one does not
// have both the first and the last event as the leader has them.
//
// A replica may also remove events while it sends them, and before the leader does: the oldest of
// the stream by age, by its own clock, or the oldest of a subject by count. The replica has
// sent the first event of the batch, so it can only miss the next if it removes both at that
// moment. Batches are used only where that cannot be: the position is far from its end by
// age, and the subject has room for as many events as are asked for.
type olderSource struct {
	broker *broker
	q      *eventlog.Query
	epoch  uint32
	end    uint64 // the last sequence that is wanted
	bound  uint64 // the most events of a subject; 0 for no bound

	replicas    bool         // may be asked
	size        batchRequest // of one batch; Batch is 0 if none is used
	usedReplica bool
	failure     error // of a batch, after which no other is asked for; nil if all were answered

	// Entries without keys, by subject.
	unread map[string][]*eventlog.WindowEntry // confirmed, and not returned yet
	ended  map[string]bool                    // subjects without further ones
	single map[string]bool                    // subjects that are read event by event

	keyed map[string][]keyedEntry // by subject, in order; nil if not read yet
}

const (
	// withoutBatches is how long reads use no batches after one was not answered.
	withoutBatches = time.Minute
	// A batch is asked for leastBatch to mostBatch events, and for mostBatchBytes at most.
	leastBatch, mostBatch = 8, 1024
	mostBatchBytes        = 1 << 20
)

// newOlderSource returns a source for a query up to a sequence. The event is the one at its
// position.
func (l *Log) newOlderSource(q *eventlog.Query, info *jetstream.StreamInfo, at *eventlog.WindowEntry, end uint64) *olderSource {
	s := &olderSource{
		broker: &l.broker, q: q, epoch: q.After.Epoch, end: end, bound: uint64(max(0, info.Config.MaxMsgsPerSubject)),
		unread: make(map[string][]*eventlog.WindowEntry), ended: make(map[string]bool), single: make(map[string]bool),
	}
	// With Latest, entries that are removed meanwhile are no gap.
	s.replicas = info.Config.AllowDirect && (q.Latest || isYoung(at, info)) && l.now() >= l.noBatches.Load()
	if !s.replicas {
		return s
	}
	share := max(1, len(q.Subjects)) // of the page
	s.size.Batch = min(max(leastBatch, q.MaxEntries/share), mostBatch)
	s.size.MaxBytes = min(max(1, q.MaxBytes/share), mostBatchBytes)
	if s.bound > 0 {
		s.size.Batch = min(s.size.Batch, int(s.bound/4))
	}
	return s
}

// isYoung reports whether an event is so far from its maximum age that no replica removes it yet by
// its own clock.
func isYoung(e *eventlog.WindowEntry, info *jetstream.StreamInfo) bool {
	maxAge := info.Config.MaxAge
	return e != nil && (maxAge <= 0 || time.Since(e.Time) < maxAge/4*3)
}

// batchesFailed has reads use no batches for a while if one was not answered.
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

// Next implements [eventlog.Source].
func (s *olderSource) Next(ctx context.Context, subject string, after uint64) (*eventlog.Entry, error) {
	e, err := s.nextUnkeyed(ctx, subject, after)
	if err != nil {
		return nil, err
	}
	keyed, err := s.nextKeyed(ctx, subject, after)
	if err != nil {
		return nil, err
	}
	if e == nil || keyed != nil && keyed.At.Seq < e.At.Seq {
		e = keyed
	}
	if e == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	return &e.Entry, nil
}

// nextUnkeyed returns the first event of a subject without a key after a sequence; nil if there is
// none.
func (s *olderSource) nextUnkeyed(ctx context.Context, subject string, after uint64) (*eventlog.WindowEntry, error) {
	for {
		e, err := s.nextMessage(ctx, subject, after)
		if err != nil || e == nil || len(e.Block) > 0 {
			return e, err
		}
		after = e.At.Seq // it is not an event
	}
}

// nextMessage returns the first message of a subject without a key after a sequence; nil if there
// is none.
func (s *olderSource) nextMessage(ctx context.Context, subject string, after uint64) (*eventlog.WindowEntry, error) {
	list := s.unread[subject]
	for len(list) > 0 && list[0].At.Seq <= after {
		list = list[1:]
	}
	s.unread[subject] = list
	if len(list) > 0 {
		return list[0], nil
	}
	if s.ended[subject] {
		return nil, nil //nolint:nilnil // there is none
	}
	e, err := s.first(ctx, subject, after+1)
	switch {
	case err != nil:
		return nil, err
	case e == nil:
		s.ended[subject] = true
		return nil, nil //nolint:nilnil // there is none
	}
	s.unread[subject] = []*eventlog.WindowEntry{e}
	if e.At.Seq < s.end {
		err = s.fetch(ctx, subject, e)
	}
	return e, err
}

// fetch adds what a replica has after an event that the leader has sent. If the replica cannot be
// relied on, the subject is read event by event.
func (s *olderSource) fetch(ctx context.Context, subject string, first *eventlog.WindowEntry) error {
	if !s.inBatches(subject) {
		return nil
	}
	found := s.request(ctx, subject, first.At.Seq)
	if found == nil {
		return nil
	}
	complete, err := s.isComplete(ctx, subject, first, found)
	if err != nil {
		return err
	}
	if complete {
		s.usedReplica, s.unread[subject] = true, found.entries
	} else {
		s.single[subject] = true
	}
	return nil
}

func (s *olderSource) inBatches(subject string) bool {
	return s.size.Batch > 1 && s.failure == nil && !s.single[subject]
}

// request returns a batch of a subject from a sequence on, or nil after a failure.
func (s *olderSource) request(ctx context.Context, subject string, seq uint64) *batch {
	q := s.size
	q.Seq = seq
	if q.NextFor, s.failure = natsSubject(s.broker.prefix, subject, ""); s.failure != nil {
		return nil
	}
	var found *batch
	found, s.failure = s.broker.getBatch(ctx, s.epoch, q)
	return found
}

// isComplete reports whether a batch holds all events between its first and its last.
func (s *olderSource) isComplete(ctx context.Context, subject string, first *eventlog.WindowEntry, found *batch) (bool, error) {
	n := len(found.entries)
	switch {
	case n == 0 || !isSame(found.entries[0], first):
		return false, nil
	case s.bound > 0 && found.pending+uint64(s.size.Batch) > s.bound:
		return false, nil // the replica may remove some that it has not sent
	case n == 1:
		return true, nil
	}
	last := found.entries[n-1]
	e, err := s.first(ctx, subject, last.At.Seq)
	return e != nil && isSame(e, last), err
}

// first asks the leader for the first message of a subject without a key from a sequence on; nil if
// there is none.
func (s *olderSource) first(ctx context.Context, subject string, from uint64) (*eventlog.WindowEntry, error) {
	of, err := natsSubject(s.broker.prefix, subject, "")
	if err != nil {
		return nil, err
	}
	e, err := s.broker.get(ctx, s.epoch, getRequest{Seq: from, NextFor: of})
	return e, unlessGone(err)
}

// Lost implements [eventlog.Source], as far as a subject's own bound is concerned. A subject over
// the bound loses its oldest events. So none after the position was removed that way if there is
// one at or before it, or if the subject has fewer events than the bound. Events with a key have a
// NATS subject of their own, which keeps the newest one.
func (s *olderSource) Lost(ctx context.Context, subject string, after eventlog.Cursor) (bool, error) {
	of, err := natsSubject(s.broker.prefix, subject, "")
	if err != nil {
		return false, err
	}
	info, err := s.broker.info(ctx, of)
	if err != nil {
		return false, err
	}
	if most := info.Config.MaxMsgsPerSubject; most <= 0 || info.State.Subjects[of] < uint64(most) {
		return false, nil
	}
	oldest, err := s.first(ctx, subject, 1)
	return err == nil && (oldest == nil || oldest.At.Seq > after.Seq), err
}
