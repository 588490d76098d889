// Package timerwheel keeps the deadlines of many streams with one timer.
//
// The compact streams of package ginsse use it for their heartbeats, timeouts and lifetimes. There
// are tens of thousands of them, without goroutines, and almost every write moves a deadline. A
// [time.Timer] for each stream would take more memory, and a goroutine whenever it fires.
//
// A wheel has one level: 2,048 slots, each for a tick of 16 ms, about 33 s in all. An entry that is
// due later than that waits in its slot until the wheel comes round to it for the last time.
package timerwheel

import (
	"math"
	"math/bits"
	"sync"
	"time"
)

const (
	tick      = 16 * time.Millisecond
	slotCount = 2048 // a power of two
	words     = slotCount / 64
	// longest is about 146 years. Longer times are shortened to it, so that no sum overflows.
	longest = 1 << 62 * time.Nanosecond
)

// Entry is the place of one deadline in a [Wheel]. Its zero value is not scheduled.
//
// An entry must not be copied or given to another wheel while it is scheduled. The wheel keeps a
// reference to it for that long.
type Entry[T any] struct {
	// Value is what the wheel passes to fire. It must not be changed while the entry is scheduled.
	Value T

	prev, next *Entry[T] // in the list of its slot
	tick       int64     // when the entry is due; 0 if it is not scheduled
}

// Wheel calls a function when entries are due: never early, and at most one tick of 16 ms late,
// plus the time that the runtime needs to start a goroutine.
//
// Time is monotonic. A change of the wall clock moves no deadline.
//
// Concurrency: all methods, from any goroutine. They allocate nothing and take constant time, apart
// from waiting while the wheel visits the entries of a slot. A wheel has no goroutine of its own.
// Its timer is set only while an entry is scheduled.
//
// Memory: 17 KB, and 24 bytes for each entry beside its value.
type Wheel[T any] struct {
	fire  func(due []T)
	start time.Time // tick 0

	mu       sync.Mutex    // guards the fields below and those of entries; not held in fire
	timer    *time.Timer   // calls run
	armed    int64         // the tick of the timer, no later than any entry; 0 without entries
	count    int           // scheduled entries
	occupied [words]uint64 // a bit for each slot that has entries
	slots    [slotCount]*Entry[T]
}

// New returns a wheel without entries. It calls fire with the values of all entries that are due at
// the same time, in no particular order.
//
// An entry is no longer scheduled when fire is called with its value, so fire may schedule it
// again. The calls run on a goroutine of the timer, under no lock. The wheel does not wait for
// them: if one takes longer than a tick, the next one may run at the same time. fire owns the
// slice.
func New[T any](fire func(due []T)) *Wheel[T] {
	w := &Wheel[T]{fire: fire, start: time.Now()}
	w.timer = time.AfterFunc(longest, w.run)
	w.timer.Stop()
	return w
}

// Set schedules the entry, in place of an earlier time that it may have. If after is 0 or negative,
// the entry is due at the next tick.
func (w *Wheel[T]) Set(e *Entry[T], after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Since(w.start)
	due := now + min(max(after, 0), longest)
	at := max(int64((due+tick-1)/tick), int64(now/tick)+1)
	if e.tick == at {
		return
	}
	if e.tick != 0 {
		w.removeLocked(e)
	}
	w.addLocked(e, at)
	if w.armed == 0 || at < w.armed {
		w.armLocked(at)
	}
}

// Stop unschedules the entry. It may be repeated. If fire is about to be called with the entry's
// value, or is running, Stop does not prevent that.
func (w *Wheel[T]) Stop(e *Entry[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.tick == 0 {
		return
	}
	w.removeLocked(e)
	if w.count == 0 {
		w.timer.Stop()
		w.armed = 0
	}
}

// run visits the slots whose time has come. The timer calls it.
//
// Two runs may overlap, and a run may find that the timer has been stopped or set again meanwhile.
// That does no harm: a run takes only what is due, and then sets the timer to what comes next.
func (w *Wheel[T]) run() {
	w.mu.Lock()
	now := int64(time.Since(w.start) / tick)
	due := w.takeLocked(now)
	if w.count == 0 {
		w.armed = 0
	} else {
		w.armLocked(w.nextOccupiedLocked(now + 1))
	}
	w.mu.Unlock()
	if len(due) > 0 {
		w.fire(due)
	}
}

// takeLocked removes all entries that are due at the tick now, and returns their values.
func (w *Wheel[T]) takeLocked(now int64) (due []T) {
	for at := w.nextOccupiedLocked(w.armed); at <= now; at = w.nextOccupiedLocked(at + 1) {
		var next *Entry[T]
		for e := w.slots[at%slotCount]; e != nil; e = next {
			next = e.next
			if e.tick <= now { // else it is due in a later lap
				due = append(due, e.Value)
				w.removeLocked(e)
			}
		}
	}
	return due
}

// nextOccupiedLocked returns the first tick, not before from, whose slot has entries. They may be
// due in a later lap.
func (w *Wheel[T]) nextOccupiedLocked(from int64) int64 {
	slot := from % slotCount
	first := slot / 64
	word := w.occupied[first] &^ (1<<(slot%64) - 1)
	for i := first; i <= first+words; i++ { // the first word is the last one, too
		if i > first {
			word = w.occupied[i%words]
		}
		if word != 0 {
			return from - slot + i*64 + int64(bits.TrailingZeros64(word))
		}
	}
	return math.MaxInt64
}

// armLocked sets the timer to a tick.
func (w *Wheel[T]) armLocked(at int64) {
	w.armed = at
	w.timer.Reset(time.Duration(at)*tick - time.Since(w.start))
}

func (w *Wheel[T]) addLocked(e *Entry[T], at int64) {
	slot := at % slotCount
	e.tick, e.next = at, w.slots[slot]
	if e.next != nil {
		e.next.prev = e
	}
	w.slots[slot] = e
	w.occupied[slot/64] |= 1 << (slot % 64)
	w.count++
}

func (w *Wheel[T]) removeLocked(e *Entry[T]) {
	slot := e.tick % slotCount
	if e.next != nil {
		e.next.prev = e.prev
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		w.slots[slot] = e.next
	}
	if w.slots[slot] == nil {
		w.occupied[slot/64] &^= 1 << (slot % 64)
	}
	e.prev, e.next, e.tick = nil, nil, 0
	w.count--
}
