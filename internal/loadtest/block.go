package loadtest

import (
	"bytes"
	"strconv"
	"time"
)

// block decodes an event stream (section 9.2.6 of WHATWG HTML) piece by piece. It allocates nothing
// for an event.
type block struct {
	lines Lines

	eventType []byte
	id        []byte
	hasID     bool   // the block has an ID; id may be empty
	data      []byte // the beginning of the data, at most keptData bytes
	hasData   bool
	bytes     int    // of the data as received
	mark      []byte // a mark in the data, without its prefix; see mark
	prefix    []byte // of marks; nil if none is looked for
	retry     time.Duration
}

const (
	// keptLine is how many bytes of a line are decoded if it arrives in pieces. A mark must be in
	// them.
	keptLine = 64 << 10
	// keptData is how many bytes of data are kept: enough for the kit's own events that matter here.
	keptData = 256
	// mostIDBytes is the longest last event ID that is kept. The kit's have 23 bytes.
	mostIDBytes = 4 << 10
)

// feed decodes p, and calls event at the end of each block that has data or an ID.
func (b *block) feed(p []byte, event func()) {
	b.lines.Split(p, func(line []byte, length int) {
		if length > 0 {
			b.field(line, length)
			return
		}
		if b.hasData || b.hasID {
			event()
		}
		b.eventType, b.id, b.data, b.mark = b.eventType[:0], b.id[:0], b.data[:0], b.mark[:0]
		b.hasID, b.hasData, b.bytes = false, false, 0
	})
}

func (b *block) field(line []byte, length int) {
	name, value, _ := bytes.Cut(line, colon)
	value = bytes.TrimPrefix(value, space)
	switch string(name) {
	case "data":
		b.hasData = true
		b.bytes += len(value) + length - len(line)
		b.data = append(b.data, value[:min(len(value), keptData-len(b.data))]...)
		b.findMark(value)
	case "event":
		b.eventType = append(b.eventType[:0], value[:min(len(value), keptData)]...)
	case "id":
		if len(value) <= mostIDBytes && bytes.IndexByte(value, 0) < 0 {
			b.hasID = true
			b.id = append(b.id[:0], value...)
		}
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 32); err == nil {
			b.retry = time.Duration(ms) * time.Millisecond
		}
	}
}

var colon, space = []byte(":"), []byte(" ")

// findMark keeps the mark in a line of data, without its prefix.
func (b *block) findMark(value []byte) {
	if b.prefix == nil || len(b.mark) > 0 {
		return
	}
	if _, rest, found := bytes.Cut(value, b.prefix); found {
		b.mark = append(b.mark[:0], rest[:min(len(rest), markBytes)]...)
	}
}

// isOwn reports whether the event is one of the kit's own.
func (b *block) isOwn() bool { return bytes.HasPrefix(b.eventType, ownPrefix) }

// hasType reports whether the event is of a type; "" is any.
func (b *block) hasType(eventType string) bool {
	if len(b.eventType) == 0 {
		return eventType == "" || eventType == "message"
	}
	return eventType == "" || string(b.eventType) == eventType
}

var ownPrefix = []byte("sse.")
