package ginsse

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse/eventlog"
)

// A TopicOption changes a call of [Registry.Grant] or [Registry.Revoke].
type TopicOption interface{ applyTopic(d *topicData) }

type topicOption func(d *topicData)

func (f topicOption) applyTopic(d *topicData) { f(d) }

// ForStream restricts a grant or a revocation to the stream with this ID. It must be one of the
// user's; see [Stream.ID].
func ForStream(id string) TopicOption {
	return topicOption(func(d *topicData) { d.Stream = id })
}

// A HistoryOption is an option of streams and of grants.
type HistoryOption interface {
	ServeOption
	TopicOption
}

type historyOption string

// WithHistory sends the past of topics first: what followed an event, named by its [Receipt.ID], or
// with "" all that there was. Given to [Registry.Serve] or [Registry.Handler], it is for all topics of
// a stream that starts without a position; given to [Registry.Grant], for the topic granted.
//
// Events of the past carry no ID, so they do not move the client's position. If the log has lost
// some of them, or they are larger than [RegistryConfig.MaxStateBytes], the client gets sse.gap
// instead of them.
func WithHistory(after string) HistoryOption { return historyOption(after) }

func (h historyOption) applyTopic(d *topicData) { d.History = (*string)(&h) }

func (h historyOption) apply(o *streamOptions) error {
	o.preludes.history = (*string)(&h)
	return checkHistory(o.preludes.history)
}

// checkHistory refuses a position that no log gives out.
func checkHistory(after *string) error {
	if after == nil || *after == "" {
		return nil
	}
	if _, err := eventlog.ParseCursor(*after); err != nil {
		return fmt.Errorf("ginsse: WithHistory: %w; pass the ID of an event, or \"\"", err)
	}
	return nil
}

// Grant has all open streams of a user read a topic, on all nodes. They get its events from after
// this call, and none from before; see [WithHistory]. Each of their clients gets the event
// sse.topics, in whose place the topic begins. A stream that reads the topic already, or that has
// 64 topics, does not change.
//
// A grant lasts as long as the stream. When a client opens a stream anew, its handler decides which
// topics it reads. If its last event ID is from before the grant, it gets sse.gap with the reason
// "topics" instead of what it missed: so an old ID shows nothing from before a grant.
//
// Commit first what your own check reads, and then call Grant; or use [Registry.In], which does both
// at once.
//
// Errors: those of [Registry.SendTo]. After an error of the log, call Grant again.
func (r *Registry) Grant(ctx context.Context, userID, topic string, options ...TopicOption) error {
	return r.topicCommand(ctx, userID, grantCommand, topic, options)
}

// Revoke has no open stream of a user read a topic any more, on any node. They get no event of the
// topic from after this call, and their clients get sse.topics. It does not concern streams that
// are opened later: commit first what your own check reads.
//
// Errors: as for [Registry.Grant].
func (r *Registry) Revoke(ctx context.Context, userID, topic string, options ...TopicOption) error {
	return r.topicCommand(ctx, userID, revokeCommand, topic, options)
}

// RevokeTopic is [Registry.Revoke] for all users.
func (r *Registry) RevokeTopic(ctx context.Context, topic string) error {
	b := borrowBuffer()
	defer b.release()
	if err := r.encodeTopicCommand(b, revokeCommand, topic, nil); err != nil {
		return err
	}
	_, err := r.append(ctx, eventlog.Record{Subject: revocationsSubject, Frame: b.bytes})
	return err
}

// Grant is [Registry.Grant] in the transaction. The grant has its place after the commit, in the
// order of the transaction's events.
func (s Sender) Grant(ctx context.Context, userID, topic string, options ...TopicOption) error {
	return s.topicCommand(ctx, commandSubject(userID), userID, grantCommand, topic, options)
}

// Revoke is [Registry.Revoke] in the transaction.
func (s Sender) Revoke(ctx context.Context, userID, topic string, options ...TopicOption) error {
	return s.topicCommand(ctx, commandSubject(userID), userID, revokeCommand, topic, options)
}

// RevokeTopic is [Registry.RevokeTopic] in the transaction.
func (s Sender) RevokeTopic(ctx context.Context, topic string) error {
	return s.topicCommand(ctx, revocationsSubject, "-", revokeCommand, topic, nil)
}

func (s Sender) topicCommand(ctx context.Context, subject, userID, name, topic string, options []TopicOption) error {
	if err := checkName("user ID", userID); err != nil {
		return err
	}
	b := borrowBuffer()
	defer b.release()
	if err := s.r.encodeTopicCommand(b, name, topic, options); err != nil {
		return err
	}
	return s.put(ctx, eventlog.Record{Frame: b.bytes}, subject)
}

func (r *Registry) topicCommand(ctx context.Context, userID, name, topic string, options []TopicOption) error {
	if err := checkName("user ID", userID); err != nil {
		return err
	}
	b := borrowBuffer()
	defer b.release()
	if err := r.encodeTopicCommand(b, name, topic, options); err != nil {
		return err
	}
	_, err := r.append(ctx, eventlog.Record{Subject: commandSubject(userID), Frame: b.bytes})
	return err
}

func (r *Registry) encodeTopicCommand(b *buffer, name, topic string, options []TopicOption) error {
	if err := checkName("topic", topic); err != nil {
		return err
	}
	d := topicData{Topic: topic}
	for _, option := range options {
		option.applyTopic(&d)
	}
	if err := checkHistory(d.History); err != nil {
		return err
	}
	return r.encodeCommand(b, name, d)
}
