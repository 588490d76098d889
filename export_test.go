package ginsse

import "time"

// Doors for tests of what has no exported form.

// Encode returns the wire form of e.
func (e Event) Encode() ([]byte, error) { return e.appendTo(nil) }

// EncodeTo appends the wire form of e to b.
func (e Event) EncodeTo(b []byte) ([]byte, error) { return e.appendTo(b) }

// HistoryBytes returns the memory that the log counts as held.
func (l *MemoryLog) HistoryBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// Remembered returns for how many subjects the log holds a record.
func (l *MemoryLog) Remembered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active.size + l.emptied.size
}

// MaxRemembered is the bound of records without events.
const MaxRemembered = maxRemembered

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

// AudienceCap returns for how many streams of a user there is room.
func (r *Registry) AudienceCap(userID string) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return cap(r.audiences[subjectUser+userID].streams)
}

// QueueCap returns the memory of the queue of Send.
func (s *Stream) QueueCap() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cap(s.queue)
}

// LateOrderConcerns reports whether an order that came late ends a stream whose place in
// the log is not known.
func LateOrderConcerns(given, opened time.Time) bool {
	return order{Given: given.UnixMilli(), Late: true}.concerns(&Stream{opened: opened}, Cursor{})
}

// Lock keeps streams from joining and leaving until unlock is called.
func (r *Registry) Lock() (unlock func()) {
	r.mu.Lock()
	return r.mu.Unlock
}
