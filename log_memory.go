package ginsse

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// MemoryLogConfig holds the bounds of a [MemoryLog]. Zero means default.
type MemoryLogConfig struct {
	// EventsPerSubject is the most events kept for one user, one topic, or all. It
	// is also how far a stream may fall behind before it meets a gap: at full speed
	// a sender makes 256 in a tenth of a millisecond. Default 4096.
	EventsPerSubject int
	// MaxAge is how long an event is kept. Default 1 hour.
	MaxAge time.Duration
	// MaxBytes bounds the memory of all events together, each counted with its
	// bookkeeping. Over it, the subject that has been quiet for longest loses its
	// events first. Default 64 MiB.
	MaxBytes int64
}

const (
	defaultEventsPerSubject = 4096
	defaultMaxAge           = time.Hour
	defaultLogBytes         = 64 << 20

	// entryOverhead is added when memory is counted: the Entry, its ID, the
	// pointer to it, and the subject's record as if the entry were its only one.
	entryOverhead = 384

	// maxRemembered is the number of subjects without events for which the log
	// still knows exactly what was lost. Each takes about 200 bytes; beyond it
	// the log may report a gap where nothing was lost.
	maxRemembered = 1 << 16
)

// MemoryLog is the [Log] of a single process. It lives as long as the process:
// a position from before a restart is a gap of reason "epoch".
//
// Concurrency: all methods may be called from several goroutines. Append and
// Read hold one lock for the time of a few map and slice operations.
type MemoryLog struct {
	cfg   MemoryLogConfig
	epoch uint32
	seed  maphash.Seed // keys the cursors' check; random, so nobody makes one up

	mu       sync.Mutex // guards the fields below; never held during a callback
	seq      uint64     // of the newest entry
	bytes    int64      // counted for all entries held
	subjects map[string]*history
	active   historyList // those with entries, least recently appended first
	emptied  historyList // those without, least recently emptied first
	// forgotten is the newest sequence lost from a subject no longer remembered:
	// a position before it may have missed something in any unknown subject.
	forgotten uint64

	watchMu  sync.Mutex                 // taken to change watchers
	watchers atomic.Pointer[[]*watcher] // replaced, never changed
}

type watcher struct {
	fn func(subject string, seq uint64)
}

// history is what the log holds of one subject.
type history struct {
	subject    string
	entries    []*Entry // in order
	trimmed    uint64   // sequence of the newest entry that was removed
	list       *historyList
	prev, next *history
}

// NewMemoryLog returns an empty log of a new epoch.
func NewMemoryLog(cfg MemoryLogConfig) (*MemoryLog, error) {
	switch {
	case cfg.EventsPerSubject < 0:
		return nil, fmt.Errorf("ginsse: MemoryLogConfig.EventsPerSubject is %d; a log must hold something", cfg.EventsPerSubject)
	case cfg.MaxAge < 0:
		return nil, fmt.Errorf("ginsse: MemoryLogConfig.MaxAge is %v; a log must hold something", cfg.MaxAge)
	case cfg.MaxBytes < 0:
		return nil, fmt.Errorf("ginsse: MemoryLogConfig.MaxBytes is %d; a log must hold something", cfg.MaxBytes)
	}
	if cfg.EventsPerSubject == 0 {
		cfg.EventsPerSubject = defaultEventsPerSubject
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = defaultMaxAge
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultLogBytes
	}
	l := &MemoryLog{
		cfg:      cfg,
		epoch:    rand.Uint32() | 1, // never 0, so that no cursor is the zero Cursor
		seed:     maphash.MakeSeed(),
		subjects: make(map[string]*history),
	}
	l.watchers.Store(new([]*watcher))
	return l, nil
}

