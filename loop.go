package ginsse

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

// loop writes one stream. It is the step under c.Stream, on the handler's
// goroutine, and the only thing that touches the response. The [Stream] says
// what to write; the loop waits, writes, beats, and notices the end.
//
// It waits for one thing: the stream's wake. The timer and the end of the
// request's context wake it like everything else, which for each event costs a
// good deal less than a select over three channels.
//
// It is part of the Stream's memory, and what each event needs comes first: with
// thousands of streams, an event finds none of this in the processor's caches, and
// has to have it fetched.
type loop struct {
	s    *Stream
	ctx  context.Context // the request's
	more bool            // the stream has more to write than one turn takes, or must look again
	due  atomic.Bool     // set by the timer
	gone atomic.Bool     // set when the request's context has ended
	// waiting is set while the writer waits for the stream's wake.
	waiting atomic.Bool
	w       writer

	last    bool          // an ended stream has looked once more
	failing bool          // the log could not be read
	timer   *time.Timer   // for what is due first: the heartbeat or the end
	timing  sync.Mutex    // held to set timer together with due
	beat    time.Duration // the heartbeat's interval; 0 is none
	placed  time.Time     // when the client last knew the position of the stream
	endAt   time.Time     // when the lifetime ends; zero is never
	drainBy time.Time     // when an ended stream stops delivering; zero while open
}

// clockCheck is how often a stream with an expiry looks at the wall clock, which may
// jump: timers do not run while the machine sleeps.
const clockCheck = time.Minute

// retryRead is how long a stream waits before it asks a failing log again.
const retryRead = time.Second

// begin takes the response over and sends the headers with the first block, so
// that the client's open event comes at once. After it the response is a stream,
// and errors can only be told in-band.
func begin(c *gin.Context, s *Stream, first []byte) *loop {
	l := &s.loop
	l.s, l.ctx = s, c.Request.Context()
	if s.cfg.HeartbeatInterval > 0 {
		l.beat = jitter(s.cfg.HeartbeatInterval, 0.75, 1-1.0/beatsApart)
	}
	if s.cfg.MaxLifetime > 0 {
		l.endAt = s.opened.Add(jitter(s.cfg.MaxLifetime, 0.9, 1))
	}
	l.w.begin(c, first)
	l.placed = l.w.wrote
	l.timer = time.AfterFunc(time.Hour, l.onTimer)
	l.timer.Reset(l.untilDue(time.Now())) // not before onTimer can see the timer
	return l
}

// onTimer runs on a goroutine of its own. The end it sets itself, so that a
// stream whose writer is busy ends in time.
//
// A writer that waits comes at once, and sets the timer. For one that does not, the
// timer is set to the end meanwhile. Not for both: to set each timer far ahead and
// then nearer has the runtime look through all timers again and again, which with
// 10,000 idle streams is more than half of what they cost.
func (l *loop) onTimer() {
	now := time.Now()
	if reason := l.s.over(now); reason != "" {
		l.s.end(reason)
		return
	}
	l.due.Store(true)
	l.s.notify()
	l.timing.Lock()
	defer l.timing.Unlock()
	if left := l.untilOver(now); left < never && l.due.Load() && !l.waiting.Load() {
		l.timer.Reset(left)
		if l.s.ended.Load() {
			l.timer.Stop()
		}
	}
}

// over returns why the stream has no right to exist any more; "" if it has. The
// lifetime ends on the monotonic clock, the credential on the wall clock.
func (s *Stream) over(now time.Time) Reason {
	switch {
	case !s.expires.IsZero() && !now.Before(s.expires):
		return ReasonExpired
	case !s.loop.endAt.IsZero() && !now.Before(s.loop.endAt):
		return ReasonLifetime
	}
	return ""
}

const never = 24 * time.Hour

// untilOver returns when to look at the clocks again; never, if nothing ends.
func (l *loop) untilOver(now time.Time) time.Duration {
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
	// Not the end of the stream itself: a write that failed ends the context too,
	// and is then the better reason.
	defer context.AfterFunc(l.ctx, func() {
		l.gone.Store(true)
		l.s.notify()
	})()
	c.Stream(l.step)
	return l.s.Err()
}

// close gives the response back. It also runs when a step panicked: the stream
// must not outlive its handler.
func (l *loop) close(c *gin.Context) {
	l.s.end(ReasonFailed) // without effect on a stream that has ended
	l.timer.Stop()
	l.w.release(c)
	l.ctx = nil
	l.s.drop()
}

