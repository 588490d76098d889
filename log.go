package ginsse

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Log is the ordered, bounded history that a [Registry] appends to and that its
// streams read from, live and when they resume: there is no second path. The
// default is a [MemoryLog]; a shared log makes one registry of several nodes.
//
// # Contract for implementers
//
// Order: the log has one total order over all subjects. The Seq of a [Cursor] grows
// with each event; numbers may be skipped but are never used twice within an epoch.
//
// Visibility: once Append has returned, Read on the same Log value sees the
// event. A Read that reports a position Through has seen every event of its
// subjects at or before it: none may appear there later. What Read sees, it sees of all
// subjects alike: an event only together with all before it. A log that cannot
// tell, because it has lost touch with its store, returns no events and leaves
// Through at the query's After; asked without a position, it returns an error. Once
// back in touch it has Watch's fn called for what came meanwhile.
//
// Positions: an event's Cursor is the same on each node and after a restart, for as
// long as the contents are. A log whose store can be rolled back derives Check from
// the event, not from Seq alone. Epoch tells one store from another, and from itself
// recreated: a hash of its identity and creation.
//
// Subjects: "all", "control", or "user:" or "topic:" with 1 to [MaxNameBytes] bytes of
// valid UTF-8 without control characters behind it. They are equal if their bytes are: a
// log that stores them under other names keeps "a.b", "a b", "A" and "*" apart.
//
// Time: a writer that waits in Read sends no heartbeat and does not see its stream
// end. A log that has to ask its store gives up within a few seconds, with an error.
//
// Gaps: when an event that a query asks for may be missing, Read says so with a
// [GapReason]. It may report a gap where nothing was lost; it must never miss one.
//
// Concurrency: all methods are called from many goroutines at once. Read is
// called for every wake-up of every stream, so it must be cheap for positions
// near the head.
//
// Ownership: the frame given to Append is the caller's again when the method has
// returned, whatever it returned. The Blocks of a page are dst or new memory, and
// the caller's too: the log keeps no reference to either.
//
// Package logtest is the proof: run it on each implementation.
type Log interface {
	// Append adds an event for one subject and returns its position. The frame is the
	// event in wire form without an id field: whole lines, the last of them blank. An
	// error means that the event was not stored, or, for a log across a network,
	// that this is not known; appending again is then safe for the reader, who sees a
	// repeat at worst. The end of ctx abandons the wait, if there is one.
	Append(ctx context.Context, subject string, frame []byte) (Cursor, error)

	// Read appends events to dst in order, by the rules of [Query], each as
	// [AppendBlock] does, and returns them with how far they reach. An error means
	// that nothing is known at this time: the page is ignored, and the caller tries
	// again later from the same position.
	Read(ctx context.Context, q Query, dst []byte) (Page, error)

	// Watch has fn called after an event became visible to Read, whoever appended
	// it, until stop is called; a call in progress may end later, and stop may be
	// repeated. fn does not block and may be called concurrently and in any order: it
	// says where to look, Read says what is there. So one call may stand for all
	// earlier events of its subject, and one with an empty subject for those of all:
	// a log may not know what it has missed.
	Watch(fn func(subject string, seq uint64)) (stop func())
}

// SharedLog is a [Log] that the registries of several nodes are on. They tell each other
// by it whose streams are to end, as events of the subject "control", and who is online,
// by messages.
//
// What they say in "control" counts as any event does: a log that loses some of it early
// has all clients of a node come back.
//
// A message is kept nowhere: it may be lost, come twice, or come after a later one.
//
// Concurrency: as for Log.
//
// ssetest.Node is a small one to read, package natslog one on a network.
type SharedLog interface {
	Log

	// Post sends a message of at most 64 KiB to who receives under a name, or with "" to
	// all. It waits for nobody. An error means that it was not sent. The message is the
	// caller's again when Post has returned.
	Post(to string, message []byte) error

	// Receive has fn called with the messages to a name, of 1 to 32 ASCII letters and digits,
	// and with those to all, also its own, until stop is called; a call in progress may end
	// later, and stop may be repeated. fn does not block, and the message is its own.
	Receive(name string, fn func(message []byte)) (stop func())
}

