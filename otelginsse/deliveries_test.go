package otelginsse

import (
	"fmt"
	"slices"
	"testing"
)

// TestOldEventsAreForgotten counts deliveries of more events than are tracked.
func TestOldEventsAreForgotten(t *testing.T) {
	t.Parallel()
	d := newDeliveries(2)
	for i := range 3 * maxTracked {
		trace := fmt.Sprint(i)
		if taken := []bool{d.take(trace), d.take(trace), d.take(trace)}; !slices.Equal(taken, []bool{true, true, false}) {
			t.Fatalf("event %d: the deliveries are %v, want the first two", i, taken)
		}
		if len(d.counts) > maxTracked {
			t.Fatalf("%d events are tracked", len(d.counts))
		}
	}
	if newest := fmt.Sprint(2*maxTracked + 1); d.take(newest) {
		t.Error("an event that is tracked was counted anew")
	}
}
