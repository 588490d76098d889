package promginsse

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "ginsse"

// counters are the counters of a fixed set of values of one label. All of them exist from the start, so
// that a rate sees the first count, and that counting takes no lock and no memory.
type counters[K ~string] struct {
	*prometheus.CounterVec

	known map[K]prometheus.Counter // never changes
	rest  prometheus.Counter       // of all other values
}

func newCounters[K ~string](name, help, label string, values []K, rest string) counters[K] {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	c := counters[K]{vec, make(map[K]prometheus.Counter, len(values)), vec.WithLabelValues(rest)}
	for _, value := range values {
		c.known[value] = vec.WithLabelValues(string(value))
	}
	return c
}

// of returns the counter of a value.
func (c *counters[K]) of(value K) prometheus.Counter {
	if counter, ok := c.known[value]; ok {
		return counter
	}
	return c.rest
}

// newAgeHistogram returns a histogram of the ages of streams, with classic and native buckets.
func newAgeHistogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: ageBounds,
		NativeHistogramBucketFactor:     1.2,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	})
}

// ageBounds are the upper bounds of classic buckets of ages, in seconds. Timeouts of proxies have narrow
// ones: 30 s, 60 s, 100 s and 5 minutes.
var ageBounds = []float64{1, 10, 29, 31, 59, 62, 98, 102, 295, 305, 900, 3600, 4 * 3600, 24 * 3600}
