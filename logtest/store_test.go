package logtest

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// store is the contents of a log with several nodes. It is simple rather than fast, skips
// sequences, and has the fault that it is given.
type store struct {
	storeConfig

	bounds Bounds
	secret uint64

	mu         sync.Mutex // guards the fields below; taken before storeNode.mu
	epoch      uint32
	head       uint64
	bytes      int64
	events     []storedEvent       // in order
	held       map[string]int      // number of events, by key
	lost       map[string]uint64   // the newest sequence removed, by key
	repeats    map[dedupKey]uint64 // sequences of records
	nodes      []*storeNode
	again      bool // the next event has a sequence that was used before
	deliveries int  // of messages so far
	writing    int  // open transactions that have put something
	commits    int  // of transactions so far
	places     int  // taken by records that were put

	silent bool          // nodes do not notice what is stored
	down   bool          // nothing is stored
	late   int           // events stored while silent
	stored chan struct{} // has room for some of them
	writer chan struct{} // holds a value while a writer keeps others waiting
}

type storeConfig struct {
	fault   fault
	key     func(subject string) string // what a subject is stored under; nil is the subject
	name    func(name string) string    // what a record's key is stored under; nil is the key
	inexact bool                        // a subject has lost what any of them has

	oneWriter bool // a transaction that has put something keeps other writers waiting
	immediate bool // and so does one that has put nothing
}

type storedEvent struct {
	eventlog.Record

	key      string
	seq      uint64
	added    time.Time
	replaced uint64 // the sequence of the event that has replaced it; 0 for none
}

// fault is what is wrong with a store.
type fault int

const (
	faultNone fault = iota
	faultGapsOfAllSubjectsTogether
	faultGapsOfTheFirstSubject
	faultNoGaps
	faultNoGapsOfCommands
	faultLossForgottenWithTheEvents
	faultLossForgottenWithTheNext
	faultPrefixes
	faultReadableAfterItsTurn
	faultSequenceTwice
	faultHeadAsSeen
	faultHeadUnread
	faultHeadWhilePartitioned
	faultPeerHasItsOwnPositions
	faultPeerKnowsNoNews
	faultPeerIsNotWoken
	faultPeerIsWokenTooEarly
	faultPeerForgetsLoss
	faultPeerSkipsBacklog
	faultPeerMissesCommands
	faultPeerLosesEventsBeforeCommands
	faultInsertIsNotReported
	faultInsertGoesBack
	faultReopenedAnew
	faultReopenedForgetful
	faultReopenedEmpty
	faultReopenedNumbersAgain
	faultPartitionMovesBack
	faultPartitionMovesToTheHead
	faultRestartForgets
	faultRestartRepeats
	faultReconnectIsNotReported
	faultRestartForgetsReceivers
	faultPutIsVisible
	faultPutIsReported
	faultPutTakesPlace
	faultPutKeepsFrame
	faultPutTakesInvalid
	faultPutTakesTooLarge
	faultPutHasItsOwnError
	faultPutRefusesAndStores
	faultPutsReversed
	faultRollbackCommits
	faultSavepointIgnored
	faultSavepointRollsBackAll
	faultCommitIsLostIfLate
	faultCommitIsNotReported
	faultCommitsRepeat
	faultCommitsLoseARecord
	faultCommitsOfRollbacks
	faultOpenTransactionHidesLater
	faultReplacedIsRead
	faultReplacedIsAGap
	faultReplacedHasNoPosition
	faultReplacedCounts
	faultKeysOfAllSubjects
	faultReplacesBeforeVisible
	faultLatestReadsAll
	faultLatestHasGaps
	faultPutReplaces
	faultPeerReadsReplaced
	faultReopenedForgetsKeys
	faultStartHasNoGap
	faultRepeatsAreStored
	faultRepeatsHaveTheHead
	faultRepeatsOfAllSubjects
	faultRepeatsForgottenWithTheEvents
	faultRepeatsRace
	faultRepeatsOfOneNode
	faultPutDoesNotKnowRepeats
	faultRolledBackHasRepeats
	faultReopenedForgetsRepeats
)

