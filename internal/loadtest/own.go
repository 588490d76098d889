package loadtest

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// Tool says whether the tool itself was the bottleneck.
type Tool struct {
	// CPUs is how many the process may use, and CPUSeconds what it has used since the streams were
	// open; 0 if the system does not say.
	CPUs       int     `json:"cpus"`
	CPUSeconds float64 `json:"cpuSeconds"`
	// Busiest is the largest share of the CPUs that was used in a second.
	Busiest float64 `json:"busiest"`
	// WaitMillis is how long goroutines that could run waited for a CPU, at the 99th percentile. It is
	// a part of each latency.
	WaitMillis float64 `json:"waitMillis"`
}

// ownLoad measures the tool itself.
type ownLoad struct {
	mu      sync.Mutex // guards the fields below
	began   bool
	first   time.Duration // CPU time when it began
	waits   []uint64      // of schedLatencies when it began
	last    time.Duration // CPU time at the last tick
	lastAt  time.Time
	busiest float64
}

func (o *ownLoad) start() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began = true
	o.first = cpuTime()
	o.last, o.lastAt = o.first, time.Now()
	o.waits = append(o.waits, schedLatencies().Counts...)
}

// tick is called once a second.
func (o *ownLoad) tick() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.began {
		return
	}
	used, now := cpuTime(), time.Now()
	share := float64(used-o.last) / float64(now.Sub(o.lastAt)) / float64(runtime.GOMAXPROCS(0))
	o.busiest = max(o.busiest, share)
	o.last, o.lastAt = used, now
}

func (o *ownLoad) end(t *Tool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := schedLatencies()
	counts := make([]uint64, len(h.Counts))
	for i, n := range h.Counts {
		counts[i] = n - o.waits[i]
	}
	t.CPUs, t.CPUSeconds, t.Busiest = runtime.GOMAXPROCS(0), (cpuTime() - o.first).Seconds(), o.busiest
	t.WaitMillis = 1000 * quantileOf(counts, h.Buckets, 0.99)
}

// schedLatencies returns how long goroutines have waited for a CPU, in seconds.
func schedLatencies() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// quantileOf returns the lower bound of the bucket that has a quantile.
func quantileOf(counts []uint64, buckets []float64, q float64) float64 {
	total, seen := uint64(0), uint64(0)
	for _, n := range counts {
		total += n
	}
	for i, n := range counts {
		if seen += n; total > 0 && float64(seen) >= q*float64(total) {
			return max(buckets[i], 0) // the first bucket begins with minus infinity
		}
	}
	return 0
}
