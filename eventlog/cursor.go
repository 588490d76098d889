package eventlog

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Cursor is a position in a [Log]. Its text form is the last event ID that a client holds: it
// says that the client has every event of its stream up to there.
//
// One cursor stands for all subjects that a stream reads, because a log has one total order. A
// cursor names no user and grants no access: what a stream may read comes from the request that
// opens it.
//
// The zero Cursor means "no position".
type Cursor struct {
	// Seq is the position: 1 or more for the first entry of an epoch, growing with each.
	Seq uint64
	// Epoch identifies the log's contents. A log that was recreated, or that lived in the
	// memory of a process that has ended, has another.
	Epoch uint32
	// Check is a value that the log derives from Seq or from the entry there. It tells a
	// position of this log from one that only looks like it: made up, or of a history that was
	// rolled back and written anew.
	Check uint32
}

const (
	cursorVersion = 1
	cursorBytes   = 1 + 4 + 8 + 4
)

// Strict refuses trailing bits, so that each cursor has exactly one text form.
var cursorEncoding = base64.RawURLEncoding.Strict()

// CursorLen is the length of a cursor's text form in bytes.
const CursorLen = (cursorBytes*8 + 5) / 6

// IsZero reports whether c is the zero Cursor.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// String returns the text form: 23 characters of the base64url alphabet, fit
// for a header, a query and an event's id field.
func (c Cursor) String() string {
	var text [CursorLen]byte
	return string(c.append(text[:0]))
}

// append appends the text form to b.
func (c Cursor) append(b []byte) []byte {
	var raw [cursorBytes]byte
	raw[0] = cursorVersion
	binary.BigEndian.PutUint32(raw[1:], c.Epoch)
	binary.BigEndian.PutUint64(raw[5:], c.Seq)
	binary.BigEndian.PutUint32(raw[13:], c.Check)
	return cursorEncoding.AppendEncode(b, raw[:])
}

// ParseCursor reads the text form. Any other text is [ErrInvalidCursor]; it
// never panics, and what it accepts encodes back to the same text.
func ParseCursor(text string) (Cursor, error) {
	// The length is checked first: the text comes from the network.
	if len(text) != CursorLen {
		return Cursor{}, fmt.Errorf("%w: %d bytes instead of %d", ErrInvalidCursor, len(text), CursorLen)
	}
	var raw [cursorBytes]byte
	// The decoder passes over line breaks, so the number of bytes counts as well.
	if n, err := cursorEncoding.Decode(raw[:], []byte(text)); err != nil || n != cursorBytes {
		return Cursor{}, fmt.Errorf("%w: not base64url", ErrInvalidCursor)
	}
	if raw[0] != cursorVersion {
		return Cursor{}, fmt.Errorf("%w: version %d", ErrInvalidCursor, raw[0])
	}
	c := Cursor{
		Epoch: binary.BigEndian.Uint32(raw[1:]),
		Seq:   binary.BigEndian.Uint64(raw[5:]),
		Check: binary.BigEndian.Uint32(raw[13:]),
	}
	if c.IsZero() {
		return Cursor{}, fmt.Errorf("%w: no position", ErrInvalidCursor)
	}
	return c, nil
}