// step is one turn: write what there is, or else wait. c.Stream flushes after it
// and calls it again until it returns false.
func (l *loop) step(io.Writer) bool {
	for {
		switch {
		case l.w.err != nil:
			l.s.end(l.w.failure())
		case l.gone.Load():
			l.s.end(ReasonClientGone)
		case l.due.Load():
			if l.onTime(time.Now()) {
				return true
			}
		}
		ended := l.s.ended.Load()
		if ended && !l.drains() {
			l.finish()
			return false
		}
		if ended && !l.last {
			l.last, l.more = true, true
		}
		if l.more || l.s.unread.Load() > 0 {
			if l.write() {
				return true
			}
			continue // what came in between left no token: look at all of it again
		}
		if ended {
			l.finish()
			return false
		}
		l.waiting.Store(true)
		<-l.s.wake
		l.waiting.Store(false)
		gather(&l.s.unread)
	}
}

// write puts one turn's bytes into the writer and reports whether there was anything.
func (l *loop) write() bool {
	b := borrowBuffer()
	more, err := l.s.next(l.ctx, b)
	l.more = more
	if err != nil {
		l.readFailed(err)
	} else {
		l.failing = false
	}
	wrote := len(b.bytes) > 0
	if wrote {
		_, _ = l.w.Write(b.bytes) // its error is looked at by the next step
		if l.s.at.Seq == l.s.told {
			l.placed = l.w.wrote
		}
	}
	b.release()
	return wrote
}

// The bounds of one turn. A stalled reader holds no more than one turn's bytes, or
// one event if that is larger.
const (
	maxTurnBytes  = 64 << 10
	maxTurnEvents = 512
)

// next puts into b what the stream has to write now. more says that there is
// more than fits. It is the writer's.
func (s *Stream) next(ctx context.Context, b *buffer) (more bool, err error) {
	s.unread.Store(0) // before looking: what comes after it will call again
	b.bytes = s.take(b.bytes)
	if s.registry == nil {
		return false, nil
	}
	var page Page
	before, waits := s.bound()
	for reading := true; reading; {
		page, err = s.registry.log.Read(ctx, Query{
			Subjects:  s.subjects,
			After:     s.at,
			Before:    before,
			MaxEvents: maxTurnEvents,
			MaxBytes:  maxTurnBytes,
		}, b.bytes)
		if err != nil {
			return false, err
		}
		// A stream that has got a bound meanwhile may have been read too far.
		was := before
		before, waits = s.bound()
		reading = before != was
	}
	if waits {
		s.registry.control.hold(s)
	}
	s.at = page.Through
	if page.Gap != "" {
		s.registry.gaps.Add(1)
		b.bytes = appendOwn(b.bytes, typeGap, s.at.String(), gapData{page.Gap})
		s.told = s.at.Seq
		s.since.Store(min(s.since.Load(), s.at.Seq+1)) // it may have said to be further on
		return true, nil
	}
	if !page.Last.IsZero() {
		b.bytes = page.Blocks
		s.told = page.Last.Seq
	}
	return page.More, nil
}

// readFailed has the log asked again in a while. The stream stays open: its
// heartbeats go on and do not move the position.
func (l *loop) readFailed(err error) {
	if !l.failing {
		l.failing = true
		l.s.registry.logger.LogAttrs(l.ctx, slog.LevelWarn, "reading the log", slog.String("stream", l.s.id), slog.Any("error", err))
	}
	l.timer.Reset(l.untilDue(time.Now()))
}

// onTime does what the timer was set for, and reports whether it wrote.
func (l *loop) onTime(now time.Time) (wrote bool) {
	if l.failing {
		l.more = true
	}
	// Not on one that has ended, which may have no right to what a heartbeat would write.
	beats := l.beat > 0 && !l.s.ended.Load() && now.Sub(l.beatFrom()) >= l.beat
	silent := now.Sub(l.w.wrote) >= l.beat
	if beats {
		l.placed = now
		if silent {
			l.w.wrote = now
		}
	}
	// Before anything is written: that may take its time.
	l.timing.Lock()
	l.due.Store(false)
	l.timer.Reset(l.untilDue(now))
	l.timing.Unlock()
	return beats && l.heartbeat(silent)
}

// beatFrom returns when the interval of the next heartbeat began: when the stream was
// last written to; or, if that is earlier, when the client last knew the position of a
// registry's stream, which what [Stream.Send] sends does not carry.
func (l *loop) beatFrom() time.Time {
	if l.s.registry == nil || l.w.wrote.Before(l.placed) {
		return l.w.wrote
	}
	return l.placed
}

