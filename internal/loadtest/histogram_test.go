package loadtest

import (
	"math"
	"testing"
	"time"
)

func TestHistogramQuantilesAreWithinASixteenth(t *testing.T) {
	t.Parallel()
	var h Histogram
	const n = 10_000
	for i := 1; i <= n; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1} {
		want := max(q*n, 1) * float64(time.Microsecond)
		if got := float64(h.Quantile(q)); math.Abs(got-want) > want/16 {
			t.Errorf("quantile %v is %v, want %v within 1/16", q, time.Duration(got), time.Duration(want))
		}
	}
}

func TestHistogramWithoutDurationsHasNoQuantiles(t *testing.T) {
	t.Parallel()
	var h Histogram
	for _, q := range []float64{0, 0.5, 1} {
		if got := h.Quantile(q); got != 0 {
			t.Errorf("quantile %v is %v", q, got)
		}
	}
}

func TestHistogramAddsAnother(t *testing.T) {
	t.Parallel()
	var low, high Histogram
	for range 3 {
		low.Record(time.Millisecond)
		high.Record(time.Second)
	}
	low.Add(high)
	for q, want := range map[float64]time.Duration{0.5: time.Millisecond, 0.6: time.Second} {
		if got := low.Quantile(q); math.Abs(float64(got-want)) > float64(want)/16 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

func TestHistogramOfOneDurationHasItAsEveryQuantile(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, 1, 15, 16, 17, 31, 32, 1000, time.Millisecond, time.Hour, math.MaxInt64} {
		var h Histogram
		h.Record(d)
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			if got := h.Quantile(q); math.Abs(float64(got)-float64(d)) > float64(d)/16 {
				t.Errorf("quantile %v of %v is %v", q, d, got)
			}
		}
	}
}

func TestHistogramBucketsAreInOrder(t *testing.T) {
	t.Parallel()
	var edges []uint64
	for shift := range 64 {
		for _, n := range []uint64{1, 17, 31} {
			if v := n << shift; v>>shift == n {
				edges = append(edges, v-1, v, v+1)
			}
		}
	}
	for n := range uint64(4096) {
		edges = append(edges, n)
	}
	for _, n := range edges {
		i := bucket(n)
		if i < 0 || i >= len(Histogram{}.Counts) {
			t.Fatalf("%d is in bucket %d", n, i)
		}
		if n < math.MaxUint64 && bucket(n+1) != i && bucket(n+1) != i+1 {
			t.Fatalf("%d is in bucket %d, and the next in %d", n, i, bucket(n+1))
		}
		if value := uint64(bucketValue(i)); bucket(value) != i {
			t.Fatalf("bucket %d has the value %d, which is in bucket %d", i, value, bucket(value))
		}
	}
}
