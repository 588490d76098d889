package ginsse

import (
	"runtime"
	"sync/atomic"
	"time"
)

// pace is what a sender does for streams that have fallen behind. A sender never
// waits for a reader: whatever it does here it does for a fixed time, and goes on
// whether or not a stream has caught up. But a sender in a tight loop takes the
// processors from the goroutines that would write, and outruns the history of
// readers who are quite able to keep up.
//
// A reader that has stalled passes through each range once, on its way to a gap
// or to its write deadline, and so costs all senders together some
// milliseconds, once.
type pace int

const (
	atOnce pace = iota
	yield       // let other goroutines run
	nap         // let other processes run: the clients, on a machine under test
)

// The ranges of events behind, out of the default history of 4096.
const (
	yieldFrom  = 128
	yieldUntil = 4096
	napFrom    = 2048
	napUntil   = napFrom + 64
	napTime    = 100 * time.Microsecond
)

func paceFor(unread int64) pace {
	switch {
	case unread < yieldFrom || unread >= yieldUntil:
		return atOnce
	case unread >= napFrom && unread < napUntil:
		return nap
	default:
		return yield
	}
}

// gather is the writer's side of it. Where more has come since the wake-up, the
// senders are faster than the writers: it lets the others go on, as long as more
// keeps coming, and a few times at most, so that one write takes more events. A
// stream that was woken by a single event writes it at once.
func gather(unread *atomic.Int64) {
	seen := int64(1)
	for range 4 {
		now := unread.Load()
		if now <= seen {
			return
		}
		seen = now
		runtime.Gosched()
	}
}

func makeWay(p pace) {
	switch p {
	case yield:
		runtime.Gosched()
	case nap:
		time.Sleep(napTime)
	}
}
