package natslog

import (
	"context"
	"errors"
	"fmt"
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
	// farewell bounds the removal of a consumer, which would go by itself.
	farewell = 500 * time.Millisecond
)

// errReconnected: there is another connection to the broker.
var errReconnected = errors.New("the connection was lost and is back")

// tail follows the stream until ctx ends.
func (l *Log) tail(ctx context.Context) {
	defer close(l.done)
	var t tail
	for ctx.Err() == nil {
		if err := t.follow(ctx, l); ctx.Err() == nil {
			l.setTrouble(err)
		}
		select {
		case <-time.After(restart):
		case <-ctx.Done():
		}
	}
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
}

// follow has a consumer feed the log until something fails. A consumer is not mended
// but replaced by one that starts behind the head: whatever was missed comes again.
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
		OptStartSeq:       l.head() + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: unused,
	})
	if err != nil {
		return fmt.Errorf("creating a consumer: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if nc.IsConnected() {
			_ = l.js.DeleteConsumer(ctx, l.cfg.Stream, consumer.CachedInfo().Name)
		}
	}()
	failed := make(chan error, 1) // the first failure is kept, for one receiver
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	t.delivered = 0
	following, err := consumer.Consume(
		func(m jetstream.Msg) {
			if err := t.take(l, m); err != nil {
				fail(err)
			}
		},
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { fail(err) }),
		jetstream.PullExpiry(10*time.Second),
		jetstream.PullHeartbeat(time.Second),
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

// take puts a message into the log. It runs on the consumer's goroutine.
func (t *tail) take(l *Log, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	if meta.Sequence.Consumer != t.delivered+1 {
		return fmt.Errorf("message %d of the consumer came after message %d", meta.Sequence.Consumer, t.delivered)
	}
	t.delivered++
	seq := meta.Sequence.Stream
	l.mu.Lock()
	if seq <= l.recent.head { // it was skipped as gone, and readers were told so
		l.mu.Unlock()
		return nil
	}
	e := newEntry(l.recent.epoch, seq, meta.Timestamp, logSubject(l.cfg.Prefix, m.Subject()), m.Data())
	hole := seq != l.recent.head+1
	l.recent.add(e)
	if l.reachedLocked(); hole {
		l.passedLocked()
	}
	l.mu.Unlock()
	if t.heard.Store(true); seq >= t.target {
		l.confirm(meta.NumPending == 0)
	}
	if hole {
		l.wake("", seq)
	} else {
		l.wake(e.subject, seq)
	}
	return nil
}

// check asks for the stream's last sequence: nothing that was lost on the way stays
// unnoticed for longer than two ticks.
func (t *tail) check(ctx context.Context, l *Log) error {
	head := l.head()
	info, err := l.broker.info(ctx, "")
	switch {
	case err != nil:
		return err
	case !info.Created.Equal(t.created):
		return errors.New("the stream was recreated")
	case info.State.LastSeq < head:
		return fmt.Errorf("the stream ends at %d and has been at %d", info.State.LastSeq, head)
	case info.State.LastSeq == head:
		t.behind = false
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
	if l.recent.head == head {
		l.recent.skip(info.State.LastSeq, 0)
		l.passedLocked()
	}
	l.mu.Unlock()
	l.confirm(true)
	l.wake("", info.State.LastSeq)
	return nil
}

// orient makes sure that the stream is the one that recent is of, and starts anew if
// it is not.
func (t *tail) orient(ctx context.Context, l *Log) error {
	info, err := l.broker.info(ctx, "")
	if err != nil {
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
	epoch, head := l.recent.epoch, l.recent.cursor(l.recent.head)
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
	was := l.inTouch()
	now := l.now()
	if l.confirmed.Store(now); level {
		l.level.Store(now)
	}
	l.setTrouble(nil)
	if !was {
		l.start.Do(func() { close(l.started) })
		l.wake("", l.head()) // what came meanwhile was not read
	}
}

func (l *Log) head() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.recent.head
}

// reachedLocked tells who waits for the event at the head that it is there.
func (l *Log) reachedLocked() {
	head := l.recent.head
	if reached, ok := l.waiting[head]; ok {
		reached <- l.recent.cursor(head)
		delete(l.waiting, head)
	}
}

// passedLocked lets everybody go who waits: what they wait for may not come.
func (l *Log) passedLocked() {
	for seq, reached := range l.waiting {
		close(reached)
		delete(l.waiting, seq)
	}
}
