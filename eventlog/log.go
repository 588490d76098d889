// Package eventlog is the ordered, bounded history that a ginsse registry appends events to
// and that its streams read from.
//
// Users of a registry need [Log], which is a setting of it, and [MemoryLog], the default. The log of
// several nodes comes from another module, such as natslog.
//
// Authors of a log start with [Log], which is the contract, and with what it is made of: a [Record]
// goes in and becomes an [Entry] with a [Cursor]; a [Query] asks for a [Page] of entries. A
// [SharedLog] connects several nodes. A [Window] holds the recent entries of a shared store in the
// memory of a node, asks its [Store] for older ones, and [ReadSource] collects those. Package logtest
// tests a log against the contract, and docs/writing-a-log.md leads through one.
package eventlog

import (
	"context"
	"errors"
	"time"
)

// Log is an ordered, bounded history of entries. Streams read it live and when they resume.
//
// # Contract for implementers
//
// Order. A log has one total order over all subjects. The Seq of a [Cursor] grows with each
// entry. Numbers may be skipped. Within an epoch no number is used twice.
//
// Visibility. After Append has returned, Read on the same Log value sees the entry. A Read
// that reports a position in Through has seen every entry of its subjects at or before that
// position. No entry may appear there later. Read sees all subjects alike: an entry only
// together with all entries before it.
//
// Other writers. Entries may come to a log otherwise than by Append, for example from another
// node or from a transaction of the application. Watch and Read show them all the same.
//
// Partition. A log that is cut off from its store returns an error, or pages without entries, with
// Through at the query's After. Head returns an error. When the log is connected again, it calls
// Watch's functions for entries of any subject, also if it has missed none.
//
// Positions. An entry has the same Cursor on each node and after a restart, for as long as the
// log has its contents. Epoch tells one store from another, and from itself recreated: it is a
// hash of the store's identity and creation. A log whose store can be rolled back derives Check
// from the entry, not from Seq alone.
//
// Keys. Of the entries of one subject with the same key, readers need only the newest. Read leaves
// out an entry if a newer one of its subject and key is visible, and that is no gap, for a reader at
// any position. A log may remove such entries from its store. See also [Query.Latest].
//
// Repeats. If a record has a DedupKey, and a record of the same subject with the same DedupKey was
// stored within the last [DedupWindow], on any node, Append stores nothing. It returns the position
// of the earlier one, also if that was replaced or has left the log meanwhile.
//
// Gaps. If an entry that a query asks for may be missing, Read says so with a [GapReason]. Read
// may report a gap where nothing was lost. Read must not miss one.
//
// Subjects. Two subjects are equal if their bytes are. [SplitSubject] lists the forms. A log that
// stores subjects under other names keeps "a.b", "a b", "A" and "*" apart.
//
// Time. A stream that waits in Read sends no heartbeat and does not notice its end. A log that
// asks its store gives up within 5 s, with an error. With [Query.NoWait] it does not ask: Read
// returns [ErrWouldWait] at once, before it has any effect. A page that needs no store is the same
// with and without NoWait. At the head of what the log sees, no page needs a store. A log that never
// asks a store may ignore NoWait.
//
// Concurrency. All methods are called from many goroutines at once. Every wake-up of every stream
// calls Read, so Read must be cheap for positions near the head.
//
// Ownership. The caller may reuse a record's frame after Append has returned, whatever it
// returned. Entries and their blocks are shared by all readers: neither the log nor a reader ever
// changes them. The log keeps no reference to dst.
type Log interface {
	// Append adds a record and returns its position. After an error the record was not stored;
	// with a log across a network this may be unknown. Appending again is then safe: readers
	// see a repeat at worst. The end of ctx ends the wait for a store.
	//
	// Errors: [ErrTooLarge], [ErrInvalidRecord], [ErrUnavailable], [ErrNotVisible], [ErrClosed], or
	// the log's own. A registry appends valid records alone. A log may check them again; one whose
	// store has other writers does.
	Append(ctx context.Context, r Record) (Cursor, error)

	// Head returns a position at or after every entry whose Append had returned, on any node,
	// when Head was called. Read sees every entry up to that position. The end of ctx ends
	// the wait for a store.
	Head(ctx context.Context) (Cursor, error)

	// Read appends to dst the entries that q asks for, in order, and returns them with the
	// position that they reach. After an error the caller ignores the page and tries again later
	// from the same position.
	Read(ctx context.Context, q Query, dst []*Entry) (Page, error)

	// Watch has fn called after an entry became visible to Read, until stop is called. A call in
	// progress may end after stop has returned, and stop may be repeated.
	//
	// fn does not block. The log may call fn concurrently and in any order. One call may stand for
	// all earlier entries of its subject, and a call with an empty subject for entries of any
	// subject.
	Watch(fn func(subject string, seq uint64)) (stop func())
}

