package eventlog

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/internal/clock"
)

// MemoryLogConfig holds the bounds of a [MemoryLog]. Zero means default.
type MemoryLogConfig struct {
	// EventsPerSubject is the most entries kept of one subject, such as one user or one topic. It
	// is also how far a stream may lag before it meets a gap. Entries that were replaced do not
	// count. Default 4096.
	EventsPerSubject int
	// MaxAge is how long an entry is kept. Default 1 hour.
	MaxAge time.Duration
	// MaxBytes bounds the memory of all entries together. Each counts with 384 bytes of
	// bookkeeping. Above the bound, the subject that has been quiet for longest loses its entries
	// first. One subject may use a quarter of MaxBytes, so that a flood of events for one user
	// does not evict those of all others. Default 64 MiB.
	//
	// Each key of an entry counts with another 64 bytes, and so do its attributes.
	//
	// The log knows the DedupKeys of the last [DedupWindow], as many as fit into an eighth of MaxBytes
	// in addition. Each counts with 192 bytes of bookkeeping. Beyond that, it forgets the oldest
	// before their time, and a later repeat is stored as another entry.
	MaxBytes int64
}

const (
	defaultEventsPerSubject = 4096
	defaultMaxAge           = time.Hour
	defaultMaxBytes         = 64 << 20

	// entryOverhead is the part of an entry's cost that is not text: the id, the entry, the
	// pointer to it, and the subject's history as if the entry were its only one.
	entryOverhead = 384

	// sweep is the most old entries of other subjects that one append removes, and the most
	// subjects and old DedupKeys that it forgets. It bounds the wait of the first append after a quiet hour.
	// Readers never see old entries.
	sweep = 64

	// maxRemembered is the number of subjects without entries for which the log still knows
	// exactly what it has removed. Each takes about 200 bytes. Beyond that number, the log may
	// report a gap where nothing was lost.
	maxRemembered = 1 << 16
)

// MemoryLog is the [Log] of a single process. It lives as long as the process: a position from
// before a restart is a gap of reason "epoch".
//
// Concurrency: all methods may be called from several goroutines. Appending is serialised.
// Readers do not wait for each other. They wait for an appender at the subject that it changes, and
// if it has replaced an entry while they read.
type MemoryLog struct {
	cfg   MemoryLogConfig
	clock *clock.Clock
	epoch uint32
	seed  maphash.Seed // random key of the cursors' check, so that clients cannot make one up

	// head is the newest sequence. It is raised after the entry is in its history: a reader of
	// head finds all entries up to it.
	head atomic.Uint64
	// newest holds the newest sequence of each kind of subject, by the kind's first byte. Streams
	// read a subject of each kind, and most of them have no news.
	newest [256]atomic.Uint64

	mu       sync.Mutex    // serialises appending; guards the fields below
	entries  int           // that are held
	bytes    int64         // their cost
	evicted  Evicted       // entries that are held no more
	roomAt   time.Duration // when the newest entry was appended that was removed for entries of other subjects
	newestAt time.Duration // when the newest entry was appended
	sweepAt  time.Duration // earliest time at which a subject's newest entry can be too old
	active   historyList   // subjects with entries, least recently appended first
	emptied  historyList   // subjects without entries, least recently emptied first
	repeats  repeats

	// lookup guards the fields below together with mu: the holder of either may read them, and the
	// holder of both may change them. Appending to a subject that has a history changes none of
	// them, so readers seldom wait here.
	lookup    sync.RWMutex
	histories map[string]*history // by subject
	// forgotten is the newest sequence that was removed from a subject without a history. A
	// position before it may have missed an entry of any such subject.
	forgotten uint64

	watchers Watchers
}

