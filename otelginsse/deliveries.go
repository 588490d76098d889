package otelginsse

import "sync"

// maxTracked is how many events have their deliveries counted, about 1 MB at most.
const maxTracked = 4096

// deliveries counts the deliveries of the latest events on this node. An event is known by its trace.
type deliveries struct {
	most int // of one event

	mu     sync.Mutex // guards the fields below
	counts map[string]int
	recent [maxTracked]string // the keys of counts, in a ring
	next   int                // of recent; the oldest
}

func newDeliveries(most int) *deliveries {
	return &deliveries{most: most, counts: make(map[string]int)}
}

// take counts a delivery. It reports whether it is one of the first of its event.
func (d *deliveries) take(trace string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	count, known := d.counts[trace]
	if count >= d.most {
		return false
	}
	if !known {
		delete(d.counts, d.recent[d.next])
		d.recent[d.next] = trace
		d.next = (d.next + 1) % maxTracked
	}
	d.counts[trace] = count + 1
	return true
}