// AppendBlock appends to dst an event as a stream sends it: its frame, with its
// position as an id field in front of the blank line that ends it. It is for
// implementers of a [Log]. A frame that does not end in a blank line would merge
// with the event behind it; check one that comes from a store.
func AppendBlock(dst []byte, at Cursor, frame []byte) []byte {
	dst = append(dst, frame[:max(0, len(frame)-1)]...)
	dst = append(dst, idField...)
	dst = at.append(dst)
	return append(dst, '\n', '\n')
}

const idField = "id: "

// blockOverhead is by how much a block is longer than its frame.
const blockOverhead = len(idField) + CursorLen + len("\n")

// Query says what a stream wants to read.
type Query struct {
	// Subjects are the subjects that the stream may read.
	Subjects []string
	// After is the reader's position: events follow it. With the zero Cursor
	// there are no events, and Through is the head.
	After Cursor
	// Before, if not 0, is the sequence that ends the wanted events; it is not
	// wanted itself. At or below After's nothing is wanted: Through is After, or
	// there is a gap. Without a position it has no effect.
	Before uint64
	// MaxEvents and MaxBytes, of what is appended to dst, bound the page. One event is
	// always allowed, and with 0 no other.
	MaxEvents, MaxBytes int
}

// Page is what [Log.Read] found.
type Page struct {
	// Blocks are the events found, in order, behind what dst held.
	Blocks []byte
	// Last is the position of the last of them; the zero Cursor if there is none.
	Last Cursor
	// Through is the position that the reader has reached with them: Last if the page
	// is full, else the head's (or the last one before Before).
	Through Cursor
	// More says that the page was full and more may follow. It has an event then.
	More bool
	// Gap, if not "", says why events after the position asked for may be missing.
	// Blocks is then what dst held, Through at the head, and More false.
	Gap GapReason
}

// GapReason says why a stream cannot go on from its position without a gap. The
// client reads it in the data of sse.gap.
type GapReason string

// The reasons for a gap.
const (
	// GapTrimmed: events after the position have left the history, by age,
	// count or size.
	GapTrimmed GapReason = "trimmed"
	// GapEpoch: the position belongs to another epoch: the log was recreated, or
	// lived in the memory of a process that has ended.
	GapEpoch GapReason = "epoch"
	// GapUnknown: the position is not one of this log's: malformed, made up, from
	// the future, or from a history that was rolled back. One that another node may
	// have given out, and that has not been heard of yet, is not of the future: the
	// reader waits there.
	GapUnknown GapReason = "unknown"
	// GapUndelivered comes from a stream, not from a log: the stream was ended for good
	// before all that was sent before its end could be delivered, because its client was
	// too slow or the log could not be read.
	GapUndelivered GapReason = "undelivered"
)

// A subject is what an event is addressed to and what a stream reads. Shared
// logs see them as they are here.
const (
	subjectUser  = "user:"
	subjectTopic = "topic:"
	subjectAll   = "all"

	subjectControl = "control" // what registries tell each other
)

// MaxNameBytes is the most bytes that a user ID or a topic may have.
const MaxNameBytes = 256

// checkName refuses what must not become part of a subject: it ends up in index
// keys, logs and, on shared logs, in another system's subject names.
func checkName(kind, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the %s is empty", ErrInvalidSubject, kind)
	case len(name) > MaxNameBytes:
		return fmt.Errorf("%w: the %s has %d bytes, more than %d", ErrInvalidSubject, kind, len(name), MaxNameBytes)
	case printable(name):
		return nil
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the %s is not valid UTF-8", ErrInvalidSubject, kind)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: the %s %q contains a control character", ErrInvalidSubject, kind, clip(name))
	}
	return nil
}

// printable reports whether a name is of printable ASCII, as most are, so that
// they need no closer look.
func printable(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
