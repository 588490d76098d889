package client

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Event is one event of an event stream, as the standard dispatches it (WHATWG
// HTML, section 9.2.6).
//
// Ownership: the caller owns the Event. Its strings may share memory, so a Type or LastEventID can
// keep large Data alive. To keep a Type or LastEventID longer than the Data, use [strings.Clone].
type Event struct {
	// Type is the event type; "message" if the stream named none.
	Type string
	// Data is the data, with lines joined by LF. It may be empty.
	Data string
	// LastEventID is the last event ID after this event. It is the event's own ID, or that of an
	// earlier block, or the one known before the stream began. Empty if there is none.
	LastEventID string
}

// Unmarshal decodes the data, which must be JSON, into v, as [json.Unmarshal] does. Its error wraps
// that of encoding/json. The error's text names the event type and the place of the problem, but
// contains none of the data.
func (e Event) Unmarshal(v any) error {
	if err := json.Unmarshal([]byte(e.Data), v); err != nil {
		return &unmarshalError{eventType: e.Type, cause: err}
	}
	return nil
}

// unmarshalError keeps the data of the application out of logs: error texts of encoding/json quote
// the input.
type unmarshalError struct {
	eventType string
	cause     error
}

func (e *unmarshalError) Error() string {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	var target *json.InvalidUnmarshalError
	// The event type comes from the server, too, and may be long.
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
		return text + "cannot be decoded into a value that is not a pointer"
	default:
		return text + "was refused by the Go value that it was decoded into"
	}
}

func (e *unmarshalError) Unwrap() error { return e.cause }
