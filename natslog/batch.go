package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// batchRequest asks for the messages of a NATS subject from a sequence on, in order.
type batchRequest struct {
	Seq      uint64 `json:"seq"`
	NextFor  string `json:"next_by_subj"`
	Batch    int    `json:"batch"`     // the most messages
	MaxBytes int    `json:"max_bytes"` // the message that reaches it is the last
}

// batch is the answer of one replica.
type batch struct {
	entries []*entry
	// pending is how many messages of the subject the replica had from the sequence on,
	// including the entries.
	pending uint64
}

var (
	// errNoBatches: the servers do not answer a batched get in time. NATS 2.10 sends one
	// message.
	errNoBatches = errors.New("the servers send no batches")
	// errBrokenBatch: the answer is not what one replica sent, or not of this stream.
	errBrokenBatch = errors.New("the batch is not complete")
)

// The headers of a message in a batch. Those of the publisher stand before them, and may
// have the same names.
const (
	headerStatus    = "Status"
	headerPending   = "Nats-Num-Pending"
	headerPrevious  = "Nats-Last-Sequence"
	statusNoMessage = "404"
)

// getBatch asks any replica for events of one subject. The replica may lag behind the
// leader or run ahead of it. Each message names the one before it, so that one that is lost
// between others is noticed. The batch may end too early.
//
// Package jetstreamext of synadia-io/orbit.go (v0.3.2) has such a request. It is not used
// because it ends without an error when the rest of a batch does not come, takes a
// publisher's headers for the server's, and asks under a wrong subject in a JetStream domain.
func (b *broker) getBatch(ctx context.Context, epoch uint32, q batchRequest) (*batch, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if !b.nc.IsConnected() {
		return nil, nats.ErrDisconnected // the request would wait in the client's buffer
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	answers := make(chan *nats.Msg, q.Batch+1) // more are dropped, which is noticed
	inbox := b.nc.NewInbox()
	subscription, err := b.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = subscription.Unsubscribe() }() // without a connection the broker has forgotten it
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
		if len(m.Header[jetstream.SequenceHeader]) == 0 { // it is no message, and ends the batch
			if status := m.Header.Get(headerStatus); len(all.entries) == 0 && status != statusNoMessage {
				return nil, fmt.Errorf("%w: status %q", errNoBatches, status)
			}
			return &all, nil
		}
		e, pending, err := b.batched(m, epoch, q.NextFor, previous)
		if err != nil {
			return nil, err
		}
		if len(all.entries) == 0 {
			all.pending = pending + 1
		}
		all.entries = append(all.entries, e)
		previous = e.seq
	}
}

// batched returns a message of a batch as an entry, and how many follow it.
func (b *broker) batched(m *nats.Msg, epoch uint32, subject string, previous uint64) (*entry, uint64, error) {
	of := func(header string) string { // the server's, which is the last
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
	switch {
	case of(jetstream.StreamHeader) != b.stream: // a mirror has bounds of its own
		return nil, 0, fmt.Errorf("%w: it is of stream %q", errBrokenBatch, of(jetstream.StreamHeader))
	case of(jetstream.SubjectHeader) != subject:
		return nil, 0, fmt.Errorf("%w: message %d is of another subject", errBrokenBatch, seq)
	case seq <= previous || of(headerPrevious) != strconv.FormatUint(previous, 10):
		return nil, 0, fmt.Errorf("%w: message %d came behind message %d", errBrokenBatch, seq, previous)
	}
	return b.entry(epoch, seq, at, subject, m.Data), pending, nil
}
