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
// head. All answers must come from one leader that has all of it.
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
		gap, err := l.prove(ctx, q, info)
		if err == nil && gap == "" {
			past := &past{&l.broker, q.After.Epoch}
			if page, err = collect(ctx, past, q, page, head, time.Now().Add(pageTime)); err == nil && isOwn(q) {
				info, err = l.broker.info(ctx, "") // prove goes by how the stream begins
			}
			if err == nil {
				gap, err = l.prove(ctx, q, info)
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
// event, that is the first.
func (l *Log) prove(ctx context.Context, q *ginsse.Query, info *jetstream.StreamInfo) (ginsse.GapReason, error) {
	at, maxAge := q.After, info.Config.MaxAge
	e, err := l.broker.get(ctx, at.Epoch, getRequest{Seq: max(at.Seq, 1)})
	switch {
	case errors.Is(err, errNoMessage):
		if isOwn(q) && info.State.FirstSeq < at.Seq {
			return "", nil // the registry has made nothing up, and only another subject lost events
		}
		return ginsse.GapTrimmed, nil
	case err != nil:
		return "", err
	case maxAge > 0 && time.Since(e.at) >= maxAge: // about to go, if it has not
		return ginsse.GapTrimmed, nil
	case at.Seq > 0 && e.check != at.Check:
		return ginsse.GapUnknown, nil
	}
	return "", nil
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

// past is the source of what is not held in memory any more.
type past struct {
	broker *broker
	epoch  uint32
}

// next implements source.
func (p *past) next(ctx context.Context, subject string, after uint64) (*entry, error) {
	for {
		e, err := p.first(ctx, subject, after+1)
		if err != nil || e == nil || len(e.block) > 0 {
			return e, err
		}
		after = e.seq
	}
}

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