// Append implements [Log]. It waits for nothing, so it does not look at ctx: a
// handler whose own client has just left still gets its event out.
func (l *MemoryLog) Append(_ context.Context, subject string, frame []byte) (*Entry, error) {
	e := &Entry{Subject: subject, Frame: frame}
	if e.cost() > l.cfg.MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes in a log of %d", ErrEventTooLarge, len(frame), l.cfg.MaxBytes)
	}
	e.Time = time.Now()
	l.mu.Lock()
	l.seq++
	e.Cursor = l.cursor(l.seq)
	e.ID = e.Cursor.String()
	h := l.subjects[subject]
	if h == nil {
		h = &history{subject: subject, trimmed: l.forgotten}
		l.subjects[subject] = h
	}
	h.entries = append(h.entries, e)
	h.moveTo(&l.active)
	l.bytes += e.cost()
	l.trim(h, e.Time)
	l.mu.Unlock()

	for _, w := range *l.watchers.Load() {
		w.fn(subject, e.Cursor.Seq)
	}
	return e, nil
}

// Read implements [Log].
func (l *MemoryLog) Read(_ context.Context, q Query, dst []*Entry) (Page, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	page := Page{Entries: dst, Through: q.After}
	end := l.seq
	if q.Before != 0 {
		end = min(end, q.Before-1)
	}
	// Most streams read a handful of subjects, of which one has news.
	var space [8][]*Entry
	news := space[:0]
	if !q.After.IsZero() {
		if news, page.Gap = l.news(q, end, news); page.Gap == "" {
			if end <= q.After.Seq {
				return page, nil
			}
			if page.More = merge(&page, news, q.MaxEvents, q.MaxBytes); page.More {
				end = page.Entries[len(page.Entries)-1].Cursor.Seq
			}
			page.Through = l.cursor(end)
			return page, nil
		}
	}
	page.Through = l.cursor(l.seq)
	return page, nil
}

// Watch implements [Log]. fn runs on the appending goroutine, under no lock.
func (l *MemoryLog) Watch(fn func(subject string, seq uint64)) (stop func()) {
	w := &watcher{fn: fn}
	l.changeWatchers(func(list []*watcher) []*watcher { return append(list, w) })
	return func() {
		l.changeWatchers(func(list []*watcher) []*watcher {
			return slices.DeleteFunc(list, func(other *watcher) bool { return other == w })
		})
	}
}

func (l *MemoryLog) changeWatchers(change func([]*watcher) []*watcher) {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	list := change(slices.Clone(*l.watchers.Load()))
	l.watchers.Store(&list)
}

// news appends to list the entries in (q.After, end] of each subject that has
// any, or says why some may be missing: they are gone, or the position is not one
// of this log's. Called with mu held.
func (l *MemoryLog) news(q Query, end uint64, list [][]*Entry) ([][]*Entry, GapReason) {
	at := q.After
	switch {
	case at.Epoch != l.epoch:
		return nil, GapEpoch
	case at.Seq > l.seq, at.Check != l.check(at.Seq):
		return nil, GapUnknown
	case at.Seq == l.seq:
		return nil, ""
	}
	now := time.Now()
	for _, subject := range q.Subjects {
		h := l.subjects[subject]
		if h == nil {
			if at.Seq < l.forgotten {
				return nil, GapTrimmed
			}
			continue
		}
		l.expire(h, now)
		if at.Seq < h.trimmed {
			return nil, GapTrimmed
		}
		if entries := between(h.entries, at.Seq, end); len(entries) > 0 {
			list = append(list, entries)
		}
	}
	return list, ""
}

// merge appends the entries of all lists to the page in order, and reports
// whether the page was full before it had them all.
func merge(page *Page, lists [][]*Entry, maxEvents, maxBytes int) (full bool) {
	bytes, events := 0, 0
	for len(lists) > 0 {
		first := 0
		for i := 1; i < len(lists); i++ {
			if lists[i][0].Cursor.Seq < lists[first][0].Cursor.Seq {
				first = i
			}
		}
		e := lists[first][0]
		if events > 0 && (events >= maxEvents || bytes+len(e.Frame) > maxBytes) {
			return true
		}
		page.Entries = append(page.Entries, e)
		events++
		bytes += len(e.Frame)
		if lists[first] = lists[first][1:]; len(lists[first]) == 0 {
			lists = append(lists[:first], lists[first+1:]...)
		}
	}
	return false
}