func newStore(cfg storeConfig, b Bounds) *store {
	return &store{
		storeConfig: cfg, bounds: b, secret: rand.Uint64(), epoch: rand.Uint32() | 1,
		held: make(map[string]int), lost: make(map[string]uint64), repeats: make(map[dedupKey]uint64), stored: make(chan struct{}, loadAppenders),
		writer: make(chan struct{}, 1),
	}
}

func (s *store) keyOf(subject string) string {
	if s.key != nil {
		return s.key(subject)
	}
	return subject
}

// open returns another node of the store.
func (s *store) open(t *testing.T, peer bool) *storeNode {
	n := &storeNode{
		store: s, peer: peer, news: make(chan struct{}, 1), end: make(chan struct{}), receivers: make(map[*storeReceiver]bool),
	}
	n.changed.L = &n.mu
	s.mu.Lock()
	n.seen = s.head
	s.nodes = append(s.nodes, n)
	s.mu.Unlock()
	n.running.Go(n.run)
	t.Cleanup(n.close)
	return n
}

// reopen applies the fault of a log that is opened again.
func (s *store) reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.fault {
	case faultReopenedAnew:
		s.epoch += 2
	case faultReopenedForgetful:
		clear(s.lost)
	case faultReopenedEmpty:
		s.events = nil
	case faultReopenedNumbersAgain:
		s.again = true
	case faultReopenedForgetsKeys:
		for i := range s.events {
			s.events[i].replaced = 0
		}
	case faultReopenedForgetsRepeats:
		clear(s.repeats)
	}
}

// append stores a record and reports it to all nodes that are connected. from is nil for a record
// that no node has appended.
func (s *store) append(from *storeNode, r eventlog.Record) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || from != nil && !s.silent && from.isPartitioned() {
		return 0, errPartitioned
	}
	if seq, ok := s.repeatLocked(from, r); ok {
		return seq, nil
	}
	if s.fault == faultRepeatsRace {
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	seq := s.nextLocked(from)
	s.rememberLocked(from, r, seq)
	return s.addLocked(from, seq, r)
}

