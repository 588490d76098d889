package logtest

import "github.com/ginsse/ginsse/eventlog"

// dedupKey is what a store knows a record by.
type dedupKey struct {
	subject, key string
	peer         bool // with faultRepeatsOfOneNode
}

func (s *store) nameOf(name string) string {
	if s.name != nil {
		return s.name(name)
	}
	return name
}

func (s *store) dedupKeyOf(from *storeNode, r eventlog.Record) dedupKey {
	k := dedupKey{subject: s.keyOf(r.Subject), key: s.nameOf(r.DedupKey)}
	switch s.fault {
	case faultRepeatsOfAllSubjects:
		k.subject = ""
	case faultRepeatsOfOneNode:
		k.peer = from != nil && from.peer
	}
	return k
}

// repeatLocked returns the sequence of the record that a record repeats.
func (s *store) repeatLocked(from *storeNode, r eventlog.Record) (seq uint64, ok bool) {
	if r.DedupKey == "" || s.fault == faultRepeatsAreStored {
		return 0, false
	}
	seq, ok = s.repeats[s.dedupKeyOf(from, r)]
	if ok && s.fault == faultRepeatsHaveTheHead {
		seq = s.events[len(s.events)-1].seq
	}
	if ok && s.fault == faultRepeatsForgottenWithTheEvents {
		ok = false
		for _, e := range s.events {
			ok = ok || e.seq == seq && e.replaced == 0
		}
	}
	return seq, ok
}

// rememberLocked has later records with the DedupKey of one be repeats.
func (s *store) rememberLocked(from *storeNode, r eventlog.Record, seq uint64) {
	if r.DedupKey != "" {
		s.repeats[s.dedupKeyOf(from, r)] = seq
	}
}

// replaceLocked has a record replace the earlier one of its subject and key.
func (s *store) replaceLocked(r eventlog.Record, seq uint64) {
	if r.Key == "" {
		return
	}
	for i := range s.events {
		e := &s.events[i]
		if e.replaced != 0 || s.nameOf(e.Key) != s.nameOf(r.Key) || e.key != s.keyOf(r.Subject) && s.fault != faultKeysOfAllSubjects {
			continue
		}
		e.replaced = seq
		switch s.fault {
		case faultReplacedIsAGap:
			s.lost[e.key] = e.seq
		case faultReplacedCounts:
			continue
		}
		s.held[e.key]--
		s.bytes -= int64(len(e.Frame))
	}
}

// leavesOutLocked reports whether a node that sees up to a view leaves an event out of a page.
func (n *storeNode) leavesOutLocked(q eventlog.Query, e storedEvent, view uint64) bool {
	s := n.store
	switch {
	case q.Latest && e.Key == "" && s.fault != faultLatestReadsAll:
		return true
	case s.fault == faultReplacedIsRead, s.fault == faultPeerReadsReplaced && n.peer, e.replaced == 0:
		return false
	}
	return e.replaced <= view || s.fault == faultReplacesBeforeVisible
}

// isReplacedLocked reports whether the event at a position was replaced.
func (s *store) isReplacedLocked(at eventlog.Cursor) bool {
	for _, e := range s.events {
		if e.seq == at.Seq {
			return e.replaced != 0
		}
	}
	return false
}

// hasGapLocked reports whether a query has a gap because events were removed.
func (n *storeNode) hasGapLocked(q eventlog.Query) bool {
	if q.Latest && n.store.fault != faultLatestHasGaps || q.After.Seq == 0 && n.store.fault == faultStartHasNoGap {
		return false
	}
	return q.After.Seq < n.store.lostLocked(q, n.peer)
}
