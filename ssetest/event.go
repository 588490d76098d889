package ssetest

import (
	"bytes"

	"github.com/ginsse/ginsse/client"
)

// Event is an event as an EventSource would dispatch it.
type Event = client.Event

// Parse returns the events of a complete stream, of any size. Text after the last blank line is not
// an event.
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
