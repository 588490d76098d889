package presence

import (
	"iter"
	"time"
)

// Doors for tests of what has no exported form.

const (
	BatchSize = batchSize
	MaxPeers  = maxPeers
	// MaxStreams is the most streams that a peer may report.
	MaxStreams = maxStreams
)

// AddPeerUsers records that users are at a new peer.
func (t *Tracker) AddPeerUsers(users iter.Seq[string]) { t.addUsers(newPeer("z"), users) }

// RemoteBytes returns the estimate of what the people of other nodes take. Run must be idle.
func (t *Tracker) RemoteBytes() int64 { return t.remoteBytes.Load() }

// Topics returns the number of topics that the tracker holds, and of users and members who are leaving.
func (t *Tracker) Topics() (topics, leaving int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.topics), len(t.graces.until) + len(t.graces.queue)
}

// EndSomeGraces ends the graces until now of as many users as the lock is held for. It reports
// whether there may be more.
func (t *Tracker) EndSomeGraces(now time.Time) (more bool) { return t.endSomeGraces(now) }

// Unlocked reports whether no goroutine holds the tracker's lock.
func (t *Tracker) Unlocked() bool {
	if !t.mu.TryLock() {
		return false
	}
	t.mu.Unlock()
	return true
}

// Person is a user who has a stream, or with a topic, a member of it.
type Person struct{ Topic, User, Value string }

// EncodePeople returns messages with these people, as a node sends them in changes, and as it
// sends them in a list.
func EncodePeople(node string, people []Person) (changes, parts [][]byte) {
	encode := func(m message) []byte {
		encoded, err := m.encode()
		if err != nil {
			panic(err)
		}
		return encoded
	}
	var all []message
	var b batch
	for i, p := range people {
		var full bool
		if p.Topic == "" {
			full = b.addUser(p.User, true)
		} else {
			full = b.addMember(key{p.Topic, p.User}, claim{maxAt, p.Value})
		}
		if full || i == len(people)-1 {
			all = append(all, message{Node: node, Number: uint64(len(all) + 1), Streams: maxStreams, people: b.people})
			b.reset()
		}
	}
	for i, m := range all {
		changes = append(changes, encode(m))
		m.List = &list{ID: 1, Part: i + 1, Parts: len(all)}
		parts = append(parts, encode(m))
	}
	return changes, parts
}
