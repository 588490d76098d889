package natslog

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// ackTimeout is how long an acknowledgement may take before the event is sent again.
	ackTimeout = time.Second
	// pause is the time between attempts.
	pause = 50 * time.Millisecond
)

// Append implements [eventlog.Log]. It waits for a connection, for the broker's acknowledgement,
// and until this node has read the event from the stream. The end of ctx ends the wait. If ctx has
// no deadline, [Config.AppendTimeout] is one. The event is stored once, however often it has to be
// sent. Without a connection it is not queued. Of a repeat that has left the stream and the memory,
// the position has no Check: a reader there has a gap.
//
// JetStream acknowledges nothing while it elects a leader. That took 5.6 to 8.5 s in tests in which
// a leader crashed. The default timeout is longer. A handler that cannot wait as long gives Append
// a shorter deadline. It also keeps the end of the client's connection from ending the wait:
//
//	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 2*time.Second)
//	defer cancel()
//
// With a short deadline, appends fail during an election. The error is [eventlog.ErrUnavailable] or
// [eventlog.ErrNotVisible], and wraps [context.DeadlineExceeded]. After ErrNotVisible the event is
// stored and may still be delivered. After ErrUnavailable it is not known whether the event was
// stored: the caller answers with 503, or appends again and accepts a repeat. With a DedupKey there
// is no repeat.
//
// Errors: [eventlog.ErrUnavailable]; [eventlog.ErrNotVisible]; [eventlog.ErrClosed]; that of a ctx
// that was cancelled; the broker's. After one of these, appending again may cause a repeat if the
// record has no DedupKey. After [eventlog.ErrInvalidRecord] and [eventlog.ErrTooLarge] nothing was
// stored.
func (l *Log) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if l.closed() {
		return eventlog.Cursor{}, eventlog.ErrClosed
	}
	if err := r.Check(); err != nil {
		return eventlog.Cursor{}, err
	}
	to, err := natsSubject(l.cfg.Prefix, r.Subject, r.Key)
	if err != nil {
		return eventlog.Cursor{}, err
	}
	id := messageID(&r)
	ctx, cancel := l.cfg.bound(ctx)
	defer cancel()
	generation, epoch := l.window.Generation(), l.window.Tip().Epoch
	ack, err := l.publish(ctx, &nats.Msg{Subject: to, Data: r.Frame}, jetstream.WithMsgID(id))
	if err != nil {
		return eventlog.Cursor{}, err
	}
	at, err := l.window.Wait(ctx, generation, eventlog.Cursor{Epoch: epoch, Seq: ack.Sequence}, tagOf(id))
	if err == nil && at.Check == 0 { // it is not in memory
		return l.position(ctx, at)
	}
	return at, err
}

// messageID returns the id by which the broker recognises a record that it has stored. Records of
// one subject with the same DedupKey have the same id, on all nodes.
func messageID(r *eventlog.Record) string {
	if r.DedupKey == "" {
		return rand.Text()
	}
	// Neither text can hold a zero byte. A hash has a short text form that fits in a header.
	id := sha256.Sum256([]byte(r.Subject + "\x00" + r.DedupKey))
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// position returns the position of an event that is visible and not in memory.
func (l *Log) position(ctx context.Context, at eventlog.Cursor) (eventlog.Cursor, error) {
	switch e, err := l.broker.get(ctx, at.Epoch, getRequest{Seq: at.Seq}); {
	case err == nil:
		return e.At, nil
	case errors.Is(err, errNoMessage): // it has left the stream; a reader before it has a gap
		return at, nil
	default:
		return eventlog.Cursor{}, fmt.Errorf("%w: %w", eventlog.ErrNotVisible, err)
	}
}

// publish sends a message until it is acknowledged. It keeps no reference to the message.
func (l *Log) publish(ctx context.Context, m *nats.Msg, id jetstream.PublishOpt) (*jetstream.PubAck, error) {
	start := time.Now()
	for {
		ack, err := l.attempt(ctx, m, id)
		switch {
		case err == nil:
			return ack, nil
		case errors.Is(err, nats.ErrMaxPayload), isCode(err, codeMessageTooLarge):
			return nil, fmt.Errorf("%w: %d bytes: %w", eventlog.ErrTooLarge, len(m.Data), err)
		case errors.Is(err, nats.ErrConnectionClosed):
			return nil, fmt.Errorf("%w: appending to stream %q: %w", eventlog.ErrUnavailable, l.cfg.Stream, err)
		case !isTemporary(err):
			return nil, fmt.Errorf("natslog: appending: %w", err)
		case time.Since(start)+2*ackTimeout > l.duplicates:
			// The broker may have forgotten the id, and would store the event again.
			return nil, fmt.Errorf("%w: appending to stream %q: %w", eventlog.ErrUnavailable, l.cfg.Stream, err)
		}
		select {
		case <-time.After(pause):
		case <-l.done:
			return nil, eventlog.ErrClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: appending to stream %q: %w: %w", eventlog.ErrUnavailable, l.cfg.Stream, ctx.Err(), err)
		}
	}
}

func (l *Log) attempt(ctx context.Context, m *nats.Msg, id jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Contact is checked first: the connection's methods block while the client looks for another
	// server, or has not noticed yet that the connection is dead.
	if !l.window.HasContact() {
		return nil, l.noAnswer()
	}
	if l.broker.nc.IsClosed() {
		return nil, nats.ErrConnectionClosed
	}
	if !l.broker.nc.IsConnected() {
		return nil, nats.ErrDisconnected // the client would queue the event and send it later
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	ack, err := l.js.PublishMsg(ctx, m, id, jetstream.WithExpectStream(l.cfg.Stream), jetstream.WithRetryAttempts(0))
	return ack, explain(err)
}

// errNoAnswer: the stream has not answered for a while, for the reason that follows.
var errNoAnswer = errors.New("the stream does not answer")

// noAnswer returns why the stream does not answer, as far as the tail knows. It makes no request.
func (l *Log) noAnswer() error {
	if err := l.window.Failure(); err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	return errNoAnswer
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

// isTemporary reports whether another attempt may succeed: there was no answer, no connection or no
// leader, or the message is still being stored.
func isTemporary(err error) bool {
	for _, known := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionReconnecting, nats.ErrStaleConnection, jetstream.ErrNoStreamResponse,
		errNoAnswer,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.Code == 503 || api.ErrorCode == codeDuplicateInFlight)
}
