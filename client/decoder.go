package client

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// DecoderConfig holds the settings of a [Decoder]. The zero value is ready for use.
type DecoderConfig struct {
	// LastEventID is the last event ID until the stream sets one. Default: none.
	LastEventID string

	// MaxEventBytes is the largest size of an event: its data, type and ID in bytes as received,
	// with one LF between lines of data. Field names do not count. A comment that Comment receives,
	// and the value of a field that Retry receives, have the same limit, each on its own. Unknown
	// fields, and comments and retry fields without a function, may have any length. For a larger
	// event [Decoder.Next] fails with [*EventTooLargeError]. Default 2 MiB, twice that of the kit's
	// registries; negative: no limit.
	MaxEventBytes int

	// Comment is called with the text of each comment, without the colon and one space. Default
	// nil: comments are skipped.
	//
	// [Decoder.Next] calls Comment and Retry on its own goroutine, in the order of the stream, as
	// soon as their line has ended. That is before the event that contains the line, and also if
	// the block makes no event. They must not call Next.
	Comment func(text string)

	// Retry is called for each retry field with its reconnection time, in whole milliseconds. A
	// number too large for a Duration becomes the largest one. Default nil.
	Retry func(reconnectionTime time.Duration)
}

// EventTooLargeError is the error of [Decoder.Next] for an event over
// [DecoderConfig.MaxEventBytes]. Nothing of the event has been returned, and the rest of the stream
// cannot be read.
type EventTooLargeError struct {
	// Limit is the limit in bytes.
	Limit int
}

// Error implements error.
func (e *EventTooLargeError) Error() string {
	return fmt.Sprintf("ginsse: event is larger than %d bytes", e.Limit)
}

const (
	defaultMaxEventBytes = 2 << 20

	// maxShared is how many bytes of an event a Decoder keeps to reuse the type or ID in them.
	maxShared = 4 << 10
)

// Decoder reads an event stream as section 9.2.6 of WHATWG HTML says.
//
// Next returns an event as soon as its blank line has ended. If the line ends with CR, Next does
// not wait for the LF that may follow. It handles all received bytes before it asks for more.
//
// Memory: a Decoder uses 4 KiB, and while a larger event is read, less than three times its size;
// so it never uses three times [DecoderConfig.MaxEventBytes]. It frees a buffer of more than 64 KiB
// after 16 reads that did not need it. It keeps up to 4 KiB of the last event, because the next one
// often has the same type and ID. An event takes one allocation, or none if it is empty and has the
// type and last event ID of the previous one.
//
// Concurrency: one goroutine at a time may use a Decoder. Its reader may call LastEventID from
// within Read.
type Decoder struct {
	r       io.Reader
	limit   int
	comment func(string)
	retry   func(time.Duration)
	err     error // ends the Decoder once the lines in buf are done

	// buf[pos:end] is the unread part. lf and cr are the offsets of the first LF and the first CR
	// in it, or end. So no byte is searched twice.
	buf      []byte
	pos, end int
	lf, cr   int
	filled   int  // pos after the last read
	spare    int  // consecutive reads for which a smaller buffer would do
	started  bool // the check for a byte order mark is done
	afterCR  bool // the last received byte was the CR of a line end; skip an LF after it
	skipping bool // the line at pos continues one that is not wanted

	// The block so far. Its data is in buf[dataStart:dataEnd], before pos. The value of the first
	// data field stays where it was received; later values are moved up to follow it.
	hasData            bool
	dataStart, dataEnd int
	eventType          []byte
	hasID              bool // the block has an ID; newID may be empty
	newID              []byte

	// What outlasts a block. lastID is the ID as received. idString is its text unless idStale.
	lastID   []byte
	idString string
	idStale  bool
	lastType string // an earlier type, reused if the next event has the same
}

// NewDecoder returns a Decoder for the event stream r. It reads from r only within [Decoder.Next],
// at most a buffer at a time, and does not close r.
func NewDecoder(r io.Reader, cfg DecoderConfig) *Decoder {
	d := &Decoder{r: r, limit: cfg.MaxEventBytes, comment: cfg.Comment, retry: cfg.Retry}
	switch {
	case d.limit == 0:
		d.limit = defaultMaxEventBytes
	case d.limit < 0:
		d.limit = math.MaxInt
	}
	d.lastID, d.idString = []byte(cfg.LastEventID), cfg.LastEventID
	return d
}

