package loadtest

import (
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/16 of their value wide.
type Histogram struct {
	Counts [64 * 16]uint64
}

// Record counts a duration. A negative one counts as 0.
func (h *Histogram) Record(d time.Duration) { h.Counts[bucket(uint64(max(d, 0)))]++ }

// Add adds the durations of another histogram.
func (h *Histogram) Add(other Histogram) {
	for i, n := range other.Counts {
		h.Counts[i] += n
	}
}

// bucket returns the index of a bucket, which has the highest bit and the four after it.
func bucket(n uint64) int {
	if n < 16 {
		return int(n)
	}
	shift := bits.Len64(n) - 5
	return (shift+1)<<4 | int(n>>shift&15)
}

// bucketValue returns the middle of a bucket.
func bucketValue(i int) time.Duration {
	if i < 16 {
		return time.Duration(i)
	}
	shift := i>>4 - 1
	low := uint64(16|i&15) << shift
	return time.Duration(low + 1<<shift/2)
}

// Total returns the number of durations.
func (h *Histogram) Total() (total uint64) {
	for _, n := range h.Counts {
		total += n
	}
	return total
}

// Quantile returns the lowest duration that a share q of all durations does not exceed, or 0
// without durations.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank, seen := max(uint64(math.Ceil(q*float64(h.Total()))), 1), uint64(0)
	for i, n := range h.Counts {
		if seen += n; seen >= rank {
			return bucketValue(i)
		}
	}
	return 0
}

// Between returns the number of durations from low to before high, by the middles of their buckets.
func (h *Histogram) Between(low, high time.Duration) (count uint64) {
	for i, n := range h.Counts {
		if n == 0 {
			continue
		}
		if d := bucketValue(i); d >= low && d < high {
			count += n
		}
	}
	return count
}
