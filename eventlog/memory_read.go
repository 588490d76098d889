package eventlog

import (
	"context"
	"slices"
	"time"
)

// Head implements [Log]. It returns at once and never fails.
func (l *MemoryLog) Head(context.Context) (Cursor, error) { return l.cursor(l.head.Load()), nil }

// Read implements [Log]. It returns at once and never fails, with and without [Query.NoWait].
func (l *MemoryLog) Read(_ context.Context, q Query, dst []*Entry) (Page, error) {
	head := l.head.Load() // first: entries appended from here on belong to the next page
	page := Page{Entries: dst, Through: q.After}
	if page.Gap = l.positionGap(q.After, head); page.Gap == "" && q.After.Seq < head {
		l.collect(&page, &q, head)
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
// nothing.
func (l *MemoryLog) collect(page *Page, q *Query, head uint64) {
	var room [8]*history // most streams read a few subjects
	var roomForUnread [8][]*memoryEntry
	histories, complete := l.withNews(q, room[:0])
	if !complete {
		page.Gap = GapTrimmed
		return
	}
	for _, h := range histories {
		h.mu.RLock()
	}
	if unread, complete := l.unread(histories, q.After.Seq, head, roomForUnread[:0]); complete {
		page.merge(unread, q)
	} else {
		page.Gap = GapTrimmed
	}
	for _, h := range histories {
		h.mu.RUnlock()
	}
}

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
			if q.After.Seq < l.forgotten {
				return nil, false
			}
		case h.newest.Load() > q.After.Seq && !slices.Contains(list, h): // none is locked twice
			list = append(list, h)
		}
	}
	return list, true
}

// unread appends to list the entries in (after, end] of each history that has some. It reports
// false if one has lost such an entry. The caller holds the locks of the histories.
func (l *MemoryLog) unread(histories []*history, after, end uint64, list [][]*memoryEntry) (_ [][]*memoryEntry, complete bool) {
	now := time.Since(l.made)
	for _, h := range histories {
		if after < h.trimmed {
			return nil, false
		}
		entries := h.between(after, end)
		if len(entries) == 0 {
			continue
		}
		if l.isOld(entries[0].appended, now) { // the next append removes it
			return nil, false
		}
		list = append(list, entries)
	}
	return list, true
}

// merge appends the entries to the page in order, as many as are within the query's bounds.
func (p *Page) merge(subjects [][]*memoryEntry, q *Query) {
	bytes := 0
	for n := 0; len(subjects) > 0; n++ {
		oldest := 0
		for i := 1; i < len(subjects); i++ {
			if subjects[i][0].At.Seq < subjects[oldest][0].At.Seq {
				oldest = i
			}
		}
		e := subjects[oldest][0]
		if bytes += len(e.Block); n > 0 && (n >= q.MaxEntries || bytes > q.MaxBytes) {
			p.More = true
			return
		}
		p.Entries = append(p.Entries, &e.Entry)
		if subjects[oldest] = subjects[oldest][1:]; len(subjects[oldest]) == 0 {
			last := len(subjects) - 1
			subjects[oldest] = subjects[last]
			subjects = subjects[:last]
		}
	}
}
