package nodetest

import "github.com/ginsse/ginsse/client"

// Take records an event as received on a stream, the first of which is 1.
func (tb *Tab) Take(stream int64, e client.Event) {
	tb.opened.Store(stream)
	tb.take(e)
}

// Compare returns what is wrong with the events that were received.
func (tb *Tab) Compare(acked map[int]string, end uint64) []string {
	return tb.compare(acked, end).faults
}
