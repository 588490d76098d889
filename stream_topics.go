package ginsse

import (
	"context"
	"slices"

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

// isRefused reports whether a command is a grant that came too late: the topic was revoked after the
// application had been asked.
func (s *Stream) isRefused(ctx context.Context, command *eventlog.Entry) (bool, error) {
	name, d := parseTopicCommand(command)
	if name != grantCommand || d.Checked == "" || d.Stream != s.id {
		return false, nil
	}
	checked, err := eventlog.ParseCursor(d.Checked)
	if err != nil {
		return true, nil //nolint:nilerr // no node writes it
	}
	return s.isRevoked(ctx, d.Topic, checked, command.At)
}

// grant adds a topic at a command, or has its past and its state collected first.
func (s *Stream) grant(t *turn, d topicData, refused bool, at eventlog.Cursor, id string) {
	subject := topicPrefix + d.Topic
	if slices.Contains(s.topicSubjects(), subject) || s.isGranting(d.Topic) {
		if d.Stream != "" {
			s.appendTopics(t, topicsData{}, id) // the page waits for it
		}
		return
	}
	if refused || s.tooManyTopics() {
		s.appendTopics(t, topicsData{Refused: []string{d.Topic}}, id)
		return
	}
	s.readRevocations()
	if d.History == nil && (s.preludes == nil || s.preludes.state == nil) {
		s.addTopic(subject)
		s.appendTopics(t, topicsData{Added: []string{d.Topic}}, id)
		return
	}
	if s.preludes == nil {
		s.preludes = new(preludes)
	}
	s.preludes.granting = append(s.preludes.granting, &granting{topic: d.Topic, at: at, history: d.History})
	s.beginGranted()
}

// revoke removes a topic.
func (s *Stream) revoke(t *turn, d topicData, id string) {
	topic, subject := d.Topic, topicPrefix+d.Topic
	switch {
	case slices.Contains(s.topicSubjects(), subject):
		s.removeTopic(subject, !d.Page)
		s.appendTopics(t, topicsData{Removed: []string{topic}}, id)
	case s.isGranting(topic):
		s.preludes.granting = slices.DeleteFunc(s.preludes.granting, func(g *granting) bool { return g.topic == topic })
		s.appendTopics(t, topicsData{Refused: []string{topic}}, id)
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
	s.registry.subscribers.addSubject(s, subject)
	s.registry.joinTopic(s, subject[len(topicPrefix):])
}

// removeTopic has the stream read a topic no more.
func (s *Stream) removeTopic(subject string, revoked bool) {
	s.registry.subscribers.removeSubject(s, subject)
	s.registry.leaveTopic(s, subject[len(topicPrefix):], revoked)
}

// readRevocations has the stream read revocations from its position on.
func (s *Stream) readRevocations() {
	if len(s.subjects) == fixedSubjects {
		s.registry.subscribers.addSubject(s, revocationsSubject)
	}
}

// appendTopics tells the client of a change of its topics. With an ID, the client has reached the
// position.
func (s *Stream) appendTopics(t *turn, d topicsData, id string) {
	d.Topics = s.topicNames()
	slices.Sort(d.Topics)
	if id != "" && !s.hidesPosition() {
		s.sent = s.at.Seq
	} else {
		id = ""
	}
	t.own = appendOwn(t.own, typeTopics, id, d)
	t.own = s.registry.appendPresent(t.own, d.Added, false)
}

// isRevoked reports whether a topic was taken from the user or from all users between two
// positions. It also does so if that is not known, because the commands have left the log.
func (s *Stream) isRevoked(ctx context.Context, topic string, after, through eventlog.Cursor) (revoked bool, err error) {
	return s.findCommand(ctx, after, through, func(name string, d topicData) bool {
		return name == revokeCommand && d.Topic == topic && !d.Page && (d.Stream == "" || d.Stream == s.id)
	})
}

// hasChangedTopics reports whether one of the stream's topics was granted or taken away between two
// positions. A client that resumes from before such a change may have no right to what it missed, or
// may lack what it had a right to.
func (s *Stream) hasChangedTopics(ctx context.Context, after, through eventlog.Cursor) (bool, error) {
	topics := s.topicNames()
	if len(topics) == 0 || after.Seq >= through.Seq {
		return false, nil
	}
	return s.findCommand(ctx, after, through, func(name string, d topicData) bool {
		return (name == grantCommand || name == revokeCommand) && slices.Contains(topics, d.Topic)
	})
}

// findCommand reports whether a command that changes topics and that matches is between two positions,
// or may have been there and has left the log.
func (s *Stream) findCommand(ctx context.Context, after, through eventlog.Cursor, matches func(name string, d topicData) bool) (bool, error) {
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
			name, d := parseTopicCommand(command)
			if name != "" && matches(name, d) {
				return true, nil
			}
		}
		at = page.Through
	}
	return false, nil
}
