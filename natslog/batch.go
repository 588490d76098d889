package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

// batchRequest asks for messages from a sequence on, in order: for those of a NATS subject, or for
// the last one of each NATS subject that a filter matches.
type batchRequest struct {
	Seq      uint64   `json:"seq"`
	NextFor  string   `json:"next_by_subj,omitempty"`
	LastFor  []string `json:"multi_last,omitempty"`
	UpTo     uint64   `json:"up_to_seq,omitempty"` // with LastFor, later messages do not count
	Batch    int      `json:"batch"`               // most messages
	MaxBytes int      `json:"max_bytes"`           // the message that reaches the bound is the last
}

// asksFor reports whether a request is for messages of a NATS subject.
func (q *batchRequest) asksFor(subject string) bool {
	if len(q.LastFor) == 0 {
		return subject == q.NextFor
	}
	return slices.ContainsFunc(q.LastFor, func(filter string) bool { return matchesFilter(filter, subject) })
}

// batch is the answer of one replica to a batchRequest.
type batch struct {
	entries []*eventlog.WindowEntry
	// pending is the number of messages of the subject that the replica had from the sequence on,
	// including the entries.
	pending uint64
}

var (
	// errNoBatches: the servers do not answer with a batch in time. NATS 2.10 sends one message.
	errNoBatches = errors.New("the servers send no batches")
	// errBrokenBatch: messages of the answer are missing or out of order, or of another stream.
	errBrokenBatch = errors.New("the batch is not complete")
	// errTooManyForBatch: filters of the request match more NATS subjects than the servers search.
	errTooManyForBatch = errors.New("too many subjects for a batch")
)

// The headers of a message in a batch. Headers of the publisher precede them, and may have the same
// names.
const (
	headerStatus    = "Status"
	headerPending   = "Nats-Num-Pending"
	headerPrevious  = "Nats-Last-Sequence"
	statusNoMessage = "404"
	statusTooMany   = "413"
)

// getBatch asks any replica for events. The replica may lag behind the leader or be
// ahead of it. Each message names the one before it, so a message that is lost between others is
// noticed. The batch may end too early.
//
// Package jetstreamext of synadia-io/orbit.go (v0.3.2) has such a request. It is not used for three
// reasons: it returns no error when the rest of a batch does not arrive, it confuses a publisher's
// headers with the server's, and it uses a wrong subject in a JetStream domain.
func (b *broker) getBatch(ctx context.Context, epoch uint32, q batchRequest) (*batch, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if !b.nc.IsConnected() {
		return nil, nats.ErrDisconnected // the client would queue the request
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	answers := make(chan *nats.Msg, q.Batch+1) // further ones are dropped, which is noticed
	inbox := b.nc.NewInbox()
	subscription, err := b.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = subscription.Unsubscribe() }() // without a connection the broker has dropped it
	if err := b.nc.PublishRequest(b.api+"DIRECT.GET."+b.stream, inbox, body); err != nil {
		return nil, err
	}
	var all batch
	previous := uint64(0)
	for {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errNoBatches, ctx.Err())
		}
		if len(m.Header[jetstream.SequenceHeader]) == 0 { // it is not a message, and ends the batch
			switch status := m.Header.Get(headerStatus); {
			case len(all.entries) > 0, status == statusNoMessage:
				return &all, nil
			case status == statusTooMany:
				return nil, errTooManyForBatch
			default:
				return nil, fmt.Errorf("%w: status %q", errNoBatches, status)
			}
		}
		e, pending, err := b.batched(m, epoch, &q, previous)
		if err != nil {
			return nil, err
		}
		if len(all.entries) == 0 {
			all.pending = pending + 1
		}
		all.entries = append(all.entries, e)
		previous = e.At.Seq
	}
}

// batched returns a message of a batch as an entry, and the number of messages that follow it.
func (b *broker) batched(m *nats.Msg, epoch uint32, q *batchRequest, previous uint64) (*eventlog.WindowEntry, uint64, error) {
	of := func(header string) string { // the server's header, which is the last
		if values := m.Header[header]; len(values) > 0 {
			return values[len(values)-1]
		}
		return ""
	}
	if of(headerPending) == "" {
		return nil, 0, errNoBatches
	}
	pending, err := strconv.ParseUint(of(headerPending), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errBrokenBatch, err)
	}
	seq, err := strconv.ParseUint(of(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errBrokenBatch, err)
	}
	at, err := time.Parse(time.RFC3339Nano, of(jetstream.TimeStampHeaer))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errBrokenBatch, err)
	}
	switch subject := of(jetstream.SubjectHeader); {
	case of(jetstream.StreamHeader) != b.stream: // a mirror has bounds of its own
		return nil, 0, fmt.Errorf("%w: a message is of stream %q", errBrokenBatch, of(jetstream.StreamHeader))
	case !q.asksFor(subject):
		return nil, 0, fmt.Errorf("%w: message %d is of another subject", errBrokenBatch, seq)
	case seq <= previous || of(headerPrevious) != strconv.FormatUint(previous, 10):
		return nil, 0, fmt.Errorf("%w: message %d came after message %d", errBrokenBatch, seq, previous)
	default:
		return b.entry(epoch, seq, at, subject, m.Data), pending, nil
	}
}
