package presence

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// peer is what this node knows about another one. It belongs to Run's goroutine.
type peer struct {
	heard     time.Time // when its last message was handled
	requested time.Time // when it was last asked for a list
	listSent  time.Time // when it was last sent one
	number    uint64    // of the last changes applied
	behind    bool      // later changes are missing
	users     map[string]bool
	streams   int

	// The list whose parts are arriving. listed is nil if there is none.
	listed map[string]bool
	listID uint64
	part   int // the last part that has arrived
}

// handle applies a message of another node, and answers it.
func (t *Tracker) handle(encoded []byte) {
	m, ok := decode(encoded, t.cfg.ValidUser)
	if !ok || m.Node == t.cfg.Node {
		return
	}
	if m.Goodbye {
		t.forget(m.Node)
		return
	}
	p := t.peers[m.Node]
	if p == nil {
		if len(t.peers) >= maxPeers {
			return
		}
		p = &peer{users: make(map[string]bool)}
		t.peers[m.Node] = p
	}
	now := time.Now()
	p.heard = now
	t.countPeers(m.Streams - p.streams)
	p.streams = m.Streams
	switch changes := len(m.Joined)+len(m.Left) > 0; {
	case m.List != nil:
		t.handleList(p, m.Number, m.List)
	case m.Number <= p.number: // already applied
	case changes && m.Number == p.number+1:
		p.number = m.Number
		t.move(p, slices.Values(m.Joined), true)
		t.move(p, slices.Values(m.Left), false)
	default:
		p.behind = true
	}
	if p.behind && now.Sub(p.requested) > requestInterval {
		p.requested = now
		t.post(m.Node, message{Request: true})
	}
	if m.Request && now.Sub(p.listSent) >= requestInterval/2 { // a list may be large
		p.listSent = now
		t.sendList(m.Node)
	}
}

// handleList applies a list once its last part has arrived, if no part is missing.
func (t *Tracker) handleList(p *peer, number uint64, l *list) {
	if number < p.number {
		return // later changes have been applied
	}
	if l.Part == 1 {
		p.listed, p.listID, p.part = make(map[string]bool), l.ID, 0
	}
	if p.listed == nil || l.ID != p.listID || l.Part != p.part+1 {
		return // a part is missing: the peer stays behind, and is asked again
	}
	p.part = l.Part
	for _, user := range l.Users {
		p.listed[user] = true
	}
	if l.Part < l.Parts {
		return
	}
	listed := p.listed
	p.listed, p.number, p.behind = nil, number, false
	gone := func(yield func(string) bool) {
		for user := range p.users { // move removes users of it meanwhile, which Go allows
			if !listed[user] && !yield(user) {
				return
			}
		}
	}
	t.move(p, gone, false)
	t.move(p, maps.Keys(listed), true)
}

// batchSize is the number of users whose counts change while mu is held. Registries call Join
// and Leave under locks for which senders wait, and a node can have 100,000 users.
const batchSize = 1000

// move records that users are at a peer now, or no longer are. Repeating it has no effect.
func (t *Tracker) move(p *peer, users iter.Seq[string], here bool) {
	var batch []string
	for user := range users {
		if p.users[user] == here {
			continue
		}
		if here {
			p.users[user] = true
		} else {
			delete(p.users, user)
		}
		if batch = append(batch, user); len(batch) == batchSize {
			t.countUsers(batch, here)
			batch = batch[:0]
		}
	}
	t.countUsers(batch, here)
}

// countUsers records that users are at one more node, or at one less.
func (t *Tracker) countUsers(users []string, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, user := range users {
		c := t.users[user]
		if more {
			c.elsewhere++
		} else {
			c.elsewhere--
		}
		t.setLocked(user, c)
	}
}

// countPeers records the number of peers, and by how much the number of their streams has
// changed.
func (t *Tracker) countPeers(streams int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remoteStreams += streams
	t.remoteNodes = len(t.peers)
}

// expire forgets the peers that have sent nothing for the lease.
func (t *Tracker) expire() {
	for name, p := range t.peers {
		if time.Since(p.heard) >= lease {
			t.forget(name)
		}
	}
}

// forget removes a peer and its users.
func (t *Tracker) forget(name string) {
	p := t.peers[name]
	if p == nil {
		return
	}
	t.move(p, maps.Keys(p.users), false)
	delete(t.peers, name)
	t.countPeers(-p.streams)
}
