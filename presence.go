package ginsse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"unicode/utf8"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/presence"
)

// Member is a user who is present at a topic.
type Member struct {
	UserID string `json:"user"`
	// Value is the JSON that [WithPresence] returned for the user's latest stream, on any node.
	Value json.RawMessage `json:"value,omitempty"`
}

// WithPresence makes the user present at topics of the stream, on all nodes. value returns what others
// see of the user at a topic: anything that marshals to JSON of at most 512 bytes, such as a name. With
// nil the user is not present there. See [Registry.Present].
//
// value is called for each topic before the stream opens, on the handler's goroutine, and again for a
// topic that the stream gets later, on another goroutine. It must not block, and must not use the
// *gin.Context: take what it needs before. If it panics or returns what is not valid before the stream
// opens, the stream is refused with [ErrInvalidPresence]; later, the user is not present at the topic,
// which is logged.
//
// All streams that read a topic get these events, whether their users are present or not. They have
// no ID and are not kept:
//
//	sse.present  {"topic": topic, "count": number, "users": [{"user": user ID, "value": value}, ...]}
//	sse.join     {"topic": topic, "user": user ID, "value": value, "count": number}
//	sse.leave    {"topic": topic, "user": user ID, "count": number}
//
// sse.present is all there is to know. It comes after sse.open, after sse.gap, and when the stream gets
// a topic, if somebody is present. A page that gets one of those forgets who was present before. It also
// comes in place of many changes at a time, and when a stream lags. sse.join adds a user or changes
// the value; it may name a user whom sse.present has named. Changes come together every 0.1 s, and
// the count is that after all of them.
//
// A topic with 100 users or more is a crowd: sse.present comes every 5 s instead of other events, if
// something has changed, and names any 100 users.
func WithPresence(value func(topic string) any) ServeOption {
	return serveOption(func(o *streamOptions) error {
		o.presence = value
		return nil
	})
}

// Present returns the users who are present at a topic on any node, sorted by user ID. It does no
// I/O. How late it may be is the same as for [Registry.Online].
//
// A user is there once, however many streams and nodes. A user leaves
// [RegistryConfig.PresenceGrace] after the last stream with [WithPresence] that reads the topic, and at
// once if the topic was revoked.
func (r *Registry) Present(topic string) []Member { return membersOf(r.presence.Present(topic)) }

func membersOf(members []presence.Member) []Member {
	converted := make([]Member, len(members))
	for i, m := range members {
		converted[i] = memberOf(m)
	}
	return converted
}

func memberOf(m presence.Member) Member { return Member{m.User, json.RawMessage(m.Value)} }

// streamPresence is where a stream makes its user present.
type streamPresence struct {
	value func(topic string) any
	// values are the values by topic. At those the user is present, once the stream is attached.
	// Registry.mu guards it then.
	values map[string]string
}

// preparePresence finds out what is to be seen of the user of a stream that is not attached yet.
func (s *Stream) preparePresence() error {
	if s.presence == nil {
		return nil
	}
	s.presence.values = make(map[string]string)
	for _, topic := range s.topicNames() {
		value, ok, err := s.presenceAt(topic)
		if err != nil {
			return err
		}
		if ok {
			s.presence.values[topic] = value
		}
	}
	return nil
}

// errPresencePanic: the function given to WithPresence panicked, which is logged.
var errPresencePanic = errors.New("panic in the function given to WithPresence")

// presenceAt returns what others see of the user at a topic. ok is false if that is nothing.
func (s *Stream) presenceAt(topic string) (value string, ok bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.registry.logPanic("WithPresence", p, debug.Stack())
			err = fmt.Errorf("%w: %w", ErrInvalidPresence, errPresencePanic)
		}
	}()
	v := s.presence.value(topic)
	if v == nil {
		return "", false, nil
	}
	text, err := json.Marshal(v)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("%w: a value of type %T does not marshal: %w", ErrInvalidPresence, v, err)
	case len(text) > presence.MaxValueBytes:
		return "", false, fmt.Errorf("%w: %d bytes, more than %d", ErrInvalidPresence, len(text), presence.MaxValueBytes)
	case !utf8.Valid(text):
		return "", false, fmt.Errorf("%w: it is not valid UTF-8", ErrInvalidPresence)
	}
	return string(text), true, nil
}

// joinPresenceLocked makes the user of a stream that is attached present at its topics.
func (r *Registry) joinPresenceLocked(s *Stream) {
	r.presence.Join(s.user)
	if s.presence != nil {
		for topic, value := range s.presence.values {
			r.presence.JoinTopic(topic, s.user, value)
		}
	}
}

