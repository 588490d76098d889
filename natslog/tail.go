package natslog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// checkInterval is how often an idle tail asks for the stream's last sequence.
	checkInterval = time.Second
	// restartPause is the pause before a tail that failed starts again.
	restartPause = 100 * time.Millisecond
	// rollbackTimeout is how long a stream must be shorter than it was before that counts as a
	// rollback: a leader that was just elected may not have applied everything yet.
	rollbackTimeout = 2 * time.Second
	// inactiveThreshold is how long the broker keeps the consumer of a node that has vanished.
	inactiveThreshold = time.Minute
	// heartbeat is how often the broker says that a consumer is idle. The client fails after twice
	// that time without a message, so silence is noticed within 1 s. The client accepts no shorter
	// one.
	heartbeat = 500 * time.Millisecond
	// deleteTimeout bounds the deletion of a consumer, which the broker would remove in the end.
	deleteTimeout = 500 * time.Millisecond
)

// errReconnected: the connection to the broker is another one.
var errReconnected = errors.New("the connection was lost and is back")

// tail reads the stream into the window through one consumer. Its fields belong to the tail's
// goroutine, except those of the consumer's callback.
type tail struct {
	created    time.Time // of the stream
	shortSince time.Time // when the stream was first seen shorter than it was; zero if it is not
	perSubject int64     // the stream's bound, as the window has it

	behind   bool   // the last check found the stream ahead of the window
	behindAt uint64 // the window's tip at that check

	// target is the stream's last sequence when the consumer was created. Up to there the tail is
	// catching up, and its messages do not show that the node has contact now.
	target    uint64
	delivered uint64      // messages of the consumer; the callback's
	received  atomic.Bool // a message arrived since the last tick

	hole      uint64        // first sequence of the hole that was looked at last
	holeSince time.Time     // when it was first looked at
	holes     chan struct{} // has room for one: there is a hole to decide on

	deleting sync.WaitGroup // of consumers
}

// tail follows the stream until ctx ends.
func (l *Log) tail(ctx context.Context) {
	defer close(l.done)
	t := tail{holes: make(chan struct{}, 1)}
	defer t.deleting.Wait()
	for ctx.Err() == nil {
		if err := t.follow(ctx, l); ctx.Err() == nil {
			if l.window.Failure() == nil {
				l.window.NoteFailure(err) // there may be more to say in a moment
			}
			if l.reconnect(ctx) && errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%w: %w", errNoLeader, err) // the server answers, and no leader does
			}
			l.window.NoteFailure(err)
		}
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
		}
	}
}

// reconnect forces a reconnect if the server does not answer. The client itself would notice after
// minutes. It reports whether the server was asked and has answered.
func (l *Log) reconnect(ctx context.Context) bool {
	nc := l.broker.nc
	if l.window.HasContact() || !nc.IsConnected() {
		return false
	}
	err := flush(ctx, nc)
	if errors.Is(err, context.DeadlineExceeded) {
		_ = nc.ForceReconnect() // it fails on a connection that was closed
	}
	return err == nil
}

// follow feeds the window from a consumer until something fails. A failed consumer is not repaired
// but replaced by one that starts after the window's tip, so what was lost is sent again.
func (t *tail) follow(ctx context.Context, l *Log) error {
	nc := l.broker.nc
	reconnected := nc.StatusChanged(nats.CONNECTED) // messages on the way to a lost connection are lost
	defer nc.RemoveStatusListener(reconnected)
	if err := t.resync(ctx, l); err != nil {
		return err
	}
	consumer, err := t.createConsumer(ctx, l)
	if err != nil {
		return err
	}
	defer t.deleting.Go(func() { // its server may not answer, and the next consumer does not wait
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		if nc.IsConnected() {
			_ = l.js.DeleteConsumer(ctx, l.cfg.Stream, consumer.CachedInfo().Name)
		}
	})
	failed := make(chan error, 1) // the first failure is kept
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	t.delivered = 0
	if err := t.decideHole(ctx, l); err != nil { // a hole that the previous consumer has found
		return err
	}
	following, err := consumer.Consume(
		func(m jetstream.Msg) {
			if err := t.receive(l, m); err != nil {
				fail(err)
			}
		},
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { fail(err) }),
		jetstream.PullExpiry(10*time.Second),
		jetstream.PullHeartbeat(heartbeat),
	)
	if err != nil {
		return fmt.Errorf("consuming: %w", err)
	}
	defer func() {
		following.Stop()
		<-following.Closed() // the callback has returned
	}()
	if err := t.check(ctx, l); err != nil {
		return err
	}
	ticker := time.NewTicker(checkInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-reconnected:
			return errReconnected
		case <-t.holes:
			if err := t.decideHole(ctx, l); err != nil {
				return err
			}
		case <-ticker.C:
			if t.received.Swap(false) {
				continue
			}
			if err := t.check(ctx, l); err != nil {
				return err
			}
		}
	}
}

