package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// A command is an entry of a user's command subject, or of the subject of revocations. Each stream of
// the user reads it in order with its events, on every node, and carries it out there. So its place
// among the events is the same everywhere.
//
// A command has the wire form of an event, but no stream writes it. Its event type is the
// command's name.
const (
	disconnectCommand = "disconnect" // ends the streams of the user that were opened before it
	grantCommand      = "grant"      // adds a topic
	revokeCommand     = "revoke"     // removes a topic
	controlCommand    = "control"    // does what a page has asked for its stream
)

// The data of the commands.
type (
	disconnectData struct {
		Reason Reason `json:"reason"`
	}
	topicData struct {
		Topic   string  `json:"topic"`
		Stream  string  `json:"stream,omitempty"`  // its ID; "" for all of the user
		History *string `json:"history,omitempty"` // the past from after this ID comes first; nil for none
	}
	controlData struct {
		Stream string   `json:"stream"`
		Remove []string `json:"remove,omitempty"` // topics
		Add    []string `json:"add,omitempty"`
		// Checked is the head of the log before the application was asked whether the user may read
		// the topics. A revocation after it wins.
		Checked string `json:"checked,omitempty"`
		State   bool   `json:"state,omitempty"`  // the stream sends its state again
		Expiry  int64  `json:"expiry,omitempty"` // of the stream, in milliseconds since 1970; 0 for no change
	}
)

// topicChange is what a command does to one topic.
type topicChange struct {
	topic   string
	adds    bool
	page    bool    // the page has asked for it
	history *string // see topicData
}

func commandSubject(user string) string { return eventlog.Subject(eventlog.KindCommand, user) }

const commandPrefix = string(eventlog.KindCommand) + ":"

// revocationsSubject is the subject of revocations for all users. Streams with topics read it.
var revocationsSubject = eventlog.Subject(eventlog.KindRevocation, "all")

// parseCommand returns the name and the data of a command.
func parseCommand(command *eventlog.Entry) (name string, data []byte) {
	first, rest, _ := bytes.Cut(command.Block, []byte("\n"))
	second, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimPrefix(first, []byte("event: "))), bytes.TrimPrefix(second, []byte("data: "))
}

// isCommand reports whether an entry that the stream has read is a command.
func (s *Stream) isCommand(e *eventlog.Entry) bool {
	return e.Subject == s.subjects[0] || e.Subject == revocationsSubject
}

// carryOutEarly carries out what does not depend on the command's place among the events: an end,
// which knows its place, and a renewal.
func (s *Stream) carryOutEarly(command *eventlog.Entry) {
	if reason, ok := disconnectReason(command); ok {
		s.endAt(reason, command.At.Seq)
		return
	}
	if d := parseControl(command); d.Stream == s.id && d.Expiry != 0 {
		s.renew(time.UnixMilli(d.Expiry))
	}
}

// disconnectReason returns the reason of a command to disconnect; ok is false for another command.
func disconnectReason(command *eventlog.Entry) (reason Reason, ok bool) {
	name, data := parseCommand(command)
	if name != disconnectCommand {
		return "", false
	}
	var disconnect disconnectData
	if json.Unmarshal(data, &disconnect) != nil {
		return ReasonReauthenticate, true // the command may be for the stream
	}
	return disconnect.Reason.orDisconnected(), true
}

// carryOut carries out a command that the stream has reached. A command that it does not know is of
// another version, and has no effect. refused are the topics that a page asked for too late.
//
// id is the ID of what the client gets: the command's position.
func (s *Stream) carryOut(t *turn, command *eventlog.Entry, refused map[string]bool, id string) {
	s.carryOutEarly(command)
	stream, changes := topicChanges(command)
	if stream != "" && stream != s.id {
		return
	}
	var told topicsData
	for _, change := range changes {
		s.changeTopic(change, refused[change.topic], command.At, &told)
	}
	s.appendTopics(t, told, id)
	if parseControl(command).State {
		s.sendState()
	}
	if len(changes) > 0 || stream != "" {
		s.registry.tellCommanded(s, command)
	}
}

// parseControl returns the data of a control command; the zero value for another command.
func parseControl(command *eventlog.Entry) (d controlData) {
	if name, data := parseCommand(command); name != controlCommand || json.Unmarshal(data, &d) != nil {
		return controlData{}
	}
	return d
}

// topicChanges returns what a command does to topics, and the ID of the stream that it is for; "" for
// all of the user.
func topicChanges(command *eventlog.Entry) (stream string, changes []topicChange) {
	switch name, data := parseCommand(command); name {
	case grantCommand, revokeCommand:
		var d topicData
		if json.Unmarshal(data, &d) == nil {
			stream, changes = d.Stream, []topicChange{{d.Topic, name == grantCommand, false, d.History}}
		}
	case controlCommand:
		d := parseControl(command)
		stream = d.Stream
		for _, topic := range d.Remove {
			changes = append(changes, topicChange{topic: topic, page: true})
		}
		for _, topic := range d.Add {
			changes = append(changes, topicChange{topic: topic, adds: true, page: true})
		}
	}
	// Other programs may write commands, too.
	changes = slices.DeleteFunc(changes, func(c topicChange) bool { return eventlog.CheckName(c.topic) != nil })
	return stream, changes[:min(len(changes), 2*maxTopics)]
}