// leavePresenceLocked undoes joinPresenceLocked and joinTopic.
func (r *Registry) leavePresenceLocked(s *Stream) {
	r.presence.Leave(s.user)
	if s.presence != nil {
		for topic := range s.presence.values {
			r.presence.LeaveTopic(topic, s.user)
		}
		s.presence.values = nil
	}
}

// joinTopic makes the user of a stream that has got a topic present there.
func (r *Registry) joinTopic(s *Stream, topic string) {
	if s.presence == nil {
		return
	}
	value, ok, err := s.presenceAt(topic)
	if err != nil {
		r.logger.Warn("user is not present at a topic", "stream", s.id, "error", err)
	}
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, present := s.presence.values[topic]; !present && s.presence.values != nil { // it has not ended
		s.presence.values[topic] = value
		r.presence.JoinTopic(topic, s.user, value)
	}
}

// leaveTopic undoes joinTopic when a stream has lost a topic. If the topic was revoked, there is no
// grace.
func (r *Registry) leaveTopic(s *Stream, topic string, revoked bool) {
	if s.presence == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, present := s.presence.values[topic]; present {
		delete(s.presence.values, topic)
		if revoked {
			r.presence.RemoveFromTopic(topic, s.user)
		} else {
			r.presence.LeaveTopic(topic, s.user)
		}
	}
}

// hasReaders reports whether this node has streams that read a topic.
func (r *Registry) hasReaders(topic string) bool {
	streams, _ := r.subscribers.count(topicPrefix + topic)
	return streams > 0
}

// The data of events of presence.
type (
	presentData struct {
		Topic string   `json:"topic"`
		Count int      `json:"count"`
		Users []Member `json:"users"`
	}
	joinData struct {
		Topic string `json:"topic"`
		Member
		Count int `json:"count"`
	}
	leaveData struct {
		Topic string `json:"topic"`
		User  string `json:"user"`
		Count int    `json:"count"`
	}
)

// maxPresenceEvents is the most events for which changes of a topic are posted one by one: the list of
// members takes the place of more.
const maxPresenceEvents = 16

// presenceChanged posts changes of a topic to the streams of this node that read it.
func (r *Registry) presenceChanged(change presence.Change) {
	subject := topicPrefix + change.Topic
	post := func(eventType string, data any) {
		b := borrowBuffer()
		defer b.release()
		b.bytes = appendOwn(b.bytes, eventType, "", data)
		r.transients.add(eventlog.Record{Subject: subject, Frame: b.bytes})
	}
	if change.Whole || len(change.Joined)+len(change.Left) > maxPresenceEvents {
		members, count := change.Present, change.Count
		if !change.Whole {
			members, count = r.presence.Watch(change.Topic)
		}
		post(typePresent, presentData{change.Topic, count, membersOf(members)})
		return
	}
	for _, m := range change.Left {
		post(typeLeave, leaveData{change.Topic, m.User, change.Count})
	}
	for _, m := range change.Joined {
		post(typeJoin, joinData{change.Topic, memberOf(m), change.Count})
	}
}

// maxPresentBytes is about how many bytes of names a stream gets at a time. From there on, it gets the
// counts alone.
const maxPresentBytes = 256 << 10

// appendPresent appends who is present at topics. It is called when the stream reads them already: it
// gets later changes, in order. A topic where nobody is present is left out unless empty is set.
func (r *Registry) appendPresent(b []byte, topics []string, empty bool) []byte {
	start := len(b)
	for _, topic := range slices.Sorted(slices.Values(topics)) {
		members, count := r.presence.Watch(topic)
		if count == 0 && !empty {
			continue
		}
		if len(b)-start > maxPresentBytes {
			members = nil
		}
		b = appendOwn(b, typePresent, "", presentData{topic, count, membersOf(members)})
	}
	return b
}

// appendPresent is Registry.appendPresent for the topics of the stream.
func (s *Stream) appendPresent(b []byte, empty bool) []byte {
	if len(s.topicSubjects()) == 0 || !s.registry.presence.IsUsed() {
		return b
	}
	return s.registry.appendPresent(b, s.topicNames(), empty)
}

// isPresence reports whether a transient event is one of presence.
func isPresence(e *eventlog.Entry) bool {
	return bytes.HasPrefix(e.Block, []byte("event: "+reservedTypes))
}
