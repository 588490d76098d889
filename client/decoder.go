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

// DecoderConfig configures a [Decoder]. The zero value is ready for use.
type DecoderConfig struct {
	// LastEventID is the last event ID until the stream sets one. Default none.
	LastEventID string

	// MaxEventBytes is the most bytes of an event, before its blank line: of its
	// data (with the LF between two lines), its type and its ID taken together,
	// as received. A comment that is asked for, and the value of a retry field,
	// have the same limit, each by itself; field names count for nothing. What
	// nobody wants is passed over at any length: unknown fields, and comments and
	// retry fields without a function for them. Beyond the limit [Decoder.Next]
	// fails with [*EventTooLargeError]. Default 2 MiB, twice that of the kit's
	// registries; negative means no limit.
	MaxEventBytes int

	// Comment is called for each comment, without the colon and one space. Default
	// nil: comments are passed over.
	//
	// Comment and Retry are called by [Decoder.Next], in its goroutine and in the
	// order of the stream, as soon as their line has ended: before the event they
	// are in, and whether or not one comes of it. They must not call Next.
	Comment func(text string)

	// Retry is called for each retry field with the reconnection time that it
	// sets, in whole milliseconds; a number too large for a Duration arrives as
	// the largest. Default nil.
	Retry func(reconnectionTime time.Duration)
}

// EventTooLargeError is the error of [Decoder.Next] for an event over
// [DecoderConfig.MaxEventBytes]. Nothing of the event has been returned; the
// stream cannot be read on.
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

	// maxShared is how many bytes a Decoder keeps for the sake of a type or an ID
	// within them, so as not to copy that for the next event.
	maxShared = 4 << 10
)

// Decoder reads an event stream as section 9.2.6 of WHATWG HTML has it.
//
// An event is returned as soon as its blank line has ended. That may be by a CR;
// the LF which may follow is not waited for. All bytes received have been dealt
// with when more are asked for.
//
// Memory: 4 KiB, more while an event needs it: less than three times the event,
// and so less than three times [DecoderConfig.MaxEventBytes] for ever. A buffer
// of more than 64 KiB is given up after 16 reads that began between events and
// did not need it. Of an event that was returned, up to 4 KiB are kept for the sake
// of its type and its ID, which the next one may have, too. Each event is one
// allocation, or none if it is empty and has the type and the last event ID of the
// one before.
//
// Concurrency: a Decoder is used by one goroutine at a time. Its reader may call
// LastEventID while it is being read from.
type Decoder struct {
	r       io.Reader
	limit   int
	comment func(string)
	retry   func(time.Duration)
	err     error // why nothing more is to be read

	// buf[pos:end] has not been dealt with yet; lf and cr are where the first LF
	// and the first CR in it are, or end. So no byte is looked at twice.
	buf         []byte
	pos, end    int
	lf, cr      int
	filled      int  // pos after the last read
	spare       int  // reads in a row that a smaller buffer would have done for
	started     bool // a byte order mark has been looked for
	afterCR     bool // the last line ended in the last CR received: an LF belongs to it
	passingOver bool // the line at pos goes on from something that nobody wants

	// The block so far. Its data is in buf, before pos: the value of the first
	// data field where it was received, those of others moved up behind it.
	hasData            bool
	dataStart, dataEnd int
	eventType          []byte
	hasID              bool // of a block's ID; newID may be empty
	newID              []byte

	// What outlasts a block. lastID is as received; idString is its text unless
	// idStale.
	lastID   []byte
	idString string
	idStale  bool
	lastType string // a type that was seen before, to be used again
}

// NewDecoder returns a Decoder of the event stream r. It reads no more of r than
// [Decoder.Next] asks for, up to its buffer, and does not close it.
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

// Decode yields the events of a stream, read with the defaults of
// [DecoderConfig]. At the end of the stream the iteration ends; at any other
// error it does, too, after having yielded the error with a zero Event.
//
// The sequence can be ranged over once: what has been read of r is gone.
func Decode(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		d := NewDecoder(r, DecoderConfig{})
		for {
			e, err := d.Next()
			if err == io.EOF { //nolint:errorlint // a wrapped EOF is no end of the stream
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Next returns the next event. It waits until there is one.
//
// Errors: [io.EOF] at the end of the stream, which discards a block whose blank
// line is missing; any other error of the reader as it is, once all events
// received before it have been returned; [io.ErrNoProgress] for a reader that
// keeps returning neither bytes nor an error; [*EventTooLargeError]. After an
// error, every later call returns the same.
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
		case d.passingOver:
			d.passingOver = false
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

// LastEventID returns what a client would send as Last-Event-ID now, as of the
// last blank line. A block with an ID and no data moves it, too.
func (d *Decoder) LastEventID() string {
	if d.idStale {
		d.idString, d.idStale = decodeText(d.lastID), false
	}
	return d.idString
}

// dispatch ends the block, and returns its event if it makes one.
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
	// What is new goes into one string.
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
		// An ID longer than what else would be kept is not copied for each event.
		if len(s) <= maxShared+2*len(id) {
			d.idString, d.idStale = e.LastEventID, false
		}
	}
	return e, true
}

// fail lets go of everything; from now on Next returns err.
func (d *Decoder) fail(err error) {
	d.err = err
	d.buf, d.pos, d.end, d.lf, d.cr = nil, 0, 0, 0, 0
	d.eventType, d.newID, d.lastType = nil, nil, ""
}

// emptied returns an empty slice of b's memory, unless that is worth giving back.
func emptied(b []byte) []byte {
	if cap(b) > minBuffer {
		return nil
	}
	return b[:0]
}
