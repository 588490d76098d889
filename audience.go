package ginsse

import (
	"fmt"
	"slices"
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

// attach puts a stream into the audiences of its subjects, or says why not.
func (r *Registry) attach(s *Stream) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != stateOpen {
		return ReasonShutdown
	}
	if most := r.cfg.MaxStreams; most > 0 && r.streams >= most {
		return fmt.Errorf("%w: %w: the registry has %d", ReasonOverloaded, ErrTooManyStreams, r.streams)
	}
	if a := r.audiences[subjectUser+s.user]; a != nil && r.cfg.MaxStreamsPerUser > 0 && len(a.streams) >= r.cfg.MaxStreamsPerUser {
		return fmt.Errorf("%w: the user has %d", ErrTooManyStreams, len(a.streams))
	}
	s.slots = make([]int, len(s.subjects))
	for i, subject := range s.subjects {
		a := r.audiences[subject]
		if a == nil {
			a = new(audience)
			a.streams = a.room[:0]
			r.audiences[subject] = a
			if i == 0 {
				r.users++
				r.turnedLocked(subject, true)
			}
		}
		s.slots[i] = len(a.streams)
		if a.streams = append(a.streams, place{s, i}); len(a.streams) == len(a.room)+1 {
			a.room = [1]place{} // the streams have moved out, and one may end
		}
	}
	r.streams++
	r.active++
	r.opened.Add(1)
	return nil
}

// detach takes a stream out of all audiences. It may be repeated.
func (r *Registry) detach(s *Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
				r.turnedLocked(subject, false)
			}
		} else if cap(a.streams) > 64 && last < cap(a.streams)/4 {
			a.streams = slices.Clip(slices.Clone(a.streams))
		}
	}
	s.slots = nil
	r.streams--
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
