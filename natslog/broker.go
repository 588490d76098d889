package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

// broker sends requests to the leader of the stream. Package jetstream would ask any replica.
type broker struct {
	nc     *nats.Conn
	api    string // prefix of the subjects of requests
	stream string
	prefix string
	logger *slog.Logger

	warned sync.Once // about a message that is not an event
}

// entry returns a message as an entry, whether it came from the consumer or by a request. The entry
// of a message that is not one event in wire form has no block: it keeps its place in the order and
// is not delivered.
func (b *broker) entry(epoch uint32, seq uint64, at time.Time, subject string, frame []byte) *eventlog.WindowEntry {
	of, key := logSubject(b.prefix, subject)
	e := newEntry(epoch, seq, at, eventlog.Record{Subject: of, Key: key, Frame: frame})
	if len(e.Block) == 0 {
		b.warned.Do(func() {
			b.logger.Warn("a message in the stream is not an event and is not delivered; further ones are not logged",
				slog.String("stream", b.stream), slog.String("subject", subject), slog.Uint64("seq", seq))
		})
	}
	return e
}

// requestTimeout bounds one request.
const requestTimeout = time.Second

// errNoMessage: there is no such message in the stream.
var errNoMessage = errors.New("no such message")

// getRequest asks for the message at a sequence, for the first one of a NATS subject from there on,
// or for the last one of a NATS subject.
type getRequest struct {
	Seq     uint64 `json:"seq,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
}

// get returns an event as an entry, or errNoMessage.
func (b *broker) get(ctx context.Context, epoch uint32, q getRequest) (*eventlog.WindowEntry, error) {
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
	answer, err := b.infoPage(ctx, infoRequest{Filter: subject})
	if err != nil {
		return nil, err
	}
	return &answer.StreamInfo, nil
}

// subjects returns the NATS subjects that a filter matches, of which the stream has messages.
func (b *broker) subjects(ctx context.Context, filter string) (list []string, err error) {
	for {
		answer, err := b.infoPage(ctx, infoRequest{filter, len(list)})
		if err != nil {
			return nil, err
		}
		list = slices.AppendSeq(list, maps.Keys(answer.State.Subjects))
		if len(answer.State.Subjects) == 0 || len(list) >= answer.Total {
			return list, nil
		}
	}
}

// infoRequest asks for the state of the stream, and of the NATS subjects that a filter matches if
// it is not "". An answer has 100,000 subjects at most.
type infoRequest struct {
	Filter string `json:"subjects_filter,omitempty"`
	Offset int    `json:"offset,omitempty"`
}

type infoAnswer struct {
	jetstream.StreamInfo

	Error *jetstream.APIError `json:"error"`
	Total int                 `json:"total"` // NATS subjects that the filter matches
}

func (b *broker) infoPage(ctx context.Context, q infoRequest) (*infoAnswer, error) {
	var answer infoAnswer
	if err := b.request(ctx, "STREAM.INFO.", q, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, explain(answer.Error)
	}
	if err := checkLeader(answer.Cluster); err != nil {
		return nil, err
	}
	return &answer, nil
}

// checkLeader returns an error if the server that answered is partitioned from the others. Such a
// server continues to answer and knows nothing new: without end as a replica without a leader, and
// for 20 s as the old leader.
func checkLeader(c *jetstream.ClusterInfo) error {
	if c == nil { // there are no others
		return nil
	}
	if c.Leader == "" {
		return errNoLeader
	}
	connected := 1 // the leader itself
	for _, other := range c.Replicas {
		// Active is also 0 for a server of which the leader never had a message. It is not current.
		answers := other.Active > 0 && other.Active < maxSilence || other.Active == 0 && other.Current
		if answers && !other.Offline {
			connected++
		}
	}
	if 2*connected <= 1+len(c.Replicas) {
		return errNoLeader
	}
	return nil
}

// maxSilence is how long a leader may have had no message of another server that counts as
// connected. Servers send one every second.
const maxSilence = 3 * time.Second

// errNoLeader: no server that reaches a majority of the stream's servers answers.
var errNoLeader = errors.New("the stream has no leader that reaches most of its servers")

// explain wraps errNoLeader around an error that means it.
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
		return nats.ErrDisconnected // the client would queue the request
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

// flush returns nil if the server that the node is connected to answers.
func flush(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return nc.FlushWithContext(ctx)
}

// epochOf returns a hash of the stream's identity. A stream that was recreated has another.
func epochOf(info *jetstream.StreamInfo) uint32 {
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%s %d", info.Config.Name, info.Created.UnixNano())
	return max(h.Sum32(), 1) // never 0, so that no cursor is the zero Cursor
}