// heartbeat shows the client and the proxies on the way that the stream lives,
// and the server whether the client does. On a registry's stream it carries the
// position, which moves past events of other users: a user idle for hours resumes
// from a fresh position. It reports whether it wrote.
func (l *loop) heartbeat(silent bool) bool {
	wrote := l.write()
	s := l.s
	moved := s.registry != nil && s.at.Seq != s.told
	if !moved && (wrote || !silent) {
		return wrote
	}
	s.told = s.at.Seq
	var b []byte
	switch {
	case s.registry != nil && !s.cfg.HeartbeatComments:
		b = appendOwn(nil, typeHeartbeat, s.at.String(), nil)
	case moved:
		// Sets the last event ID and dispatches nothing (section 9.2.6).
		b = append(appendField(nil, idField, s.at.String()), '\n')
	default:
		b = []byte(": heartbeat\n\n")
	}
	_, _ = l.w.Write(b)
	l.placed = l.w.wrote
	return true
}

// beatsApart is how many times in its interval the heartbeats of streams may come:
// all that are due by then beat together, so that thousands of streams do not wake
// an idle processor one by one.
const beatsApart = 64

// untilDue is not reset by writes: a timer that finds the stream was written to
// in the meantime sets itself anew, which costs less than a reset for each write.
func (l *loop) untilDue(now time.Time) time.Duration {
	due := l.untilOver(now)
	if l.beat > 0 {
		beat := l.beat - now.Sub(l.beatFrom())
		step := l.s.cfg.HeartbeatInterval / beatsApart
		if over := time.Duration(now.Add(beat).UnixNano()) % step; over > 0 {
			beat += step - over
		}
		due = min(due, beat)
	}
	if l.failing {
		due = min(due, retryRead)
	}
	return max(due, 0)
}

// drains reports whether an ended stream may still deliver what was sent before
// its end.
func (l *loop) drains() bool {
	reason := reasonOf(l.s.Err())
	if !reason.drains() || l.failing {
		return false
	}
	now := time.Now()
	if l.drainBy.IsZero() {
		l.drainBy = now.Add(drainTime)
	}
	return now.Before(l.drainBy) || l.s.graceOf(reason) > closeTime && l.s.over(now) == ""
}

// finish writes the end in-band, if the client can still read it.
func (l *loop) finish() {
	s := l.s
	reason := reasonOf(s.Err())
	if reason == ReasonClientGone || reason == ReasonSlow {
		return
	}
	if s.registry == nil {
		if !finished(s.Err()) {
			return // the client may come back for the work to be done again
		}
		processJobs.add(s.job)
		b := appendField(appendRetry(nil, doneRetry), idField, DoneID)
		_, _ = l.w.Write(append(b, '\n'))
		return
	}
	var b []byte
	if l.failing && reason.drains() {
		b = s.take(b) // the log cannot be read; what was queued needs none
	}
	if reason.reconnects() {
		// What was not delivered is, when the client comes back with its last event ID.
		b = appendReconnect(b, reason, jitter(s.cfg.reconnectionTime(), 0.5, 1.5))
	} else {
		if l.failing || l.more || !l.last || s.registry.behind(l.ctx) {
			s.registry.gaps.Add(1)
			b = appendOwn(b, typeGap, "", gapData{GapUndelivered})
		}
		if reason == ReasonReplaced {
			b = appendRetry(b, replacedRetry)
		}
		b = appendOwn(b, typeClose, "", closeData{reason})
	}
	_, _ = l.w.Write(b)
}

// finished reports whether a stream of one request is over for good: its producer has
// returned, or the application has ended it. One that was cut short is not.
func finished(err error) bool {
	reason := reasonOf(err)
	panicked := reason == ReasonFailed && err == error(ReasonFailed) //nolint:errorlint // an error of the producer's is wrapped
	return !reason.reconnects() && !panicked
}

// behind reports whether a shared log may hold events that this node does not see. It
// returns what it has then, without an error.
func (r *Registry) behind(ctx context.Context) bool {
	if r.shared == nil {
		return false
	}
	_, err := r.log.Read(ctx, Query{}, nil)
	return err != nil
}

// replacedRetry is the reconnection time of a client whose stream was replaced. An
// EventSource whose page does not close it comes back then, and replaces another.
const replacedRetry = 5 * time.Minute