// between returns the entries in (after, end].
func between(entries []*Entry, after, end uint64) []*Entry {
	n := len(entries)
	if n == 0 || entries[n-1].Cursor.Seq <= after {
		return nil
	}
	// Streams that keep up want the last entry only.
	from := n - 1
	if n > 1 && entries[n-2].Cursor.Seq > after {
		from = sort.Search(n, func(i int) bool { return entries[i].Cursor.Seq > after })
	}
	to := n
	if entries[n-1].Cursor.Seq > end {
		to = sort.Search(n, func(i int) bool { return entries[i].Cursor.Seq > end })
	}
	return entries[min(from, to):to]
}

// trim brings the log back within its bounds after an append to h. Called with
// mu held.
func (l *MemoryLog) trim(h *history, now time.Time) {
	if n := len(h.entries) - l.cfg.EventsPerSubject; n > 0 {
		l.drop(h, n)
	}
	l.expire(h, now)
	for l.active.first != nil && l.old(l.active.first.newest(), now) {
		l.drop(l.active.first, len(l.active.first.entries))
	}
	for l.bytes > l.cfg.MaxBytes {
		l.drop(l.active.first, 1)
	}
	for l.emptied.size > maxRemembered {
		forget := l.emptied.first
		l.forgotten = max(l.forgotten, forget.trimmed)
		forget.moveTo(nil)
		delete(l.subjects, forget.subject)
	}
}

// expire drops the entries of h that have reached the maximum age.
func (l *MemoryLog) expire(h *history, now time.Time) {
	n := 0
	for n < len(h.entries) && l.old(h.entries[n], now) {
		n++
	}
	if n > 0 {
		l.drop(h, n)
	}
}

func (l *MemoryLog) old(e *Entry, now time.Time) bool { return now.Sub(e.Time) >= l.cfg.MaxAge }

// drop removes the n oldest entries of h.
func (l *MemoryLog) drop(h *history, n int) {
	for i, e := range h.entries[:n] {
		l.bytes -= e.cost()
		h.trimmed = e.Cursor.Seq
		h.entries[i] = nil // the array lives on under the rest of the slice
	}
	if h.entries = h.entries[n:]; len(h.entries) == 0 {
		h.entries = nil
		h.moveTo(&l.emptied)
	}
}

func (l *MemoryLog) cursor(seq uint64) Cursor {
	return Cursor{Epoch: l.epoch, Seq: seq, Check: l.check(seq)}
}

// check needs no entry to be verified, so even a position whose entry is long
// gone is known for what it is.
func (l *MemoryLog) check(seq uint64) uint32 { return uint32(maphash.Comparable(l.seed, seq)) }

// cost is what the entry counts for in MaxBytes.
func (e *Entry) cost() int64 { return int64(len(e.Frame) + len(e.Subject) + entryOverhead) }

func (h *history) newest() *Entry { return h.entries[len(h.entries)-1] }

// historyList is a doubly linked list; a history is in one list at most.
type historyList struct {
	first, last *history
	size        int
}

// moveTo takes h out of its list and puts it at the end of another; nil is none.
func (h *history) moveTo(to *historyList) {
	if from := h.list; from != nil {
		if h.prev != nil {
			h.prev.next = h.next
		} else {
			from.first = h.next
		}
		if h.next != nil {
			h.next.prev = h.prev
		} else {
			from.last = h.prev
		}
		from.size--
	}
	h.list, h.prev, h.next = to, nil, nil
	if to == nil {
		return
	}
	h.prev = to.last
	if to.last != nil {
		to.last.next = h
	} else {
		to.first = h
	}
	to.last = h
	to.size++
}

var _ Log = (*MemoryLog)(nil)
