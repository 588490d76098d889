package ginsse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// A command is an entry of a user's command subject. Each stream of the user reads it in order
// with its events, on every node, and carries it out there. So its place among the events is the
// same everywhere.
//
// A command has the wire form of an event, but no stream writes it. Its event type is the
// command's name.

// disconnectCommand ends the streams of the user that were opened before it.
const disconnectCommand = "disconnect"

// disconnectData is the data of a disconnect command.
type disconnectData struct {
	Reason Reason `json:"reason"`
}

func commandSubject(user string) string { return eventlog.Subject(eventlog.KindCommand, user) }

const commandPrefix = string(eventlog.KindCommand) + ":"

// carryOut carries out a command. A command that it does not know is of another version, and
// has no effect.
func (s *Stream) carryOut(command *eventlog.Entry) {
	if reason, ok := disconnectReason(command); ok {
		s.endAt(reason, command.At.Seq)
	}
}

// disconnectReason returns the reason of a command to disconnect; ok is false for another command.
func disconnectReason(command *eventlog.Entry) (reason Reason, ok bool) {
	data, ok := bytes.CutPrefix(command.Block, []byte("event: "+disconnectCommand+"\ndata: "))
	if !ok {
		return "", false
	}
	data, _, _ = bytes.Cut(data, []byte("\n"))
	var disconnect disconnectData
	if json.Unmarshal(data, &disconnect) != nil {
		return ReasonReauthenticate, true // the command may be for the stream
	}
	return disconnect.Reason.orDisconnected(), true
}

// errCommandsUnread: the log could not say whether there were commands before a position.
var errCommandsUnread = errors.New("the user's commands could not be read up to the head")

// skipTo moves the stream to a position without reading the events in between. It carries out
// the commands there.
func (s *Stream) skipTo(ctx context.Context, to eventlog.Cursor) error {
	through, err := s.lookAhead(ctx, s.at, s.noWait)
	if err == nil && through.Seq < to.Seq {
		err = errCommandsUnread
	}
	if err == nil {
		s.at = to
	}
	return err
}

// errNoProgress: a log reports more entries and returns none.
var errNoProgress = errors.New("ginsse: the log says that a page is full, and the page is empty")

// lookAhead carries out the commands after a position, and returns the position up to which it has
// done so. A slow client may be far from the command that ends its stream: looking ahead bounds the
// time that it has.
//
// A gap in the commands may have held one that ends the stream. The stream ends then, and the
// client is authenticated again.
func (s *Stream) lookAhead(ctx context.Context, from eventlog.Cursor, noWait bool) (through eventlog.Cursor, err error) {
	through = from
	if through.IsZero() || through.Seq < s.opening.Seq {
		through = s.opening // earlier commands were for earlier streams
	}
	for more := true; more; {
		page, err := s.registry.log.Read(ctx, eventlog.Query{
			Subjects:   s.commands(),
			After:      through,
			MaxEntries: maxTurnEvents,
			MaxBytes:   maxTurnBytes,
			NoWait:     noWait,
		}, nil)
		if err == nil && page.More && page.Through == through {
			err = errNoProgress
		}
		if err != nil {
			return through, err
		}
		if page.Gap != "" {
			s.end(ReasonReauthenticate)
		}
		for _, command := range page.Entries {
			s.carryOut(command)
		}
		through, more = page.Through, page.More
	}
	return through, nil
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
