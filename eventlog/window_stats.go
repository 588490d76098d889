package eventlog

import (
	"sync/atomic"
	"time"
)

// storeCounts counts what a window has asked of its store. See [StoreStats].
type storeCounts struct{ failures, reads, readEntries, readErrors atomic.Uint64 }

// NoteLast says that the store has entries up to a sequence, which the window may not have yet. Only
// [Window.Stats] uses it. It costs little, and a tail calls it as often as it is told of a last entry.
func (w *Window) NoteLast(seq uint64) {
	for {
		known := w.last.Load()
		if seq <= known || w.last.CompareAndSwap(known, seq) {
			return
		}
	}
}

// Stats implements [StatsLog]. It waits neither for the store nor for readers.
func (w *Window) Stats() Stats {
	w.mu.RLock()
	s := Stats{Entries: len(w.entries) - w.replaced, Bytes: int64(w.bytes), MaxBytes: int64(w.bounds.Bytes), Evicted: w.evicted}
	if len(w.entries) > 0 {
		s.Since = w.entries[0].Time
	}
	head, last := w.head, max(w.tip, w.last.Load())
	w.mu.RUnlock()
	s.Store = &StoreStats{
		Connected:   w.HasContact(),
		Failures:    w.counts.failures.Load(),
		Behind:      last - head,
		Reads:       w.counts.reads.Load(),
		ReadEntries: w.counts.readEntries.Load(),
		ReadErrors:  w.counts.readErrors.Load(),
		Inbox:       -1,
	}
	if at := w.contact.Load(); at > 0 {
		s.Store.Heard = w.clock.Time(time.Duration(at - 1))
	}
	return s
}