func (t *tail) createConsumer(ctx context.Context, l *Log) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	consumer, err := l.js.CreateConsumer(ctx, l.cfg.Stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       l.window.Tip().Seq + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: inactiveThreshold,
	})
	if err != nil {
		return nil, fmt.Errorf("creating a consumer: %w", err)
	}
	return consumer, nil
}

// receive adds a message to the window. It runs on the consumer's goroutine.
func (t *tail) receive(l *Log, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != t.delivered+1 {
		return fmt.Errorf("message %d of the consumer came after message %d", meta.Sequence.Consumer, t.delivered)
	}
	t.delivered++
	seq := meta.Sequence.Stream
	tip := l.window.Tip() // of the epoch: the window is reset only while there is no consumer
	if seq <= tip.Seq {
		return nil // it was skipped as gone
	}
	e := l.broker.entry(tip.Epoch, seq, meta.Timestamp, m.Subject(), m.Data())
	e.Tag = tagOf(m.Headers().Get(jetstream.MsgIDHeader))
	l.window.NoteLast(seq + meta.NumPending) // or later: some numbers may have no event
	hole := l.window.Add(e)
	t.received.Store(true)
	if hole {
		select {
		case t.holes <- struct{}{}:
		default:
		}
	}
	if seq >= t.target && l.window.Visible().Seq == seq {
		l.confirm(meta.NumPending == 0)
	}
	return nil
}

// hiddenAtMost is how long a hole may hide events from readers. After that, a flood of events keeps
// removing events before they reach this node.
const hiddenAtMost = time.Second

// decideHole finds out what a hole in the window means.
func (t *tail) decideHole(ctx context.Context, l *Log) error {
	hole := l.window.Hole()
	if hole.First == 0 {
		return nil
	}
	if t.hole != hole.First {
		t.hole, t.holeSince = hole.First, time.Now()
	}
	info, err := t.info(ctx, l, hole.Last+1)
	if err != nil {
		return err
	}
	if t.removedByCount(hole, info) && time.Since(t.holeSince) < hiddenAtMost {
		l.window.ResolveHole(hole, info.State.LastSeq)
	} else {
		t.perSubject = info.Config.MaxMsgsPerSubject - 1
		l.window.SetEntriesPerSubject(t.perSubject)
		l.window.GiveUpHole(hole)
	}
	if visible := l.window.Visible().Seq; visible >= t.target && visible == l.window.Tip().Seq {
		l.confirm(false)
	}
	return nil
}

// removedByCount reports whether the events of a hole can only have left the stream by its bound
// for a subject. That is so if the stream still begins before the hole: then neither age, nor size,
// nor a purge has reached the hole. A replica may remove old events by its own clock before the
// event that shows this, so that event must not be old. The bound must be the one that the window
// has.
func (t *tail) removedByCount(hole eventlog.Hole, info *jetstream.StreamInfo) bool {
	maxAge := info.Config.MaxAge
	young := maxAge <= 0 || !hole.Before.IsZero() && time.Since(hole.Before) < maxAge/4*3
	perSubject := info.Config.MaxMsgsPerSubject - 1
	return info.State.FirstSeq < hole.First && perSubject > 0 && perSubject == t.perSubject && young
}

