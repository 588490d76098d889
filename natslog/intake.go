package natslog

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

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
	l.mu.RLock()
	epoch := l.recent.epoch // recent is replaced only while there is no consumer
	l.mu.RUnlock()
	e := l.broker.entry(epoch, seq, meta.Timestamp, m.Subject(), m.Data())
	e.tag = tagOf(m.Headers().Get(jetstream.MsgIDHeader))
	l.mu.Lock()
	if seq <= l.recent.tip { // it was skipped as gone, and readers were told so
		l.mu.Unlock()
		return nil
	}
	head := l.recent.head
	l.recent.add(e)
	hidden, unexplained := l.recent.hole != 0, l.recent.hole != 0 && l.recent.until == 0
	shown := l.recent.head
	l.reachedLocked(head)
	l.mu.Unlock()
	t.heard.Store(true)
	if unexplained {
		select {
		case t.holes <- struct{}{}:
		default:
		}
	}
	if hidden {
		return nil
	}
	if seq >= t.target {
		l.confirm(meta.NumPending == 0)
	}
	if shown == head+1 {
		l.wake(e.subject, seq)
	} else {
		l.wake("", seq)
	}
	return nil
}

// hiddenAtMost is for how long readers wait for what is behind holes. Then there is a flood
// that does not end.
const hiddenAtMost = time.Second

// examine finds out what a hole in what has come means.
func (t *tail) examine(ctx context.Context, l *Log) error {
	l.mu.RLock()
	hole, end := l.recent.hole, l.recent.holeEnd
	l.mu.RUnlock()
	if hole == 0 {
		return nil
	}
	if t.hole != hole {
		t.hole, t.since = hole, time.Now()
	}
	info, err := t.look(ctx, l, end+1)
	if err != nil {
		return err
	}
	l.mu.Lock()
	r, head := l.recent, l.recent.head
	switch {
	case r.hole != hole:
	case time.Since(t.since) >= hiddenAtMost:
		r.giveUp()
	case r.holeEnd == end: // else there is another, and a call for it
		r.settle(info.State.FirstSeq, info.State.LastSeq, info.Config.MaxMsgsPerSubject-1)
	}
	hidden, shown := r.hole != 0, r.head
	l.reachedLocked(head)
	l.mu.Unlock()
	if hidden {
		return nil
	}
	if shown >= t.target {
		l.confirm(false)
	}
	l.wake("", shown)
	return nil
}

func (l *Log) head() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.recent.head
}

func (l *Log) tip() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.recent.tip
}

// reachedLocked tells who waits for the events behind a sequence, up to the head, that
// they are there.
func (l *Log) reachedLocked(from uint64) {
	switch head := l.recent.head; {
	case head == from:
	case head > from+1:
		l.passedLocked() // they look for themselves
	default:
		if list, ok := l.waiting[head]; ok {
			e := l.recent.at(head) // it is what has come
			if e == nil {          // or was let go of just now, before a hole
				l.passedLocked()
				return
			}
			for _, w := range list {
				w.reached <- e.reached(l.recent.epoch, w.tag)
			}
			delete(l.waiting, head)
		}
	}
}

// passedLocked lets everybody go who waits: what they wait for may not come.
func (l *Log) passedLocked() {
	for seq, list := range l.waiting {
		for _, w := range list {
			close(w.reached)
		}
		delete(l.waiting, seq)
	}
}