// addLocked stores a record at a sequence.
func (s *store) addLocked(from *storeNode, seq uint64, r eventlog.Record) (uint64, error) {
	e := storedEvent{key: s.keyOf(r.Subject), Record: r, added: time.Now(), seq: seq}
	if s.fault == faultReadableAfterItsTurn {
		for _, n := range s.nodes {
			n.report(r.Subject, e.seq)
		}
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	s.replaceLocked(r, e.seq)
	place, _ := slices.BinarySearchFunc(s.events, e.seq+1, func(e storedEvent, seq uint64) int { return cmp.Compare(e.seq, seq) })
	s.events = slices.Insert(s.events, place, e)
	s.held[e.key]++
	s.bytes += int64(len(r.Frame))
	if s.fault == faultLossForgottenWithTheNext && s.held[e.key] == 1 {
		delete(s.lost, e.key)
	}
	s.trimLocked(e.key)
	if s.silent {
		return e.seq, s.lateLocked()
	}
	for _, n := range s.nodes {
		switch {
		case n.isPartitioned():
		case s.fault == faultOpenTransactionHidesLater && s.writing > 0: // until it ends
		case s.fault == faultPeerIsNotWoken && n != from, s.fault == faultInsertIsNotReported && from == nil:
			n.report("", 0)
		default:
			n.report(r.Subject, e.seq)
		}
	}
	return e.seq, nil
}

// nextLocked returns the sequence of the next event.
func (s *store) nextLocked(from *storeNode) uint64 {
	if s.again {
		s.again = false
		s.head = s.events[len(s.events)-1].seq - 2
	}
	if s.fault == faultInsertGoesBack && from == nil {
		for i := len(s.events) - 1; i > 0; i-- {
			if seq := s.events[i].seq - 1; seq > s.events[i-1].seq {
				return seq
			}
		}
	}
	if s.fault == faultPutTakesPlace {
		s.head += placesBetween // places for what is committed later
	}
	s.head += 1 + rand.Uint64N(2)
	if s.fault == faultSequenceTwice && s.head%7 == 0 {
		s.head--
	}
	return s.head
}

// trimLocked brings the store back within its bounds.
func (s *store) trimLocked(key string) {
	if most := s.bounds.EventsPerSubject; most > 0 && s.held[key] > most {
		s.removeLocked(slices.IndexFunc(s.events, func(e storedEvent) bool { return e.key == key && e.replaced == 0 }))
	}
	for s.bounds.MaxBytes > 0 && s.bytes > s.bounds.MaxBytes {
		s.removeLocked(0)
	}
	for s.bounds.MaxAge > 0 && len(s.events) > 0 && time.Since(s.events[0].added) >= s.bounds.MaxAge {
		s.removeLocked(0)
	}
}

func (s *store) removeLocked(i int) {
	e := s.events[i]
	s.events = slices.Delete(s.events, i, i+1)
	if e.replaced != 0 {
		return
	}
	s.bytes -= int64(len(e.Frame))
	s.lost[e.key] = e.seq
	if s.held[e.key]--; s.held[e.key] == 0 {
		delete(s.held, e.key)
		if s.fault == faultLossForgottenWithTheEvents {
			delete(s.lost, e.key)
		}
	}
}

// lostLocked returns the newest sequence that the subjects of a query have lost.
func (s *store) lostLocked(q eventlog.Query, peer bool) (seq uint64) {
	subjects := q.Subjects
	switch {
	case s.fault == faultNoGaps, s.fault == faultPeerForgetsLoss && peer:
		return 0
	case s.fault == faultGapsOfAllSubjectsTogether:
		for _, lost := range s.lost {
			if len(s.events) == 0 || lost < s.events[0].seq {
				seq = max(seq, lost)
			}
		}
		return seq
	case s.fault == faultGapsOfTheFirstSubject:
		subjects = subjects[:1]
	}
	for _, subject := range subjects {
		if s.fault != faultNoGapsOfCommands || !isCommand(subject) {
			seq = max(seq, s.lost[s.keyOf(subject)])
		}
	}
	if s.inexact {
		for _, lost := range s.lost {
			seq = max(seq, lost)
		}
	}
	return seq
}

// losesLocked reports whether a peer does not read the event at a place.
func (s *store) losesLocked(place int) bool {
	switch s.fault {
	case faultPeerMissesCommands:
		return isCommand(s.events[place].Subject)
	case faultPeerLosesEventsBeforeCommands:
		return place+1 < len(s.events) && isCommand(s.events[place+1].Subject)
	default:
		return false
	}
}

func isCommand(subject string) bool { return strings.HasPrefix(subject, "command:") }

// wantedLocked reports whether a query asks for an event.
func (s *store) wantedLocked(q eventlog.Query, e storedEvent) bool {
	return slices.ContainsFunc(q.Subjects, func(subject string) bool {
		key := s.keyOf(subject)
		return key == e.key || s.fault == faultPrefixes && strings.HasPrefix(e.key, key+".")
	})
}

func (s *store) cursor(seq uint64, peer bool) eventlog.Cursor {
	if seq == 0 {
		return eventlog.Cursor{Epoch: s.epoch}
	}
	h := fnv.New32a()
	for _, v := range []uint64{s.secret, seq} {
		for i := range 8 {
			_, _ = h.Write([]byte{byte(v >> (8 * i))})
		}
	}
	at := eventlog.Cursor{Epoch: s.epoch, Seq: seq, Check: h.Sum32()}
	if peer && s.fault == faultPeerHasItsOwnPositions {
		at.Check ^= 1
	}
	return at
}
