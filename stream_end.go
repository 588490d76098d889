package ginsse

import (
	"math"
	"time"
)

// Disconnect ends this stream with a reason; "" means [ReasonDisconnected]. Events sent before
// the call are still delivered, for up to 10 s; if that is too short, the client gets sse.gap
// with the reason "undelivered". Then the client gets sse.close, or sse.reconnect for a reason of
// the kit's that asks for it: see [Reason]. A stream without a registry gets none of these
// events.
//
// Disconnect does not wait. It may be repeated: the first reason counts.
func (s *Stream) Disconnect(reason Reason) { s.end(reason.orDisconnected()) }

// Close ends the stream as done, as Disconnect does with [ReasonDone]. It returns why the stream
// ended if that was not Close.
func (s *Stream) Close() error {
	s.end(ReasonDone)
	return notDone(s.Err())
}

// end ends the stream, unless it has ended: the first cause counts. Entries that its registry
// knows of by now are still delivered, later ones are not.
func (s *Stream) end(cause error) {
	before := uint64(0)
	if s.registry != nil {
		before = s.registry.head.Load() + 1
	}
	s.endBefore(cause, before)
}

// endAt ends the stream at a command. Entries before it are still delivered, and no others, also if
// the stream has ended for another reason.
func (s *Stream) endAt(cause error, command uint64) {
	s.endBefore(cause, command)
	s.mu.Lock()
	defer s.mu.Unlock()
	if command <= s.before.Load() {
		s.before.Store(command)
		s.exact = true
	}
}

// endBefore ends the stream, unless it has ended. Entries before a sequence are still delivered.
func (s *Stream) endBefore(cause error, before uint64) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = cause
	s.before.Store(before)
	s.endedAt = time.Since(s.opened)
	s.ended.Store(true)
	if s.done != nil {
		close(s.done)
	}
	s.makeRoomLocked()
	s.mu.Unlock()
	if s.registry != nil {
		s.registry.detach(s)
	}
	s.interrupt()
}

// endsBefore returns the sequence of the first entry that an ended stream does not deliver; 0
// while the stream is open.
func (s *Stream) endsBefore() uint64 {
	if !s.ended.Load() {
		return 0
	}
	return s.before.Load()
}

// overdue returns why the stream has no right to exist any more; "" if it has. The lifetime ends
// on the monotonic clock, the credential on the wall clock.
func (s *Stream) overdue(now time.Time) Reason {
	switch {
	case s.hasExpired(now):
		return ReasonExpired
	case s.lifetime > 0 && now.Sub(s.opened) >= s.lifetime:
		return ReasonLifetime
	}
	return ""
}

func (s *Stream) hasExpired(now time.Time) bool {
	at := s.expiry.Load()
	return at != 0 && now.UnixMilli() >= at
}

const (
	// drainTime is how long an ended stream begins to write entries from before its end.
	drainTime = 10 * time.Second
	// closeTime is how long a client may take for the last write and sse.close.
	closeTime = time.Minute
)

// mayDeliver reports whether an ended stream may write another turn of what was sent before its
// end.
func (s *Stream) mayDeliver(now time.Time) bool {
	reason := reasonOf(s.Err())
	return reason.drains() && (now.Sub(s.opened)-s.endedAt < drainTime || s.isUnhurried(reason) && s.overdue(now) == "")
}

// mayWrite reports whether a write of an ended stream may go on, if its client takes it. A client
// that is asked to reconnect gets the rest then.
func (s *Stream) mayWrite(now time.Time) bool {
	reason, grace := reasonOf(s.Err()), closeTime
	switch {
	case s.isUnhurried(reason):
		grace = math.MaxInt64
	case reason.reconnects(), reason == ReasonReplaced:
		grace = drainTime
	}
	past := now.Sub(s.opened) - s.endedAt
	return past < grace && (past < drainTime || s.overdue(now) == "")
}

// isUnhurried reports whether an ended stream delivers the rest within its lifetime, however slow the
// line is. Events of a producer are nowhere else.
func (s *Stream) isUnhurried(reason Reason) bool {
	return s.registry == nil && (reason == ReasonDone || reason == ReasonFailed)
}
