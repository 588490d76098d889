package promginsse

import (
	"math/bits"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LatencyBounds are the classic buckets of latencies.
var LatencyBounds = latencyBounds

// HistogramOf returns a histogram of durations, as the tally makes one.
func HistogramOf(durations []time.Duration) prometheus.Metric {
	var l latencies
	for _, d := range durations {
		l.observe(d)
	}
	h := &histogram{desc: deliveryLatencyDesc}
	h.add(&l)
	return h
}

// LongestSearch returns how many cells are looked at, at most, to find that of a duration.
func LongestSearch() (most int) {
	for i, bound := range cellBounds {
		most = max(most, i-firstCells[bits.Len64(uint64(bound))]+1)
	}
	return most
}

// KnownLabels returns the values of labels that have a type in the root module, by that type.
func KnownLabels() map[string][]string {
	return map[string][]string{
		"Resume": texts(resumes), "Reason": texts(reasons), "RefusalCause": texts(causes),
		"GapReason": texts(gapReasons), "Kind": texts(kinds[:]),
	}
}

func texts[S ~string](values []S) (texts []string) {
	for _, v := range values {
		texts = append(texts, string(v))
	}
	return texts
}
