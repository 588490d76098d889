package ginsse

import (
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/readiness"
	"github.com/ginsse/ginsse/internal/timerwheel"
)

// Access to unexported parts, for tests of the package ginsse_test.

// Encode returns the wire form of the event.
func (e Event) Encode() ([]byte, error) { return e.appendTo(nil) }

// EncodeTo appends the wire form of the event to b.
func (e Event) EncodeTo(b []byte) ([]byte, error) { return e.appendTo(b) }

// Unread returns how many notifications have come since the stream last read.
func (s *Stream) Unread() int64 { return s.unread.Load() }

// JumpPastExpiry has the effect of a wall clock that jumps past the stream's expiry. The stream
// must be waiting. Its timer stays set to the time for which it was set before.
func (s *Stream) JumpPastExpiry() {
	now := time.Now()
	due := s.untilDue(now)
	s.expiry.Store(now.Add(-time.Second).UnixMilli())
	if s.compact != nil {
		s.registry.writers.timers.Set(&s.compact.timer, due)
	} else {
		s.loop.timer.Reset(due)
	}
}

// Opens limits how often users open streams.
type Opens struct{ o opens }

// Take is opens.take.
func (o *Opens) Take(perMinute int, user string, now time.Time) time.Duration {
	o.o.perMinute = perMinute
	return o.o.take(user, now)
}

// Len returns the number of users that have an entry.
func (o *Opens) Len() int { return len(o.o.until) }

// SubscriberCap returns the capacity of the list of a user's streams.
func (r *Registry) SubscriberCap(userID string) int {
	r.subscribers.mu.RLock()
	defer r.subscribers.mu.RUnlock()
	return cap(r.subscribers.lists[userSubject(userID)].slots)
}

// QueueCap returns the capacity of the queue of Send, in bytes.
func (s *Stream) QueueCap() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cap(s.queue)
}

// Lock prevents streams from being added and removed until unlock is called.
func (r *Registry) Lock() (unlock func()) {
	r.mu.Lock()
	r.subscribers.mu.Lock()
	return func() {
		r.subscribers.mu.Unlock()
		r.mu.Unlock()
	}
}

// ReportEnd returns a function that reports to the registry that the connection of a compact stream has
// ended, as the readiness set does. The connection may be closed before.
func (r *Registry) ReportEnd(s *Stream) func() {
	r.writers.connsMu.Lock()
	defer r.writers.connsMu.Unlock()
	token := s.compact.token
	return func() { r.writers.onReady(token, readiness.Events{Readable: true, Closed: true}) }
}

// CountTimers has the timers of compact streams counted when they fire. It is called before the first
// stream opens.
func (r *Registry) CountTimers() (fired *atomic.Int64) {
	fired = new(atomic.Int64)
	r.writers.timers = timerwheel.New(func(due []*compact) {
		fired.Add(int64(len(due)))
		for _, k := range due {
			k.wakeUp(signalDue)
		}
	})
	return fired
}

// TimerFires wakes a compact stream up as its timer does.
func (s *Stream) TimerFires() { s.compact.wakeUp(signalDue) }

// ReleasedTurn releases a turn with entries, of which it has cut off those from the given index on,
// and with a buffer of the given size. It returns how many entries and bytes the turn still holds.
func ReleasedTurn(entries []*eventlog.Entry, cutAt, size int) (references, bytes int) {
	t := &turn{bytes: make([]byte, size), entries: append([]*eventlog.Entry(nil), entries...)}
	t.cut(func(e *eventlog.Entry) bool { return e == entries[cutAt] })
	t.release()
	for _, e := range t.entries[:cap(t.entries)] {
		if e != nil {
			references++
		}
	}
	return references, cap(t.bytes)
}

// Followers returns how many subjects are watched for runs and those that follow them, and how many
// streams follow runs.
func (r *Registry) Followers() (subjects, streams int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakers.mu.RLock()
	defer r.wakers.mu.RUnlock()
	return len(r.wakers.bySubject), r.followers.total + len(r.followers.byUser)
}
