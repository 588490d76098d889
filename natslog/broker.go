package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// broker asks the leader of the stream. Package jetstream would ask any replica.
type broker struct {
	nc     *nats.Conn
	api    string // begins the subjects of requests
	stream string
	prefix string
	logger *slog.Logger

	refused sync.Once // a frame, which is logged
}

// entry is where all messages of the broker come in, by the consumer and by requests. A
// message that is not one event in wire form stays in its place as an entry that has no
// block, and is not delivered.
func (b *broker) entry(epoch uint32, seq uint64, at time.Time, subject string, frame []byte) *entry {
	e := newEntry(epoch, seq, at, logSubject(b.prefix, subject), frame)
	if len(e.block) == 0 {
		b.refused.Do(func() {
			b.logger.Warn("a message in the stream is no event and is not delivered; further ones are not logged",
				slog.String("stream", b.stream), slog.String("subject", subject), slog.Uint64("seq", seq))
		})
	}
	return e
}

// requestTimeout bounds one request. A tail that gets no answer within it has lost touch.
const requestTimeout = time.Second

// errNoMessage: there is no such message in the stream.
var errNoMessage = errors.New("no such message")

// getRequest asks for the message at a sequence, or for the first of a NATS subject at
// or behind it.
type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
}

// get returns an event as an entry, or errNoMessage.
func (b *broker) get(ctx context.Context, epoch uint32, q getRequest) (*entry, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := b.request(ctx, "STREAM.MSG.GET.", q, &answer); err != nil {
		return nil, err
	}
	switch m := answer.Message; {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, errNoMessage
	case answer.Error != nil:
		return nil, explain(answer.Error)
	case m == nil:
		return nil, jetstream.ErrInvalidJetStreamResponse
	default:
		return b.entry(epoch, m.Seq, m.Time, m.Subject, m.Data), nil
	}
}

// info returns the state of the stream, and of one NATS subject if it is not "".
func (b *broker) info(ctx context.Context, subject string) (*jetstream.StreamInfo, error) {
	q := struct {
		Subject string `json:"subjects_filter,omitempty"`
	}{subject}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.StreamInfo
	}
	if err := b.request(ctx, "STREAM.INFO.", q, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, explain(answer.Error)
	}
	if err := led(answer.Cluster); err != nil {
		return nil, err
	}
	return &answer.StreamInfo, nil
}

// led refuses what a server says that is cut off from the others. It goes on answering,
// for ever as a replica that follows nobody and for 20 s as the old leader, and knows
// nothing new.
func led(c *jetstream.ClusterInfo) error {
	if c == nil { // there are no others
		return nil
	}
	if c.Leader == "" {
		return errNoLeader
	}
	heard := 1
	for _, other := range c.Replicas {
		if !other.Offline && other.Active < quiet {
			heard++
		}
	}
	if 2*heard <= 1+len(c.Replicas) {
		return errNoLeader
	}
	return nil
}

// quiet is how long a leader may not have heard from another server that is there: they
// speak every second.
const quiet = 3 * time.Second

// errNoLeader: no server answers for most of those that hold the stream.
var errNoLeader = errors.New("the stream has no leader that reaches most of its servers")

// explain says of an answer that means so that there is no leader.
func explain(err error) error {
	if errors.Is(err, jetstream.ErrNoStreamResponse) || isCode(err, codeNoQuorum) || isCode(err, codeNotLeader) {
		return fmt.Errorf("%w: %w", errNoLeader, err)
	}
	return err
}

func (b *broker) request(ctx context.Context, kind string, q, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	switch {
	case b.nc.IsClosed():
		return nats.ErrConnectionClosed
	case !b.nc.IsConnected():
		return nats.ErrDisconnected // it would wait in the client's buffer
	}
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	m, err := b.nc.RequestWithContext(ctx, b.api+kind+b.stream, body)
	if err != nil {
		return fmt.Errorf("asking the leader of stream %q: %w", b.stream, err)
	}
	return json.Unmarshal(m.Data, answer)
}

// flush returns nil if the node's server answers.
func flush(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return nc.FlushWithContext(ctx)
}

// epochOf identifies a stream: one that was recreated has another.
func epochOf(info *jetstream.StreamInfo) uint32 {
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%s %d", info.Config.Name, info.Created.UnixNano())
	return max(h.Sum32(), 1) // never 0, so that no cursor is the zero Cursor
}
