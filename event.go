package ginsse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/printable"
)

// Event is one event of an event stream (WHATWG HTML, section 9.2). At least one field must be set.
//
// Ownership: functions that take an Event keep no reference to it or to its Data after they have
// returned.
type Event struct {
	// Type is the event type: what a page passes to addEventListener. Empty means "message". It must
	// be UTF-8 without CR, LF or NUL. Types that begin with "sse." are the kit's own. A page cannot
	// tell an event of type "open" or "error" from the EventSource's own events of those names.
	Type string

	// Data is what the event carries. A string and a []byte go out as they are and must be UTF-8; CR
	// and CRLF arrive as LF, by the standard. Any other value goes out as JSON, which must be UTF-8
	// too. With nil there is no data; but if Type is set it is the empty string, because browsers
	// dispatch no event without data.
	Data any

	// ID becomes the client's last event ID. It is for streams without a registry: a registry gives
	// every event an ID of its own and refuses this one. Clients send it back in a header (section
	// 9.2.4), so it must be UTF-8 without control characters, and must not begin or end with a space.
	// Empty leaves the client's last event ID as it is; see ResetID.
	ID string

	// ResetID clears the client's last event ID, by an empty id field.
	ResetID bool

	// ReconnectionTime, if above 0, is how long the client waits before it reestablishes a lost
	// connection. It is sent in whole milliseconds, rounded up.
	ReconnectionTime time.Duration

	// Comment is text that clients ignore. Each of its lines is a comment.
	Comment string

	// The fields below are for events of a registry. [Stream.Send] and streams without a registry
	// refuse them.

	// Key says that only the newest event counts: of one user, topic or broadcast and one key, the log
	// keeps the newest, and a reader that was away or lags gets that one. Those that it replaced are
	// no gap. It is for a badge, a price, a progress. It has at most 256 bytes of UTF-8 without control
	// characters.
	Key string

	// DedupKey makes a repeat harmless: if the same was sent to the same user, topic or broadcast with
	// this DedupKey within the last 2 minutes, nothing is sent, and the [Receipt] has the ID of the
	// first. It is limited as Key.
	DedupKey string

	// TTL, if above 0, is for how long the event is delivered, by the clocks of the nodes. After it, no
	// stream gets the event, and that is no gap.
	TTL time.Duration

	// Transient events go to the streams that are open now, on all nodes: typing, a cursor. They are
	// not kept, have no ID, and take no place in the history. They have no order with other events,
	// and a reader that lags by more than 64 of them, or 5 s, does not get them. With Key, a reader
	// that lags gets the newest. One has at most 48 KiB.
	Transient bool

	// Except is the ID of a stream that does not get the event, usually that of the page which caused
	// it; see [Stream.ID]. All tabs that share the stream do not get it.
	Except string
}

// maxStreamIDBytes is more than the length of a stream's ID.
const maxStreamIDBytes = 64

// attributes returns the attributes of the event's entry, or an error if the fields of a registry's
// event are not valid.
func (e Event) attributes() (eventlog.Attributes, error) {
	none := eventlog.Attributes{}
	switch {
	case e.ID != "" || e.ResetID:
		return none, fmt.Errorf("%w: ID is set, and a registry gives each event its own", ErrInvalidEvent)
	case e.TTL < 0:
		return none, fmt.Errorf("%w: TTL %v is negative", ErrInvalidEvent, e.TTL)
	case len(e.Except) > maxStreamIDBytes || !printable.Is(e.Except):
		return none, fmt.Errorf("%w: Except %q is not the ID of a stream", ErrInvalidEvent, printable.Clip(e.Except))
	case e.Transient && e.DedupKey != "":
		return none, fmt.Errorf("%w: DedupKey is set on a transient event, which is sent once at most", ErrInvalidEvent)
	case e.Key != "" && e.Except != "" && !e.Transient:
		return none, fmt.Errorf("%w: both Key and Except are set; the stream would miss the newest event of the key", ErrInvalidEvent)
	}
	for _, field := range []struct{ name, value string }{{"Key", e.Key}, {"DedupKey", e.DedupKey}} {
		if field.value == "" {
			continue
		}
		if err := eventlog.CheckName(field.value); err != nil {
			return none, fmt.Errorf("%w: %s %w", ErrInvalidEvent, field.name, err)
		}
	}
	a := eventlog.Attributes{Except: e.Except}
	if e.TTL > 0 {
		a.Expires = time.Now().Add(e.TTL).UnixMilli()
	}
	return a, nil
}

