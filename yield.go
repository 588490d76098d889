package ginsse

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A sender never waits for a reader. But a sender in a tight loop keeps the processor from the
// goroutines that write. Its streams then lag by more than the history holds, and get gaps,
// although their clients are fast enough. So a sender pauses when its streams lag: for a fixed
// time, whether or not they catch up meanwhile.
//
// The table shows the share of events lost to gaps. The load was broadcasts of 100 bytes at full
// speed for 2 s, on 2 busy cores, to clients in another process on the same cores.
//
//	               1 stream       10 streams     100 streams
//	with pauses    0 to 0.6 %     0              0
//	without        53 to 78 %     64 to 71 %     55 to 61 %
//	without sleep  13 to 21 %     0 to 2 %       0
//
// TestSenderPausesForStreamThatLags fails without pauses.

// pause is what a sender does after an event. A greater pause is longer.
type pause int

const (
	noPause       pause = iota
	yieldPause          // run the other goroutines first
	sleepingPause       // let other processes run as well: the clients, if they are on this machine
)

// The lags, in events, at which a sender pauses. The default history has 4096 events.
const (
	yieldFrom  = 128
	sleepFrom  = 2048
	sleepUntil = sleepFrom + 256
	yieldUntil = 4096
	sleepTime  = 100 * time.Microsecond
)

// pauseFor returns the pause for a stream that lags by a number of events.
//
// A stalled reader does not slow its senders down for good. Its lag grows through each range once,
// on its way to a gap or to its write deadline. It costs all its senders together 256 sleeps.
func pauseFor(lag int64) pause {
	switch {
	case lag < yieldFrom || lag >= yieldUntil:
		return noPause
	case lag >= sleepFrom && lag < sleepUntil:
		return sleepingPause
	default:
		return yieldPause
	}
}

// take makes the pause.
func (p pause) take() {
	switch p {
	case yieldPause:
		runtime.Gosched()
	case sleepingPause:
		time.Sleep(sleepTime)
	}
}

// yieldToSenders lets senders run before a stream writes, so that one write takes more events. It
// yields only while events keep coming, and a few times at most. A stream that was woken by a
// single event writes it at once.
//
// Without it, the broadcasts above need 1.2 times the CPU for each delivery to 10 streams, and
// 1.3 times to 100, and TestWriterGathersEventsBeforeItWrites fails.
func yieldToSenders(unread *atomic.Int64) {
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
