package eventlog

import (
	"context"
	"fmt"
	"sort"
	"time"
)

// Store is what a [Window] asks of its store. Both methods give up when ctx ends, 4 s after the
// call at the latest. They may be called concurrently.
type Store interface {
	// Last returns the epoch of the store and the last sequence that it has used, by the authority
	// that appends: a replica that lags must not answer. Check is not used.
	Last(ctx context.Context) (Cursor, error)

	// ReadOlder returns the page of a query whose position is in the window's epoch and before
	// what the window holds. The page goes up to head at most. ReadOlder verifies the position,
	// Check included: gaps are its to report. [ReadSource] helps to collect the page.
	ReadOlder(ctx context.Context, q Query, head Cursor, dst []*Entry) (Page, error)
}

// Source reads single entries, for [ReadSource].
type Source interface {
	// Next returns the first entry of a subject after a sequence; nil if there is none.
	Next(ctx context.Context, subject string, after uint64) (*Entry, error)
	// Lost reports whether entries of a subject after a position may have left the store.
	Lost(ctx context.Context, subject string, after Cursor) (bool, error)
}

const (
	// storeTimeout bounds a call of a Store; see Log, Time.
	storeTimeout = 4 * time.Second
	// pageTime is after when a page from a Source counts as full.
	pageTime = time.Second
)

// Read implements [Log] for positions near the head from memory, without allocating more than dst
// needs. It asks the store for others, but with [Query.NoWait] it returns [ErrWouldWait] instead.
// Without contact, it returns a page without entries.
//
// Errors: [ErrClosed], [ErrWouldWait], those of the Store.
func (w *Window) Read(ctx context.Context, q Query, dst []*Entry) (Page, error) {
	page := Page{Entries: dst, Through: q.After}
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return page, ErrClosed
	}
	if !w.HasContact() {
		w.mu.RUnlock()
		return page, nil
	}
	head := w.cursor(w.head)
	held, gap := w.place(q.After)
	if held {
		w.readHeld(&q, head, &page)
		w.mu.RUnlock()
		return page, nil
	}
	w.mu.RUnlock()
	switch {
	case gap != "":
		page.Through, page.Gap = head, gap
		return page, nil
	case q.NoWait:
		return page, ErrWouldWait
	case q.After.Seq > head.Seq:
		return w.readAhead(ctx, page, head)
	default:
		return w.readOlder(ctx, q, head, dst)
	}
}

// readAhead reads at a position after the head. If the store has not reached it either, it is made
// up. Else another node gave it out, and the reader waits there.
func (w *Window) readAhead(ctx context.Context, page Page, head Cursor) (Page, error) {
	return w.readStore(ctx, func(ctx context.Context) (Page, error) {
		last, err := w.cfg.Store.Last(ctx)
		if err == nil && last.Epoch == head.Epoch && last.Seq < page.Through.Seq {
			page.Through, page.Gap = head, GapUnknown
		}
		return page, err
	})
}

func (w *Window) readOlder(ctx context.Context, q Query, head Cursor, dst []*Entry) (Page, error) {
	return w.readStore(ctx, func(ctx context.Context) (Page, error) {
		return w.cfg.Store.ReadOlder(ctx, q, head, dst)
	})
}

// readStore calls read in its turn.
func (w *Window) readStore(ctx context.Context, read func(ctx context.Context) (Page, error)) (Page, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
		return read(ctx)
	case <-w.done:
		return Page{}, ErrClosed
	case <-ctx.Done():
		return Page{}, fmt.Errorf("eventlog: waiting for a turn to read from the store: %w", ctx.Err())
	}
}

// place reports whether the window holds all entries after a position, or why the position is not
// one of this log's. Neither holds for a position before the floor or after the head.
func (w *Window) place(at Cursor) (held bool, gap GapReason) {
	switch {
	case at.Epoch != w.epoch:
		return false, GapEpoch
	case at.Seq == 0 && at.Check != 0:
		return false, GapUnknown // before the first entry there is nothing to derive a check from
	case at.Seq < w.floor || at.Seq > w.head:
		return false, ""
	case at.Seq == w.floor && w.floor > 0 && w.floorCheck == 0:
		return true, "" // the entry there is gone; all that followed it is held
	}
	switch known := w.cursor(at.Seq); {
	case at == known:
		return true, ""
	case known.Check == 0: // the entry is missing here, and another node may have had it
		return false, GapTrimmed
	default:
		return false, GapUnknown
	}
}

