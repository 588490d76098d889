package ssetest

import (
	"bytes"

	"github.com/ginsse/ginsse/client"
)

// Event is an event as an EventSource dispatches it.
type Event = client.Event

// Parse returns the events of a complete stream, each however large. What stands
// after the last blank line is no event.
func Parse(stream []byte) []Event {
	decoder := client.NewDecoder(bytes.NewReader(stream), client.DecoderConfig{MaxEventBytes: -1})
	var events []Event
	for {
		e, err := decoder.Next()
		if err != nil {
			return events
		}
		events = append(events, e)
	}
}
