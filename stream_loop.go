package ginsse

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

// loop writes one stream. It is the step under c.Stream: it runs on the handler's goroutine, and
// nothing else touches the response. The [Stream] decides what to write; the loop waits, writes,
// and notices the end.
//
// The loop waits for one channel, the stream's wake. The timer and the end of the request's
// context use it too: for each event, that costs much less than a select over three channels.
//
// A loop is one piece of memory with its Stream, and the fields that each event needs come first.
// With thousands of streams none of this is in the processor's caches when an event comes.
type loop struct {
	s    *Stream
	ctx  context.Context // the request's
	due  atomic.Bool     // set by the timer
	gone atomic.Bool     // set when the request's context has ended
	// waiting is set while the loop waits for the stream's wake.
	waiting atomic.Bool
	w       writer

	timer  *time.Timer // for what is due first: the heartbeat or the end
	timing sync.Mutex  // held to set timer together with due
}

// begin takes the response over and sends the headers with the first block, so that the client's
// open event comes at once. From then on the response is a stream, and errors are sent in-band.
func begin(c *gin.Context, s *Stream, first []byte) *loop {
	l := s.loop
	l.ctx = c.Request.Context()
	s.schedule = newSchedule(s.cfg)
	l.w.begin(c, first)
	s.wrote = time.Since(s.opened)
	s.positioned = s.wrote
	return l
}

// onTimer runs on a goroutine of its own. It ends a stream that is overdue itself: the writer may
// be busy, and a producer may send rarely.
//
// A loop that waits wakes up at once and sets the timer. For a loop that is busy, onTimer sets the
// timer to the stream's end meanwhile. It does not do so for both: setting each timer far ahead
// and then nearer makes the runtime search all timers, which is more than half of what 10,000
// idle streams cost.
func (l *loop) onTimer() {
	now := time.Now()
	if reason := l.s.overdue(now); reason != "" {
		l.s.end(reason)
		return
	}
	l.due.Store(true)
	l.s.wakeWriter() // without news: what is counted as such is the stream's lag
	l.timing.Lock()
	defer l.timing.Unlock()
	if left := l.s.untilEnd(now); left < never && l.due.Load() && !l.waiting.Load() {
		l.timer.Reset(left)
		if l.s.ended.Load() {
			l.timer.Stop()
		}
	}
}

// run writes the stream until it ends, and returns why it did.
func (l *loop) run(c *gin.Context) error {
	l.timer = time.AfterFunc(time.Hour, l.onTimer)
	l.setTimer() // onTimer must be able to see the timer
	defer l.close(c)
	// This does not end the stream itself: a failed write ends the context too, and is the better
	// reason then.
	defer context.AfterFunc(l.ctx, func() {
		l.gone.Store(true)
		l.s.notify()
	})()
	c.Stream(l.step)
	return l.s.Err()
}

// setTimer sets the timer to when the stream is due.
func (l *loop) setTimer() { l.timer.Reset(l.s.untilDue(time.Now())) }

// close gives the response back. It also runs after a panic in a step: the stream must not
// outlive its handler.
func (l *loop) close(c *gin.Context) {
	l.s.end(ReasonFailed) // without effect on a stream that has ended
	l.timer.Stop()
	l.w.incomplete = l.s.follows && !errors.Is(l.s.Err(), ReasonDone)
	l.w.release(c)
	l.ctx = nil
	l.s.discardQueue()
}

// step writes one turn, or waits until there is something to write. c.Stream flushes after it,
// and calls it again until it returns false.
func (l *loop) step(io.Writer) bool {
	for {
		switch {
		case l.w.err != nil:
			l.s.end(l.w.failure())
		case l.gone.Load():
			l.s.end(ReasonClientGone)
		}
		if due := l.due.Load(); due || l.s.hasWork() {
			wrote, then := l.writeTurn(due)
			switch {
			case then == stepClose:
				return false
			case wrote:
				return true
			}
			continue // news that came during the turn left no token: look at everything again
		}
		l.waiting.Store(true)
		<-l.s.wake
		l.waiting.Store(false)
		yieldToSenders(&l.s.unread)
	}
}

// writeTurn writes one turn, and reports whether there was anything to write.
func (l *loop) writeTurn(due bool) (wrote bool, then step) {
	t := borrowTurn()
	defer t.release()
	then = l.s.compose(l.ctx, t, due)
	switch { // the timer is set before anything is written: that may take its time
	case due:
		l.timing.Lock()
		l.due.Store(false)
		l.setTimer()
		l.timing.Unlock()
	case l.s.failing:
		l.setTimer()
	}
	wrote = !t.isEmpty()
	t.writeTo(&l.w)
	if wrote && l.w.FlushError() == nil { // the next step looks at the writer's error
		l.s.hasWritten(t)
	}
	return wrote, then
}
