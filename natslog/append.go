package natslog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse"
)

const (
	// patience is how long an acknowledgement may take before the event is sent again.
	patience = time.Second
	// pause is between attempts, and how often a lost connection is looked at.
	pause = 50 * time.Millisecond
)

// Append implements [ginsse.Log]. Within ctx it waits for a connection, for the
// broker's acknowledgement, and until this node has seen the event; without a deadline
// [Config.AppendTimeout] bounds it. The event is stored once, however often it had to
// be sent, and one that finds no connection is not queued.
//
// JetStream acknowledges nothing while it elects a leader: 5.6 to 8.5 s were seen when a
// leader crashed. The default timeout outlives that. How long an HTTP request waits is a
// matter of its context. A handler that cannot wait gives Append a shorter deadline, and
// keeps it from ending with the client's connection:
//
//	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*time.Second)
//	defer cancel()
//
// With a short deadline, sends fail during an election. The error is [ErrUnavailable] or
// [ErrNotVisible], and wraps [context.DeadlineExceeded]. After ErrNotVisible the event is
// stored and may still be delivered. After ErrUnavailable it is not known whether the event
// was stored: the caller answers with 503, or appends again and accepts a repeat.
//
// Errors: [ErrUnavailable], [ErrNotVisible], [ErrClosed], that of a ctx that was
// cancelled; [ginsse.ErrInvalidSubject], [ginsse.ErrEventTooLarge], and
// [ginsse.ErrInvalidEvent] for a frame that is not one event in wire form, after which
// nothing was stored; the broker's. A caller who appends again after one of the first
// four may cause a repeat.
func (l *Log) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	if l.closed() {
		return ginsse.Cursor{}, ErrClosed
	}
	to, err := natsSubject(l.cfg.Prefix, subject)
	switch {
	case err != nil:
		return ginsse.Cursor{}, err
	case !isFrame(frame):
		return ginsse.Cursor{}, fmt.Errorf("%w: a frame of %d bytes is not lines of which the last is blank, and no other", ginsse.ErrInvalidEvent, len(frame))
	}
	ctx, cancel := l.cfg.bound(ctx)
	defer cancel()
	l.mu.RLock()
	of := l.recent
	l.mu.RUnlock()
	id := rand.Text()
	ack, err := l.publish(ctx, &nats.Msg{Subject: to, Data: frame}, jetstream.WithMsgID(id))
	if err != nil {
		return ginsse.Cursor{}, err
	}
	return l.await(ctx, of, ack.Sequence, tagOf(id))
}

// publish sends a message until it is acknowledged. It keeps no reference to it.
func (l *Log) publish(ctx context.Context, m *nats.Msg, id jetstream.PublishOpt) (*jetstream.PubAck, error) {
	begun := time.Now()
	for {
		ack, err := l.attempt(ctx, m, id)
		switch {
		case err == nil:
			return ack, nil
		case errors.Is(err, nats.ErrMaxPayload), isCode(err, codeMessageTooLarge):
			return nil, fmt.Errorf("%w: %d bytes: %w", ginsse.ErrEventTooLarge, len(m.Data), err)
		case errors.Is(err, nats.ErrConnectionClosed):
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		case !passes(err):
			return nil, fmt.Errorf("natslog: appending: %w", err)
		case time.Since(begun)+2*patience > l.window:
			// The broker may not know the id any more, and would store it again.
			return nil, fmt.Errorf("%w: appending: %w", ErrUnavailable, err)
		}
		select {
		case <-time.After(pause):
		case <-l.done:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: appending: %w: %w", ErrUnavailable, ctx.Err(), err)
		}
	}
}

func (l *Log) attempt(ctx context.Context, m *nats.Msg, id jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// First: while the client looks for another server, or a connection is dead and it does
	// not know that yet, its methods block.
	if !l.inTouch() {
		return nil, l.unreachable()
	}
	if l.broker.nc.IsClosed() {
		return nil, nats.ErrConnectionClosed
	}
	if !l.broker.nc.IsConnected() {
		return nil, nats.ErrDisconnected // it would keep the event and send it later
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ack, err := l.js.PublishMsg(ctx, m, id, jetstream.WithExpectStream(l.cfg.Stream), jetstream.WithRetryAttempts(0))
	return ack, explain(err)
}

// Codes of the JetStream API that package jetstream does not name.
const (
	codeNoQuorum          = 10008 // of the cluster or of the stream's group
	codeNotLeader         = 10009
	codeMessageTooLarge   = 10054
	codeDuplicateInFlight = 10158
)

func isCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// passes reports whether another attempt may fare better: there was no answer, no
// connection, no leader, or the message is still being stored.
func passes(err error) bool {
	for _, known := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionReconnecting, nats.ErrStaleConnection, jetstream.ErrNoStreamResponse,
		errUnreachable,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.Code == 503 || api.ErrorCode == codeDuplicateInFlight)
}

// waiter waits for the event with a tag. It is sent its position; the zero Cursor if
// another event has its place; and the channel is closed without when events were passed
// over or recent was replaced.
type waiter struct {
	tag     uint32
	reached chan ginsse.Cursor // has room for one
}

var errTakenBack = fmt.Errorf("%w: the stream was recreated or rolled back", ErrNotVisible)

// await returns the position of an event when this node has seen it. Without that the
// caller would be told of an event that Read does not find; so the end of ctx is an
// error, though the event is stored.
func (l *Log) await(ctx context.Context, of *recent, seq uint64, tag uint32) (ginsse.Cursor, error) {
	l.mu.Lock()
	var at ginsse.Cursor
	replaced, seen := l.recent != of, of.head >= seq
	w := waiter{tag, make(chan ginsse.Cursor, 1)}
	switch {
	case replaced:
	case !seen:
		l.waiting[seq] = append(l.waiting[seq], w)
	case seq > of.floor:
		if e := of.at(seq); e != nil {
			at = e.reached(of.epoch, tag)
			replaced = at.IsZero()
		}
	}
	l.mu.Unlock()
	switch {
	case replaced:
		return at, errTakenBack
	case !at.IsZero():
		return at, nil
	case seen:
		return l.seen(ctx, of.epoch, seq)
	}
	select {
	case at, ok := <-w.reached:
		switch {
		case !ok:
			return l.await(ctx, of, seq, tag) // it was passed over, or never comes
		case at.IsZero():
			return at, errTakenBack
		}
		return at, nil
	case <-l.done:
		return at, ErrClosed
	case <-ctx.Done():
		l.mu.Lock()
		if l.waiting[seq] = slices.DeleteFunc(l.waiting[seq], func(other waiter) bool { return other == w }); len(l.waiting[seq]) == 0 {
			delete(l.waiting, seq)
		}
		l.mu.Unlock()
		return at, fmt.Errorf("%w: %w", ErrNotVisible, ctx.Err())
	}
}

// seen returns the position of an event that this node has seen and holds no more.
func (l *Log) seen(ctx context.Context, epoch uint32, seq uint64) (ginsse.Cursor, error) {
	at := ginsse.Cursor{Epoch: epoch, Seq: seq}
	switch e, err := l.broker.get(ctx, epoch, getRequest{Seq: seq}); {
	case errors.Is(err, errNoMessage): // the stream neither; a reader behind it learns that
	case err != nil:
		return ginsse.Cursor{}, fmt.Errorf("%w: %w", ErrNotVisible, err)
	default:
		at.Check = e.check
	}
	return at, nil
}
