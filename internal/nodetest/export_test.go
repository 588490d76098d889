package nodetest

import (
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/eventlog"
)

// Take records an event as received on a stream, the first of which is 1.
func (tb *Tab) Take(stream int64, e client.Event) {
	tb.opened.Store(stream)
	tb.take(e)
}

// Compare returns what is wrong with the events that were received.
func (tb *Tab) Compare(acked map[int]string, end uint64) []string {
	return tb.compare(acked, end).faults
}

// Replay returns what is wrong with the steps of a page of alice that follows the topic x. Each step is
// a sequence or "-", a type and data.
//
// The topic has event n at sequence 10n, for n up to 6. Event 1 was sent before a grant, and event 5
// and transient event 1 after a revocation. Event 4 was not acknowledged.
func Replay(state bool, steps ...string) (faults []string) {
	m := &membership{
		events:     []standing{outside, inside, inside, doubtful, outside, inside},
		transients: []standing{outside, inside},
	}
	record := &topicRecord{members: map[string]*membership{alice: m}, transients: make([]transient, 2)}
	tr := &truth{topics: map[string]*topicRecord{"x": record}, stored: map[string][]int{"x": {1, 2, 3, 5, 6}}}
	for n := range uint64(6) {
		record.events = append(record.events, publication{seq: 10 * (n + 1), began: time.Now().Add(time.Hour)})
	}
	record.events[3].seq = 0
	p := &page{user: alice, state: state}
	for _, text := range steps {
		fields := strings.SplitN(text, " ", 3)
		s := step{at: time.Now(), kind: fields[1], data: fields[2]}
		if fields[0] != "-" {
			seq, _ := strconv.ParseUint(fields[0], 10, 64)
			s.id = eventlog.Cursor{Epoch: 1, Seq: seq}.String()
		}
		p.trail = append(p.trail, s)
	}
	return p.replay(tr).faults
}
