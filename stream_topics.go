package ginsse

import (
	"context"
	"slices"
	"strings"

	"github.com/ginsse/ginsse/eventlog"
)

// The topics of a stream. Only the stream's writer changes them, under the lock of subscribers.

// fixedSubjects is how many subjects come before those of topics: the user's commands, the user's
// events, and events for all.
const fixedSubjects = 3

// commands returns the subject of the user's commands.
func (s *Stream) commands() []string { return s.fixed[:1] }

// topicCommands returns the subjects of commands that change topics.
func (s *Stream) topicCommands() []string { return []string{s.fixed[0], revocationsSubject} }

// eventSubjects returns the subjects of the stream's events, and that of revocations if it has topics.
func (s *Stream) eventSubjects() []string { return s.subjects[1:] }

// topicSubjects returns the subjects of the stream's topics. With the first topic, a stream also
// reads revocations, until its end.
func (s *Stream) topicSubjects() []string {
	if len(s.subjects) == fixedSubjects {
		return nil
	}
	return s.subjects[fixedSubjects+1:]
}

// Topics returns the topics that the stream reads now, in no order.
func (s *Stream) Topics() []string {
	if s.registry == nil {
		return nil
	}
	s.registry.subscribers.mu.RLock()
	defer s.registry.subscribers.mu.RUnlock()
	return s.topicNames()
}

// topicNames is Topics for the writer. The result is not nil.
func (s *Stream) topicNames() []string {
	topics := make([]string, 0, len(s.topicSubjects()))
	for _, subject := range s.topicSubjects() {
		topics = append(topics, subject[len(topicPrefix):])
	}
	return topics
}

const topicPrefix = string(eventlog.KindTopic) + ":"

// setTopics sets the subjects of the topics of a stream that is not attached yet.
func (s *Stream) setTopics(subjects []string) {
	s.subjects = s.fixed[:]
	if len(subjects) > 0 {
		s.subjects = append(slices.Clone(s.subjects), revocationsSubject)
		s.subjects = append(s.subjects, subjects...)
	}
}

// refusedTopics returns the topics that a page asked for too late: they were revoked after the
// application had been asked. With an error it is not known.
func (s *Stream) refusedTopics(ctx context.Context, command *eventlog.Entry) (refused map[string]bool, err error) {
	d := parseControl(command)
	if len(d.Add) == 0 || d.Stream != s.id {
		return nil, nil //nolint:nilnil // there are none
	}
	refused = make(map[string]bool)
	checked, err := eventlog.ParseCursor(d.Checked)
	all := err != nil // no node writes it
	if err == nil {
		all, err = s.findChange(ctx, checked, command.At, func(stream string, c topicChange) bool {
			if !c.adds && !c.page && (stream == "" || stream == s.id) {
				refused[c.topic] = true
			}
			return false
		})
	} else {
		err = nil
	}
	if all { // such as commands that have left the log
		for _, topic := range d.Add {
			refused[topic] = true
		}
	}
	return refused, err
}

// changeTopic makes a change of a command, and adds to told what the client is to know of it.
func (s *Stream) changeTopic(c topicChange, refused bool, at eventlog.Cursor, told *topicsData) {
	subject := topicPrefix + c.topic
	reads, pending := slices.Contains(s.topicSubjects(), subject), s.isGranting(c.topic)
	told.asked = told.asked || c.page
	switch {
	case c.adds && (reads || pending):
	case c.adds && (refused || s.tooManyTopics()):
		told.Refused = append(told.Refused, c.topic)
	case c.adds:
		s.readRevocations()
		if c.history == nil && (s.preludes == nil || s.preludes.state == nil) {
			s.addTopic(subject)
			told.Added = append(told.Added, c.topic)
			return
		}
		if s.preludes == nil {
			s.preludes = new(preludes)
		}
		s.preludes.granting = append(s.preludes.granting, &granting{topic: c.topic, at: at, history: c.history})
	case reads:
		s.removeTopic(subject, !c.page)
		told.Removed = append(told.Removed, c.topic)
	case pending:
		s.preludes.granting = slices.DeleteFunc(s.preludes.granting, func(g *granting) bool { return g.topic == c.topic })
		told.Refused = append(told.Refused, c.topic)
	}
}