// check asks for the stream's last sequence. A message that was lost on its way is noticed within
// two intervals.
func (t *tail) check(ctx context.Context, l *Log) error {
	tip := l.window.Tip().Seq
	info, err := t.info(ctx, l, tip)
	if err != nil {
		return err
	}
	l.window.NoteLast(info.State.LastSeq)
	switch {
	case info.State.LastSeq == tip:
		t.behind = false
		if l.window.Visible().Seq != tip {
			return t.decideHole(ctx, l)
		}
		l.confirm(true)
		return nil
	case !t.behind || t.behindAt != tip:
		t.behind, t.behindAt = true, tip // the rest may be on its way
		return nil
	}
	t.behind = false
	_, err = l.broker.get(ctx, 0, getRequest{Seq: tip + 1, NextFor: ">"})
	if !errors.Is(err, errNoMessage) {
		return errors.Join(fmt.Errorf("nothing came after %d, and the stream ends at %d", tip, info.State.LastSeq), err)
	}
	// The stream ends with sequences whose events are gone.
	if l.window.SkipTo(tip, info.State.LastSeq) {
		l.confirm(true)
	}
	return nil
}

// info returns the state of the stream. It is an error if the stream was recreated, or does not
// reach a sequence that was seen.
func (t *tail) info(ctx context.Context, l *Log, seen uint64) (*jetstream.StreamInfo, error) {
	info, err := l.broker.info(ctx, "")
	switch {
	case err != nil:
		return nil, err
	case !info.Created.Equal(t.created):
		return nil, errors.New("the stream was recreated")
	case info.State.LastSeq < seen:
		return nil, fmt.Errorf("the stream ends at %d and has been at %d", info.State.LastSeq, seen)
	}
	return info, nil
}

// resync resets the window if the stream is not the one that the window is of.
func (t *tail) resync(ctx context.Context, l *Log) error {
	info, err := l.broker.info(ctx, "")
	if err != nil {
		t.shortSince = time.Time{}
		return err
	}
	same, err := t.isSame(ctx, l, info)
	if err != nil {
		return err
	}
	t.created, t.target, t.shortSince, t.behind = info.Created, info.State.LastSeq, time.Time{}, false
	if !same {
		if err := t.reset(ctx, l, info); err != nil {
			return err
		}
	}
	l.window.NoteLast(info.State.LastSeq)
	return nil
}

// isSame reports whether the stream still holds what the window has: the event at the tip is
// there, and is the same one.
func (t *tail) isSame(ctx context.Context, l *Log, info *jetstream.StreamInfo) (bool, error) {
	tip, last := l.window.Tip(), info.State.LastSeq
	switch {
	case tip.Epoch != epochOf(info):
		return false, nil
	case last < tip.Seq:
		if t.shortSince.IsZero() {
			t.shortSince = time.Now()
		}
		if time.Since(t.shortSince) < rollbackTimeout {
			return false, fmt.Errorf("the stream ends at %d and has been at %d", last, tip.Seq)
		}
		return false, nil
	case tip.Seq == 0:
		return true, nil
	}
	switch e, err := l.broker.get(ctx, tip.Epoch, getRequest{Seq: tip.Seq}); {
	case errors.Is(err, errNoMessage):
		return last == tip.Seq, nil // it is gone, perhaps by age, and nothing followed it
	case err != nil:
		return false, err
	default:
		return e.At.Check == tip.Check || tip.Check == 0, nil
	}
}

// reset has the window begin as far back as its memory reaches. So clients of a node that was
// restarted resume from memory.
func (t *tail) reset(ctx context.Context, l *Log, info *jetstream.StreamInfo) error {
	state := &info.State
	bounds := eventlog.WindowBounds{
		Bytes:             l.cfg.RecentBytes,
		EntriesPerSubject: info.Config.MaxMsgsPerSubject - 1, // see Config.streamConfig
		MaxAge:            info.Config.MaxAge,
	}
	if most := info.Config.MaxBytes; most > 0 {
		bounds.Bytes = int(min(int64(bounds.Bytes), most)) // the stream keeps no more
	}
	first := state.LastSeq + 1
	if state.Msgs > 0 {
		count := uint64(bounds.Bytes)/(state.Bytes/state.Msgs+eventlog.WindowEntryOverhead) + 1
		first = max(state.FirstSeq, first-min(first-1, count))
	}
	start := eventlog.Cursor{Epoch: epochOf(info), Seq: first - 1}
	if start.Seq > 0 {
		switch e, err := l.broker.get(ctx, start.Epoch, getRequest{Seq: start.Seq}); {
		case err == nil:
			start = e.At
		case !errors.Is(err, errNoMessage):
			return err
		}
	}
	t.perSubject = bounds.EntriesPerSubject
	l.window.Reset(start, bounds)
	return nil
}
