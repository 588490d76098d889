package promginsse

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// kinds are the kinds of subjects. Applications send to the first three.
var kinds = [...]eventlog.Kind{
	eventlog.KindUser, eventlog.KindTopic, eventlog.KindAll,
	eventlog.KindCommand, eventlog.KindRevocation, eventlog.KindRun,
	other,
}

// place returns the place of a kind in kinds.
func place(kind eventlog.Kind) int {
	if i := slices.Index(kinds[:], kind); i >= 0 {
		return i
	}
	return len(kinds) - 1
}

// tally counts what happens with each event. Each processor counts in a part of its own: memory that all
// of them change would move from cache to cache with each event, which takes longer than counting.
type tally struct {
	parts []part
	given atomic.Uint32
	// pool has parts, by processor. When it has forgotten one, the part is given out again. So two
	// processors may have the same one.
	pool sync.Pool
}

// part is what one processor has counted.
type part struct {
	writtenEvents   atomic.Uint64
	writtenBytes    atomic.Uint64
	deliveryLatency latencies

	sends         [len(kinds)]atomic.Uint64
	appended      [len(kinds)]appended
	transient     [len(kinds)]appended
	appendLatency latencies

	_ [64]byte // no line of a cache is of two parts
}

type appended struct{ events, bytes atomic.Uint64 }

func newTally() *tally {
	t := &tally{parts: make([]part, runtime.GOMAXPROCS(0))}
	t.pool.New = func() any { return &t.parts[int(t.given.Add(1))%len(t.parts)] }
	return t
}

// take returns a part, which the caller puts back into the pool.
func (t *tally) take() *part { return t.pool.Get().(*part) } //nolint:forcetypeassert // New makes no other

func (t *tally) countSend(kind eventlog.Kind) {
	p := t.take()
	p.sends[place(kind)].Add(1)
	t.pool.Put(p)
}

func (t *tally) countAppended(a ginsse.Appended) {
	p := t.take()
	c := &p.transient[place(a.Kind)]
	if !a.Transient {
		c = &p.appended[place(a.Kind)]
		p.appendLatency.observe(a.Took)
	}
	c.events.Add(1)
	c.bytes.Add(uint64(a.Bytes))
	t.pool.Put(p)
}

func (t *tally) countWritten(w ginsse.Written) {
	p := t.take()
	p.writtenEvents.Add(uint64(w.Events))
	p.writtenBytes.Add(uint64(w.Bytes))
	if w.Delay > 0 {
		p.deliveryLatency.observe(w.Delay)
	}
	t.pool.Put(p)
}

// sum returns the sum of a count of all parts.
func (t *tally) sum(count func(p *part) *atomic.Uint64) (sum uint64) {
	for i := range t.parts {
		sum += count(&t.parts[i]).Load()
	}
	return sum
}
