package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	renewCommand      = "renew"      // moves the expiry of a stream
	stateCommand      = "state"      // has a stream send its state again
)

// The data of the commands.
type (
	disconnectData struct {
		Reason Reason `json:"reason"`
	}
	topicData struct {
		Topic  string `json:"topic"`
		Stream string `json:"stream,omitempty"` // its ID; "" for all of the user
		// Checked is the head of the log before the application was asked whether it grants the
		// topic. A revocation after it wins. It is "" if the application grants on its own account.
		Checked string  `json:"checked,omitempty"`
		History *string `json:"history,omitempty"` // the past from after this ID comes first; nil for none
		Page    bool    `json:"page,omitempty"`    // the page has asked for it
	}
	renewData struct {
		Stream string `json:"stream"`
		Expiry int64  `json:"expiry"` // in milliseconds since 1970
	}
	stateData struct {
		Stream string `json:"stream"`
	}
)

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
	if name, data := parseCommand(command); name == renewCommand {
		var renew renewData
		if json.Unmarshal(data, &renew) == nil && renew.Stream == s.id {
			s.renew(time.UnixMilli(renew.Expiry))
		}
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
// another version, and has no effect. refused says that a grant came too late.
//
// id is the ID of what the client gets: the command's position, or "" if the client has not reached it.
func (s *Stream) carryOut(t *turn, command *eventlog.Entry, refused bool, id string) {
	s.carryOutEarly(command)
	switch name, data := parseCommand(command); name {
	case grantCommand, revokeCommand:
		switch _, d := parseTopicCommand(command); {
		case d.Topic == "" || d.Stream != "" && d.Stream != s.id:
		case name == revokeCommand:
			s.revoke(t, d, id)
		default:
			s.grant(t, d, refused, command.At, id)
		}
	case stateCommand:
		var d stateData
		if json.Unmarshal(data, &d) == nil && d.Stream == s.id {
			s.sendState(t)
		}
	}
}

// parseTopicCommand is parseCommand for commands that change topics. For others, and for those that no
// node writes, the data is empty.
func parseTopicCommand(command *eventlog.Entry) (name string, d topicData) {
	name, data := parseCommand(command)
	if name == grantCommand || name == revokeCommand {
		if json.Unmarshal(data, &d) != nil || eventlog.CheckName(d.Topic) != nil {
			return name, topicData{}
		}
	}
	return name, d
}

// errCommandsUnread: the log could not say whether there were commands before a position.
var errCommandsUnread = errors.New("the user's commands could not be read up to the head")

// skipTo moves the stream to a position without reading the events in between. It carries out
// the commands there.
//
// It reads all of them first: after an error the stream has not changed.
func (s *Stream) skipTo(ctx context.Context, t *turn, to eventlog.Cursor) error {
	if s.at == to {
		return nil
	}
	type judged struct {
		*eventlog.Entry
		refused bool
	}
	var commands []judged
	through, err := s.readCommandsFrom(ctx, s.topicCommands(), s.at, s.noWait, func(command *eventlog.Entry) error {
		if command.At.Seq > to.Seq {
			return nil
		}
		refused, err := s.isRefused(ctx, command)
		commands = append(commands, judged{command, refused})
		return err
	})
	if err == nil && through.Seq < to.Seq {
		err = errCommandsUnread
	}
	if err != nil {
		return err
	}
	for _, command := range commands {
		if !s.ended.Load() {
			s.carryOut(t, command.Entry, command.refused, "") //nolint:contextcheck // a prelude outlives ctx
		}
	}
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
