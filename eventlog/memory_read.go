package eventlog

import (
	"context"
	"slices"
)

// Head implements [Log]. It returns at once and never fails.
func (l *MemoryLog) Head(context.Context) (Cursor, error) { return l.cursor(l.head.Load()), nil }

// Read implements [Log]. It returns at once and never fails, with and without [Query.NoWait].
func (l *MemoryLog) Read(_ context.Context, q Query, dst []*Entry) (Page, error) {
	head := l.head.Load() // first: entries appended from here on belong to the next page
	page := Page{Entries: dst, Through: q.After}
	if page.Gap = l.positionGap(q.After, head); page.Gap == "" && q.After.Seq < head && !l.collect(&page, &q, head) {
		l.mu.Lock() // so that nothing is appended
		head = l.head.Load()
		l.collect(&page, &q, head)
		l.mu.Unlock()
	}
	switch {
	case page.Gap != "":
		// Read the head again: in a flood, what was trimmed meanwhile would be another gap.
		page.Through = l.cursor(l.head.Load())
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

// collect appends to the page the entries in (q.After, head] of all subjects, in order and within
// the query's bounds. If some of them have been removed, it sets the page's gap and appends
// nothing. It reports false, and appends nothing, if one was replaced by an entry after head: the
// page would have neither.
func (l *MemoryLog) collect(page *Page, q *Query, head uint64) (ok bool) {
	var room [8]*history // most streams read a few subjects
	var roomForUnread [8][]slot
	histories, complete := l.withNews(q, room[:0])
	if !complete {
		page.Gap = GapTrimmed
		return true
	}
	for _, h := range histories {
		h.mu.RLock()
	}
	unread, found := l.unread(histories, q, head, roomForUnread[:0])
	switch found {
	case all:
		page.merge(unread, q)
	case someRemoved:
		page.Gap = GapTrimmed
	}
	for _, h := range histories {
		h.mu.RUnlock()
	}
	return found != someReplaced
}

// found says how many of the entries that a reader wants unread has found.
type found int

const (
	all          found = iota
	someRemoved        // they are a gap
	someReplaced       // by entries that the reader does not see yet
)

// withNews appends to list the histories of a query's subjects that have entries after the
// position. It reports false if a subject without a history may have lost such an entry.
func (l *MemoryLog) withNews(q *Query, list []*history) (_ []*history, complete bool) {
	l.lookup.RLock()
	defer l.lookup.RUnlock()
	for _, subject := range q.Subjects {
		if l.newestOf(subject).Load() <= q.After.Seq {
			continue // nor can such an entry have been removed
		}
		switch h := l.histories[subject]; {
		case h == nil:
			if q.After.Seq < l.forgotten && !q.Latest {
				return nil, false
			}
		case h.newest.Load() > q.After.Seq && !slices.Contains(list, h): // none is locked twice
			list = append(list, h)
		}
	}
	return list, true
}

// unread appends to list the entries in (q.After, end] of each history that has some. The caller
// holds the locks of the histories.
func (l *MemoryLog) unread(histories []*history, q *Query, end uint64, list [][]slot) ([][]slot, found) {
	now := l.clock.Age()
	for _, h := range histories {
		switch {
		case h.keyed != nil && h.keyed.replaced > end:
			return nil, someReplaced
		case h.keyed == nil && q.Latest:
			continue
		case h.trimmed > q.After.Seq && !q.Latest:
			return nil, someRemoved
		}
		slots := wanted(h.between(q.After.Seq, end), q)
		for len(slots) > 0 && l.isOld(slots[0].appended, now) { // the next append removes it
			if !q.Latest {
				return nil, someRemoved
			}
			slots = wanted(slots[1:], q)
		}
		if len(slots) > 0 {
			list = append(list, slots)
		}
	}
	return list, all
}

// wanted returns the slots without those before the first entry that a query wants.
func wanted(slots []slot, q *Query) []slot {
	for len(slots) > 0 && (slots[0].entry == nil || q.Latest && slots[0].entry.Key == "") {
		slots = slots[1:]
	}
	return slots
}

// merge appends the entries to the page in order, as many as are within the query's bounds.
func (p *Page) merge(subjects [][]slot, q *Query) {
	bytes := 0
	for n := 0; len(subjects) > 0; n++ {
		oldest := 0
		for i := 1; i < len(subjects); i++ {
			if subjects[i][0].seq < subjects[oldest][0].seq {
				oldest = i
			}
		}
		e := subjects[oldest][0].entry
		if bytes += len(e.Block); n > 0 && (n >= q.MaxEntries || bytes > q.MaxBytes) {
			p.More = true
			return
		}
		p.Entries = append(p.Entries, e)
		if subjects[oldest] = wanted(subjects[oldest][1:], q); len(subjects[oldest]) == 0 {
			last := len(subjects) - 1
			subjects[oldest] = subjects[last]
			subjects = subjects[:last]
		}
	}
}
