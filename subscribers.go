package ginsse

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// subscribers maps the subjects of events to the streams that read them. The streams that read a user's
// events also read commands for the user.
//
// Concurrency: all methods may be called from several goroutines.
type subscribers struct {
	// mu guards the fields below and Stream.slots. Only the lock of the writers' queue is taken
	// while it is held, to wake up compact streams. It is not held during I/O.
	mu    sync.RWMutex
	lists map[string]*subscriberList // by subject; none is empty
	users int                        // with a stream
}

// subscriberList holds the streams that read one subject, in no order. A stream knows its slot
// in each of its lists, so that it leaves a large one as fast as a small one.
type subscriberList struct {
	slots  []slot
	inline [1]slot      // of slots, for a user with one stream
	pause  atomic.Int32 // longest pause that a stream asks of senders, as of the last notification
}

// slot is a stream in a list, and the place of the list's subject among those of the stream's events.
type slot struct {
	stream  *Stream
	subject int
}

// userPlace is the place of the user's own subject among those of a stream's events.
const userPlace = 0

// add adds a stream to the lists of its subjects.
func (u *subscribers) add(s *Stream) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.slots = make([]int, 0, len(s.eventSubjects()))
	for i := range s.eventSubjects() {
		u.addLocked(s, i)
	}
}

// addLocked adds a stream to the list of one of its subjects of events, the next one.
func (u *subscribers) addLocked(s *Stream, i int) {
	subject := s.eventSubjects()[i]
	list := u.lists[subject]
	if list == nil {
		list = new(subscriberList)
		list.slots = list.inline[:0]
		u.lists[subject] = list
		if i == userPlace {
			u.users++
		}
	}
	s.slots = append(s.slots, len(list.slots))
	if list.slots = append(list.slots, slot{s, i}); len(list.slots) == len(list.inline)+1 {
		list.inline = [1]slot{} // the slots have moved out of it
	}
}

// remove removes a stream from all lists. It reports false if the stream was in none.
func (u *subscribers) remove(s *Stream) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if s.slots == nil {
		return false
	}
	for i := range s.eventSubjects() {
		u.removeLocked(s, i)
	}
	s.slots = nil
	return true
}

// removeLocked removes a stream from the list of one of its subjects of events.
func (u *subscribers) removeLocked(s *Stream, i int) {
	subject := s.eventSubjects()[i]
	list := u.lists[subject]
	last := len(list.slots) - 1
	moved := list.slots[last]
	list.slots[s.slots[i]] = moved
	moved.stream.slots[moved.subject] = s.slots[i]
	list.slots[last] = slot{}
	if list.slots = list.slots[:last]; last == 0 {
		delete(u.lists, subject)
		if i == userPlace {
			u.users--
		}
	} else if cap(list.slots) > 64 && last < cap(list.slots)/4 {
		list.slots = slices.Clip(slices.Clone(list.slots))
	}
}

// addSubject has a stream read another subject of events.
func (u *subscribers) addSubject(s *Stream, subject string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	s.subjects = append(slices.Clip(s.subjects), subject) // a reader of the log may have the old array
	if s.slots != nil {
		u.addLocked(s, len(s.slots))
	}
}

// removeSubject has a stream read a subject no more.
func (u *subscribers) removeSubject(s *Stream, subject string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	i, last := slices.Index(s.subjects, subject), len(s.subjects)-1
	if i < 0 {
		return
	}
	if s.slots != nil { // those of eventSubjects
		u.removeLocked(s, i-1)
		s.slots[i-1] = s.slots[last-1]
		s.slots = s.slots[:last-1]
		if i < last {
			u.lists[s.subjects[last]].slots[s.slots[i-1]].subject = i - 1
		}
	}
	s.subjects = slices.Clone(s.subjects)
	s.subjects[i] = s.subjects[last]
	s.subjects = s.subjects[:last]
}

// streams returns the streams that read a subject of events.
func (u *subscribers) streams(subject string) []*Stream {
	u.mu.RLock()
	defer u.mu.RUnlock()
	list := u.lists[subject]
	if list == nil {
		return nil
	}
	streams := make([]*Stream, len(list.slots))
	for i, slot := range list.slots {
		streams[i] = slot.stream
	}
	return streams
}

// notify wakes the streams that read a subject of events. mayCommand says that there may be a command.
func (u *subscribers) notify(subject string, mayCommand bool) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	list := u.lists[subject]
	if list == nil {
		return
	}
	longest := noPause
	for _, slot := range list.slots {
		if mayCommand {
			slot.stream.commanded.CompareAndSwap(0, int64(max(time.Since(slot.stream.opened), 1)))
			slot.stream.interrupt()
		}
		longest = max(longest, pauseFor(slot.stream.notify()))
	}
	list.pause.Store(int32(longest))
}

// count returns how many streams read a subject, and the pause that a sender makes for them.
func (u *subscribers) count(subject string) (streams int, p pause) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if list := u.lists[subject]; list != nil {
		return len(list.slots), pause(list.pause.Load())
	}
	return 0, noPause
}

// totals returns the numbers of all streams and users.
func (u *subscribers) totals() (streams, users int) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	if all := u.lists[eventlog.SubjectAll]; all != nil {
		streams = len(all.slots)
	}
	return streams, u.users
}
