package eventlog

import (
	"context"
	"sort"
	"time"
)

// Store is what a [Window] asks of its store. Both methods give up when ctx ends: with
// [Window.Close], and 4 s after the call at the latest. They may be called concurrently. The window
// wraps their errors in [ErrUnavailable].
type Store interface {
	// Last returns the epoch of the store and the last sequence that it has used, by the authority
	// that appends: a replica that lags must not answer. Check is not used.
	Last(ctx context.Context) (Cursor, error)

	// ReadOlder returns the page of a query whose position is in the window's epoch and before
	// what the window holds. The page goes up to head at most. ReadOlder verifies the position,
	// Check included: gaps are its to report. [ReadSource] helps to collect the page.
	//
	// ReadOlder leaves out entries that were replaced, as far as the store knows. The window leaves
	// out those of which it holds a newer one. With [Query.Latest], ReadOlder may return entries
	// without a key too: the window leaves them out.
	ReadOlder(ctx context.Context, q Query, head Cursor, dst []*Entry) (Page, error)
}

// Source reads single entries, for [ReadSource].
type Source interface {
	// Next returns the first entry of a subject after a sequence; nil if there is none.
	Next(ctx context.Context, subject string, after uint64) (*Entry, error)
	// Lost reports whether entries of a subject after a position may have left the store.
	Lost(ctx context.Context, subject string, after Cursor) (bool, error)
}

// KeyedSource is a [Source] with entries that have keys, for [ReadSource].
type KeyedSource interface {
	Source
	// NextKeyed is Next for entries with a key. It is for [Query.Latest].
	NextKeyed(ctx context.Context, subject string, after uint64) (*Entry, error)
	// IsReplaced reports whether the source has a newer entry of an entry's subject and key, up to a
	// sequence. The entry is one that Next or NextKeyed has returned, and has a key.
	IsReplaced(ctx context.Context, e *Entry, end uint64) (bool, error)
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
// Errors: [ErrUnavailable] with the Store's, [ErrWouldWait], [ErrClosed].
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
		for {
			page, err := w.cfg.Store.ReadOlder(ctx, q, head, dst)
			w.counts.readEntries.Add(uint64(max(0, len(page.Entries)-len(dst))))
			if err != nil || page.Gap != "" || w.leaveOut(&q, head, &page, len(dst)) {
				return page, err
			}
			q.After = page.Through
		}
	})
}

// readStore calls read in its turn, and counts the page. Close ends it, and waits for it.
func (w *Window) readStore(ctx context.Context, read func(ctx context.Context) (Page, error)) (_ Page, err error) {
	w.counts.reads.Add(1)
	caller := ctx
	defer func() {
		if err != nil && caller.Err() == nil && w.life.Err() == nil {
			w.counts.readErrors.Add(1)
		}
	}()
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return Page{}, ErrClosed
	}
	w.running.Add(1)
	w.mu.RUnlock()
	defer w.running.Done()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)() //nolint:contextcheck // the window may be closed first
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return Page{}, w.unavailable("waiting for a turn to read", ctx.Err())
	}
	page, err := read(ctx)
	if err != nil {
		return Page{}, w.unavailable("reading", err)
	}
	return page, nil
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
func (w *Window) readHeld(q *Query, head Cursor, page *Page) { w.readOn(q, head, page, 0, 0) }

// readOn is readHeld for a page that holds n entries of the query already, with so many bytes.
func (w *Window) readOn(q *Query, head Cursor, page *Page, n, bytes int) {
	var inline [8][]*WindowEntry // most streams read a few subjects
	lists := inline[:0]
	for _, subject := range q.Subjects {
		list := w.after(subject, q.After.Seq)
		if !q.Latest && w.lost(list) {
			page.Through, page.Gap = head, GapTrimmed
			return
		}
		if len(list) > 0 && list[0].At.Seq <= head.Seq {
			lists = append(lists, list)
		}
	}
	for len(lists) > 0 {
		first := 0
		for i, list := range lists {
			if list[0].At.Seq < lists[first][0].At.Seq {
				first = i
			}
		}
		e := lists[first][0]
		if w.isWanted(e, q) {
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

// isWanted reports whether a reader of the entry's subject gets an entry.
func (w *Window) isWanted(e *WindowEntry, q *Query) bool {
	return len(e.Block) > 0 && (!q.Latest || e.Key != "" && !w.isOld(e))
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
	if most := w.bounds.EntriesPerSubject; most > 0 && int64(len(list)) > most && w.holdsMore(list, most) {
		return true
	}
	if w.bounds.MaxAge > 0 {
		for _, e := range list {
			if !e.replaced {
				return w.isOld(e)
			}
		}
	}
	return false
}

// holdsMore reports whether a list has more entries than most which were not replaced. Those that
// readers do not see yet may replace each other, if they have keys.
func (w *Window) holdsMore(list []*WindowEntry, most int64) bool {
	for _, e := range list {
		if !e.replaced && (e.Key == "" || e.At.Seq <= w.head) {
			most--
		}
		if most < 0 {
			return true
		}
	}
	return false
}

// isOld reports whether the store may have removed an entry by its age.
func (w *Window) isOld(e *WindowEntry) bool {
	return w.bounds.MaxAge > 0 && time.Since(e.Time) >= w.bounds.MaxAge
}
