package ginsse

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
)

// loop writes one stream. It is the step under c.Stream: it runs on the handler's goroutine, and
// nothing else touches the response. The [Stream] decides what to write; the loop waits, writes,
// sends heartbeats, and notices the end.
//
// The loop waits for one channel, the stream's wake. The timer and the end of the request's
// context use it too: for each event, that costs much less than a select over three channels.
//
// A loop is part of its Stream's memory, and the fields that each event needs come first. With
// thousands of streams none of this is in the processor's caches when an event comes.
type loop struct {
	s    *Stream
	ctx  context.Context // the request's
	more bool            // the stream has more to write than one turn takes, or must look again
	due  atomic.Bool     // set by the timer
	gone atomic.Bool     // set when the request's context has ended
	// waiting is set while the loop waits for the stream's wake.
	waiting atomic.Bool
	w       writer

	lookedAgain bool          // an ended stream has looked once more
	failing     bool          // the log could not be read
	timer       *time.Timer   // for what is due first: the heartbeat or the end
	timing      sync.Mutex    // held to set timer together with due
	interval    time.Duration // of heartbeats; 0 is none
	positioned  time.Time     // when the client last knew the position of the stream
	endAt       time.Time     // when the lifetime ends; zero is never
}

const (
	// clockCheck is how often a stream with an expiry looks at the wall clock, which may jump:
	// timers do not run while the machine sleeps.
	clockCheck = time.Minute
	// retryRead is how long a stream waits before it reads a failing log again.
	retryRead = time.Second
	// heartbeatSteps is how many times in an interval heartbeats are sent. Streams that are due
	// in the same step send together, so that thousands of them do not wake an idle processor one
	// by one.
	heartbeatSteps = 64
)

// begin takes the response over and sends the headers with the first block, so that the client's
// open event comes at once. From then on the response is a stream, and errors are sent in-band.
func begin(c *gin.Context, s *Stream, first []byte) *loop {
	l := &s.loop
	l.s, l.ctx = s, c.Request.Context()
	if s.cfg.HeartbeatInterval > 0 {
		l.interval = jitter(s.cfg.HeartbeatInterval, 0.75, 1-1.0/heartbeatSteps)
	}
	if s.cfg.MaxLifetime > 0 {
		l.endAt = s.opened.Add(jitter(s.cfg.MaxLifetime, 0.9, 1))
	}
	l.w.begin(c, first)
	l.positioned = l.w.wrote
	l.timer = time.AfterFunc(time.Hour, l.onTimer)
	l.timer.Reset(l.untilDue(time.Now())) // onTimer must be able to see the timer
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
	l.s.notify()
	l.timing.Lock()
	defer l.timing.Unlock()
	if left := l.untilEnd(now); left < never && l.due.Load() && !l.waiting.Load() {
		l.timer.Reset(left)
		if l.s.ended.Load() {
			l.timer.Stop()
		}
	}
}

const never = 24 * time.Hour

// untilEnd returns when to look again whether the stream is overdue; never if it has no end.
func (l *loop) untilEnd(now time.Time) time.Duration {
	left := never
	if !l.s.expires.IsZero() {
		left = min(l.s.expires.Sub(now), clockCheck)
	}
	if !l.endAt.IsZero() {
		left = min(left, l.endAt.Sub(now))
	}
	return left
}

// run writes the stream until it ends, and returns why it did.
func (l *loop) run(c *gin.Context) error {
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

// close gives the response back. It also runs after a panic in a step: the stream must not
// outlive its handler.
func (l *loop) close(c *gin.Context) {
	l.s.end(ReasonFailed) // without effect on a stream that has ended
	l.timer.Stop()
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
		case l.due.Load():
			if l.onDue(time.Now()) {
				return true
			}
		}
		ended := l.s.ended.Load()
		if ended && (l.failing || !l.s.mayDeliver(time.Now())) {
			l.finish()
			return false
		}
		if ended && !l.lookedAgain {
			l.lookedAgain, l.more = true, true
		}
		if l.more || l.s.unread.Load() > 0 {
			if l.write() {
				return true
			}
			continue // news that came during the turn left no token: look at everything again
		}
		if ended {
			l.finish()
			return false
		}
		l.waiting.Store(true)
		<-l.s.wake
		l.waiting.Store(false)
		yieldToSenders(&l.s.unread)
	}
}

// write writes one turn and reports whether there was anything to write.
func (l *loop) write() bool {
	t := borrowTurn()
	defer t.release()
	more, err := l.s.next(l.ctx, t)
	l.more = more
	if err != nil {
		l.readFailed(err)
	} else {
		l.failing = false
	}
	if t.isEmpty() {
		return false
	}
	l.s.publishPosition()
	t.writeTo(&l.w) // the next step looks at the writer's error
	if l.s.at.Seq == l.s.sent {
		l.positioned = l.w.wrote
	}
	return true
}

// readFailed has the log read again after a while. The stream stays open. Its heartbeats go on
// and do not move the position.
func (l *loop) readFailed(err error) {
	if !l.failing {
		l.failing = true
		l.s.registry.logger.LogAttrs(l.ctx, slog.LevelWarn, "reading the log", slog.String("stream", l.s.id), slog.Any("error", err))
	}
	l.timer.Reset(l.untilDue(time.Now()))
}

