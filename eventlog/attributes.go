package eventlog

import (
	"bytes"
	"encoding/json"
	"time"
)

// Attributes are what a registry notes on an entry for the streams that read it. They are no part of
// what a client gets.
//
// Logs need not know of them: a record carries them in the first line of its frame, and [NewEntry]
// takes them out.
type Attributes struct {
	// Except is the ID of a stream that does not get the entry.
	Except string `json:"except,omitempty"`
	// Expires is the time from which on no stream gets the entry, in milliseconds since 1970; 0 for
	// never.
	Expires int64 `json:"expires,omitempty"`
	// Seen is the sequence up to which the sender of a transient event had seen the log.
	Seen uint64 `json:"seen,omitempty"`
	// Trace is the trace context of the sender.
	Trace string `json:"trace,omitempty"`
}

// HasExpired reports whether no stream gets the entry any more.
func (a Attributes) HasExpired(now time.Time) bool {
	return a.Expires != 0 && now.UnixMilli() >= a.Expires
}

// attributesPrefix begins the line of the attributes. It is a comment, so a frame with it is still
// one event. Comments of applications have a space after the colon.
const attributesPrefix = ":{"

// Append appends the line of the attributes to b, for the beginning of a frame.
func (a Attributes) Append(b []byte) []byte {
	text, err := json.Marshal(a)
	if err != nil {
		panic("eventlog: " + err.Error()) // strings and integers always marshal
	}
	return append(append(append(b, ':'), text...), '\n')
}

// cutAttributes splits a frame into its attributes and the rest; nil for none. A line that is not
// one of attributes stays in the frame, as a comment.
func cutAttributes(frame []byte) (*Attributes, []byte) {
	if len(frame) < len(attributesPrefix) || frame[1] != attributesPrefix[1] || frame[0] != attributesPrefix[0] {
		return nil, frame
	}
	line, rest, found := bytes.Cut(frame, []byte("\n"))
	a := new(Attributes)
	if !found || json.Unmarshal(line[1:], a) != nil {
		return nil, frame
	}
	return a, rest
}
