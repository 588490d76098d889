package logtest

import (
	"errors"
	"slices"
	"time"

	"github.com/ginsse/ginsse"
)

// How a store restarts under its nodes: first they hear nothing of it any more, and of
// what it still stores some are told so when it is back, and some that it is not known;
// then it is gone.

var (
	errAway     = errors.New("the store is away")
	errUnknown  = errors.New("the store is away, and whether the event is stored is not known")
	errTooLarge = errors.New("the message is too large")
)

// restart takes the store away from its nodes and brings it back.
func (s *store) restart() {
	s.mu.Lock()
	s.cut, s.late = true, 0
	for _, n := range s.nodes {
		n.lose()
	}
	s.mu.Unlock()
	// As long as a store takes, if nobody is there to have it go on.
	deadline := time.NewTimer(200 * time.Millisecond)
	defer deadline.Stop()
	for stored, waits := 0, true; waits && stored < fireAppenders; {
		select {
		case <-s.stored:
			stored++
		case <-deadline.C:
			waits = false
		}
	}
	s.mu.Lock()
	s.down = true
	if s.fault == faultRestartForgets && len(s.events) > 0 {
		i := len(s.events) / 2
		s.events = slices.Delete(s.events, i, i+1)
	}
	for _, n := range s.nodes {
		n.wake()
	}
	s.mu.Unlock()
	<-time.After(30 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut, s.down = false, false
	if s.fault == faultRestartRepeats && len(s.events) > 0 {
		e := s.events[len(s.events)/2]
		s.head++
		e.seq = s.head
		s.events = append(s.events, e)
	}
	for _, n := range s.nodes {
		n.back(s.head)
	}
}

// lateLocked is what becomes of an event that was stored and nobody heard of: of every
// three senders one is not told.
func (s *store) lateLocked() error {
	select {
	case s.stored <- struct{}{}:
	default:
	}
	if s.late++; s.late%3 == 0 {
		return errUnknown
	}
	return nil
}

// lose drops what a node was about to hear.
func (n *node) lose() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inbox, n.letters = nil, nil
}

// wake calls watchers for nothing, which they have to bear, and has them read meanwhile.
func (n *node) wake() {
	n.mu.Lock()
	seen := n.seen
	n.mu.Unlock()
	n.post("", seen)
}

// back has a node hear of what it may have missed. It is called with the store's lock.
func (n *node) back(head uint64) {
	if n.peer && n.store.fault == faultRestartNotTold {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.seen = head
		n.changed.Broadcast()
		return
	}
	if n.store.fault == faultRestartDeaf {
		n.mu.Lock()
		clear(n.boxes)
		n.mu.Unlock()
	}
	n.post("", head)
}

// awayLocked is what a node reads while its store is.
func (n *node) awayLocked(q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if q.After.IsZero() {
		return ginsse.Page{}, errAway
	}
	page := ginsse.Page{Blocks: dst, Through: q.After}
	switch s := n.store; {
	case s.fault == faultAwayMovesBack && q.After.Seq > 1:
		page.Through = s.cursor(q.After.Seq-1, n.peer)
	case s.fault == faultAwayMovesToTheHead:
		page.Through = s.cursor(s.head, n.peer)
	}
	return page, nil
}
