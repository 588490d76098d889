package ginsse

import (
	"context"
	"sync"
	"time"
)

// Read implements [Log].
func (l *MemoryLog) Read(_ context.Context, q Query, dst []byte) (Page, error) {
	head := l.head.Load() // first: what is appended from here on is for the next page
	page := Page{Blocks: dst, Through: q.After}
	if q.After.IsZero() {
		page.Through = l.cursor(head)
		return page, nil
	}
	end := head
	if q.Before != 0 {
		end = min(end, q.Before-1)
	}
	last := uint64(0)
	if page.Gap = l.unknown(q.After, head); page.Gap == "" && q.After.Seq < head {
		last = l.collect(&page, &q, end)
	}
	if last > 0 {
		page.Last = l.cursor(last)
	}
	switch {
	case page.Gap != "":
		// The head of now: in a flood, what has been trimmed meanwhile is another gap.
		page.Through, page.More = l.cursor(l.head.Load()), false
	case page.More:
		page.Through = page.Last
	case end > q.After.Seq:
		page.Through = l.cursor(end)
	}
	return page, nil
}

// unknown says whether a position is not one of this log's.
func (l *MemoryLog) unknown(at Cursor, head uint64) GapReason {
	switch {
	case at.Epoch != l.epoch:
		return GapEpoch
	case at.Seq > head, at.Check != l.check(at.Seq):
		return GapUnknown
	}
	return ""
}

// run is what one reading works in.
type run struct{ entries, behind []*entry }

var runs sync.Pool // of *run

func borrowRun() *run {
	if r, ok := runs.Get().(*run); ok {
		return r
	}
	return new(run)
}

func (r *run) release() {
	clear(r.entries)
	r.entries = r.entries[:0]
	runs.Put(r)
}

// merge puts the entries in order, of which those before n are and those behind it
// are.
func (r *run) merge(n int) {
	r.behind = append(r.behind[:0], r.entries[n:]...)
	for at, left := len(r.entries)-1, len(r.behind); left > 0; at-- {
		if n > 0 && r.entries[n-1].seq > r.behind[left-1].seq {
			n--
			r.entries[at] = r.entries[n]
		} else {
			left--
			r.entries[at] = r.behind[left]
		}
	}
	clear(r.behind)
}

// collect puts into the page the events in (q.After, end] of all subjects, in order
// and within its bounds, and returns the sequence of the last; or it says that some
// of them are gone.
func (l *MemoryLog) collect(page *Page, q *Query, end uint64) (last uint64) {
	var inline [8]*history // most streams read a handful of subjects
	histories, known := l.histories(q, inline[:0])
	if !known {
		page.Gap = GapTrimmed
		return 0
	}
	r := borrowRun()
	defer r.release()
	// One subject after another, and what they make together is kept within the
	// bounds: beyond the last event of a page that is full, no other may go. So a
	// reader of many deep subjects does not look at a page of each for one page.
	for _, h := range histories {
		if h.newest.Load() <= q.After.Seq {
			continue // nothing new, and so nothing lost; most subjects, most times
		}
		before := len(r.entries)
		var reach uint64
		if r.entries, reach, page.Gap = l.entriesOf(h, q, end, r.entries); page.Gap != "" {
			return 0
		}
		if before > 0 && len(r.entries) > before {
			r.merge(before)
			var n int
			n, reach = fit(between(r.entries, q.After.Seq, reach), q, reach)
			clear(r.entries[n:])
			r.entries = r.entries[:n]
		}
		if reach < end {
			page.More, end = true, reach
		}
	}
	for _, e := range r.entries {
		page.Blocks = append(page.Blocks, e.block...)
		last = e.seq
	}
	return last
}

// histories appends to list the records of a query's subjects. It reports false
// if one that is no longer known may have lost something after the position.
func (l *MemoryLog) histories(q *Query, list []*history) ([]*history, bool) {
	for _, subject := range q.Subjects {
		if h := l.subjects.find(subject); h != nil {
			list = append(list, h)
		} else if q.After.Seq < l.forgotten.Load() {
			return nil, false
		}
	}
	return list, true
}

// entriesOf appends to dst the entries of one subject in (q.After, end], as many as
// fit a page, and returns how far they reach.
func (l *MemoryLog) entriesOf(h *history, q *Query, end uint64, dst []*entry) (_ []*entry, reach uint64, gap GapReason) {
	now := time.Since(l.made)
	if e := h.only(q.After.Seq, end); e != nil && !l.old(e.at, now) {
		return append(dst, e), end, ""
	}
	h.mu.RLock()
	if len(h.entries()) > 0 && l.old(h.oldest, now) {
		h.mu.RUnlock()
		l.mu.Lock()
		l.expire(h, now, len(h.entries()))
		l.mu.Unlock()
		h.mu.RLock()
	}
	defer h.mu.RUnlock()
	if q.After.Seq < h.trimmed {
		return dst, 0, GapTrimmed
	}
	found := between(h.entries(), q.After.Seq, end)
	n, reach := fit(found, q, end)
	return append(dst, found[:n]...), reach, ""
}