// checkUnregistered returns an error for a field that only a registry's events have.
func (e Event) checkUnregistered() error {
	for _, field := range []struct {
		name string
		set  bool
	}{{"Key", e.Key != ""}, {"DedupKey", e.DedupKey != ""}, {"TTL", e.TTL != 0}, {"Transient", e.Transient}, {"Except", e.Except != ""}} {
		if field.set {
			return fmt.Errorf("%w: %s is set, and is for events that a registry sends", ErrInvalidEvent, field.name)
		}
	}
	return nil
}

// idField begins the field of an event's ID (section 9.2.5).
const idField = "id: "

// reservedTypes is the prefix of the event types that the kit sends itself.
const reservedTypes = "sse."

// The kit's own event types.
const (
	typeOpen      = "sse.open"
	typeGap       = "sse.gap"
	typeTopics    = "sse.topics"
	typePresent   = "sse.present"
	typeJoin      = "sse.join"
	typeLeave     = "sse.leave"
	typeHeartbeat = "sse.heartbeat"
	typeClose     = "sse.close"     // final
	typeReconnect = "sse.reconnect" // the client is asked to come back
)

// appendTo appends the block of e in wire form (section 9.2.5) to b, with its blank line.
func (e Event) appendTo(b []byte) ([]byte, error) {
	if strings.HasPrefix(e.Type, reservedTypes) {
		return nil, fmt.Errorf("%w: type %q begins with %q, which is reserved", ErrInvalidEvent, e.Type, reservedTypes)
	}
	if err := checkField("type", e.Type); err != nil {
		return nil, err
	}
	if err := checkID(e.ID); err != nil {
		return nil, err
	}
	if e.ID != "" && e.ResetID {
		return nil, fmt.Errorf("%w: both ID and ResetID are set", ErrInvalidEvent)
	}
	if e.ReconnectionTime < 0 {
		return nil, fmt.Errorf("%w: reconnection time %v is negative", ErrInvalidEvent, e.ReconnectionTime)
	}
	if !utf8.ValidString(e.Comment) {
		return nil, fmt.Errorf("%w: comment is not valid UTF-8", ErrInvalidEvent)
	}
	start := len(b)
	b, err := e.appendData(e.appendFields(b))
	if err != nil {
		return nil, err
	}
	// The id is the last field: some clients take it when they see its line, and
	// would lose the event if the connection dropped inside the block.
	if e.ID != "" || e.ResetID {
		b = appendField(b, idField, e.ID)
	}
	if len(b) == start {
		return nil, fmt.Errorf("%w: no field is set", ErrInvalidEvent)
	}
	return append(b, '\n'), nil
}

// appendFields appends the fields in front of the data.
func (e Event) appendFields(b []byte) []byte {
	if e.Comment != "" {
		b = appendLines(b, ": ", e.Comment)
	}
	if e.ReconnectionTime > 0 {
		b = appendRetry(b, e.ReconnectionTime)
	}
	if e.Type != "" {
		b = appendField(b, "event: ", e.Type)
	}
	return b
}

// appendData appends the data, without a copy in between: this is most of what encoding costs.
func (e Event) appendData(b []byte) ([]byte, error) {
	switch data := e.Data.(type) {
	case nil:
		if e.Type != "" {
			b = appendField(b, "data: ", "")
		}
		return b, nil
	case string:
		if !utf8.ValidString(data) {
			return nil, errDataNotUTF8
		}
		return appendLines(b, "data: ", data), nil
	case []byte:
		if !utf8.Valid(data) {
			return nil, errDataNotUTF8
		}
		return appendLines(b, "data: ", data), nil
	default:
		text, err := json.Marshal(data)
		if err != nil {
			return nil, fmt.Errorf("%w: data of type %T does not marshal: %w", ErrInvalidEvent, data, err)
		}
		if !utf8.Valid(text) { // a json.RawMessage or a MarshalJSON may hold anything
			return nil, errDataNotUTF8
		}
		return appendField(b, "data: ", text), nil // JSON has no line breaks
	}
}

var errDataNotUTF8 = fmt.Errorf("%w: data is not valid UTF-8; send binary data as base64", ErrInvalidEvent)

// checkField refuses what a one-line field cannot hold, and NUL, for which clients ignore an id
// (section 9.2.6).
func checkField(name, value string) error {
	if printable.Is(value) {
		return nil
	}
	if strings.ContainsAny(value, "\r\n") {
		return fmt.Errorf("%w: %s %q contains a line break", ErrInvalidEvent, name, printable.Clip(value))
	}
	if strings.IndexByte(value, 0) >= 0 {
		return fmt.Errorf("%w: %s %q contains NUL", ErrInvalidEvent, name, printable.Clip(value))
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("%w: %s %q is not valid UTF-8", ErrInvalidEvent, name, printable.Clip(value))
	}
	return nil
}

