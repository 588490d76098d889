package loadtest

import (
	"maps"
	"sync"
	"time"
)

// tally counts what happens to some of the streams.
type tally struct {
	mu sync.Mutex // guards the fields below, and the fields of the streams that count here

	open, opened, closed int // streams: now, at least once, for good
	settled              int // streams whose first attempt has ended
	reconnects           int
	ends, errors, gaps   map[string]int

	events, own, bytes     int
	idsRepeated, idsBehind int
	idsUnknown             int // events with an ID that is not a position of the kit

	arrived, late, twice, foreign int // events with a mark

	opening, latency histogramMax
	_                [64]byte // tallies do not share a line of the processor's cache
}

// histogramMax is a [Histogram] with the exact maximum.
type histogramMax struct {
	Histogram

	max time.Duration
}

func (h *histogramMax) record(d time.Duration) {
	h.Record(d)
	h.max = max(h.max, d)
}

func (h *histogramMax) add(other *histogramMax) {
	h.Add(other.Histogram)
	h.max = max(h.max, other.max)
}

func newTally() *tally {
	return &tally{ends: map[string]int{}, errors: map[string]int{}, gaps: map[string]int{}}
}

// mostKinds bounds the number of reasons, which come from the server.
const mostKinds = 50

// countKind counts one of the reasons in a map.
func countKind(kinds map[string]int, kind string) {
	if _, ok := kinds[kind]; !ok && len(kinds) >= mostKinds {
		kind = "other"
	}
	kinds[kind]++
}

// add adds what another tally has counted.
func (t *tally) add(other *tally) {
	other.mu.Lock()
	defer other.mu.Unlock()
	for _, field := range []struct{ to, from *int }{
		{&t.open, &other.open}, {&t.opened, &other.opened}, {&t.closed, &other.closed},
		{&t.settled, &other.settled}, {&t.reconnects, &other.reconnects},
		{&t.events, &other.events}, {&t.own, &other.own}, {&t.bytes, &other.bytes},
		{&t.idsRepeated, &other.idsRepeated}, {&t.idsBehind, &other.idsBehind}, {&t.idsUnknown, &other.idsUnknown},
		{&t.arrived, &other.arrived}, {&t.late, &other.late}, {&t.twice, &other.twice}, {&t.foreign, &other.foreign},
	} {
		*field.to += *field.from
	}
	for _, field := range []struct{ to, from map[string]int }{
		{t.ends, other.ends}, {t.errors, other.errors}, {t.gaps, other.gaps},
	} {
		for kind, n := range maps.All(field.from) {
			field.to[kind] += n
		}
	}
	t.opening.add(&other.opening)
	t.latency.add(&other.latency)
}

// sum returns the sum of all values.
func sum(kinds map[string]int) (n int) {
	for _, count := range kinds {
		n += count
	}
	return n
}
