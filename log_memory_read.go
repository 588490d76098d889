package ginsse

import (
	"cmp"
	"context"
	"slices"
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
		page.Through, page.More = l.cursor(head), false
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
type run struct{ entries []*entry }

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
	sources := 0
	// One subject at a time, each within the bounds by itself: the page is a
	// prefix of what they make together. Beyond the last event of one that had
	// more, the others may not go.
	for _, h := range histories {
		if h.newest.Load() <= q.After.Seq {
			continue // nothing new, and so nothing lost; most subjects, most times
		}
		before := len(r.entries)
		var more bool
		if r.entries, more, page.Gap = l.entriesOf(h, q, end, r.entries); page.Gap != "" {
			return 0
		}
		if len(r.entries) > before {
			sources++
		}
		if more {
			page.More = true
			end = r.entries[len(r.entries)-1].seq
		}
	}
	if sources > 1 {
		slices.SortFunc(r.entries, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
		within := between(r.entries, q.After.Seq, end)
		n := fit(within, q)
		page.More = page.More || n < len(within)
		clear(r.entries[n:])
		r.entries = r.entries[:n]
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

// entriesOf appends to dst the entries of one subject in (q.After, end], and reports
// whether there were more than fit a page.
func (l *MemoryLog) entriesOf(h *history, q *Query, end uint64, dst []*entry) (_ []*entry, more bool, gap GapReason) {
	now := time.Since(l.made)
	if e := h.only(q.After.Seq, end); e != nil && !l.old(e.at, now) {
		return append(dst, e), false, ""
	}
	h.mu.RLock()
	if len(h.entries()) > 0 && l.old(h.oldest, now) {
		h.mu.RUnlock()
		l.mu.Lock()
		l.expire(h, now)
		l.mu.Unlock()
		h.mu.RLock()
	}
	defer h.mu.RUnlock()
	if q.After.Seq < h.trimmed {
		return nil, false, GapTrimmed
	}
	found := between(h.entries(), q.After.Seq, end)
	n := fit(found, q)
	return append(dst, found[:n]...), n < len(found), ""
}