// Decode yields the events of a stream, read with the defaults of [DecoderConfig]. The iteration
// ends at the end of the stream. Any other error is yielded with a zero Event and ends it, too.
//
// The sequence can be ranged over once, because ranging consumes r.
func Decode(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		d := NewDecoder(r, DecoderConfig{})
		for {
			e, err := d.Next()
			if err == io.EOF { //nolint:errorlint // a wrapped EOF is not the end of the stream
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Next waits for the next event and returns it.
//
// Errors: [io.EOF] at the end of the stream, where a block without its blank line is discarded; any
// other error of the reader, unchanged, after all events received before it; [io.ErrNoProgress] for
// a reader that keeps returning neither bytes nor an error; [*EventTooLargeError]. After an error,
// every later call returns the same error.
func (d *Decoder) Next() (Event, error) {
	for {
		lineEnd := min(d.lf, d.cr)
		if lineEnd == d.end {
			if err := d.fill(); err != nil {
				d.fail(err)
				return Event{}, err
			}
			continue
		}
		line := d.buf[d.pos:lineEnd]
		d.endLine()
		switch {
		case d.skipping:
			d.skipping = false
		case len(line) > 0:
			if err := d.field(line, lineEnd); err != nil {
				d.fail(err)
				return Event{}, err
			}
		default:
			if e, ok := d.dispatch(); ok {
				return e, nil
			}
		}
	}
}

// LastEventID returns what a client would now send as Last-Event-ID, as of the last blank line. A
// block with an ID and no data changes it, too.
func (d *Decoder) LastEventID() string {
	if d.idStale {
		d.idString, d.idStale = decodeText(d.lastID), false
	}
	return d.idString
}

// dispatch ends the block, and returns its event if it has data.
func (d *Decoder) dispatch() (Event, bool) {
	eventType := d.eventType
	d.eventType = emptied(eventType)
	if d.hasID {
		d.hasID = false
		if !bytes.Equal(d.newID, d.lastID) {
			d.newID, d.lastID = d.lastID, d.newID
			d.idString, d.idStale = "", len(d.lastID) > 0
		}
		d.newID = emptied(d.newID)
	}
	if !d.hasData {
		return Event{}, false
	}
	data := d.buf[d.dataStart:d.dataEnd]
	d.hasData, d.dataStart, d.dataEnd = false, 0, 0

	e := Event{Type: "message", LastEventID: d.idString}
	if string(eventType) == d.lastType {
		if d.lastType != "" {
			e.Type = d.lastType
		}
		eventType = nil
	}
	var id []byte
	if d.idStale {
		id = d.lastID
	}
	// All new text goes into one string, so that an event is one allocation.
	var text strings.Builder
	valid := utf8.Valid(data) && utf8.Valid(eventType) && utf8.Valid(id)
	if valid {
		text.Grow(len(data) + len(eventType) + len(id))
	} else {
		text.Grow(textLen(data) + textLen(eventType) + textLen(id))
	}
	writeText(&text, data, valid)
	typeStart := text.Len()
	if len(eventType) > 0 {
		writeText(&text, eventType, valid)
	}
	idStart := text.Len()
	if len(id) > 0 {
		writeText(&text, id, valid)
	}
	s := text.String()
	e.Data = s[:typeStart]
	if len(eventType) > 0 {
		e.Type = s[typeStart:idStart]
		if len(s) <= maxShared {
			d.lastType = e.Type
		}
	}
	if d.idStale {
		e.LastEventID = s[idStart:]
		// Keep s if the ID is a large part of it. Otherwise a long ID would be copied for each
		// later event.
		if len(s) <= maxShared+2*len(id) {
			d.idString, d.idStale = e.LastEventID, false
		}
	}
	return e, true
}

// fail frees the buffers. From now on Next returns err.
func (d *Decoder) fail(err error) {
	d.err = err
	d.buf, d.pos, d.end, d.lf, d.cr = nil, 0, 0, 0, 0
	d.eventType, d.newID, d.lastType = nil, nil, ""
}

// emptied returns b[:0], or nil if b is large enough to free.
func emptied(b []byte) []byte {
	if cap(b) > minBuffer {
		return nil
	}
	return b[:0]
}
