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

	"github.com/ginsse/ginsse"
)

// store is the contents of a log, which has several nodes. It is plain rather than
// fast, leaves out sequences, and has a fault if it is told to.
type store struct {
	storeConfig

	bounds Bounds
	secret uint64

	mu     sync.Mutex // guards the fields below; taken before node.mu
	epoch  uint32
	head   uint64
	bytes  int64
	events []entry           // in order
	held   map[string]int    // events, by key
	lost   map[string]uint64 // the newest sequence, by key
	nodes  []*node
	again  bool // the next event has a sequence that was given before

	letters int           // of all messages so far
	cut     bool          // nodes do not hear of the store
	down    bool          // nor does it store anything
	late    int           // events that were stored since it was cut
	stored  chan struct{} // has room for some of these
}

type storeConfig struct {
	fault   fault
	key     func(subject string) string // what a subject is stored under; nil is the subject
	inexact bool                        // a subject has lost what any of them has
}

// entry is an event that is stored.
type entry struct {
	key   string
	frame []byte
	seq   uint64
	added time.Time
}

// fault is what is wrong with a store.
type fault int

const (
	faultNone fault = iota
	faultGapsOfAllSubjectsTogether
	faultGapsOfTheFirstSubject
	faultNoGaps
	faultLossForgottenWithTheEvents
	faultLossForgottenWithTheNext
	faultPrefixes
	faultReadableAfterItsTurn
	faultSequenceTwice
	faultPeerHasItsOwnPositions
	faultPeerKnowsNoNews
	faultPeerIsNotTold
	faultPeerIsToldTooEarly
	faultPeerForgetsLoss
	faultReopenedAnew
	faultReopenedForgetful
	faultReopenedEmpty
	faultReopenedNumbersAgain
	faultPeerResumesAtTheHead
	faultPeerHearsNoControl
	faultAwayMovesBack
	faultAwayMovesToTheHead
	faultRestartForgets
	faultRestartRepeats
	faultRestartNotTold
	faultRestartDeaf
)

func newStore(cfg storeConfig, b Bounds) *store {
	return &store{
		storeConfig: cfg, bounds: b, secret: rand.Uint64(), epoch: rand.Uint32() | 1,
		held: make(map[string]int), lost: make(map[string]uint64), stored: make(chan struct{}, fireAppenders),
	}
}

func (s *store) keyOf(subject string) string {
	if s.key != nil {
		return s.key(subject)
	}
	return subject
}

// open returns another node of the store.
func (s *store) open(t *testing.T, peer bool) *node {
	n := &node{store: s, peer: peer, news: make(chan struct{}, 1), end: make(chan struct{}), watchers: make(map[*watch]bool), boxes: make(map[*box]bool)}
	n.changed.L = &n.mu
	s.mu.Lock()
	n.seen = s.head
	s.nodes = append(s.nodes, n)
	s.mu.Unlock()
	n.running.Go(n.run)
	t.Cleanup(n.close)
	return n
}

// reopen does what is wrong with being opened again.
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
	}
}

// append stores an event, and tells all nodes, unless they do not hear of it.
func (s *store) append(from *node, subject string, frame []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return 0, errAway
	}
	e := entry{key: s.keyOf(subject), frame: frame, added: time.Now()}
	if s.again {
		s.again = false
		s.head = s.events[len(s.events)-1].seq - 2
	}
	s.head += 1 + rand.Uint64N(2)
	if s.fault == faultSequenceTwice && s.head%7 == 0 {
		s.head--
	}
	e.seq = s.head
	if s.fault == faultReadableAfterItsTurn {
		for _, n := range s.nodes {
			n.post(subject, e.seq)
		}
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	place, _ := slices.BinarySearchFunc(s.events, e.seq+1, func(e entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	s.events = slices.Insert(s.events, place, e)
	s.held[e.key]++
	s.bytes += int64(len(frame))
	if s.fault == faultLossForgottenWithTheNext && s.held[e.key] == 1 {
		delete(s.lost, e.key)
	}
	s.trimLocked(e.key)
	if s.cut {
		return e.seq, s.lateLocked()
	}
	for _, n := range s.nodes {
		if s.fault != faultPeerIsNotTold || n == from {
			n.post(subject, e.seq)
		} else {
			n.post("", 0)
		}
	}
	return e.seq, nil
}

// trimLocked brings the store back within its bounds.
func (s *store) trimLocked(key string) {
	if most := s.bounds.EventsPerSubject; most > 0 && s.held[key] > most {
		s.removeLocked(slices.IndexFunc(s.events, func(e entry) bool { return e.key == key }))
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
	s.bytes -= int64(len(e.frame))
	s.lost[e.key] = e.seq
	if s.held[e.key]--; s.held[e.key] == 0 {
		delete(s.held, e.key)
		if s.fault == faultLossForgottenWithTheEvents {
			delete(s.lost, e.key)
		}
	}
}

// lostLocked is the newest sequence that the subjects of a query have lost.
func (s *store) lostLocked(q ginsse.Query, peer bool) (seq uint64) {
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
		return s.lost[s.keyOf(q.Subjects[0])]
	}
	for _, subject := range q.Subjects {
		seq = max(seq, s.lost[s.keyOf(subject)])
	}
	if s.inexact {
		for _, lost := range s.lost {
			seq = max(seq, lost)
		}
	}
	return seq
}

// wantedLocked reports whether a query asks for an event.
func (s *store) wantedLocked(q ginsse.Query, e entry) bool {
	return slices.ContainsFunc(q.Subjects, func(subject string) bool {
		key := s.keyOf(subject)
		return key == e.key || s.fault == faultPrefixes && strings.HasPrefix(e.key, key+".")
	})
}

func (s *store) cursor(seq uint64, flip bool) ginsse.Cursor {
	h := fnv.New32a()
	for _, v := range []uint64{s.secret, seq} {
		for i := range 8 {
			_, _ = h.Write([]byte{byte(v >> (8 * i))})
		}
	}
	at := ginsse.Cursor{Epoch: s.epoch, Seq: seq, Check: h.Sum32()}
	if flip && s.fault == faultPeerHasItsOwnPositions {
		at.Check ^= 1
	}
	return at
}
