//go:build !race

// Under the race detector, pools drop some of their buffers.

package ginsse_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
)

// The number of allocations for an event does not grow with the number of its streams.
//
// Not parallel: the test counts the allocations of the whole process.
func TestAllocationsOfAnEventDoNotGrowWithItsStreams(t *testing.T) {
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
