package ginsse

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
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
	// events first. One subject has a quarter of it at most, so that whoever is sent
	// a flood does not cost everybody else their history. Default 64 MiB.
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
// Concurrency: all methods may be called from several goroutines. Appending is
// one at a time. Readers do not wait for one another, and for an appender only
// where it touches what they read: with thousands of streams, one lock for all
// would have them queue for it most of the time.
type MemoryLog struct {
	cfg   MemoryLogConfig
	epoch uint32
	seed  maphash.Seed // keys the cursors' check; random, so nobody makes one up

	// head is the newest sequence. It is raised when the entry is in its history:
	// whoever has read it finds all entries up to it.
	head atomic.Uint64
	// forgotten is the newest sequence lost from a subject no longer remembered:
	// a position before it may have missed something in any unknown subject.
	forgotten atomic.Uint64

	mu      sync.Mutex  // makes appending one at a time; guards the fields below
	bytes   int64       // counted for all entries held
	active  historyList // those with entries, least recently appended first
	emptied historyList // those without, least recently emptied first

	mapMu    sync.RWMutex // guards subjects; taken after mu, held for lookups only
	subjects map[string]*history

	watchMu  sync.Mutex                 // taken to change watchers
	watchers atomic.Pointer[[]*watcher] // replaced, never changed
}

type watcher struct {
	fn func(subject string, seq uint64)
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
	e := &Entry{Subject: subject, Frame: frame, Time: time.Now()}
	if e.cost() > l.cfg.MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes in a log of %d", ErrEventTooLarge, len(frame), l.cfg.MaxBytes)
	}
	l.mu.Lock()
	e.Cursor = l.cursor(l.head.Load() + 1)
	e.ID = e.Cursor.String()
	h := l.history(subject)
	h.mu.Lock()
	h.entries = append(h.entries, e)
	h.newest.Store(e.Cursor.Seq)
	h.mu.Unlock()
	h.moveTo(&l.active)
	l.bytes += e.cost()
	h.bytes += e.cost()
	l.trim(h, e.Time)
	l.head.Store(e.Cursor.Seq)
	l.mu.Unlock()

	for _, w := range *l.watchers.Load() {
		w.fn(subject, e.Cursor.Seq)
	}
	return e, nil
}

// history returns the record of a subject, a new one if there is none. Called
// with mu held.
func (l *MemoryLog) history(subject string) *history {
	if h := l.subjects[subject]; h != nil { // only changed under mu
		return h
	}
	h := &history{subject: subject, trimmed: l.forgotten.Load()}
	l.mapMu.Lock()
	defer l.mapMu.Unlock()
	l.subjects[subject] = h
	return h
}

