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
)

const (
	// tick is how often an idle tail asks for the stream's last sequence.
	tick = time.Second
	// restart is the pause before a tail that failed starts again.
	restart = 100 * time.Millisecond
	// rolledBack is how long a stream must be seen with less than it had before it is
	// taken for one that was rolled back: a leader just elected may not be done yet.
	rolledBack = 2 * time.Second
	// unused is how long the broker keeps the consumer of a node that has vanished.
	unused = time.Minute
	// heartbeat is how often the broker says that a consumer is idle. The client fails
	// after twice that time without a message: silence is noticed in a second. It takes no
	// shorter one.
	heartbeat = 500 * time.Millisecond
	// farewell bounds the removal of a consumer, which would go by itself.
	farewell = 500 * time.Millisecond
)

// errReconnected: there is another connection to the broker.
var errReconnected = errors.New("the connection was lost and is back")

// tail follows the stream until ctx ends.
func (l *Log) tail(ctx context.Context) {
	defer close(l.done)
	t := tail{holes: make(chan struct{}, 1)}
	defer t.removing.Wait()
	for ctx.Err() == nil {
		if err := t.follow(ctx, l); ctx.Err() == nil {
			l.setTrouble(err)
			if l.reconnect(ctx) && errors.Is(err, context.DeadlineExceeded) {
				l.setTrouble(fmt.Errorf("%w: %w", errNoLeader, err)) // the server answers, and no leader does
			}
		}
		select {
		case <-time.After(restart):
		case <-ctx.Done():
		}
	}
}

// reconnect leaves a server that does not answer. The client would notice in minutes. It
// reports whether the server was asked and has answered.
func (l *Log) reconnect(ctx context.Context) bool {
	nc := l.broker.nc
	if l.inTouch() || !nc.IsConnected() {
		return false
	}
	err := flush(ctx, nc)
	if errors.Is(err, context.DeadlineExceeded) {
		_ = nc.ForceReconnect() // it fails on a connection that was closed
	}
	return err == nil
}

// tail is what the log's one consumer goes by. Its fields are of the tail's goroutine,
// but those of the consumer's callback, which runs while that waits.
type tail struct {
	created time.Time // of the stream
	shrunk  time.Time // when the stream was first seen with less than it had; zero if not
	behind  bool      // the last check found the stream ahead
	stuck   uint64    // of this head

	// target is the stream's last sequence when the consumer was made. Up to it the
	// tail is catching up, and what it sees says nothing about now.
	target    uint64
	delivered uint64      // messages of the consumer; the callback's
	heard     atomic.Bool // a message since the last tick

	hole  uint64        // which keeps readers from what is behind it
	since time.Time     // when it was first looked into
	holes chan struct{} // has room for one: recent has a hole that is not explained

	removing sync.WaitGroup // of consumers
}

// follow has a consumer feed the log until something fails. A consumer is not mended
// but replaced by one that starts behind what is held: whatever was missed comes again.
func (t *tail) follow(ctx context.Context, l *Log) error {
	nc := l.broker.nc
	reconnected := nc.StatusChanged(nats.CONNECTED) // what was under way to a lost connection is lost
	defer nc.RemoveStatusListener(reconnected)
	if err := t.orient(ctx, l); err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	consumer, err := l.js.CreateConsumer(asking, l.cfg.Stream, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       l.tip() + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: unused,
	})
	if err != nil {
		return fmt.Errorf("creating a consumer: %w", err)
	}
	defer t.removing.Go(func() { // it may be on a server that does not answer, and the next one need not wait
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if nc.IsConnected() {
			_ = l.js.DeleteConsumer(ctx, l.cfg.Stream, consumer.CachedInfo().Name)
		}
	})
	failed := make(chan error, 1) // the first failure is kept, for one receiver
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	t.delivered = 0
	if err := t.examine(ctx, l); err != nil { // a hole that the consumer before has found
		return err
	}
	following, err := consumer.Consume(
		func(m jetstream.Msg) {
			if err := t.take(l, m); err != nil {
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
	ticker := time.NewTicker(tick)
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
			if err := t.examine(ctx, l); err != nil {
				return err
			}
		case <-ticker.C:
			if t.heard.Swap(false) {
				continue
			}
			if err := t.check(ctx, l); err != nil {
				return err
			}
		}
	}
}

