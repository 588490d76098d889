package debug_test

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/debug"
)

func TestObserverOfDeliveriesAllocatesNothing(t *testing.T) {
	o := debug.NewPage(debug.Config{}).Observer()
	for name, call := range map[string]func(){
		"Written":  func() { o.Written(nil, ginsse.Written{Events: 3, Bytes: 100, Delay: time.Millisecond}) },
		"Sent":     func() { o.Sent(t.Context(), ginsse.Sent{}) },
		"Appended": func() { o.Appended(ginsse.Appended{Took: time.Millisecond}) },
	} {
		if n := testing.AllocsPerRun(1000, call); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// BenchmarkWritten is what the page costs for each write of a stream.
func BenchmarkWritten(b *testing.B) {
	o := debug.NewPage(debug.Config{}).Observer()
	w := ginsse.Written{Events: 1, Bytes: 100, Delay: time.Millisecond}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o.Written(nil, w)
		}
	})
}

// BenchmarkSent is what the page costs for each event that is sent.
func BenchmarkSent(b *testing.B) {
	o := debug.NewPage(debug.Config{}).Observer()
	b.ReportAllocs()
	for b.Loop() {
		o.Sent(b.Context(), ginsse.Sent{})
		o.Appended(ginsse.Appended{Took: time.Millisecond})
	}
}
