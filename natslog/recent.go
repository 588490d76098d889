package natslog

import (
	"bytes"
	"context"
	"hash/fnv"
	"sort"
	"time"

	"github.com/ginsse/ginsse"
)

// entry is an event as a reader gets it. It is never changed.
type entry struct {
	seq     uint64
	check   uint32
	tag     uint32    // of its message; 0 if it is not known
	at      time.Time // when the broker stored it, by its clock
	subject string
	block   []byte // empty if the message is no event: it counts, and readers pass over it
}

// entryOverhead is added when memory is counted: the entry, the pointers to it, and
// its subject as if the event were its only one.
const entryOverhead = 320

func newEntry(epoch uint32, seq uint64, at time.Time, subject string, frame []byte) *entry {
	e := &entry{seq: seq, check: checkOf(at), at: at, subject: subject}
	if !isFrame(frame) {
		return e
	}
	e.block = ginsse.AppendBlock(make([]byte, 0, len(frame)+ginsse.CursorLen+8), ginsse.Cursor{Epoch: epoch, Seq: seq, Check: e.check}, frame)
	return e
}

// isFrame reports whether a message is one event in wire form: lines that end in LF, of
// which the last is blank and no other. Without the blank line an event would take up the
// first lines of the next one; with two, it would be two events.
func isFrame(message []byte) bool {
	end := bytes.Index(message, []byte("\n\n"))
	return end > 0 && end == len(message)-2 && message[0] != '\n' && bytes.IndexByte(message, '\r') < 0
}

// checkOf derives a cursor's check from the time at which the event was stored, to the
// nanosecond: another event under the same sequence, after a rollback, has another. It
// is never 0, which stands for an event that was gone when it was looked for.
func checkOf(at time.Time) uint32 { return max(uint32(at.UnixNano()), 1) }

// tagOf shortens the id of a message.
func tagOf(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return max(h.Sum32(), 1)
}

// reached returns the position of the event, for who waits for one with a tag; the zero
// Cursor if this is another.
func (e *entry) reached(epoch, tag uint32) ginsse.Cursor {
	if e.tag != tag {
		return ginsse.Cursor{}
	}
	return ginsse.Cursor{Epoch: epoch, Seq: e.seq, Check: e.check}
}

func (e *entry) cost() int { return len(e.block) + len(e.subject) + entryOverhead }

// recent is what a node holds of the newest events: all that the stream still had behind a
// floor when they came. It is guarded by Log.mu.
//
// An event that is missing between others had left the stream before it came here. If the
// stream still begins before it, then only by its subject's own bound, and so many newer
// ones of the subject are there that lost sees it. That holds when they have all come: until
// then readers do not see what is behind the hole.
type recent struct {
	epoch      uint32
	floor      uint64
	floorCheck uint32              // of the event at the floor; 0 if not known
	head       uint64              // what readers see ends here
	tip        uint64              // and what is held; further on only while there is a hole
	entries    []*entry            // behind the floor, up to the tip
	subjects   map[string][]*entry // the same; none is empty
	bytes      int

	// A hole is from its first missing sequence to its last, and may be several; 0 for
	// none. When the tip is at until, all has come that can show what is missing; 0 while
	// that is not known.
	hole, holeEnd, until uint64

	limit      int           // of bytes
	perSubject int64         // the stream's bounds; 0 or less is none
	maxAge     time.Duration // 0 is none
}

// add appends an event.
func (r *recent) add(e *entry) {
	if e.seq != r.tip+1 {
		if r.hole == 0 {
			r.hole = r.tip + 1
		}
		r.holeEnd, r.until = e.seq-1, 0
	}
	r.tip = e.seq
	r.entries = append(r.entries, e)
	r.subjects[e.subject] = append(r.subjects[e.subject], e)
	for r.bytes += e.cost(); r.bytes > r.limit && len(r.entries) > 1; {
		r.removeOldest()
	}
	r.show()
}

// show has readers see as much as they may.
func (r *recent) show() {
	if r.hole == 0 || r.holeEnd <= r.floor || r.until != 0 && r.tip >= r.until {
		r.head, r.hole, r.holeEnd, r.until = r.tip, 0, 0, 0
	}
	r.head = max(r.head, r.floor)
}

// settle says what a hole means, of a stream that begins and ends at these sequences and
// keeps so many events of a subject. It is by that bound that events are missing if the
// stream still has one from before the hole; but a replica may let go of old events, by its
// own clock, before the one that says so.
func (r *recent) settle(first, last uint64, perSubject int64) {
	same := perSubject == r.perSubject // else lost would go by another bound than the stream did
	r.perSubject = perSubject
	before := r.at(r.hole - 1)
	young := r.maxAge <= 0 || before != nil && time.Since(before.at) < r.maxAge/4*3
	if first < r.hole && perSubject > 0 && same && young {
		r.until = last
		r.show()
		return
	}
	r.giveUp()
}

// giveUp forgets what is before the end of the hole: anything may be missing there.
func (r *recent) giveUp() {
	end := r.holeEnd
	for len(r.entries) > 0 && r.entries[0].seq <= end {
		r.removeOldest()
	}
	r.floor, r.floorCheck = end, 0
	r.show()
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
	r.floor, r.floorCheck, r.head, r.tip = to, check, to, to
	r.hole, r.holeEnd, r.until = 0, 0, 0
	r.entries, r.bytes = nil, 0
	r.subjects = make(map[string][]*entry)
}

// cursor returns the position of a sequence between floor and tip.
func (r *recent) cursor(seq uint64) ginsse.Cursor {
	at := ginsse.Cursor{Epoch: r.epoch, Seq: seq}
	if seq == r.floor {
		at.Check = r.floorCheck
	} else if e := r.at(seq); e != nil {
		at.Check = e.check
	}
	return at
}

// at returns the event at a sequence between floor and tip; nil if it is missing.
func (r *recent) at(seq uint64) *entry {
	i := int(seq - r.floor - 1)
	if uint64(len(r.entries)) != r.tip-r.floor {
		i = sort.Search(len(r.entries), func(i int) bool { return r.entries[i].seq >= seq })
	}
	if i < len(r.entries) && r.entries[i].seq == seq {
		return r.entries[i]
	}
	return nil
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
	}
	switch known := r.cursor(at.Seq); {
	case at == known:
		return true, ""
	case known.Check == 0: // its event is missing here, and another node may have had it
		return false, ginsse.GapTrimmed
	default:
		return false, ginsse.GapUnknown
	}
}

// next implements source.
func (r *recent) next(_ context.Context, subject string, after uint64) (*entry, error) {
	for _, e := range r.after(subject, after) {
		if len(e.block) > 0 {
			return e, nil
		}
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
