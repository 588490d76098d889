package eventlog

import (
	"context"
	"sync"
	"time"
)

// Head implements [Log]. It returns at once and never fails.
func (l *MemoryLog) Head(context.Context) (Cursor, error) { return l.cursor(l.head.Load()), nil }

// Read implements [Log]. It returns at once and never fails.
func (l *MemoryLog) Read(_ context.Context, q Query, dst []*Entry) (Page, error) {
	head := l.head.Load() // first: entries appended from here on belong to the next page
	page := Page{Entries: dst, Through: q.After}
	if page.Gap = l.positionGap(q.After, head); page.Gap == "" && q.After.Seq < head {
		l.collect(&page, &q, head)
	}
	switch {
	case page.Gap != "":
		// Read the head again: in a flood, what was trimmed meanwhile would be another gap.
		page.Entries, page.Through, page.More = dst, l.cursor(l.head.Load()), false
	case page.More:
		page.Through = page.Entries[len(page.Entries)-1].At
	case head > q.After.Seq:
		page.Through = l.cursor(head)
	}
	return page, nil
}

// positionGap returns why a position is not one of this log's; "" if it is.
func (l *MemoryLog) positionGap(at Cursor, head uint64) GapReason {
	switch {
	case at.Epoch != l.epoch:
		return GapEpoch
	case at.Seq > head, at.Check != l.check(at.Seq):
		return GapUnknown
	}
	return ""
}

// run is the working memory of one Read.
type run struct{ entries, tail []*memoryEntry }

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

// merge merges the two sorted runs entries[:n] and entries[n:].
func (r *run) merge(n int) {
	r.tail = append(r.tail[:0], r.entries[n:]...)
	for at, left := len(r.entries)-1, len(r.tail); left > 0; at-- {
		if n > 0 && r.entries[n-1].At.Seq > r.tail[left-1].At.Seq {
			n--
			r.entries[at] = r.entries[n]
		} else {
			left--
			r.entries[at] = r.tail[left]
		}
	}
	clear(r.tail)
}

// collect appends to the page the entries in (q.After, end] of all subjects, in order and within
// the query's bounds. If some of them have been removed, it sets the page's gap.
func (l *MemoryLog) collect(page *Page, q *Query, end uint64) {
	var inline [8]*history // most streams read a few subjects
	histories, complete := l.histories(q, inline[:0])
	if !complete {
		page.Gap = GapTrimmed
		return
	}
	r := borrowRun()
	defer r.release()
	// The subjects are merged one after another, and the result is kept within the bounds. A full
	// page ends at its last entry, so later subjects are read only up to there. A reader of many
	// deep subjects does not look at a page of each to fill one page.
	for _, h := range histories {
		if h.newest.Load() <= q.After.Seq {
			continue // nothing new, so nothing lost: most subjects, most of the time
		}
		before := len(r.entries)
		var reach uint64
		if r.entries, reach, page.Gap = l.entriesOf(h, q, end, r.entries); page.Gap != "" {
			return
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
		page.Entries = append(page.Entries, &e.Entry)
	}
}

// histories appends to list the histories of a query's subjects. It reports false if a subject
// without a history may have lost an entry after the position.
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

// entriesOf appends to dst the entries of one subject in (q.After, end], as many as fit a page,
// and returns the last sequence that they cover.
func (l *MemoryLog) entriesOf(h *history, q *Query, end uint64, dst []*memoryEntry) (_ []*memoryEntry, reach uint64, gap GapReason) {
	now := time.Since(l.made)
	if e := h.only(q.After.Seq, end); e != nil && !l.isOld(e.appended, now) {
		return append(dst, e), end, ""
	}
	h.mu.RLock()
	if len(h.entries()) > 0 && l.isOld(h.oldest, now) {
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
