package natslog

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

// Head implements [eventlog.Log]. It asks the leader of the stream for its last sequence, and waits
// until this node has read the stream up to there, for 4 s at most. Calls share requests: however
// many streams open, only one request is in progress at a time.
//
// Errors: [eventlog.ErrUnavailable], at once while the node is partitioned; [eventlog.ErrClosed].
func (l *Log) Head(ctx context.Context) (eventlog.Cursor, error) {
	return l.window.Head(ctx)
}

// Read implements [eventlog.Log]. Positions near the head are read from memory. Others take
// requests to the broker: about 11 for a page of one subject if the servers send batches, and else
// one for each event and each key. Read returns after about 4 s at most. With
// [eventlog.Query.NoWait] it sends no request.
//
// Errors: [eventlog.ErrUnavailable] if the broker does not answer; [eventlog.ErrWouldWait] with
// NoWait; [eventlog.ErrClosed].
func (l *Log) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return l.window.Read(ctx, q, dst)
}

// Watch implements [eventlog.Log]. fn runs on goroutines of the log, under no lock.
func (l *Log) Watch(fn func(subject string, seq uint64)) (stop func()) { return l.window.Watch(fn) }

var (
	// errLeaderChanged: another server leads the stream now. It may lack what the first one had,
	// or have more.
	errLeaderChanged = errors.New("the stream's leader changed during the read")

	// errTooOldForBatches: the position became too old for batches while they were read. The next
	// read uses none.
	errTooOldForBatches = errors.New("the position became too old during the read")
)

// store answers the window from the stream.
type store struct{ log *Log }

// Last implements [eventlog.Store].
func (s store) Last(ctx context.Context) (eventlog.Cursor, error) {
	info, err := s.log.broker.info(ctx, "")
	if err != nil {
		return eventlog.Cursor{}, err
	}
	return eventlog.Cursor{Epoch: epochOf(info), Seq: info.State.LastSeq}, nil
}

// ReadOlder implements [eventlog.Store]. All answers come from one leader that has all entries up
// to head, or are confirmed by its answers; see olderSource.
//
// Age, size and purges remove the stream's oldest events, whatever their subject. So while the
// event at the position is there, none after it has been removed that way. If it is also the same
// event, the position is of this history. The position is verified after everything was read. It
// is also verified first, so that a made-up position costs the broker little.
func (s store) ReadOlder(ctx context.Context, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry) (eventlog.Page, error) {
	info, err := s.log.broker.info(ctx, "")
	if err != nil {
		return eventlog.Page{}, err
	}
	if epochOf(info) != q.After.Epoch || info.State.LastSeq < head.Seq {
		return eventlog.Page{}, errLeaderChanged // or recreated: the tail will notice
	}
	page, gap, err := s.readVerified(ctx, q, head, dst, info)
	if err != nil {
		return eventlog.Page{}, err
	}
	if gap != "" {
		page = eventlog.Page{Entries: dst, Through: head, Gap: gap}
	}
	again, err := s.log.broker.info(ctx, "")
	if err != nil {
		return eventlog.Page{}, err
	}
	if !again.Created.Equal(info.Created) || leader(again) != leader(info) {
		return eventlog.Page{}, errLeaderChanged
	}
	return page, nil
}

func (s store) readVerified(ctx context.Context, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry, info *jetstream.StreamInfo) (page eventlog.Page, gap eventlog.GapReason, err error) {
	at, gap, err := s.verify(ctx, q, info)
	if err != nil || gap != "" {
		return page, gap, err
	}
	source := s.log.newOlderSource(&q, info, at, head.Seq)
	page, err = eventlog.ReadSource(ctx, source, q, head, dst)
	s.log.batchesFailed(source.failure)
	if err != nil {
		return page, "", err
	}
	at, gap, err = s.verify(ctx, q, info)
	if err == nil && gap == "" && source.usedReplica && !q.Latest && !isYoung(at, info) {
		err = errTooOldForBatches
	}
	return page, gap, err
}

// verify returns the event at a query's position, or why entries after it may be missing. For the
// position before the first event, it returns the first event.
//
// A query with Latest has no gap if entries were removed. So it returns nil for a position whose
// event is gone, and for the one before the first.
func (s store) verify(ctx context.Context, q eventlog.Query, info *jetstream.StreamInfo) (*eventlog.WindowEntry, eventlog.GapReason, error) {
	at, maxAge := q.After, info.Config.MaxAge
	if q.Latest && at.Seq == 0 {
		return nil, "", nil
	}
	e, err := s.log.broker.get(ctx, at.Epoch, getRequest{Seq: max(at.Seq, 1)})
	switch {
	case errors.Is(err, errNoMessage) && q.Latest:
		return nil, "", nil
	case errors.Is(err, errNoMessage):
		return nil, eventlog.GapTrimmed, nil
	case err != nil:
		return nil, "", err
	case maxAge > 0 && time.Since(e.Time) >= maxAge && !q.Latest: // about to be removed, if it has not been
		return e, eventlog.GapTrimmed, nil
	case at.Seq > 0 && e.At.Check != at.Check:
		return e, eventlog.GapUnknown, nil
	}
	return e, "", nil
}

func leader(info *jetstream.StreamInfo) string {
	if info.Cluster == nil {
		return ""
	}
	return info.Cluster.Leader
}

var _ eventlog.Store = store{}
