package promginsse

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// latencyBounds are the upper bounds of the classic buckets, in seconds.
var latencyBounds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Native buckets are of schema 2: each ends at 2^(1/4) of the one before it, which is 19 % more.
const (
	schema    = 2
	perOctave = 1 << schema
	zeroKey   = -20 * perOctave // durations up to 2^-20 s, a microsecond, are in the zero bucket
	lastKey   = 12 * perOctave  // durations above 2^12 s are counted as if they were a little less
)

// maxCells is at least len(cells).
const maxCells = 144

// cell is a range of durations that is part of one classic and one native bucket. Durations are counted
// by cell, which is one addition. Both kinds of buckets are made from that.
type cell struct {
	classic int // place of the classic bucket in latencyBounds; their number is the bucket without a bound
	native  int // key of the native bucket, or zeroKey
}

var (
	// cellBounds are the longest durations of the cells.
	cellBounds = newCellBounds()
	// cells has a cell for each of cellBounds.
	cells = newCells()
	// firstCells has the first cell of the durations whose nanoseconds have a number of bits.
	firstCells = newFirstCells()
)

func newCellBounds() (bounds []time.Duration) {
	for key := zeroKey; key < lastKey; key++ {
		bounds = append(bounds, nativeBound(key))
	}
	for i := range latencyBounds {
		bounds = append(bounds, classicBound(i))
	}
	slices.Sort(bounds)
	return append(slices.Compact(bounds), math.MaxInt64)
}

func newCells() []cell {
	all := make([]cell, len(cellBounds))
	for i, bound := range cellBounds {
		c := cell{native: zeroKey}
		for c.native < lastKey && nativeBound(c.native) < bound {
			c.native++
		}
		for c.classic < len(latencyBounds) && classicBound(c.classic) < bound {
			c.classic++
		}
		all[i] = c
	}
	return all
}

func newFirstCells() (first [64]int) {
	for n := 1; n < len(first); n++ {
		first[n], _ = slices.BinarySearch(cellBounds, 1<<(n-1))
	}
	return first
}

// nativeBound returns the longest duration of a native bucket.
func nativeBound(key int) time.Duration {
	return time.Duration(math.Exp2(float64(key)/perOctave) * 1e9)
}

// classicBound returns the longest duration of a classic bucket.
func classicBound(i int) time.Duration { return time.Duration(math.Round(latencyBounds[i] * 1e9)) }

// latencies counts durations. It may be used by several goroutines.
type latencies struct {
	nanoseconds atomic.Uint64 // the sum
	counts      [maxCells]atomic.Uint64
}

func (l *latencies) observe(d time.Duration) {
	d = max(d, 0)
	i := firstCells[bits.Len64(uint64(d))]
	for cellBounds[i] < d {
		i++
	}
	l.counts[i].Add(1)
	l.nanoseconds.Add(uint64(d))
}

// histogram is what was counted, as a metric with classic and native buckets.
type histogram struct {
	desc        *prometheus.Desc
	nanoseconds uint64
	counts      [maxCells]uint64
}

func (h *histogram) add(l *latencies) {
	h.nanoseconds += l.nanoseconds.Load()
	for i := range h.counts {
		h.counts[i] += l.counts[i].Load()
	}
}

// Desc implements [prometheus.Metric].
func (h *histogram) Desc() *prometheus.Desc { return h.desc }

// Write implements [prometheus.Metric].
func (h *histogram) Write(to *dto.Metric) error {
	classic := make([]uint64, len(latencyBounds)+1)
	native := make([]uint64, lastKey+1-zeroKey)
	var sum uint64
	for i, c := range cells {
		classic[c.classic] += h.counts[i]
		native[c.native-zeroKey] += h.counts[i]
		sum += h.counts[i]
	}
	out := &dto.Histogram{
		SampleCount:   proto.Uint64(sum),
		SampleSum:     proto.Float64(float64(h.nanoseconds) / 1e9),
		Schema:        proto.Int32(schema),
		ZeroThreshold: proto.Float64(math.Exp2(zeroKey / perOctave)),
		ZeroCount:     proto.Uint64(native[0]),
	}
	var cumulative uint64
	for i, bound := range latencyBounds {
		cumulative += classic[i]
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: proto.Float64(bound), CumulativeCount: proto.Uint64(cumulative)})
	}
	out.PositiveSpan, out.PositiveDelta = spansOf(native[1:], zeroKey+1)
	to.Histogram = out
	return nil
}

// spansOf returns the native buckets that have counts: spans of keys, and by how much each count is
// more than the one before.
func spansOf(counts []uint64, firstKey int) (spans []*dto.BucketSpan, deltas []int64) {
	var before int64
	next := 0 // the offset of the first span is from 0, those of the others from the end of the one before
	var length *uint32
	for i, count := range counts {
		key := firstKey + i
		switch {
		case count == 0:
			continue
		case length != nil && key == next:
			*length++
		default:
			length = proto.Uint32(1)
			spans = append(spans, &dto.BucketSpan{Offset: proto.Int32(int32(key - next)), Length: length})
		}
		deltas = append(deltas, int64(count)-before)
		before, next = int64(count), key+1
	}
	return spans, deltas
}
