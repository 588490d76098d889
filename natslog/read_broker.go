package natslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse"
)

const (
	// readTimeout bounds a read from the broker, together with what it takes to tell
	// that nothing is missing; pageTime is after when its page counts as full.
	readTimeout = 4 * time.Second
	pageTime    = time.Second
)

// errMoved: another server has become the leader of the stream, and may not hold yet
// what the first did, or hold more.
var errMoved = errors.New("the stream's leader changed meanwhile")

// errAged: the position has become too old for batches while they were read. The next read
// takes none.
var errAged = errors.New("the position has become old meanwhile")

// ask calls read when it is its turn to ask the broker. A registry takes no turn: who signs
// out must not wait for a crowd that comes back.
func (l *Log) ask(ctx context.Context, q *ginsse.Query, read func(ctx context.Context) (ginsse.Page, error)) (ginsse.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if !isOwn(q) {
		select {
		case l.asking <- struct{}{}:
			defer func() { <-l.asking }()
		case <-l.done:
			return ginsse.Page{}, ErrClosed
		case <-ctx.Done():
			return ginsse.Page{}, fmt.Errorf("%w: waiting to read: %w", ErrUnavailable, ctx.Err())
		}
	}
	page, err := read(ctx)
	if err != nil {
		return ginsse.Page{}, fmt.Errorf("%w: reading: %w", ErrUnavailable, err)
	}
	return page, nil
}

// readAhead looks at a position beyond the head. Another node may have given it out,
// and this one not have come so far: the reader waits there.
func (l *Log) readAhead(ctx context.Context, q *ginsse.Query, page ginsse.Page, head ginsse.Cursor) (ginsse.Page, error) {
	return l.ask(ctx, q, func(ctx context.Context) (ginsse.Page, error) {
		info, err := l.broker.info(ctx, "")
		if err != nil {
			return page, err
		}
		if epochOf(info) == q.After.Epoch && info.State.LastSeq < q.After.Seq {
			page.Through, page.Gap = head, ginsse.GapUnknown
		}
		return page, nil
	})
}

// readBroker reads behind a position from before what is held in memory, up to the
// head. All answers come from one leader that has all of it, or are proven by its answers:
// see past.
//
// Age, size and purges take the stream's oldest events, whatever their subject. So as
// long as the event at the position is there, none behind it has gone that way; and
// if it is the same, this is the history that the position is of. It is looked at last,
// when everything else has been read, and also first, so that a position that is made up
// costs the broker little.
func (l *Log) readBroker(ctx context.Context, q *ginsse.Query, page ginsse.Page, head ginsse.Cursor) (ginsse.Page, error) {
	return l.ask(ctx, q, func(ctx context.Context) (ginsse.Page, error) {
		dst := page.Blocks
		info, err := l.broker.info(ctx, "")
		if err != nil {
			return page, err
		}
		if epochOf(info) != q.After.Epoch || info.State.LastSeq < head.Seq {
			return page, errMoved // the tail will see to it
		}
		at, gap, err := l.prove(ctx, q, info)
		if err == nil && gap == "" {
			past := l.newPast(q, info, at, head.Seq)
			if page, err = collect(ctx, past, q, page, head, time.Now().Add(pageTime)); err == nil && isOwn(q) {
				info, err = l.broker.info(ctx, "") // prove goes by how the stream begins
			}
			l.batchesFailed(past.failure)
			if err == nil {
				gap, err = l.proveAgain(ctx, q, info, past)
			}
		}
		switch {
		case err != nil:
			return page, err
		case gap != "":
			page = ginsse.Page{Blocks: dst, Through: head, Gap: gap}
		}
		again, err := l.broker.info(ctx, "")
		if err != nil {
			return page, err
		}
		if !again.Created.Equal(info.Created) || leader(again) != leader(info) {
			return page, errMoved
		}
		return page, nil
	})
}

// prove says whether the event at a position is there, and the same. Before the first
// event, that is the first. It returns the event, which may be missing without a gap.
func (l *Log) prove(ctx context.Context, q *ginsse.Query, info *jetstream.StreamInfo) (*entry, ginsse.GapReason, error) {
	at, maxAge := q.After, info.Config.MaxAge
	e, err := l.broker.get(ctx, at.Epoch, getRequest{Seq: max(at.Seq, 1)})
	switch {
	case errors.Is(err, errNoMessage):
		if isOwn(q) && info.State.FirstSeq < at.Seq {
			return nil, "", nil // the registry has made nothing up, and only another subject lost events
		}
		return nil, ginsse.GapTrimmed, nil
	case err != nil:
		return nil, "", err
	case maxAge > 0 && time.Since(e.at) >= maxAge: // about to go, if it has not
		return e, ginsse.GapTrimmed, nil
	case at.Seq > 0 && e.check != at.Check:
		return e, ginsse.GapUnknown, nil
	}
	return e, "", nil
}

// proveAgain is prove when all has been read.
func (l *Log) proveAgain(ctx context.Context, q *ginsse.Query, info *jetstream.StreamInfo, read *past) (ginsse.GapReason, error) {
	at, gap, err := l.prove(ctx, q, info)
	if err == nil && gap == "" && read.used && !isYoung(at, info) {
		err = errAged
	}
	return gap, err
}

// isOwn reports whether it is the registry that reads: nothing but what registries tell
// each other.
func isOwn(q *ginsse.Query) bool { return len(q.Subjects) == 1 && q.Subjects[0] == subjectControl }

func leader(info *jetstream.StreamInfo) string {
	if info.Cluster == nil {
		return ""
	}
	return info.Cluster.Leader
}