// SharedLog is a [Log] that connects the registries of several nodes. Beside the log it carries
// messages, by which the nodes exchange which users are online.
//
// A message is stored nowhere. It may be lost, arrive twice, or arrive after a later one.
//
// Concurrency: as for Log.
//
// ssetest.Node is a small SharedLog to read; package natslog has one on a network.
type SharedLog interface {
	Log

	// Post sends a message of at most 64 KiB to the node that receives under a name, or with ""
	// to all nodes. Post waits for no receiver. After an error the message was not sent. The
	// caller may reuse the message after Post has returned.
	Post(to string, message []byte) error

	// Receive has fn called for messages to name and to all nodes, including this node's own,
	// until stop is called. A name has 1 to 32 ASCII letters and digits. A call in progress may
	// end after stop has returned, and stop may be repeated. fn does not block; it owns the
	// message.
	Receive(name string, fn func(message []byte)) (stop func())
}

// Outbox takes records into a transaction of the application, for a log whose store is the
// application's database. When the transaction commits, the log has them: they get positions then,
// in the order in which they were put, and readers see them like other entries. If it is rolled
// back, or to a savepoint from before Put, the log never has them.
//
// A transaction that stays open keeps no reader waiting. It keeps other writers waiting only if the
// store has one writer at a time, as SQLite has.
//
// A record that is a repeat when the transaction commits is not stored.
//
// Put refuses what Append refuses, with the same errors, and nothing is put then. The caller may
// reuse the frame after Put has returned. After any error the transaction should be rolled back.
type Outbox interface {
	Put(ctx context.Context, r Record) error
}

// The errors of logs that a registry or an application can act on. Test for them with
// [errors.Is].
var (
	// ErrTooLarge is returned by Append and by an outbox's Put for a record that the log cannot
	// hold.
	ErrTooLarge = errors.New("eventlog: record too large")
	// ErrInvalidRecord is returned by Append and by an outbox's Put for a record that does not pass
	// [Record.Check].
	ErrInvalidRecord = errors.New("eventlog: invalid record")
	// ErrUnavailable is returned when the log's store does not answer, or refuses: by Append when its
	// wait ends, by Read if it has to ask the store, and by Head, which returns it at once while the
	// node is partitioned. It wraps the cause, and its text names the store. After one from Append it
	// is not known whether the record was stored.
	ErrUnavailable = errors.New("eventlog: store unavailable")
	// ErrNotVisible is returned by Append when the store has the record, and this node has not read
	// it in time, or replicas that Append waits for do not have it. It wraps the cause. The entry may
	// still be delivered.
	ErrNotVisible = errors.New("eventlog: record is stored, but not visible yet")
	// ErrClosed is returned by Append, Head and Read after the log was closed.
	ErrClosed = errors.New("eventlog: log is closed")
	// ErrWouldWait is returned by Read if [Query.NoWait] is set and the log has to ask its store for
	// the page. The same query without NoWait gets the page.
	ErrWouldWait = errors.New("eventlog: reading the page would wait for the store")
	// ErrInvalidCursor is returned by [ParseCursor] for text that no [Cursor] encodes to.
	ErrInvalidCursor = errors.New("eventlog: invalid cursor")
)

// DedupWindow is for how long a log knows a [Record.DedupKey].
const DedupWindow = 2 * time.Minute

// Query says which entries a reader wants.
type Query struct {
	// Subjects are the subjects that the reader wants; none is named twice.
	Subjects []string
	// After is the reader's position: it wants the entries after it. A Cursor with nothing but an
	// epoch is the position before the first entry. The zero Cursor is a position of no log.
	After Cursor
	// Latest leaves out entries without a key, and gaps of reason [GapTrimmed]. From the position
	// before the first entry, the query then gets the newest entry of each key that the log still
	// has.
	Latest bool
	// MaxEntries and MaxBytes, of the blocks, bound the page. A page holds at least one entry,
	// even if that exceeds them.
	MaxEntries, MaxBytes int
	// NoWait says that Read must not wait for the log's store. If it would have to, it returns
	// [ErrWouldWait] at once.
	//
	// It is for a goroutine that serves many streams: while the goroutine waited for a store, none
	// of its streams would get an event. It has another goroutine, which may wait, read the page
	// without NoWait.
	NoWait bool
}

// Page is what [Log.Read] found.
type Page struct {
	// Entries are the entries found, in order, after those that dst held.
	Entries []*Entry
	// Through is the position that the reader has reached with them: that of the last entry if
	// the page is full, and else the head of what the log sees.
	Through Cursor
	// More says that the page is full and that more entries may follow. It holds an entry then.
	More bool
	// Gap, if not "", says why entries after the query's position may be missing. Entries is then
	// what dst held, Through the head, and More false.
	Gap GapReason
}

// GapReason says why a reader cannot continue from its position without a gap. Clients read it
// in the data of the event sse.gap.
type GapReason string

// The reasons for a gap.
const (
	// GapTrimmed: entries after the position have left the log, by age, count or size.
	GapTrimmed GapReason = "trimmed"
	// GapEpoch: the position belongs to another epoch. The log was recreated, or lived in the
	// memory of a process that has ended.
	GapEpoch GapReason = "epoch"
	// GapUnknown: the position is not one of this log's. It is malformed, made up, in the future,
	// or of a history that was rolled back. A position that another node may have given out, and
	// that this node has not reached yet, is not in the future: the reader waits there.
	GapUnknown GapReason = "unknown"
)
