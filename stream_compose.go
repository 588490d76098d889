package ginsse

import (
	"context"
	"log/slog"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// A stream decides what to write, and its writer writes it: the handler's goroutine (see loop), or
// for a compact stream the registry's writers (see compact). Only the writer calls the methods of
// this file, so their fields need no lock.

// schedule is what a stream knows about the times of its writes. Times are since the stream was
// opened. A stream is idle most of the time, so it is small.
type schedule struct {
	interval   time.Duration // of heartbeats; 0 is none
	lifetime   time.Duration // 0 is unlimited
	wrote      time.Duration // when something was last written
	positioned time.Duration // when the client last knew the position of the stream
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
	// never is later than any time at which a stream looks at the clock.
	never = 24 * time.Hour
)

// newSchedule returns the times of a stream with these settings.
func newSchedule(cfg *StreamConfig) schedule {
	var times schedule
	if cfg.HeartbeatInterval > 0 {
		times.interval = jitter(cfg.HeartbeatInterval, 0.75, 1-1.0/heartbeatSteps)
		if cfg.Compact {
			times.interval -= min(timersLate, times.interval/4)
		}
	}
	if cfg.MaxLifetime > 0 {
		times.lifetime = jitter(cfg.MaxLifetime, 0.9, 1)
	}
	return times
}

// step is what a stream's writer does after it has written a turn.
type step int

const (
	stepWait    step = iota // wait until the stream is woken or due
	stepCompose             // compose again
	stepAlone               // compose again on a goroutine that may wait for the log
	stepClose               // the stream is over
)

// hasWork reports whether a stream that is not due may have something to write.
func (s *Stream) hasWork() bool { return s.more || s.unread.Load() > 0 || s.ended.Load() }

// compose puts into t what the stream has to write now, and returns what its writer does then.
// due says that the time of untilDue has come.
func (s *Stream) compose(ctx context.Context, t *turn, due bool) step {
	before, beat := s.schedule, noBeat
	if due {
		beat = s.beat(time.Now())
		s.more = s.more || s.failing
	}
	ended := s.ended.Load()
	if ended && (s.failing || !s.mayDeliver(time.Now())) {
		return s.composeEnd(ctx, t)
	}
	if ended && !s.lookedAgain {
		s.lookedAgain, s.more = true, true
	}
	switch {
	case beat != noBeat || s.more || s.unread.Load() > 0:
		if !s.composeNews(ctx, t) {
			s.wrote, s.positioned = before.wrote, before.positioned
			return stepAlone
		}
		s.appendHeartbeat(t, beat)
		if !t.isEmpty() {
			s.publishPosition()
		}
		return stepCompose // news may have come meanwhile
	case ended:
		return s.composeEnd(ctx, t)
	default:
		return stepWait
	}
}

// composeEnd puts the in-band end into t. On a shared log it may ask the store.
func (s *Stream) composeEnd(ctx context.Context, t *turn) step {
	if s.noWait && s.registry.cluster != nil {
		return stepAlone
	}
	s.finish(ctx, t)
	return stepClose
}

// composeNews puts into t the next events. It reports false if it must not wait, but would have to:
// for the log, or for the logger after an error.
//
// If the log cannot be read, the stream stays open and reads again after a while. Its heartbeats go
// on and do not move the position.
func (s *Stream) composeNews(ctx context.Context, t *turn) bool {
	more, err := s.next(ctx, t)
	if s.noWait && err != nil {
		s.more = true
		return false
	}
	s.more = more
	if err != nil && !s.failing {
		s.registry.logger.LogAttrs(ctx, slog.LevelWarn, "reading the log", slog.String("stream", s.id), slog.Any("error", err))
	}
	s.failing = err != nil
	return true
}

// beat says which heartbeat is due.
type beat int

const (
	noBeat       beat = iota
	positionBeat      // the client gets the position, if it has moved
	silenceBeat       // the client gets a heartbeat, because nothing was written for the interval
)

// beat returns the heartbeat that is due now.
func (s *Stream) beat(now time.Time) beat {
	age := now.Sub(s.opened)
	// A stream that has ended may have no right to what the write before a heartbeat would send.
	if s.interval == 0 || s.ended.Load() || age-s.heartbeatFrom() < s.interval {
		return noBeat
	}
	s.positioned = age
	if age-s.wrote < s.interval {
		return positionBeat
	}
	s.wrote = age
	return silenceBeat
}

// wroteAt notes when a turn was written.
func (s *Stream) wroteAt(age time.Duration) {
	s.wrote = age
	if s.at.Seq == s.sent {
		s.positioned = age
	}
}

// heartbeatFrom returns when the interval of the next heartbeat began. That is the last write, or
// when the client last knew the stream's position, if that is earlier: events of [Stream.Send]
// carry none.
func (s *Stream) heartbeatFrom() time.Duration {
	if s.registry == nil {
		return s.wrote
	}
	return min(s.wrote, s.positioned)
}

// appendHeartbeat appends a heartbeat to a turn, unless what is in the turn serves as one. A
// heartbeat shows the client and its proxies that the stream lives, and the server whether the
// client does. On a registry's stream it carries the position, which moves past events of other
// users: a user who was idle for hours resumes from a fresh position.
func (s *Stream) appendHeartbeat(t *turn, due beat) {
	if due == noBeat || s.ended.Load() {
		return // the position of an ended stream may be past entries that its end has cut off
	}
	hidden := s.hidesPosition()
	moved := s.registry != nil && s.at.Seq != s.sent && !hidden
	if !moved && (due != silenceBeat || !t.isEmpty()) {
		return
	}
	switch {
	case moved || s.registry != nil && !s.cfg.HeartbeatComments && !hidden:
		s.appendPosition(t)
	case s.registry != nil && !s.cfg.HeartbeatComments:
		t.own = appendOwn(t.own, typeHeartbeat, "", nil) // the client must not come back to this position
	default:
		t.own = append(t.own, ": heartbeat\n\n"...)
	}
}

// appendPosition appends the stream's position to a turn, as a heartbeat.
func (s *Stream) appendPosition(t *turn) {
	s.sent = s.at.Seq
	if !s.cfg.HeartbeatComments {
		t.own = appendOwn(t.own, typeHeartbeat, s.at.String(), nil)
		return
	}
	// It sets the last event ID and dispatches nothing (section 9.2.6).
	t.own = append(appendField(t.own, idField, s.at.String()), '\n')
}

// untilDue returns after how long the stream is to be composed again, if nothing wakes it before:
// for a heartbeat, its end, or another try to read the log. Writes do not change it: a stream that
// was written to meanwhile finds nothing to do, and is due later, which costs less.
func (s *Stream) untilDue(now time.Time) time.Duration {
	wait := s.untilEnd(now)
	if s.interval > 0 {
		left := s.interval - (now.Sub(s.opened) - s.heartbeatFrom())
		step := s.cfg.HeartbeatInterval / heartbeatSteps
		if past := time.Duration(now.Add(left).UnixNano()) % step; past > 0 {
			left += step - past
		}
		wait = min(wait, left)
	}
	if s.failing {
		wait = min(wait, retryRead)
	}
	return max(wait, 0)
}

// untilEnd returns after how long to look again whether the stream is overdue; never if it has no
// end.
func (s *Stream) untilEnd(now time.Time) time.Duration {
	left := never
	if expires := s.Expiry(); !expires.IsZero() {
		left = min(expires.Sub(now), clockCheck)
	}
	if s.lifetime > 0 {
		left = min(left, s.lifetime-now.Sub(s.opened))
	}
	return left
}

// finish puts into t the in-band end, if the client can still read it.
func (s *Stream) finish(ctx context.Context, t *turn) {
	reason := reasonOf(s.Err())
	if reason == ReasonClientGone || reason == ReasonSlow {
		return
	}
	if s.registry == nil {
		if err := s.Err(); !isFinal(err) || s.follows && reason != ReasonDone {
			return // the client may come back for the work to be done again, or for the rest of the run
		}
		processJobs.add(s.job)
		t.own = append(appendField(appendRetry(t.own, doneRetry), idField, DoneID), '\n')
		return
	}
	if s.failing && reason.drains() {
		s.take(t) // the log cannot be read, but the queue can
	}
	if reason.reconnects() {
		// The client gets the rest when it comes back with its last event ID.
		t.own = appendReconnect(t.own, reason, jitter(s.cfg.reconnectionTime(), 0.5, 1.5))
		return
	}
	if s.mayHaveMissed(ctx) {
		s.registry.tellGap(s, gapUndelivered)
		t.own = appendOwn(t.own, typeGap, "", gapData{Reason: gapUndelivered})
	}
	if reason == ReasonReplaced {
		t.own = appendRetry(t.own, replacedRetry)
	}
	t.own = appendOwn(t.own, typeClose, "", closeData{reason})
}

// replacedRetry is the reconnection time of a client whose stream was replaced. An EventSource
// whose page does not close it comes back then, and replaces another stream.
const replacedRetry = 5 * time.Minute

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
func (s *Stream) mayHaveMissed(ctx context.Context) bool {
	if s.failing || s.more || !s.lookedAgain || s.at.Seq+1 < s.endsBefore() || s.hidesPosition() {
		return true
	}
	s.mu.Lock()
	exact := s.exact
	s.mu.Unlock()
	if exact || s.registry.cluster == nil {
		return false
	}
	head, err := s.registry.currentHead(ctx)
	if err != nil || s.cutOff {
		return true
	}
	if head.Seq <= s.at.Seq {
		return false
	}
	page, err := s.registry.log.Read(ctx, eventlog.Query{Subjects: s.eventSubjects(), After: s.at, MaxEntries: 1}, nil)
	return err != nil || page.Gap != "" || len(page.Entries) > 0 || page.Through.Seq < head.Seq
}

// publishPosition keeps the stream's position for the watchdog, which looks for commands while a
// write waits. On other logs, Disconnect ends the stream itself.
func (s *Stream) publishPosition() {
	if s.registry != nil && s.registry.cluster != nil {
		s.mu.Lock()
		s.position = s.at
		s.mu.Unlock()
	}
}