// Read implements [Log].
func (l *MemoryLog) Read(_ context.Context, q Query, dst []*Entry) (Page, error) {
	head := l.head.Load() // first: what is appended from here on is for the next page
	page := Page{Entries: dst, Through: q.After}
	if q.After.IsZero() {
		page.Through = l.cursor(head)
		return page, nil
	}
	end := head
	if q.Before != 0 {
		end = min(end, q.Before-1)
	}
	if page.Gap = l.unknown(q.After, head); page.Gap == "" && q.After.Seq < head {
		page.Entries, page.More, page.Gap = l.collect(q, end, dst)
	}
	switch {
	case page.Gap != "":
		page.Entries = dst
		page.Through = l.cursor(head)
	case page.More:
		page.Through = page.Entries[len(page.Entries)-1].Cursor
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

// collect appends to dst the entries in (q.After, end] of all subjects, in order
// and within the bounds of a page, or says that some of them are gone.
func (l *MemoryLog) collect(q Query, end uint64, dst []*Entry) (entries []*Entry, more bool, gap GapReason) {
	var space [8]*history // most streams read a handful of subjects
	histories, known := l.histories(q, space[:0])
	if !known {
		return nil, false, GapTrimmed
	}
	first, sources := len(dst), 0
	// One subject at a time, each within the bounds by itself: the page is a
	// prefix of what they make together. Beyond the last entry of one that had
	// more, the others may not go.
	for _, h := range histories {
		if h.newest.Load() <= q.After.Seq {
			continue // nothing new, and so nothing lost; most subjects, most times
		}
		before := len(dst)
		var full bool
		if dst, full, gap = l.entriesOf(h, q, end, dst); gap != "" {
			return nil, false, gap
		}
		if full {
			more = true
			end = dst[len(dst)-1].Cursor.Seq
		}
		if len(dst) > before {
			sources++
		}
	}
	if sources > 1 {
		slices.SortFunc(dst[first:], func(a, b *Entry) int { return cmp.Compare(a.Cursor.Seq, b.Cursor.Seq) })
		fits := first + fit(dst[first:], q, end)
		more = more || fits < len(dst) && dst[fits].Cursor.Seq <= end
		clear(dst[fits:])
		dst = dst[:fits]
	}
	return dst, more, ""
}

// histories appends to list the records of a query's subjects. It reports false
// if one that is no longer known may have lost something after the position.
func (l *MemoryLog) histories(q Query, list []*history) ([]*history, bool) {
	l.mapMu.RLock()
	defer l.mapMu.RUnlock()
	for _, subject := range q.Subjects {
		if h := l.subjects[subject]; h != nil {
			list = append(list, h)
		} else if q.After.Seq < l.forgotten.Load() {
			return nil, false
		}
	}
	return list, true
}

// entriesOf appends the entries of one subject in (q.After, end], and reports
// whether there were more than fit a page.
func (l *MemoryLog) entriesOf(h *history, q Query, end uint64, dst []*Entry) (entries []*Entry, full bool, gap GapReason) {
	h.mu.RLock()
	if now := time.Now(); len(h.entries) > 0 && l.old(h.entries[0], now) {
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
	found := between(h.entries, q.After.Seq, end)
	n := fit(found, q, end)
	return append(dst, found[:n]...), n < len(found), ""
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

// trim brings the log back within its bounds after an append to h. Called with
// mu held, like the methods below.
func (l *MemoryLog) trim(h *history, now time.Time) {
	if n := len(h.entries) - l.cfg.EventsPerSubject; n > 0 {
		l.drop(h, n)
	}
	for h.bytes > l.cfg.MaxBytes/4 && len(h.entries) > 1 {
		l.drop(h, 1)
	}
	l.expire(h, now)
	for l.active.first != nil && l.old(l.active.first.entries[len(l.active.first.entries)-1], now) {
		l.drop(l.active.first, len(l.active.first.entries))
	}
	for l.bytes > l.cfg.MaxBytes {
		l.drop(l.active.first, 1)
	}
	for l.emptied.size > maxRemembered {
		l.forget(l.emptied.first)
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
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, e := range h.entries[:n] {
		l.bytes -= e.cost()
		h.bytes -= e.cost()
		h.trimmed = e.Cursor.Seq
		h.entries[i] = nil // the array lives on under the rest of the slice
	}
	if h.entries = h.entries[n:]; len(h.entries) == 0 {
		h.entries = nil
		h.moveTo(&l.emptied)
	}
}

// forget lets go of an empty history, but not of what it lost: that is noted
// before the subject becomes unknown.
func (l *MemoryLog) forget(h *history) {
	l.forgotten.Store(max(l.forgotten.Load(), h.trimmed))
	h.moveTo(nil)
	l.mapMu.Lock()
	defer l.mapMu.Unlock()
	delete(l.subjects, h.subject)
}

func (l *MemoryLog) cursor(seq uint64) Cursor {
	return Cursor{Epoch: l.epoch, Seq: seq, Check: l.check(seq)}
}

// check needs no entry to be verified, so even a position whose entry is long
// gone is known for what it is.
func (l *MemoryLog) check(seq uint64) uint32 { return uint32(maphash.Comparable(l.seed, seq)) }

// cost is what the entry counts for in MaxBytes.
func (e *Entry) cost() int64 { return int64(len(e.Frame) + len(e.Subject) + entryOverhead) }

var _ Log = (*MemoryLog)(nil)
