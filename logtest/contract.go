package logtest

import (
	"fmt"
	"testing"
)

// clause is a sentence of the contract. contract_test.go compares it with package eventlog.
type clause struct {
	of   string // a type, a field or method of one, or a named paragraph of Log's comment
	text string
}

func (c clause) String() string { return fmt.Sprintf("eventlog.%s: %s", c.of, c.text) }

// breaksf fails the test with the sentence that the log breaks.
func breaksf(t *testing.T, c clause, format string, args ...any) {
	t.Helper()
	t.Errorf("%s\nthis breaks %s", fmt.Sprintf(format, args...), c)
}

// What has several clauses: paragraphs of Log's comment, and types.
const (
	visibility = `Log, "Visibility"`
	partition  = `Log, "Partition"`
	timing     = `Log, "Time"`
	ownership  = `Log, "Ownership"`
	repeats    = `Log, "Repeats"`
	outbox     = "Outbox"
)

var (
	clauseOrder          = clause{`Log, "Order"`, "A log has one total order over all subjects."}
	clauseNumbers        = clause{`Log, "Order"`, "Within an epoch no number is used twice."}
	clauseVisible        = clause{visibility, "After Append has returned, Read on the same Log value sees the entry."}
	clauseThroughIsFinal = clause{visibility, "A Read that reports a position in Through has seen every entry of its subjects at or before that position."}
	clauseTogether       = clause{visibility, "Read sees all subjects alike: an entry only together with all entries before it."}
	clauseOtherWriters   = clause{`Log, "Other writers"`, "Watch and Read show them all the same."}
	clausePartition      = clause{partition, "A log that is cut off from its store returns an error, or pages without entries, with Through at the query's After."}
	clausePartitionHead  = clause{partition, "Head returns an error."}
	clauseReconnect      = clause{partition, "When the log is connected again, it calls Watch's functions for entries of any subject, also if it has missed none."}
	clausePositions      = clause{`Log, "Positions"`, "An entry has the same Cursor on each node and after a restart, for as long as the log has its contents."}
	clauseGaps           = clause{`Log, "Gaps"`, "If an entry that a query asks for may be missing, Read says so with a [GapReason]."}
	clauseNoGap          = clause{`Log, "Gaps"`, "Read may report a gap where nothing was lost."} // only with Suite.Inexact
	clauseSubjects       = clause{`Log, "Subjects"`, "Two subjects are equal if their bytes are."}
	clauseKeys           = clause{`Log, "Keys"`, "Read leaves out an entry if a newer one of its subject and key is visible, and that is no gap, for a reader at any position."}
	clauseRepeats        = clause{repeats, "If a record has a DedupKey, and a record of the same subject with the same DedupKey was stored within the last [DedupWindow], on any node, Append stores nothing."}
	clauseRepeatAt       = clause{repeats, "It returns the position of the earlier one, also if that was replaced or has left the log meanwhile."}
	clauseNoWait         = clause{timing, "With [Query.NoWait] it does not ask: Read returns [ErrWouldWait] at once, before it has any effect."}
	clauseSamePage       = clause{timing, "A page that needs no store is the same with and without NoWait."}
	clauseNoWaitHead     = clause{timing, "At the head of what the log sees, no page needs a store."}
	clauseFrame          = clause{ownership, "The caller may reuse a record's frame after Append has returned, whatever it returned."}
	clauseAttributes     = clause{"Entry.Attributes", "Attributes are those of the frame; nil for none."}
	clauseShared         = clause{ownership, "Entries and their blocks are shared by all readers: neither the log nor a reader ever changes them."}
	clauseDst            = clause{ownership, "The log keeps no reference to dst."}

	clauseAppend   = clause{"Log.Append", "Errors: [ErrTooLarge], [ErrInvalidRecord], [ErrUnavailable], [ErrNotVisible], [ErrClosed], or the log's own."}
	clauseHead     = clause{"Log.Head", "Head returns a position at or after every entry whose Append had returned, on any node, when Head was called."}
	clauseHeadRead = clause{"Log.Head", "Read sees every entry up to that position."}
	clauseRead     = clause{"Log.Read", "Read appends to dst the entries that q asks for, in order, and returns them with the position that they reach."}
	clauseWatch    = clause{"Log.Watch", "Watch has fn called after an entry became visible to Read, until stop is called."}
	clauseStop     = clause{"Log.Watch", "A call in progress may end after stop has returned, and stop may be repeated."}

	clauseWouldWait = clause{"ErrWouldWait", "ErrWouldWait is returned by Read if [Query.NoWait] is set and the log has to ask its store for the page."}

	clausePost     = clause{"SharedLog.Post", `Post sends a message of at most 64 KiB to the node that receives under a name, or with "" to all nodes.`}
	clauseReceive  = clause{"SharedLog.Receive", "Receive has fn called for messages to name and to all nodes, including this node's own, until stop is called."}
	clauseMessages = clause{"SharedLog.Receive", "fn does not block; it owns the message."}

	clauseCommit          = clause{outbox, "When the transaction commits, the log has them: they get positions then, in the order in which they were put, and readers see them like other entries."}
	clauseRollback        = clause{outbox, "If it is rolled back, or to a savepoint from before Put, the log never has them."}
	clauseOpenTransaction = clause{outbox, "A transaction that stays open keeps no reader waiting."}
	clauseOtherWriter     = clause{outbox, "It keeps other writers waiting only if the store has one writer at a time, as SQLite has."}
	clausePutRepeat       = clause{outbox, "A record that is a repeat when the transaction commits is not stored."}
	clausePut             = clause{outbox, "Put refuses what Append refuses, with the same errors, and nothing is put then."}
	clausePutFrame        = clause{outbox, "The caller may reuse the frame after Put has returned."}

	clauseAfter       = clause{"Query.After", "The zero Cursor is a position of no log."}
	clauseStart       = clause{"Query.After", "A Cursor with nothing but an epoch is the position before the first entry."}
	clauseBounds      = clause{"Query.MaxEntries", "A page holds at least one entry, even if that exceeds them."}
	clauseLatest      = clause{"Query.Latest", "Latest leaves out entries without a key, and gaps of reason [GapTrimmed]."}
	clauseLatestStart = clause{"Query.Latest", "From the position before the first entry, the query then gets the newest entry of each key that the log still has."}
	clauseThrough     = clause{"Page.Through", "Through is the position that the reader has reached with them: that of the last entry if the page is full, and else the head of what the log sees."}
	clauseMore        = clause{"Page.More", "More says that the page is full and that more entries may follow."}
	clauseGapPage     = clause{"Page.Gap", `Entries is then what dst held, Through the head, and More false.`}
	clauseEpoch       = clause{"GapEpoch", "GapEpoch: the position belongs to another epoch."}
	clauseUnknown     = clause{"GapUnknown", "GapUnknown: the position is not one of this log's."}
	clauseEntryKey    = clause{"Entry.Key", "Key is the record's."}
	clauseSubject     = clause{"Entry.Subject", "Subject is the record's."}
	clauseBlock       = clause{"Entry.Block", "Block is the event as a stream sends it: the frame without its attributes, with the position as its id field."}
)
