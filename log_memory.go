package ginsse

import (
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

	// eventOverhead is added when memory is counted: the ID, the entry, the pointer
	// to it, and the subject's history as if the event were its only one.
	eventOverhead = 384

	// sweep is the most old events of other subjects that one append removes, and the
	// most subjects that it forgets: the first after a quiet hour does not wait until
	// all are gone. Readers do not see old ones.
	sweep = 64

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
	made  time.Time
	epoch uint32
	seed  maphash.Seed // keys the cursors' check; random, so nobody makes one up

	// head is the newest sequence. It is raised when the event is in its history:
	// whoever has read it finds all events up to it.
	head atomic.Uint64
	// forgotten is the newest sequence lost from a subject no longer remembered:
	// a position before it may have missed something in any unknown subject.
	forgotten atomic.Uint64

	mu       sync.Mutex    // makes appending one at a time; guards the fields below
	bytes    int64         // counted for all events held
	newestAt time.Duration // when the newest event was appended
	sweepAt  time.Duration // no subject has nothing but old events before this time
	active   historyList   // those with events, least recently appended first
	emptied  historyList   // those without, least recently emptied first

	subjects *catalog // changed under mu

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
		made:     time.Now(),
		subjects: newCatalog(),
		epoch:    rand.Uint32() | 1, // never 0, so that no cursor is the zero Cursor
		seed:     maphash.MakeSeed(),
	}
	l.watchers.Store(new([]*watcher))
	return l, nil
}

// Append implements [Log]. It waits for nothing, so it does not look at ctx: a
// handler whose own client has just left still gets its event out.
func (l *MemoryLog) Append(_ context.Context, subject string, frame []byte) (Cursor, error) {
	cost := cost(subject, len(frame))
	if cost > l.cfg.MaxBytes {
		return Cursor{}, fmt.Errorf("%w: %d bytes in a log of %d", ErrEventTooLarge, len(frame), l.cfg.MaxBytes)
	}
	// The frame is copied before the lock is taken; its position is filled in under it.
	e := &entry{at: time.Since(l.made), block: AppendBlock(make([]byte, 0, len(frame)+blockOverhead), Cursor{}, frame)}
	l.mu.Lock()
	e.at = max(e.at, l.newestAt) // in order, whoever was first to look at the clock
	l.newestAt = e.at
	at := l.cursor(l.head.Load() + 1)
	e.seq = at.Seq
	at.append(e.block[:len(e.block)-CursorLen-len("\n\n")])
	h := l.history(subject)
	h.mu.Lock()
	h.appendLocked(e)
	l.bytes += cost
	h.bytes += cost
	l.trimLocked(h, e.at)
	h.mu.Unlock()
	h.moveTo(&l.active)
	l.trim(e.at)
	l.head.Store(at.Seq)
	l.mu.Unlock()

	for _, w := range *l.watchers.Load() {
		w.fn(subject, at.Seq)
	}
	return at, nil
}

// history returns the record of a subject, a new one if there is none. Called
// with mu held.
func (l *MemoryLog) history(subject string) *history {
	if h := l.subjects.find(subject); h != nil {
		return h
	}
	h := &history{subject: subject, trimmed: l.forgotten.Load()}
	h.newest.Store(h.trimmed) // for all that is known, it lost the newest event of all
	l.subjects.add(h)
	return h
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

// trimLocked brings h, which was just appended to, back within the bounds of one
// subject. Called with both locks held.
func (l *MemoryLog) trimLocked(h *history, now time.Duration) {
	for n := len(h.entries()); n > l.cfg.EventsPerSubject || n > 1 && h.bytes > l.cfg.MaxBytes/4; n-- {
		l.removeLocked(h)
	}
	l.expireLocked(h, now, len(h.entries()))
}

// trim brings the log back within its bounds. Called with mu held, like the
// methods below.
func (l *MemoryLog) trim(now time.Duration) {
	for most := sweep; most > 0 && now >= l.sweepAt && l.active.first != nil; {
		quiet := l.active.first
		if newest := quiet.last.Load(); !l.old(newest.at, now) {
			l.sweepAt = newest.at + l.cfg.MaxAge
			break
		}
		most -= l.expire(quiet, now, most)
	}
	for l.bytes > l.cfg.MaxBytes {
		l.drop(l.active.first)
	}
	for n := 0; n < sweep && l.emptied.size > maxRemembered; n++ {
		l.forget(l.emptied.first)
	}
}

// drop removes the oldest event of h.
func (l *MemoryLog) drop(h *history) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.removeLocked(h)
	l.fileLocked(h)
}

// expire removes the events of h that have reached the maximum age, a number at
// most, and returns how many it has removed.
func (l *MemoryLog) expire(h *history, now time.Duration, most int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer l.fileLocked(h)
	return l.expireLocked(h, now, most)
}

func (l *MemoryLog) expireLocked(h *history, now time.Duration, most int) (n int) {
	for n < most && len(h.entries()) > 0 && l.old(h.oldest, now) {
		l.removeLocked(h)
		n++
	}
	return n
}

func (l *MemoryLog) old(at, now time.Duration) bool { return now-at >= l.cfg.MaxAge }

func (l *MemoryLog) removeLocked(h *history) {
	cost := cost(h.subject, len(h.removeLocked().block)-blockOverhead)
	l.bytes -= cost
	h.bytes -= cost
}

// fileLocked moves a history that has become empty to where those are.
func (l *MemoryLog) fileLocked(h *history) {
	if len(h.entries()) == 0 && h.list == &l.active {
		h.moveTo(&l.emptied)
	}
}

// forget lets go of an empty history, but not of what it lost: that is noted
// before the subject becomes unknown.
func (l *MemoryLog) forget(h *history) {
	h.moveTo(nil)
	if h == &l.subjects.all {
		return // it is always known, and so nothing is forgotten
	}
	l.forgotten.Store(max(l.forgotten.Load(), h.trimmed))
	l.subjects.remove(h)
}

func (l *MemoryLog) cursor(seq uint64) Cursor {
	return Cursor{Epoch: l.epoch, Seq: seq, Check: l.check(seq)}
}

// check needs no entry to be verified, so even a position whose entry is long
// gone is known for what it is.
func (l *MemoryLog) check(seq uint64) uint32 { return uint32(maphash.Comparable(l.seed, seq)) }

// cost is what an event counts for in MaxBytes.
func cost(subject string, frameBytes int) int64 {
	return int64(frameBytes + len(subject) + eventOverhead)
}

var _ Log = (*MemoryLog)(nil)