// checkID refuses what a client cannot send back in the Last-Event-ID header (section 9.2.4). A
// browser with such a last event ID never reconnects, and spaces around a header's value get lost.
func checkID(id string) error {
	if err := checkField("ID", id); err != nil {
		return err
	}
	if strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: ID %q contains a control character", ErrInvalidEvent, printable.Clip(id))
	}
	if strings.TrimSpace(id) != id {
		return fmt.Errorf("%w: ID %q begins or ends with a space", ErrInvalidEvent, printable.Clip(id))
	}
	return nil
}

func appendField[T chars](b []byte, field string, value T) []byte {
	b = append(b, field...)
	b = append(b, value...)
	return append(b, '\n')
}

// appendLines appends one field for each line of text. Lines end at LF, CR or CRLF, as for a parser
// (section 9.2.5), so that no text can end its field early. A line break at the end of the text is
// kept by an empty last line. A parser removes the space after the colon (section 9.2.6): without
// it, text that begins with a space would lose that one.
func appendLines[T chars](b []byte, field string, value T) []byte {
	for {
		line, rest, more := value, value[:0], false
		if i := indexByte(value, '\n'); i >= 0 {
			line, rest, more = value[:i], value[i+1:], true
			if i > 0 && value[i-1] == '\r' {
				line = value[:i-1]
			}
		}
		for i := indexByte(line, '\r'); i >= 0; i = indexByte(line, '\r') {
			b = appendField(b, field, line[:i])
			line = line[i+1:]
		}
		b = appendField(b, field, line)
		if !more {
			return b
		}
		value = rest
	}
}

// chars is what fields are made of.
type chars interface{ string | []byte }

func indexByte[T chars](value T, c byte) int {
	switch value := any(value).(type) {
	case string:
		return strings.IndexByte(value, c)
	case []byte:
		return bytes.IndexByte(value, c)
	}
	return -1
}

func appendRetry(b []byte, d time.Duration) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, milliseconds(d), 10)
	return append(b, '\n')
}

// milliseconds rounds up.
func milliseconds(d time.Duration) int64 { return int64((d-1)/time.Millisecond + 1) }

// appendOwn appends an event of the kit's own; nil data is the empty string. The data always
// marshals.
func appendOwn(b []byte, eventType, id string, data any) []byte {
	b = appendField(b, "event: ", eventType)
	if data == nil {
		b = append(b, "data:\n"...)
	} else {
		text, err := json.Marshal(data)
		if err != nil {
			panic("ginsse: " + err.Error()) // strings, bools and integers always marshal
		}
		b = appendField(b, "data: ", text)
	}
	if id != "" {
		b = appendField(b, idField, id)
	}
	return append(b, '\n')
}

// appendReconnect appends the event that asks a client to come back after a time.
func appendReconnect(b []byte, reason Reason, after time.Duration) []byte {
	return appendOwn(appendRetry(b, after), typeReconnect, "", reconnectData{reason, milliseconds(after)})
}

// gapUndelivered is the reason of the gap before sse.close. The stream has ended before it could
// deliver everything that was sent before its end.
const gapUndelivered eventlog.GapReason = "undelivered"

// gapTopics is the reason of the gap of a stream that resumes from before a change of its topics.
const gapTopics eventlog.GapReason = "topics"

// The data of the kit's own events, as a page reads it.
type (
	openData struct {
		Stream    string   `json:"stream"`
		User      string   `json:"user"` // see markOf
		Resumed   bool     `json:"resumed"`
		Heartbeat int64    `json:"heartbeat,omitempty"` // milliseconds
		Topics    []string `json:"topics"`
	}
	gapData struct {
		Reason eventlog.GapReason `json:"reason"`
		Topic  string             `json:"topic,omitempty"` // whose past has the gap; "" for the stream
	}
	topicsData struct {
		Topics  []string `json:"topics"`            // of the stream, from here on
		Added   []string `json:"added,omitempty"`   // by the change
		Removed []string `json:"removed,omitempty"` // by the change
		Refused []string `json:"refused,omitempty"` // were to be added, and are not
		asked   bool     // the page waits for an answer
	}
	closeData struct {
		Reason Reason `json:"reason"`
	}
	reconnectData struct {
		Reason Reason `json:"reason"`
		Retry  int64  `json:"retry"` // milliseconds
	}
)
