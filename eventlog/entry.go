package eventlog

import (
	"bytes"
	"fmt"
)

// Record is what [Log.Append] adds to a log.
type Record struct {
	// Subject is what the record is addressed to; see [SplitSubject].
	Subject string
	// Key, if not "", says that the record replaces earlier ones of its subject with the same key:
	// see [Log], Keys. It passes [CheckName].
	Key string
	// DedupKey, if not "", says that the record is the same as an earlier one of its subject with
	// the same DedupKey: see [Log], Repeats. It passes [CheckName].
	DedupKey string
	// Frame is one event in wire form without an id field; see [CheckFrame]. Its first line may have
	// [Attributes].
	Frame []byte
}

// Check returns an error that wraps [ErrInvalidRecord] if the subject, the frame or a key is not
// valid. A log calls it in Append, and for what it reads from a store that has other writers.
func (r *Record) Check() error {
	if _, _, ok := SplitSubject(r.Subject); !ok {
		return fmt.Errorf("%w: subject %.80q", ErrInvalidRecord, r.Subject)
	}
	for _, key := range [...]struct{ field, value string }{{"Key", r.Key}, {"DedupKey", r.DedupKey}} {
		if key.value == "" {
			continue
		}
		if err := CheckName(key.value); err != nil {
			return fmt.Errorf("%w: %s %w", ErrInvalidRecord, key.field, err)
		}
	}
	return CheckFrame(r.Frame)
}

// Entry is a record in a log.
//
// Ownership: entries are shared by all readers of a log. An Entry and its Block never change.
type Entry struct {
	// At is the entry's position.
	At Cursor
	// Subject is the record's.
	Subject string
	// Key is the record's.
	Key string
	// Block is the event as a stream sends it: the frame without its attributes, with the position
	// as its id field.
	Block []byte
	// Attributes are those of the frame; nil for none.
	Attributes *Attributes
	// Stored is when the log took the record, by its own clock, in nanoseconds since 1970; 0 if the log
	// does not say.
	Stored int64
}

// AppendFrame appends the event without its id field to b.
func (e *Entry) AppendFrame(b []byte) []byte {
	return append(append(b, e.Block[:len(e.Block)-BlockOverhead-len("\n")]...), '\n')
}

const idField = "id: "

// BlockOverhead is the number of bytes by which a block is longer than its frame.
const BlockOverhead = len(idField) + CursorLen + len("\n")

// NewEntry returns the entry of a record at a position. It copies the frame. The caller checks
// a record that comes from a store, with [Record.Check].
func NewEntry(at Cursor, r Record) Entry {
	e := newEntry(r)
	e.setPosition(at)
	return e
}

// newEntry returns the entry of a record that has no position yet. Its block has room for the ID.
func newEntry(r Record) Entry {
	attributes, frame := cutAttributes(r.Frame)
	block := make([]byte, 0, len(frame)+BlockOverhead)
	block = append(block, frame[:max(0, len(frame)-1)]...) // the id goes before the blank line
	block = append(block, idField...)
	block = block[:len(block)+CursorLen]
	return Entry{Subject: r.Subject, Key: r.Key, Block: append(block, '\n', '\n'), Attributes: attributes}
}

// setPosition sets the position of an entry that is not shared yet.
func (e *Entry) setPosition(at Cursor) {
	e.At = at
	at.append(e.Block[:len(e.Block)-CursorLen-len("\n\n")])
}

// extraCost is what an entry's key and attributes count for in the bounds of memory.
func (e *Entry) extraCost() (bytes int) {
	const overhead = 64 // of each
	if e.Key != "" {
		bytes += len(e.Key) + overhead
	}
	if a := e.Attributes; a != nil {
		bytes += len(a.Except) + len(a.Trace) + overhead
	}
	return bytes
}

// CheckFrame returns an error that wraps [ErrInvalidRecord] if a frame is not one event in wire form.
// An event is lines that end in LF, of which only the last is blank. Without the blank line it would
// merge with the next event; with a second one it would be two.
func CheckFrame(frame []byte) error {
	end := bytes.Index(frame, []byte("\n\n"))
	if end > 0 && end == len(frame)-2 && frame[0] != '\n' && bytes.IndexByte(frame, '\r') < 0 {
		return nil
	}
	return fmt.Errorf("%w: a frame of %d bytes is not lines that end in LF, of which only the last is blank",
		ErrInvalidRecord, len(frame))
}
