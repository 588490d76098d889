//go:build !race

// The race detector has pools drop some of what they are given.

package ginsse_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
)

// What an event makes the collector's work does not grow with the streams that get
// it.
func TestBroadcastAllocates(t *testing.T) {
	const streams = 1000
	registry, written := manyStreams(t, streams)
	e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
	expected := written.Load()
	allocations := testing.AllocsPerRun(200, func() {
		if _, err := registry.Broadcast(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		for expected += streams; written.Load() < expected; {
			runtime.Gosched()
		}
	})
	if allocations > 20 {
		t.Errorf("%v allocations for an event to %d streams", allocations, streams)
	}
}