func (s *Stream) isGranting(topic string) bool {
	return s.preludes != nil && slices.ContainsFunc(s.preludes.granting, func(g *granting) bool { return g.topic == topic })
}

func (s *Stream) tooManyTopics() bool {
	n := len(s.topicSubjects())
	if s.preludes != nil {
		n += len(s.preludes.granting)
	}
	return n >= maxTopics
}

// addTopic has the stream read a topic from its position on.
func (s *Stream) addTopic(subject string) {
	s.granted = append(s.granted, grantedTopic{subject, s.at.Seq})
	s.registry.subscribers.addSubject(s, subject)
	s.registry.joinTopic(s, subject[len(topicPrefix):])
}

// grantedTopic is the subject of a topic that the stream has got since its opening, and the position
// then.
type grantedTopic struct {
	subject string
	at      uint64
}

// predates reports whether a transient event was sent before the stream had its topic: its message may
// be late.
func (s *Stream) predates(e *eventlog.Entry) bool {
	if e.Attributes == nil || !strings.HasPrefix(e.Subject, topicPrefix) {
		return false
	}
	since := s.opening.Seq
	for _, topic := range s.granted {
		if topic.subject == e.Subject {
			since = topic.at
		}
	}
	return e.Attributes.Seen < since
}

// removeTopic has the stream read a topic no more.
func (s *Stream) removeTopic(subject string, revoked bool) {
	s.granted = slices.DeleteFunc(s.granted, func(g grantedTopic) bool { return g.subject == subject })
	s.registry.subscribers.removeSubject(s, subject)
	s.registry.leaveTopic(s, subject[len(topicPrefix):], revoked)
}

// readRevocations has the stream read revocations from its position on.
func (s *Stream) readRevocations() {
	if len(s.subjects) == fixedSubjects {
		s.registry.subscribers.addSubject(s, revocationsSubject)
	}
}

// appendTopics tells the client of changes of its topics, if there are any, or if the page waits for an
// answer. With an ID, the client has reached the position.
func (s *Stream) appendTopics(t *turn, d topicsData, id string) {
	if len(d.Added)+len(d.Removed)+len(d.Refused) == 0 && !d.asked {
		return
	}
	d.Topics = s.topicNames()
	slices.Sort(d.Topics)
	if id != "" && !s.hidesPosition() {
		s.sent = s.at.Seq
	} else {
		id = ""
	}
	t.own = appendOwn(t.own, typeTopics, id, d)
	s.missed = s.missed || len(d.Added) > 0 && s.registry.presence.IsUsed()
}

// hasChangedTopics reports whether one of the stream's topics was granted or taken away between two
// positions. A client that resumes from before such a change may have no right to what it missed, or
// may lack what it had a right to.
func (s *Stream) hasChangedTopics(ctx context.Context, after, through eventlog.Cursor) (bool, error) {
	topics := s.topicNames()
	if len(topics) == 0 || after.Seq >= through.Seq {
		return false, nil
	}
	return s.findChange(ctx, after, through, func(_ string, c topicChange) bool { return slices.Contains(topics, c.topic) })
}

// findChange reports whether a change of a topic that matches is between two positions, or may have been
// there and has left the log.
func (s *Stream) findChange(ctx context.Context, after, through eventlog.Cursor, matches func(stream string, c topicChange) bool) (bool, error) {
	for at := after; at.Seq < through.Seq; {
		page, err := s.readPage(ctx, eventlog.Query{Subjects: s.topicCommands(), After: at, NoWait: s.noWait})
		switch {
		case err != nil:
			return false, err
		case page.Gap != "":
			return true, nil
		case !page.More && page.Through.Seq < through.Seq:
			return false, errCommandsUnread // the node is partitioned
		}
		for _, command := range page.Entries {
			if command.At.Seq > through.Seq {
				break
			}
			stream, changes := topicChanges(command)
			if slices.ContainsFunc(changes, func(c topicChange) bool { return matches(stream, c) }) {
				return true, nil
			}
		}
		at = page.Through
	}
	return false, nil
}