// check asks for the stream's last sequence: nothing that was lost on the way stays
// unnoticed for longer than two ticks.
func (t *tail) check(ctx context.Context, l *Log) error {
	head := l.tip()
	info, err := t.look(ctx, l, head)
	switch {
	case err != nil:
		return err
	case info.State.LastSeq == head:
		t.behind = false
		if l.head() != head {
			return t.examine(ctx, l)
		}
		l.confirm(true)
		return nil
	case !t.behind || t.stuck != head:
		t.behind, t.stuck = true, head // the rest may be on its way
		return nil
	}
	t.behind = false
	_, err = l.broker.get(ctx, 0, getRequest{Seq: head + 1, NextFor: ">"})
	if !errors.Is(err, errNoMessage) {
		return errors.Join(fmt.Errorf("nothing came behind %d, and the stream ends at %d", head, info.State.LastSeq), err)
	}
	// It ends with events that are gone already.
	l.mu.Lock()
	skips := l.recent.tip == head
	if skips {
		l.recent.skip(info.State.LastSeq, 0)
		l.passedLocked()
	}
	l.mu.Unlock()
	if skips {
		l.confirm(true)
		l.wake("", info.State.LastSeq)
	}
	return nil
}

// look returns the state of the stream, which is the one that is followed and was seen to
// reach a sequence.
func (t *tail) look(ctx context.Context, l *Log, seen uint64) (*jetstream.StreamInfo, error) {
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

// orient makes sure that the stream is the one that recent is of, and starts anew if
// it is not.
func (t *tail) orient(ctx context.Context, l *Log) error {
	info, err := l.broker.info(ctx, "")
	if err != nil {
		t.shrunk = time.Time{}
		return err
	}
	same, err := t.same(ctx, l, info)
	if err != nil {
		return err
	}
	t.created, t.target, t.shrunk, t.behind = info.Created, info.State.LastSeq, time.Time{}, false
	if same {
		return nil
	}
	r, err := l.startRecent(ctx, info)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.confirmed.Store(0) // until it has caught up nobody is told where the head is
	l.recent = r
	l.passedLocked()
	l.mu.Unlock()
	return nil
}

// same says whether the stream still holds what the log has seen: the event at the
// head is there, and the same.
func (t *tail) same(ctx context.Context, l *Log, info *jetstream.StreamInfo) (bool, error) {
	l.mu.RLock()
	epoch, head := l.recent.epoch, l.recent.cursor(l.recent.tip)
	l.mu.RUnlock()
	last := info.State.LastSeq
	switch {
	case epoch != epochOf(info):
		return false, nil
	case last < head.Seq:
		if t.shrunk.IsZero() {
			t.shrunk = time.Now()
		}
		if time.Since(t.shrunk) < rolledBack {
			return false, fmt.Errorf("the stream ends at %d and has been at %d", last, head.Seq)
		}
		return false, nil
	case head.Seq == 0:
		return true, nil
	}
	switch e, err := l.broker.get(ctx, epoch, getRequest{Seq: head.Seq}); {
	case errors.Is(err, errNoMessage):
		return last == head.Seq, nil // gone by age, perhaps; nothing has come since
	case err != nil:
		return false, err
	default:
		return e.check == head.Check || head.Check == 0, nil
	}
}

// startRecent returns an empty recent that starts as far back as it will hold, so that
// clients who come back to a node that was restarted need not be read for from the
// broker.
func (l *Log) startRecent(ctx context.Context, info *jetstream.StreamInfo) (*recent, error) {
	state, limit := &info.State, l.cfg.RecentBytes
	if most := info.Config.MaxBytes; most > 0 {
		limit = int(min(int64(limit), most)) // what the stream has let go of is not kept here
	}
	first := state.LastSeq + 1
	if state.Msgs > 0 {
		count := uint64(limit)/(state.Bytes/state.Msgs+entryOverhead) + 1
		first = max(state.FirstSeq, first-min(first-1, count))
	}
	r := &recent{
		epoch:      epochOf(info),
		limit:      limit,
		perSubject: info.Config.MaxMsgsPerSubject - 1, // see Config.streamConfig
		maxAge:     info.Config.MaxAge,
	}
	var check uint32
	if first > 1 {
		switch e, err := l.broker.get(ctx, r.epoch, getRequest{Seq: first - 1}); {
		case err == nil:
			check = e.check
		case !errors.Is(err, errNoMessage):
			return nil, err
		}
	}
	r.skip(first-1, check)
	return r, nil
}

// confirm notes that the tail is in touch, and perhaps that it has seen all there is.
func (l *Log) confirm(level bool) {
	now := l.now()
	before := l.confirmed.Swap(now)
	if level {
		l.level.Store(now)
	}
	l.setTrouble(nil)
	if before == 0 || l.now()-before >= int64(touch) { // somebody may have found no touch
		l.start.Do(func() { close(l.started) })
		l.wake("", l.head()) // what came meanwhile was not read
	}
}
