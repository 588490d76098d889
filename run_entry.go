package ginsse

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// What a run has sent is in the log under a subject of its own. Each entry begins with a line that
// says what it is; no client gets that line:
//
//	:begin                the run has begun
//	:events N             the events of the run from number N on
//	:alive                the node of the run is alive, and has sent nothing for a while
//	:end N STATE          the same as ":events N", and then the run has ended
//
// The events follow in wire form, with a line ":" in place of the blank line between two of them. A
// comment of an application begins with ": ", so no event has such a line.
//
// A run has a second subject, which its node reads, for entries that end it:
//
//	:stop                 by [Registry.StopRun]
//	:lost                 another node has declared it lost

// runHeader is the first line of an entry.
type runHeader struct {
	kind  string
	first int64  // number of the first event, or of the next one if there is none
	state string // of an end
}

// The kinds of entries, and the states of an end.
const (
	runBegin  = "begin"
	runEvents = "events"
	runAlive  = "alive"
	runEnd    = "end"
	runStop   = "stop"
	runLost   = "lost" // of a command, and a state

	runDone    = "done"
	runStopped = "stopped"
	runFailed  = "failed"
)

// maxRunEvents is more than the number of the events of a run. Larger numbers are forged, and could
// overflow.
const maxRunEvents = 1 << 50

// runSeparator stands between the events of an entry.
const runSeparator = ":\n"

// appendRunHeader appends the first line of an entry to b.
func appendRunHeader(b []byte, h runHeader) []byte {
	b = append(append(b, ':'), h.kind...)
	if h.kind == runEvents || h.kind == runEnd {
		b = strconv.AppendInt(append(b, ' '), h.first, 10)
	}
	if h.state != "" {
		b = append(append(b, ' '), h.state...)
	}
	return append(b, '\n')
}

// parseRunEntry returns the header of an entry, and its events, each without its blank line. An entry
// that is not of a run has the zero header.
func parseRunEntry(e *eventlog.Entry) (h runHeader, events [][]byte) {
	text := e.Block[:len(e.Block)-eventlog.BlockOverhead-len("\n")]
	line, text, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) == 0 || fields[0][0] != ':' {
		return runHeader{}, nil
	}
	h.kind = fields[0][1:]
	if len(fields) > 1 {
		first, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || first < 0 || first > maxRunEvents {
			return runHeader{}, nil
		}
		h.first = first
	}
	if len(fields) > 2 {
		h.state = fields[2]
	}
	for len(text) > 0 {
		event, rest, more := text, []byte(nil), false
		if i := bytes.Index(text, []byte("\n"+runSeparator)); i >= 0 {
			event, rest, more = text[:i+1], text[i+1+len(runSeparator):], true
		}
		events = append(events, event)
		if !more {
			break
		}
		text = rest
	}
	return h, events
}

// runID identifies a run: a secret, and the position of the log before its first entry. The text form
// is fit for a URL.
type runID struct {
	secret string
	begin  eventlog.Cursor
}

const runSecretLen = 22 // 16 bytes in base64url

func newRunID(begin eventlog.Cursor) runID {
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails
	return runID{base64.RawURLEncoding.EncodeToString(secret[:]), begin}
}

func (id runID) String() string { return id.secret + id.begin.String() }

func parseRunID(text string) (id runID, err error) {
	if len(text) != runSecretLen+eventlog.CursorLen {
		return runID{}, ErrRunNotFound
	}
	id.secret = text[:runSecretLen]
	if id.begin, err = eventlog.ParseCursor(text[runSecretLen:]); err != nil {
		return runID{}, fmt.Errorf("%w: %w", ErrRunNotFound, err)
	}
	return id, nil
}

// subjects returns the subject of what the run has sent, and that of commands to it. Both derive from
// the user: the ID of another user's run leads to subjects that are empty.
func (id runID) subjects(userID string) (events, commands string) {
	name := func(of string) string {
		sum := sha256.Sum256([]byte("ginsse run " + of + "\n" + id.secret + "\n" + userID))
		return eventlog.Subject(eventlog.KindRun, base64.RawURLEncoding.EncodeToString(sum[:18]))
	}
	return name(runEvents), name(runStop)
}

const runPrefix = string(eventlog.KindRun) + ":"

// A runEventID is the last event ID of a client that follows a run: the events before number next are
// its own, and the entries after a position hold the rest.
type runEventID struct {
	after eventlog.Cursor
	next  int64
}

func (id runEventID) String() string { return id.after.String() + "." + strconv.FormatInt(id.next, 10) }

func parseRunEventID(text string) (id runEventID, ok bool) {
	position, number, ok := strings.Cut(text, ".")
	if !ok {
		return id, false
	}
	after, err := eventlog.ParseCursor(position)
	if err != nil {
		return id, false
	}
	next, err := strconv.ParseInt(number, 10, 64)
	id = runEventID{after, next}
	return id, err == nil && next > 0 && next <= maxRunEvents && id.String() == text
}

// parseEvent returns the event of a block in wire form that the kit has encoded, without its blank
// line.
func parseEvent(block []byte) (e Event) {
	var data, comment []string
	for line := range strings.Lines(string(block)) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data = append(data, text)
		} else if text, ok := strings.CutPrefix(line, "event: "); ok {
			e.Type = text
		} else if text, ok := strings.CutPrefix(line, "retry: "); ok {
			ms, _ := strconv.ParseInt(text, 10, 64)
			e.ReconnectionTime = time.Duration(ms) * time.Millisecond
		} else if text, ok := strings.CutPrefix(line, ": "); ok {
			comment = append(comment, text)
		}
	}
	if data != nil {
		e.Data = strings.Join(data, "\n")
	}
	e.Comment = strings.Join(comment, "\n")
	return e
}