// NewMemoryLog returns an empty log of a new epoch. The error names the field that is wrong.
func NewMemoryLog(cfg MemoryLogConfig) (*MemoryLog, error) {
	switch {
	case cfg.EventsPerSubject < 0:
		return nil, fmt.Errorf("eventlog: MemoryLogConfig.EventsPerSubject is %d; a log holds at least 1", cfg.EventsPerSubject)
	case cfg.MaxAge < 0:
		return nil, fmt.Errorf("eventlog: MemoryLogConfig.MaxAge is %v; it must be above 0", cfg.MaxAge)
	case cfg.MaxBytes < 0:
		return nil, fmt.Errorf("eventlog: MemoryLogConfig.MaxBytes is %d; it must be above 0", cfg.MaxBytes)
	}
	if cfg.EventsPerSubject == 0 {
		cfg.EventsPerSubject = defaultEventsPerSubject
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = defaultMaxAge
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	return &MemoryLog{
		cfg:       cfg,
		clock:     clock.New(),
		histories: map[string]*history{SubjectAll: {subject: SubjectAll}},
		epoch:     rand.Uint32() | 1, // never 0, so that no cursor is the zero Cursor
		seed:      maphash.MakeSeed(),
	}, nil
}

// Append implements [Log]. It waits for nothing and ignores ctx: a handler whose own client has
// just left still gets its event out.
func (l *MemoryLog) Append(_ context.Context, r Record) (Cursor, error) {
	// The frame is copied before the lock is taken. The position is filled in under the lock.
	e, now := new(Entry), l.clock.Age()
	*e = newEntry(r)
	cost := cost(e)
	if cost > l.cfg.MaxBytes {
		return Cursor{}, fmt.Errorf("%w: %d bytes in a log of %d", ErrTooLarge, len(r.Frame), l.cfg.MaxBytes)
	}
	l.mu.Lock()
	now = max(now, l.newestAt) // in order, whichever appender read the clock first
	l.newestAt = now
	if r.DedupKey != "" {
		if seq, ok := l.repeats.find(r.Subject, r.DedupKey, now); ok {
			l.mu.Unlock()
			return l.cursor(seq), nil
		}
	}
	at := l.cursor(l.head.Load() + 1)
	e.setPosition(at)
	e.Stored = l.clock.UnixNano(now)
	h := l.history(r.Subject)
	e.Subject = h.subject // so that entries share one string
	h.mu.Lock()
	if e.Key != "" {
		l.replace(h, e)
	}
	h.append(e, now)
	l.entries++
	l.bytes += cost
	h.bytes += cost
	l.trimSubject(h, now)
	h.mu.Unlock()
	h.moveTo(&l.active)
	l.trim(now)
	if r.DedupKey != "" {
		l.repeats.add(h.subject, r.DedupKey, at.Seq, now)
	}
	l.repeats.trim(now, l.cfg.MaxBytes/repeatsShare)
	l.newestOf(r.Subject).Store(at.Seq)
	l.head.Store(at.Seq)
	l.mu.Unlock()

	l.watchers.Call(r.Subject, at.Seq)
	return at, nil
}

// Stats implements [StatsLog]. It waits for an append in progress.
func (l *MemoryLog) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := max(l.roomAt, l.clock.Age()-l.cfg.MaxAge, 0)
	return Stats{
		Entries: l.entries, Bytes: l.bytes, MaxBytes: l.cfg.MaxBytes, Since: l.clock.Time(since), Evicted: l.evicted,
	}
}

// Watch implements [Log]. fn runs on the appending goroutine, under no lock.
func (l *MemoryLog) Watch(fn func(subject string, seq uint64)) (stop func()) {
	return l.watchers.Watch(fn)
}

// history returns the history of a subject, a new one if there is none. The caller holds mu, as
// for the methods below.
func (l *MemoryLog) history(subject string) *history {
	if h := l.histories[subject]; h != nil {
		return h
	}
	h := &history{subject: subject, trimmed: l.forgotten}
	h.newest.Store(h.trimmed) // it may have lost the entry that was forgotten last
	l.lookup.Lock()
	defer l.lookup.Unlock()
	l.histories[subject] = h
	return h
}

