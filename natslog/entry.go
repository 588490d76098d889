package natslog

import (
	"hash/fnv"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// newEntry returns a message of the stream as an entry. The entry of a message that is not one
// event in wire form has no block. If it has a key, it replaces earlier ones all the same.
func newEntry(epoch uint32, seq uint64, stored time.Time, r eventlog.Record) *eventlog.WindowEntry {
	at := eventlog.Cursor{Epoch: epoch, Seq: seq, Check: checkOf(stored)}
	e := &eventlog.WindowEntry{Entry: eventlog.Entry{At: at, Subject: r.Subject, Key: r.Key}, Time: stored}
	if eventlog.CheckFrame(r.Frame) == nil {
		e.Entry = eventlog.NewEntry(at, r)
	}
	return e
}

// checkOf derives a cursor's check from the time at which the broker stored the event, to the
// nanosecond. After a rollback, another event under the same sequence has another check. It is
// never 0, which stands for an event that is gone.
func checkOf(stored time.Time) uint32 { return max(uint32(stored.UnixNano()), 1) }

// tagOf shortens the id of a message. It is never 0.
func tagOf(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return max(h.Sum32(), 1)
}

// isSame reports whether two entries are of one message.
func isSame(a, b *eventlog.WindowEntry) bool { return a.At.Seq == b.At.Seq && a.Time.Equal(b.Time) }
