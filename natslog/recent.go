package natslog

import (
	"context"
	"sort"
	"time"

	"github.com/ginsse/ginsse"
)

// entry is an event as a reader gets it. It is never changed.
type entry struct {
	seq     uint64
	check   uint32
	at      time.Time // when the broker stored it, by its clock
	subject string
	block   []byte
}

// entryOverhead is added when memory is counted: the entry, the pointers to it, and
// its subject as if the event were its only one.
const entryOverhead = 320

func newEntry(epoch uint32, seq uint64, at time.Time, subject string, frame []byte) *entry {
	e := &entry{seq: seq, check: checkOf(at), at: at, subject: subject}
	e.block = ginsse.AppendBlock(make([]byte, 0, len(frame)+ginsse.CursorLen+8), ginsse.Cursor{Epoch: epoch, Seq: seq, Check: e.check}, frame)
	return e
}

// checkOf derives a cursor's check from the time at which the event was stored, to the
// nanosecond: another event under the same sequence, after a rollback, has another. It
// is never 0, which stands for an event that was gone when it was looked for.
func checkOf(at time.Time) uint32 { return max(uint32(at.UnixNano()), 1) }

func (e *entry) cost() int { return len(e.block) + len(e.subject) + entryOverhead }

// recent is what a node holds of the newest events: all of the stream behind a floor,
// without a hole. It is guarded by Log.mu.
type recent struct {
	epoch      uint32
	floor      uint64
	floorCheck uint32 // of the event at the floor; 0 if not known
	head       uint64
	entries    []*entry            // at floor+1, floor+2, ... head
	subjects   map[string][]*entry // the same; none is empty
	bytes      int

	limit      int           // of bytes
	perSubject int64         // the stream's bounds; 0 or less is none
	maxAge     time.Duration // 0 is none
}

// add appends an event. Where events between are missing, they were gone from the
// stream before they came here, and nothing before is without a hole any more.
func (r *recent) add(e *entry) {
	if e.seq != r.head+1 {
		r.skip(e.seq-1, 0)
	}
	r.head = e.seq
	r.entries = append(r.entries, e)
	r.subjects[e.subject] = append(r.subjects[e.subject], e)
	for r.bytes += e.cost(); r.bytes > r.limit && len(r.entries) > 1; {
		r.removeOldest()
	}
}

func (r *recent) removeOldest() {
	e := r.entries[0]
	r.entries[0] = nil // the array lives on for a while
	r.entries = r.entries[1:]
	if list := r.subjects[e.subject]; len(list) == 1 {
		delete(r.subjects, e.subject)
	} else {
		list[0] = nil
		r.subjects[e.subject] = list[1:]
	}
	r.bytes -= e.cost()
	r.floor, r.floorCheck = e.seq, e.check
}

// skip goes on behind a position and forgets what was before.
func (r *recent) skip(to uint64, check uint32) {
	r.floor, r.floorCheck, r.head = to, check, to
	r.entries, r.bytes = nil, 0
	r.subjects = make(map[string][]*entry)
}

// cursor returns the position of a sequence between floor and head.
func (r *recent) cursor(seq uint64) ginsse.Cursor {
	check := r.floorCheck
	if seq > r.floor {
		check = r.entries[seq-r.floor-1].check
	}
	return ginsse.Cursor{Epoch: r.epoch, Seq: seq, Check: check}
}

// place says whether a position is one from which recent events follow without a
// hole, or why it is none at all. One below the floor is neither.
func (r *recent) place(at ginsse.Cursor) (here bool, gap ginsse.GapReason) {
	switch {
	case at.Epoch != r.epoch:
		return false, ginsse.GapEpoch
	case at.Seq == 0 && at.Check != 0:
		return false, ginsse.GapUnknown // before the first event there is none to derive it from
	case at.Seq < r.floor || at.Seq > r.head:
		return false, ""
	case at.Seq == r.floor && r.floor > 0 && r.floorCheck == 0:
		return true, "" // its event is gone; what followed it is all here
	case at != r.cursor(at.Seq):
		return false, ginsse.GapUnknown
	}
	return true, ""
}

// next implements source.
func (r *recent) next(_ context.Context, subject string, after uint64) (*entry, error) {
	if list := r.after(subject, after); len(list) > 0 {
		return list[0], nil
	}
	return nil, nil //nolint:nilnil // there is none
}

func (r *recent) after(subject string, seq uint64) []*entry {
	list := r.subjects[subject]
	if n := len(list); n == 0 || list[n-1].seq <= seq {
		return nil // most subjects, most times
	}
	return list[sort.Search(len(list), func(i int) bool { return list[i].seq > seq }):]
}

// lost implements source. What the stream has let go of may still be here, but then
// another node may have it no more: both say the same.
func (r *recent) lost(_ context.Context, subject string, after ginsse.Cursor) (bool, error) {
	list := r.after(subject, after.Seq)
	if len(list) == 0 {
		return false, nil
	}
	byCount := r.perSubject > 0 && int64(len(list)) > r.perSubject
	return byCount || r.maxAge > 0 && time.Since(list[0].at) >= r.maxAge, nil
}

// check implements source.
func (r *recent) check(_ context.Context, seq uint64) (uint32, error) {
	return r.cursor(seq).Check, nil
}
