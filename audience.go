package ginsse

import (
	"fmt"
	"slices"
	"time"
)

// audience is the streams that read one subject, in no order. A stream knows its
// place in each, so that leaving costs the same in a large one.
type audience struct {
	streams []place
	room    [1]place // of streams, for a user with one
}

// place is a stream in an audience, and which of the stream's subjects that is.
type place struct {
	stream  *Stream
	subject int
}

// audience returns the streams of a subject.
func (r *Registry) audience(subject string) []*Stream {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a := r.audiences[subject]
	if a == nil {
		return nil
	}
	streams := make([]*Stream, len(a.streams))
	for i, p := range a.streams {
		streams[i] = p.stream
	}
	return streams
}

// attach puts a stream into the audiences of its subjects, or says why not, and if the
// user opens streams too often, when the next may be opened. A user with as many streams
// as allowed gets the new one in the place of the oldest: connections that are dead but
// not yet noticed must not keep a living page out.
func (r *Registry) attach(s *Stream) (after time.Duration, err error) {
	oldest, after, err := r.tryAttach(s)
	if oldest != nil {
		oldest.end(ReasonReplaced)
	}
	return after, err
}

// tryAttach is attach, except that a stream that was replaced still has to be ended. The
// user is not offline in between.
func (r *Registry) tryAttach(s *Stream) (replaced *Stream, after time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != stateOpen {
		return nil, 0, ReasonShutdown
	}
	if after := r.opens.take(s.user, s.opened); after > 0 {
		return nil, after, fmt.Errorf("%w: the user opens streams too often", ReasonThrottled)
	}
	oldest, err := r.oldestLocked(s.user)
	if err != nil {
		return nil, 0, err
	}
	// Handlers of streams that have ended may still write to slow clients: as many again.
	if most, held := r.cfg.MaxStreams, r.streams+r.held; most > 0 && (held >= most && oldest == nil || r.handlers >= 2*most) {
		return nil, 0, fmt.Errorf("%w: %w: the registry has %d", ReasonOverloaded, ErrTooManyStreams, held)
	}
	r.joinLocked(s)
	if oldest != nil {
		r.detachLocked(oldest)
	}
	return oldest, 0, nil
}

// oldestLocked returns the stream that a new one of the user's replaces, if the user has
// as many as allowed, or why there may be no other.
func (r *Registry) oldestLocked(user string) (oldest *Stream, err error) {
	var streams []place
	if a := r.audiences[subjectUser+user]; a != nil {
		streams = a.streams
	}
	held := len(streams) + r.heldBy[user]
	if most := r.cfg.MaxStreamsPerUser; most <= 0 || held < most {
		return nil, nil //nolint:nilnil // there is room
	}
	if r.cfg.RefuseNewest {
		return nil, fmt.Errorf("%w: the user has %d", ErrTooManyStreams, held)
	}
	for _, p := range streams {
		// The place of a stream whose hooks run would not become free.
		if p.stream.hooks == 0 && (oldest == nil || p.stream.opened.Before(oldest.opened)) {
			oldest = p.stream
		}
	}
	if oldest == nil {
		return nil, fmt.Errorf("%w: %w: hooks of the user's streams have not returned", ReasonOverloaded, ErrTooManyStreams)
	}
	return oldest, nil
}

// holdLocked changes the number of hooks of s that run or are to run. While it is above
// 0, the place of a stream that has ended stays taken.
func (r *Registry) holdLocked(s *Stream, change int) {
	s.hooks += change
	lingers := s.slots == nil && s.hooks > 0
	switch {
	case lingers == s.lingers:
	case lingers:
		r.held++
		r.heldBy[s.user]++
	default:
		r.held--
		if r.heldBy[s.user]--; r.heldBy[s.user] == 0 {
			delete(r.heldBy, s.user)
		}
	}
	s.lingers = lingers
}

// release ends the hold of attach.
func (r *Registry) release(s *Stream) {
	if r.cfg.ConnectFunc == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holdLocked(s, -1)
}

// joinLocked puts a stream into the audiences of its subjects.
func (r *Registry) joinLocked(s *Stream) {
	s.slots = make([]int, len(s.subjects))
	for i, subject := range s.subjects {
		a := r.audiences[subject]
		if a == nil {
			a = new(audience)
			a.streams = a.room[:0]
			r.audiences[subject] = a
			if i == 0 {
				r.users++
			}
		}
		s.slots[i] = len(a.streams)
		if a.streams = append(a.streams, place{s, i}); len(a.streams) == len(a.room)+1 {
			a.room = [1]place{} // the streams have moved out, and one may end
		}
	}
	if r.cfg.ConnectFunc != nil {
		r.holdLocked(s, 1) // until it has been called
	}
	if r.presence != nil {
		r.presence.Join(s.user)
	}
	r.streams++
	r.handlers++
	r.active++
	r.opened.Add(1)
}

// detach takes a stream out of all audiences. It may be repeated.
func (r *Registry) detach(s *Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detachLocked(s)
}

func (r *Registry) detachLocked(s *Stream) {
	if s.slots == nil {
		return
	}
	for i, subject := range s.subjects {
		a := r.audiences[subject]
		last := len(a.streams) - 1
		moved := a.streams[last]
		a.streams[s.slots[i]] = moved
		moved.stream.slots[moved.subject] = s.slots[i]
		a.streams[last] = place{}
		if a.streams = a.streams[:last]; last == 0 {
			delete(r.audiences, subject)
			if i == 0 {
				r.users--
			}
		} else if cap(a.streams) > 64 && last < cap(a.streams)/4 {
			a.streams = slices.Clip(slices.Clone(a.streams))
		}
	}
	s.slots = nil
	if r.presence != nil {
		r.presence.Leave(s.user)
	}
	r.streams--
	r.holdLocked(s, 0)
}

// notify wakes the streams of a subject. The log calls it for every event, from
// whichever node, in any order: the streams read the log and see for themselves.
func (r *Registry) notify(subject string, seq uint64) {
	r.seen(seq)
	r.listen(subject, seq)
	if subject == "" {
		subject = subjectAll // which each stream reads
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if a := r.audiences[subject]; a != nil {
		for _, p := range a.streams {
			p.stream.notify()
		}
	}
}

// reach counts the streams that will get the event, and says how far behind
// their senders they are: the pace that most of them could do with.
func (r *Registry) reach(subject string, seq uint64) (streams int, behind pace) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a := r.audiences[subject]
	if a == nil {
		return 0, atOnce
	}
	for _, p := range a.streams {
		if since := p.stream.since.Load(); since != 0 && since <= seq {
			streams++
		}
		behind = max(behind, paceFor(p.stream.unread.Load()))
	}
	return streams, behind
}

// handlerReturned notes that the handler of an attached stream has returned.
func (r *Registry) handlerReturned() {
	r.mu.Lock()
	r.handlers--
	r.mu.Unlock()
	r.leave()
}

// leave notes that a handler or a hook has returned.
func (r *Registry) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active--
	r.wakeIdleLocked()
}

func (r *Registry) wakeIdleLocked() {
	if r.idle != nil && r.active == 0 {
		select {
		case <-r.idle:
		default:
			close(r.idle)
		}
	}
}