// newestOf returns the newest sequence of all subjects of a subject's kind.
func (l *MemoryLog) newestOf(subject string) *atomic.Uint64 {
	if subject == "" {
		return &l.newest[0]
	}
	return &l.newest[subject[0]]
}

// trimSubject brings h, which was just appended to, back within the bounds of one subject. The
// caller also holds the history's lock.
func (l *MemoryLog) trimSubject(h *history, now time.Duration) {
	for n := h.size(); n > l.cfg.EventsPerSubject || n > 1 && h.bytes > l.cfg.MaxBytes/4; n-- {
		l.remove(h, &l.evicted.Subject)
	}
	for l.isOld(h.slots[0].appended, now) { // the newest is not
		l.remove(h, &l.evicted.Age)
	}
}

// trim brings the log back within its bounds.
func (l *MemoryLog) trim(now time.Duration) {
	for n := 0; n < sweep && now >= l.sweepAt && l.active.first != nil; n++ {
		quiet := l.active.first
		if newest := quiet.slots[len(quiet.slots)-1]; !l.isOld(newest.appended, now) {
			l.sweepAt = newest.appended + l.cfg.MaxAge
			break
		}
		l.evict(quiet, &l.evicted.Age) // its oldest entry is older still
	}
	for l.bytes > l.cfg.MaxBytes {
		quiet := l.active.first
		l.roomAt = max(l.roomAt, quiet.slots[0].appended)
		l.evict(quiet, &l.evicted.Size)
	}
	for n := 0; n < sweep && l.emptied.size > maxRemembered; n++ {
		l.forget(l.emptied.first)
	}
}

func (l *MemoryLog) isOld(appended, now time.Duration) bool { return now-appended >= l.cfg.MaxAge }

// evict removes the oldest entry of h, and counts it.
func (l *MemoryLog) evict(h *history, count *uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.remove(h, count)
	if len(h.slots) == 0 {
		h.moveTo(&l.emptied)
	}
}

// replace removes the entry of h that has the key of e, which is appended next. The caller also
// holds the history's lock.
func (l *MemoryLog) replace(h *history, e *Entry) {
	removed := h.replace(e.Key, e.At.Seq)
	if removed == nil {
		e.Key = strings.Clone(e.Key) // so that nothing else stays in memory with it
		return
	}
	e.Key = removed.Key
	l.discount(h, removed, &l.evicted.Replaced)
}

// remove removes the oldest entry of h, and counts it. The caller also holds the history's lock.
func (l *MemoryLog) remove(h *history, count *uint64) { l.discount(h, h.remove(), count) }

// discount gives back the cost of an entry that was removed, and counts it.
func (l *MemoryLog) discount(h *history, e *Entry, count *uint64) {
	cost := cost(e)
	*count++
	l.entries--
	l.bytes -= cost
	h.bytes -= cost
}

// forget removes an empty history. The log keeps the sequence of the last entry that it lost.
func (l *MemoryLog) forget(h *history) {
	h.moveTo(nil)
	if h.subject == SubjectAll {
		return // every stream reads it, and it is only one
	}
	l.lookup.Lock()
	defer l.lookup.Unlock()
	l.forgotten = max(l.forgotten, h.trimmed)
	delete(l.histories, h.subject)
}

func (l *MemoryLog) cursor(seq uint64) Cursor {
	return Cursor{Epoch: l.epoch, Seq: seq, Check: l.check(seq)}
}

// check derives a cursor's check from its sequence, so that a position can be verified after
// its entry was removed.
func (l *MemoryLog) check(seq uint64) uint32 {
	if seq == 0 {
		return 0 // the position before the first entry has nothing but an epoch
	}
	return uint32(maphash.Comparable(l.seed, seq))
}

// cost is what an entry counts for in MaxBytes.
func cost(e *Entry) int64 {
	return int64(len(e.Block) - BlockOverhead + len(e.Subject) + entryOverhead + e.extraCost())
}

var _ StatsLog = (*MemoryLog)(nil)