// onDue does what the timer was set for, and reports whether it wrote.
func (l *loop) onDue(now time.Time) (wrote bool) {
	if l.failing {
		l.more = true
	}
	// A stream that has ended may have no right to what the write before a heartbeat would send.
	beats := l.interval > 0 && !l.s.ended.Load() && now.Sub(l.heartbeatFrom()) >= l.interval
	silent := now.Sub(l.w.wrote) >= l.interval
	if beats {
		l.positioned = now
		if silent {
			l.w.wrote = now
		}
	}
	// The timer is set before anything is written: that may take its time.
	l.timing.Lock()
	l.due.Store(false)
	l.timer.Reset(l.untilDue(now))
	l.timing.Unlock()
	return beats && l.heartbeat(silent)
}

// heartbeatFrom returns when the interval of the next heartbeat began. That is the last write, or when
// the client last knew the stream's position, if that is earlier: events of [Stream.Send] carry none.
func (l *loop) heartbeatFrom() time.Time {
	if l.s.registry == nil || l.w.wrote.Before(l.positioned) {
		return l.w.wrote
	}
	return l.positioned
}

// heartbeat sends a heartbeat, and reports whether it wrote. A heartbeat shows the client and its
// proxies that the stream lives, and the server whether the client does. On a registry's stream it
// carries the position, which moves past events of other users: a user who was idle for hours
// resumes from a fresh position.
func (l *loop) heartbeat(silent bool) bool {
	wrote := l.write()
	s := l.s
	if s.ended.Load() {
		return wrote // the position may be past entries that its end has cut off
	}
	moved := s.registry != nil && s.at.Seq != s.sent
	if !moved && (wrote || !silent) {
		return wrote
	}
	s.sent = s.at.Seq
	var b []byte
	switch {
	case s.registry != nil && !s.cfg.HeartbeatComments:
		b = appendOwn(nil, typeHeartbeat, s.at.String(), nil)
	case moved:
		// It sets the last event ID and dispatches nothing (section 9.2.6).
		b = append(appendField(nil, idField, s.at.String()), '\n')
	default:
		b = []byte(": heartbeat\n\n")
	}
	_, _ = l.w.Write(b)
	l.positioned = l.w.wrote
	return true
}

// untilDue returns how long the timer is to run. Writes do not reset the timer: a timer that
// finds that the stream was written to sets itself again, which costs less.
func (l *loop) untilDue(now time.Time) time.Duration {
	wait := l.untilEnd(now)
	if l.interval > 0 {
		left := l.interval - now.Sub(l.heartbeatFrom())
		step := l.s.cfg.HeartbeatInterval / heartbeatSteps
		if past := time.Duration(now.Add(left).UnixNano()) % step; past > 0 {
			left += step - past
		}
		wait = min(wait, left)
	}
	if l.failing {
		wait = min(wait, retryRead)
	}
	return max(wait, 0)
}

// finish writes the end in-band, if the client can still read it.
func (l *loop) finish() {
	s := l.s
	reason := reasonOf(s.Err())
	if reason == ReasonClientGone || reason == ReasonSlow {
		return
	}
	if s.registry == nil {
		if !isFinal(s.Err()) {
			return // the client may come back for the work to be done again
		}
		processJobs.add(s.job)
		b := appendField(appendRetry(nil, doneRetry), idField, DoneID)
		_, _ = l.w.Write(append(b, '\n'))
		return
	}
	var b []byte
	if l.failing && reason.drains() {
		b = s.take(b) // the log cannot be read, but the queue can
	}
	if reason.reconnects() {
		// The client gets the rest when it comes back with its last event ID.
		b = appendReconnect(b, reason, jitter(s.cfg.reconnectionTime(), 0.5, 1.5))
	} else {
		if l.mayHaveMissed() {
			s.registry.gaps.Add(1)
			b = appendOwn(b, typeGap, "", gapData{gapUndelivered})
		}
		if reason == ReasonReplaced {
			b = appendRetry(b, replacedRetry)
		}
		b = appendOwn(b, typeClose, "", closeData{reason})
	}
	_, _ = l.w.Write(b)
}

// isFinal reports whether a stream of one request is over for good: its producer has returned,
// or the application has ended it. A stream that was cut short is not.
func isFinal(err error) bool {
	reason := reasonOf(err)
	panicked := reason == ReasonFailed && err == error(ReasonFailed) //nolint:errorlint // an error of the producer's is wrapped
	return !reason.reconnects() && !panicked
}

// mayHaveMissed reports whether an ended stream may not have delivered everything that was sent
// before its end. On a shared log, other nodes may have sent something that this node had not seen
// at the end, unless that has a place in the log.
func (l *loop) mayHaveMissed() bool {
	s := l.s
	if l.failing || l.more || !l.lookedAgain || s.at.Seq+1 < s.endsBefore() {
		return true
	}
	s.mu.Lock()
	exact := s.exact
	s.mu.Unlock()
	if exact || s.registry.presence == nil {
		return false
	}
	head, err := s.registry.currentHead(l.ctx)
	if err != nil || s.cutOff {
		return true
	}
	if head.Seq <= s.at.Seq {
		return false
	}
	page, err := s.registry.log.Read(l.ctx, eventlog.Query{Subjects: s.eventSubjects(), After: s.at, MaxEntries: 1}, nil)
	return err != nil || page.Gap != "" || len(page.Entries) > 0 || page.Through.Seq < head.Seq
}

// publishPosition keeps the stream's position for the watchdog, which looks for commands while a
// write waits. On other logs, Disconnect ends the stream itself.
func (s *Stream) publishPosition() {
	if s.registry != nil && s.registry.presence != nil {
		s.mu.Lock()
		s.position = s.at
		s.mu.Unlock()
	}
}

// replacedRetry is the reconnection time of a client whose stream was replaced. An EventSource
// whose page does not close it comes back then, and replaces another stream.
const replacedRetry = 5 * time.Minute
