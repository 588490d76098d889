package nodetest

import (
	"fmt"
	"slices"
	"testing"
)

// wants reports whether an event is for the tab.
func (tb *Tab) wants(n int) bool {
	switch to := destinations[n%len(destinations)]; to {
	case all:
		return true
	case "topic:news":
		return tb.News
	default:
		return to == "user:"+tb.User
	}
}

// verify compares the events that the tab has received with those that were acknowledged, up to a
// sequence.
func (tb *Tab) verify(t testing.TB, acked map[int]string, end uint64) {
	t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	c := tb.compare(acked, end)
	for _, text := range c.faults[:min(len(c.faults), 10)] {
		t.Errorf("%v: %s", tb, text)
	}
	if len(c.faults) > 10 {
		t.Errorf("%v: and %d more", tb, len(c.faults)-10)
	}
	t.Logf("%v: %d events on %d streams, %d of them not acknowledged, %d repeats", tb, len(c.first), tb.opened.Load(), c.unknown, c.repeats)
}

// comparison is what a tab has received beside what was acknowledged.
type comparison struct {
	first   map[int]arrival // of each event
	unknown int             // events that were not acknowledged
	repeats int
	faults  []string
}

func (c *comparison) faultf(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// compare requires the tab's lock. An event may be repeated on a later stream, with the same id.
// Otherwise each one is received once, in order.
func (tb *Tab) compare(acked map[int]string, end uint64) *comparison {
	c := &comparison{first: make(map[int]arrival), faults: slices.Clone(tb.wrong)}
	last := uint64(0)
	for _, a := range tb.seen {
		before, again := c.first[a.n]
		id, known := acked[a.n]
		switch seq := sequence(a.id); {
		case again && before.id == a.id && before.stream < a.stream:
			c.repeats++
			continue
		case again:
			c.faultf("event %d was received twice, as %d on stream %d and as %d on stream %d", a.n, sequence(before.id), before.stream, seq, a.stream)
		case !tb.wants(a.n):
			c.faultf("event %d is for another user", a.n)
		case known && a.id != id:
			c.faultf("event %d was acknowledged as %q and received as %q", a.n, id, a.id)
		case seq <= last:
			c.faultf("event %d was received at %d, after %d", a.n, seq, last)
		default:
			last = seq
		}
		if c.first[a.n] = a; !known {
			c.unknown++
		}
	}
	for n, id := range acked {
		if _, ok := c.first[n]; !ok && tb.wants(n) && sequence(id) <= end {
			c.faultf("event %d was stored, acknowledged as %q, and not received", n, id)
		}
	}
	return c
}
