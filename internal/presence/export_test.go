package presence

import (
	"iter"
	"slices"
)

// Doors for tests of what has no exported form.

const (
	BatchSize = batchSize
	MaxPeers  = maxPeers
	// MaxStreams is the most streams that a peer may report.
	MaxStreams = maxStreams
)

// AddPeerUsers records that users are at a new peer.
func (t *Tracker) AddPeerUsers(users iter.Seq[string]) {
	t.move(&peer{users: make(map[string]bool)}, users, true)
}

// Unlocked reports whether no goroutine holds the tracker's lock.
func (t *Tracker) Unlocked() bool {
	if !t.mu.TryLock() {
		return false
	}
	t.mu.Unlock()
	return true
}

// EncodeUsers returns messages with these users, as a node sends them in changes, and as it
// sends them in a list.
func EncodeUsers(node string, users []string) (changes, parts [][]byte) {
	encode := func(m message) []byte {
		encoded, err := m.encode()
		if err != nil {
			panic(err)
		}
		return encoded
	}
	all := slices.Collect(batches(users))
	for i, batch := range all {
		m := message{Node: node, Number: uint64(i + 1), Streams: maxStreams}
		m.Joined = batch
		changes = append(changes, encode(m))
		m.Joined, m.List = nil, &list{ID: 1, Part: i + 1, Parts: len(all), Users: batch}
		parts = append(parts, encode(m))
	}
	return changes, parts
}
