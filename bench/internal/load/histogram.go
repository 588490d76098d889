package load

import (
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations in buckets that are at most 1/16 of their value wide.
type Histogram struct {
	Counts [64 * 16]uint64
}

func (h *Histogram) add(d time.Duration) { h.Counts[bucket(uint64(d))]++ }

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

// Quantile returns the lowest duration that a share q of all durations does not exceed, or 0
// without durations.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	rank, seen := max(uint64(math.Ceil(q*float64(total))), 1), uint64(0)
	for i, n := range h.Counts {
		if seen += n; seen >= rank {
			return bucketValue(i)
		}
	}
	return 0
}
