package promginsse_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ginsse/ginsse/promginsse"
)

// nativeCounts returns the counts of a native histogram by key.
func nativeCounts(h *dto.Histogram) map[int32]int64 {
	counts := make(map[int32]int64)
	var key, i int32
	var count int64
	for _, span := range h.GetPositiveSpan() {
		key += span.GetOffset()
		for range span.GetLength() {
			count += h.GetPositiveDelta()[i]
			if count != 0 {
				counts[key] = count
			}
			key++
			i++
		}
	}
	return counts
}

func write(t *testing.T, m prometheus.Metric) *dto.Histogram {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetHistogram()
}

// A histogram has the buckets that one of client_golang has.
func TestHistogramIsAsThatOfClientGolang(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	durations := []time.Duration{0, 1, 953, 954, time.Microsecond, 500 * time.Microsecond, 500*time.Microsecond + 1,
		500 * time.Millisecond, time.Second, time.Second + 1, 30 * time.Second, 30*time.Second + 1, time.Hour}
	for _, seconds := range promginsse.LatencyBounds {
		d := time.Duration(seconds * 1e9)
		durations = append(durations, d-1, d, d+1)
	}
	for range 10_000 {
		durations = append(durations, time.Duration(math.Exp(random.Float64()*27)))
	}
	theirs := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "theirs", Help: "of a test", Buckets: promginsse.LatencyBounds,
		NativeHistogramBucketFactor: 1.19, NativeHistogramZeroThreshold: math.Exp2(-20),
	})
	for _, d := range durations {
		theirs.Observe(d.Seconds())
	}
	got, want := write(t, promginsse.HistogramOf(durations)), write(t, theirs)
	if got.GetSchema() != want.GetSchema() || got.GetZeroThreshold() != want.GetZeroThreshold() || got.GetZeroCount() != want.GetZeroCount() {
		t.Errorf("schema %d, zero bucket %v with %d; want %d, %v with %d", got.GetSchema(), got.GetZeroThreshold(), got.GetZeroCount(),
			want.GetSchema(), want.GetZeroThreshold(), want.GetZeroCount())
	}
	if got.GetSampleCount() != want.GetSampleCount() || math.Abs(got.GetSampleSum()/want.GetSampleSum()-1) > 1e-9 {
		t.Errorf("%d observations with the sum %v, want %d with %v", got.GetSampleCount(), got.GetSampleSum(), want.GetSampleCount(), want.GetSampleSum())
	}
	if len(got.GetBucket()) != len(want.GetBucket()) {
		t.Fatalf("%d classic buckets, want %d", len(got.GetBucket()), len(want.GetBucket()))
	}
	for i, bucket := range want.GetBucket() {
		if b := got.GetBucket()[i]; b.GetUpperBound() != bucket.GetUpperBound() || b.GetCumulativeCount() != bucket.GetCumulativeCount() {
			t.Errorf("%d up to %v s, want %d up to %v s", b.GetCumulativeCount(), b.GetUpperBound(), bucket.GetCumulativeCount(), bucket.GetUpperBound())
		}
	}
	gotCounts, wantCounts := nativeCounts(got), nativeCounts(want)
	if len(wantCounts) < 100 {
		t.Errorf("the test has only %d native buckets", len(wantCounts))
	}
	for key := int32(-100); key < 100; key++ {
		if gotCounts[key] != wantCounts[key] {
			t.Errorf("native bucket %d has %d, want %d", key, gotCounts[key], wantCounts[key])
		}
	}
}

// A histogram without observations is a native one, too: Prometheus must not change its mind later.
func TestHistogramIsNativeFromTheStart(t *testing.T) {
	t.Parallel()
	if h := write(t, promginsse.HistogramOf(nil)); h.GetZeroThreshold() == 0 || h.GetSampleCount() != 0 || len(h.GetBucket()) == 0 {
		t.Errorf("got %v", h)
	}
}

// Durations that are too long, or negative because of two clocks, are counted.
func TestHistogramCountsEveryDuration(t *testing.T) {
	t.Parallel()
	h := write(t, promginsse.HistogramOf([]time.Duration{-time.Second, math.MinInt64, 5000 * time.Second, math.MaxInt64}))
	if h.GetSampleCount() != 4 || h.GetZeroCount() != 2 || nativeCounts(h)[12*4] != 2 {
		t.Errorf("got %v", h)
	}
}

func TestHistogramFindsABucketSoon(t *testing.T) {
	t.Parallel()
	if n := promginsse.LongestSearch(); n > 8 {
		t.Errorf("%d cells are looked at", n)
	}
}
