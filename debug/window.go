package debug

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// windowSeconds is how many seconds the charts show.
const windowSeconds = 120

// counter is something that is counted for each second.
type counter int

const (
	countOpened   counter = iota
	countReturned         // opened by clients that had a stream before
	countEnded
	countRefused
	countGaps
	countSent
	countFailed
	countDelivered
	counters
)

// window has the counts and delays of the last seconds. It takes no goroutine: who counts first in a
// second clears its slot.
//
// Concurrency: all methods may be called from several goroutines.
type window struct {
	mu    sync.Mutex // held while a slot is cleared
	slots [128]slot  // by the second, modulo their number
}

// slot is one second.
type slot struct {
	second   atomic.Int64 // since 1970
	counts   [counters]atomic.Uint64
	delivery histogram // from the log to the write, once for each write
	appends  histogram // until the log had it
	lasted   histogram // streams that have ended
}

// at returns the slot of a second.
func (w *window) at(second int64) *slot {
	s := &w.slots[second&127]
	if s.second.Load() != second {
		w.clear(s, second)
	}
	return s
}

func (w *window) clear(s *slot, second int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.second.Load() == second {
		return // another goroutine was first; a later second is from before the clock was set back
	}
	for i := range s.counts {
		s.counts[i].Store(0)
	}
	s.delivery.clear()
	s.appends.clear()
	s.lasted.clear()
	s.second.Store(second)
}

func (w *window) add(c counter, n int) { w.at(time.Now().Unix()).counts[c].Add(uint64(n)) }

// each calls fn for the last n complete seconds that have a slot, with their number from 0.
func (w *window) each(n int, now time.Time, fn func(i int, s *slot)) {
	first := now.Unix() - int64(n)
	for i := range n {
		second := first + int64(i)
		if s := &w.slots[second&127]; s.second.Load() == second {
			fn(i, s)
		}
	}
}

// series returns a count for each second, the oldest first.
func (w *window) series(c counter, now time.Time) []uint64 {
	values := make([]uint64, windowSeconds)
	w.each(windowSeconds, now, func(i int, s *slot) { values[i] = s.counts[c].Load() })
	return values
}

// sum returns a count of the last minute.
func (w *window) sum(c counter, now time.Time) (sum uint64) {
	w.each(60, now, func(_ int, s *slot) { sum += s.counts[c].Load() })
	return sum
}

// delays returns the delays of the last minute, and the 99th percentile of each second in microseconds.
func (w *window) delays(now time.Time, of func(s *slot) *histogram) (minute delays, p99 []uint64) {
	minute, p99 = make(delays), make([]uint64, windowSeconds)
	w.each(windowSeconds, now, func(i int, s *slot) {
		second := make(delays)
		of(s).addTo(second)
		p99[i] = uint64(second.quantile(0.99).Microseconds())
		if i >= windowSeconds-60 {
			minute.add(second)
		}
	})
	return minute, p99
}

// histogram counts durations in buckets that are 1/8 of an octave wide, from 128 µs to some hours.
type histogram [bucketCount]atomic.Uint32

const bucketCount = 8*26 + 1

// bucketUnit is 1/8 of the smallest duration that is told from 0.
const bucketUnit = 16 * time.Microsecond

func bucketOf(d time.Duration) int {
	units := uint64(max(0, d) / bucketUnit)
	if units < 8 {
		return 0
	}
	octave := bits.Len64(units) - 4 // of 8 to 15 it is 0
	return min(1+8*octave+int(units>>octave&7), bucketCount-1)
}

// bucketEnd returns where a bucket ends.
func bucketEnd(bucket int) time.Duration {
	if bucket <= 0 {
		return 8 * bucketUnit
	}
	octave, eighth := (bucket-1)/8, (bucket-1)%8
	return time.Duration(8+eighth+1) << octave * bucketUnit
}

func (h *histogram) add(d time.Duration) { h[bucketOf(d)].Add(1) }

func (h *histogram) clear() {
	for i := range h {
		h[i].Store(0)
	}
}

func (h *histogram) addTo(sum delays) {
	for i := range h {
		if n := h[i].Load(); n > 0 {
			sum[i] += uint64(n)
		}
	}
}

// delays are the counts of a histogram by bucket. Those of several nodes can be added.
type delays map[int]uint64

func (d delays) add(other delays) {
	for bucket, n := range other {
		if bucket >= 0 && bucket < bucketCount {
			d[bucket] += n
		}
	}
}

func (d delays) total() (total uint64) {
	for _, n := range d {
		total += n
	}
	return total
}

// quantile returns a duration that a part q of all does not exceed; 0 if there are none. It is up to an
// eighth too large.
func (d delays) quantile(q float64) time.Duration {
	total := d.total()
	if total == 0 {
		return 0
	}
	rank := uint64(float64(total) * q)
	for bucket := range bucketCount {
		if n := d[bucket]; rank < n {
			return bucketEnd(bucket)
		} else {
			rank -= n
		}
	}
	return bucketEnd(bucketCount - 1)
}
