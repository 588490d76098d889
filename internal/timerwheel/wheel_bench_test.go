package timerwheel_test

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/timerwheel"
)

// BenchmarkSet moves the deadlines of 50,000 streams, as their writes do.
func BenchmarkSet(b *testing.B) {
	w := timerwheel.New(func([]int) {})
	entries := make([]timerwheel.Entry[int], 50_000)
	for i := range entries {
		w.Set(&entries[i], time.Hour+time.Duration(i)*time.Millisecond)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % len(entries) // not in the order of their memory
		w.Set(&entries[i], time.Hour+time.Duration(i%1000)*time.Millisecond)
	}
	for i := range entries {
		w.Stop(&entries[i])
	}
}
