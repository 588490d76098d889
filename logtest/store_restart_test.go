package logtest

import (
	"errors"
	"slices"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

var (
	errPartitioned = errors.New("the node is partitioned from its store")
	errUnknown     = errors.New("the node is partitioned from its store, which may have the event")
	errTooLarge    = errors.New("the message is too large")
)

// restart takes the store away from its nodes and brings it back. At first the store goes on, but
// the nodes see nothing of it: of the events that it stores then, some are acknowledged when it is
// back, and some not. Then it is down.
func (s *store) restart() {
	s.mu.Lock()
	s.silent, s.late = true, 0
	for _, n := range s.nodes {
		n.partition()
	}
	s.mu.Unlock()
	deadline := time.NewTimer(200 * time.Millisecond) // if nothing is appended
	defer deadline.Stop()
	for stored, waits := 0, true; waits && stored < loadAppenders; {
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
	s.silent, s.down = false, false
	if s.fault == faultRestartRepeats && len(s.events) > 0 {
		e := s.events[len(s.events)/2]
		s.head++
		e.seq = s.head
		s.events = append(s.events, e)
	}
	for _, n := range s.nodes {
		n.reconnect(s.head)
	}
}

// lateLocked counts an event that no node has seen. Of every three senders one gets an error.
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

// partition partitions a node from the store until reconnect is called.
func (s *store) partition(n *storeNode) (reconnect func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.partition()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		n.reconnect(s.head)
	}
}

// partition partitions a node from the store, and drops what it was about to see.
func (n *storeNode) partition() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.partitioned, n.reports, n.messages = true, nil, nil
	n.changed.Broadcast()
}

// wake calls watchers for nothing new, so that they read while the node is partitioned.
func (n *storeNode) wake() {
	n.mu.Lock()
	seen := n.seen
	n.mu.Unlock()
	n.report("", seen)
}

// reconnect has a node see what it may have missed. It is called with the store's lock.
func (n *storeNode) reconnect(head uint64) {
	n.mu.Lock()
	n.partitioned = false
	if n.store.fault == faultRestartForgetsReceivers {
		clear(n.receivers)
	}
	silent := n.peer && n.store.fault == faultReconnectIsNotReported
	if silent {
		n.seen = head
	}
	n.changed.Broadcast()
	n.mu.Unlock()
	if !silent {
		n.report("", head)
	}
}

// partitionedLocked is the page of a partitioned node.
func (n *storeNode) partitionedLocked(q eventlog.Query, dst []*eventlog.Entry) eventlog.Page {
	page := eventlog.Page{Entries: dst, Through: q.After}
	switch s := n.store; {
	case s.fault == faultPartitionMovesBack && q.After.Seq > 1:
		page.Through = s.cursor(q.After.Seq-1, n.peer)
	case s.fault == faultPartitionMovesToTheHead:
		page.Through = s.cursor(s.head, n.peer)
	}
	return page
}
