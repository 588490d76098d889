package ginsse

import "time"

// Doors for tests of what has no exported form.

// Encode returns the wire form of e.
func (e Event) Encode() ([]byte, error) { return e.appendTo(nil) }

// EncodeTo appends the wire form of e to b.
func (e Event) EncodeTo(b []byte) ([]byte, error) { return e.appendTo(b) }

// Unread returns how much has happened since the stream's writer last looked.
func (s *Stream) Unread() int64 { return s.unread.Load() }

// JumpPastExpiry does to the stream's expiry what a jump of the wall clock would do.
// The stream must be waiting. Its timer stays set to when it was due.
func (s *Stream) JumpPastExpiry() {
	now := time.Now()
	due := s.loop.untilDue(now)
	s.expires = now.Add(-time.Second).Round(0)
	s.loop.timer.Reset(due)
}

// Opens is the limit on opening streams.
type Opens struct{ o opens }

// Take is opens.take.
func (o *Opens) Take(perMinute int, user string, now time.Time) time.Duration {
	o.o.perMinute = perMinute
	return o.o.take(user, now)
}

// Len returns for how many users there is an entry.
func (o *Opens) Len() int { return len(o.o.until) }

// SubscriberCap returns for how many streams of a user there is room.
func (r *Registry) SubscriberCap(userID string) int {
	r.subscribers.mu.RLock()
	defer r.subscribers.mu.RUnlock()
	return cap(r.subscribers.lists[userSubject(userID)].slots)
}

// QueueCap returns the memory of the queue of Send.
func (s *Stream) QueueCap() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cap(s.queue)
}

// Lock keeps streams from joining and leaving until unlock is called.
func (r *Registry) Lock() (unlock func()) {
	r.mu.Lock()
	r.subscribers.mu.Lock()
	return func() {
		r.subscribers.mu.Unlock()
		r.mu.Unlock()
	}
}