// errCommandsUnread: the log could not say whether there were commands before a position.
var errCommandsUnread = errors.New("the user's commands could not be read up to the head")

// skipTo moves the stream to a position without reading the events in between. It carries out
// the commands there, and tells the client what they have changed together.
//
// It reads all of them first: after an error the stream has not changed.
func (s *Stream) skipTo(ctx context.Context, t *turn, to eventlog.Cursor) error {
	if s.at == to {
		return nil
	}
	type judged struct {
		*eventlog.Entry
		refused map[string]bool
	}
	var commands []judged
	through, err := s.readCommandsFrom(ctx, s.topicCommands(), s.at, s.noWait, func(command *eventlog.Entry) error {
		if command.At.Seq > to.Seq {
			return nil
		}
		refused, err := s.refusedTopics(ctx, command)
		commands = append(commands, judged{command, refused})
		return err
	})
	if err == nil && through.Seq < to.Seq {
		err = errCommandsUnread
	}
	if err != nil {
		return err
	}
	before, told := s.topicNames(), topicsData{}
	for _, command := range commands {
		s.carryOutEarly(command.Entry)
		stream, changes := topicChanges(command.Entry)
		if s.ended.Load() || stream != "" && stream != s.id {
			continue
		}
		var of topicsData
		for _, change := range changes {
			s.changeTopic(change, command.refused[change.topic], command.At, &of)
		}
		told.asked = told.asked || of.asked
		told.Refused = of.Refused // of the last one: a page asks for a topic again
	}
	for _, topic := range s.topicNames() {
		if !slices.Contains(before, topic) {
			told.Added = append(told.Added, topic)
		}
	}
	for _, topic := range before {
		if !slices.Contains(s.topicNames(), topic) {
			told.Removed = append(told.Removed, topic)
		}
	}
	s.appendTopics(t, told, "")
	s.at = to
	return nil
}

// errNoProgress: a log reports more entries and returns none.
var errNoProgress = errors.New("ginsse: the log says that a page is full, and the page is empty")

// lookAhead carries out early the commands after a position, and returns the position up to which it
// has done so. A slow client may be far from the command that ends its stream: looking ahead bounds
// the time that it has.
func (s *Stream) lookAhead(ctx context.Context, from eventlog.Cursor, noWait bool) (through eventlog.Cursor, err error) {
	return s.readCommandsFrom(ctx, s.commands(), from, noWait, func(command *eventlog.Entry) error {
		s.carryOutEarly(command)
		return nil
	})
}

// readCommandsFrom calls fn with each command after a position, in order, and returns the position up
// to which it has done so. Commands up to the stream's opening were for earlier streams.
//
// A gap in the commands may have held one that ends the stream. The stream ends then, and the
// client is authenticated again.
func (s *Stream) readCommandsFrom(ctx context.Context, subjects []string, from eventlog.Cursor, noWait bool,
	fn func(command *eventlog.Entry) error,
) (through eventlog.Cursor, err error) {
	through = from
	if through.IsZero() || through.Seq < s.opening.Seq {
		through = s.opening
	}
	for more := true; more; {
		page, err := s.readPage(ctx, eventlog.Query{Subjects: subjects, After: through, NoWait: noWait})
		if err != nil {
			return through, err
		}
		if page.Gap != "" {
			s.end(ReasonReauthenticate)
		}
		for _, command := range page.Entries {
			if err := fn(command); err != nil {
				return through, err
			}
		}
		through, more = page.Through, page.More
	}
	return through, nil
}

// readPage reads a page of the log, of the size of a turn.
func (s *Stream) readPage(ctx context.Context, q eventlog.Query) (eventlog.Page, error) {
	q.MaxEntries, q.MaxBytes = maxTurnEvents, maxTurnBytes
	page, err := s.registry.log.Read(ctx, q, nil)
	if err == nil && page.More && page.Through == q.After {
		err = errNoProgress
	}
	return page, err
}

// lookAheadTimeout is how long the watchdog reads commands.
const lookAheadTimeout = 5 * time.Second

// readOverdueCommands looks ahead for the writer, which is busy with a write, if it has not read a
// command within drainTime. On a shared log a stream has no other way to learn of the command.
func (s *Stream) readOverdueCommands() {
	since := s.commanded.Load()
	if since == 0 || time.Since(s.opened)-time.Duration(since) < drainTime {
		return
	}
	ctx, cancel := context.WithTimeout(s.registry.life, lookAheadTimeout)
	defer cancel()
	s.mu.Lock()
	from := s.position
	s.mu.Unlock()
	if _, err := s.lookAhead(ctx, from, false); err == nil {
		s.commanded.CompareAndSwap(since, 0)
	}
}
