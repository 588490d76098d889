package client

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Event is one event of an event stream, as the standard dispatches it (WHATWG
// HTML, section 9.2.6).
//
// Ownership: an Event is the caller's to keep. Its strings may share memory, so
// that a Type or a LastEventID holds on to the Data it came with: keep a
// [strings.Clone] of what is to outlive large data.
type Event struct {
	// Type is the event type; "message" if the stream named none.
	Type string
	// Data is the data, its lines joined by LF. It may be empty.
	Data string
	// LastEventID is the last event ID at the time of the event: the event's own,
	// or that of an earlier block, or what was known before the stream began.
	// Empty if there is none.
	LastEventID string
}

// Unmarshal decodes the data, which must be JSON, into v, as [json.Unmarshal]
// does. Its error is of use with [errors.As] for what encoding/json returns; its
// text names the event type, and what did not fit, but holds none of the data.
func (e Event) Unmarshal(v any) error {
	if err := json.Unmarshal([]byte(e.Data), v); err != nil {
		return &unmarshalError{eventType: e.Type, cause: err}
	}
	return nil
}

// unmarshalError stands between the texts of encoding/json, which quote what they
// read, and logs, in which an application's data has no business.
type unmarshalError struct {
	eventType string
	cause     error
}

func (e *unmarshalError) Error() string {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	var target *json.InvalidUnmarshalError
	// The type is the server's, too, and may be long.
	text := fmt.Sprintf("ginsse: data of event %.64q ", e.eventType)
	switch {
	case errors.As(e.cause, &syntax):
		return text + fmt.Sprintf("is not JSON: error at byte %d", syntax.Offset)
	case errors.As(e.cause, &mismatch):
		text += fmt.Sprintf("does not fit a Go value of type %v: error at byte %d", mismatch.Type, mismatch.Offset)
		if mismatch.Field != "" {
			text += ", field " + mismatch.Field
		}
		return text
	case errors.As(e.cause, &target):
		return text + "was to be decoded into something other than a pointer"
	default:
		return text + "was refused by the Go value it was decoded into"
	}
}

func (e *unmarshalError) Unwrap() error { return e.cause }