// readHeld fills a page from memory.
func (w *Window) readHeld(q *Query, head Cursor, page *Page) {
	var inline [8][]*WindowEntry // most streams read a few subjects
	lists := inline[:0]
	for _, subject := range q.Subjects {
		list := w.after(subject, q.After.Seq)
		if w.lost(list) {
			page.Through, page.Gap = head, GapTrimmed
			return
		}
		if len(list) > 0 && list[0].At.Seq <= head.Seq {
			lists = append(lists, list)
		}
	}
	for n, bytes := 0, 0; len(lists) > 0; {
		first := 0
		for i, list := range lists {
			if list[0].At.Seq < lists[first][0].At.Seq {
				first = i
			}
		}
		e := lists[first][0]
		if len(e.Block) > 0 {
			if bytes += len(e.Block); n > 0 && (n >= q.MaxEntries || bytes > q.MaxBytes) {
				page.Through, page.More = page.Entries[len(page.Entries)-1].At, true
				return
			}
			page.Entries = append(page.Entries, &e.Entry)
			n++
		}
		if lists[first] = lists[first][1:]; len(lists[first]) == 0 || lists[first][0].At.Seq > head.Seq {
			lists[first] = lists[len(lists)-1]
			lists = lists[:len(lists)-1]
		}
	}
	if head.Seq > q.After.Seq {
		page.Through = head
	}
}

// after returns the entries of a subject after a sequence, up to the tip.
func (w *Window) after(subject string, seq uint64) []*WindowEntry {
	list := w.subjects[subject]
	if n := len(list); n == 0 || list[n-1].At.Seq <= seq {
		return nil // most subjects, most of the time
	}
	return list[sort.Search(len(list), func(i int) bool { return list[i].At.Seq > seq }):]
}

// lost reports whether the store may have removed an entry of one subject that a reader wants. The
// window may still hold it, but other nodes may not, and all nodes say the same.
func (w *Window) lost(list []*WindowEntry) bool {
	most, maxAge := w.bounds.EntriesPerSubject, w.bounds.MaxAge
	return most > 0 && int64(len(list)) > most || maxAge > 0 && len(list) > 0 && time.Since(list[0].Time) >= maxAge
}

// ReadSource collects a page from a source: the entries of all subjects after the query's position,
// up to head, in order. The caller has verified the position. ReadSource asks for losses at the end,
// because entries may leave the store meanwhile. After 1 s a page that holds an entry counts as full.
func ReadSource(ctx context.Context, from Source, q Query, head Cursor, dst []*Entry) (Page, error) {
	page, err := merge(ctx, from, &q, head, dst, time.Now().Add(pageTime))
	if err != nil {
		return Page{}, err
	}
	for _, subject := range q.Subjects {
		switch lost, err := from.Lost(ctx, subject, q.After); {
		case err != nil:
			return Page{}, err
		case lost:
			return Page{Entries: dst, Through: head, Gap: GapTrimmed}, nil
		}
	}
	return page, nil
}

func merge(ctx context.Context, from Source, q *Query, head Cursor, dst []*Entry, stop time.Time) (Page, error) {
	page := Page{Entries: dst, Through: head}
	var firsts []*Entry // of each subject
	for _, subject := range q.Subjects {
		e, err := from.Next(ctx, subject, q.After.Seq)
		if err != nil {
			return page, err
		}
		if e != nil && e.At.Seq <= head.Seq {
			firsts = append(firsts, e)
		}
	}
	for n, bytes := 0, 0; len(firsts) > 0; n++ {
		first := 0
		for i, e := range firsts {
			if e.At.Seq < firsts[first].At.Seq {
				first = i
			}
		}
		e := firsts[first]
		bytes += len(e.Block)
		if n > 0 && (n >= q.MaxEntries || bytes > q.MaxBytes || time.Now().After(stop)) {
			page.Through, page.More = page.Entries[len(page.Entries)-1].At, true
			return page, nil
		}
		page.Entries = append(page.Entries, e)
		next, err := from.Next(ctx, e.Subject, e.At.Seq)
		if err != nil {
			return page, err
		}
		if firsts[first] = next; next == nil || next.At.Seq > head.Seq {
			firsts[first] = firsts[len(firsts)-1]
			firsts = firsts[:len(firsts)-1]
		}
	}
	return page, nil
}
