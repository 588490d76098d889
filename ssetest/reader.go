package ssetest

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Event is an event as an EventSource dispatches it.
type Event struct {
	// Type is the event type; "message" if the stream named none.
	Type string
	// Data is the data, its lines joined by LF.
	Data string
	// LastEventID is the last event ID at the time of the event: the event's own,
	// or that of an earlier block.
	LastEventID string
}

// Reader reads an event stream as section 9.2.6 of WHATWG HTML has it. It is
// written for plainness, not for speed, and holds a whole event in memory.
//
// A Reader is used by one goroutine at a time.
type Reader struct {
	r       *bufio.Reader
	started bool // a byte order mark has been looked for
	afterCR bool // the last line ended in CR, so an LF belongs to it

	lastEventID      string
	reconnectionTime time.Duration
	comments         []string
	observe          func() // called after each block, if set
}

// NewReader returns a Reader of the stream r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReader(r)} }

// Next returns the next event that would be dispatched. At the end of the stream
// it returns io.EOF, or the reader's error; what stands after the last blank line
// is no event, and is discarded.
func (r *Reader) Next() (Event, error) {
	if !r.started {
		r.started = true
		if bom, _ := r.r.Peek(3); string(bom) == "\uFEFF" {
			_, _ = r.r.Discard(3)
		}
	}
	var eventType string
	var data strings.Builder
	id := r.lastEventID // the last event ID buffer
	for {
		line, err := r.line()
		if err != nil {
			return Event{}, err
		}
		if line == "" { // dispatch
			r.lastEventID = id
			if r.observe != nil {
				r.observe()
			}
			if data.Len() == 0 {
				eventType = ""
				continue
			}
			if eventType == "" {
				eventType = "message"
			}
			return Event{Type: eventType, Data: strings.TrimSuffix(data.String(), "\n"), LastEventID: id}, nil
		}
		field, value, found := strings.Cut(line, ":")
		if found {
			value = strings.TrimPrefix(value, " ")
		}
		switch {
		case found && field == "":
			r.comments = append(r.comments, value)
		case field == "event":
			eventType = value
		case field == "data":
			data.WriteString(value)
			data.WriteByte('\n')
		case field == "id" && !strings.Contains(value, "\x00"):
			id = value
		case field == "retry":
			if ms, err := strconv.ParseUint(value, 10, 63); err == nil && value[0] != '+' {
				r.reconnectionTime = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// LastEventID returns what a client would send as Last-Event-ID now. Blocks that
// have an id and no data move it without an event.
func (r *Reader) LastEventID() string { return r.lastEventID }

// ReconnectionTime returns the last reconnection time that the stream has set; 0
// if none.
func (r *Reader) ReconnectionTime() time.Duration { return r.reconnectionTime }

// Comments returns the comments so far, without the colon and one space.
func (r *Reader) Comments() []string { return r.comments }

// line returns the next line, which ended in LF, CR or CRLF. An LF after a CR is
// taken off only when the next line is read: waiting for it here would hold back
// an event that is complete.
func (r *Reader) line() (string, error) {
	var line []byte
	for {
		if _, err := r.r.Peek(1); err != nil { // fills the buffer if it is empty
			return "", err
		}
		chunk, _ := r.r.Peek(r.r.Buffered())
		if r.afterCR && chunk[0] == '\n' {
			chunk = chunk[1:]
			_, _ = r.r.Discard(1)
		}
		r.afterCR = false
		end := bytes.IndexAny(chunk, "\r\n")
		if end < 0 {
			line = append(line, chunk...)
			_, _ = r.r.Discard(len(chunk))
			continue
		}
		line = append(line, chunk[:end]...)
		r.afterCR = chunk[end] == '\r'
		_, _ = r.r.Discard(end + 1)
		return string(toValidUTF8(line)), nil
	}
}

// toValidUTF8 decodes as the standard's UTF-8 decode does: what is not UTF-8
// becomes U+FFFD.
func toValidUTF8(line []byte) []byte {
	if utf8.Valid(line) {
		return line
	}
	return bytes.ToValidUTF8(line, []byte("\uFFFD"))
}

// Parse returns the events of a complete stream.
func Parse(stream []byte) []Event {
	r := NewReader(bytes.NewReader(stream))
	var events []Event
	for {
		e, err := r.Next()
		if err != nil {
			return events
		}
		events = append(events, e)
	}
}
