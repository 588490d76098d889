package presence

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// peer is what this node knows about another one. It belongs to Run's goroutine.
type peer struct {
	name      string
	heard     time.Time // when its last message was handled
	requested time.Time // when it was last asked for a list
	listSent  time.Time // when it was last sent one
	departed  time.Time // when it said goodbye; zero if it has not
	number    uint64    // of the last changes applied
	advanced  time.Time // when number was last raised
	behind    bool      // later changes are missing, or forged ones were applied
	doubted   bool      // behind, and number may be forged
	partial   bool      // people were left out, and sum is not that of the peer
	sum       uint64    // of users and members
	streams   int
	users     map[string]bool
	members   map[key]claim
	arriving  *arriving // nil if no list is
}

// arriving is a list whose parts are arriving.
type arriving struct {
	id      uint64
	part    int // the last one that has arrived
	users   map[string]bool
	members map[key]claim
	cost    int64 // its part of Tracker.remoteBytes
	partial bool  // people were left out
}

func newPeer(name string) *peer {
	return &peer{name: name, users: make(map[string]bool), members: make(map[key]claim)}
}

// lateTime is how long after a goodbye the messages before it may arrive.
const lateTime = time.Second

// handle applies a message of another node, and answers it.
func (t *Tracker) handle(encoded []byte) {
	m, ok := decode(encoded, t.cfg.ValidName)
	if !ok || m.Node == t.cfg.Node {
		return
	}
	now := time.Now()
	if m.Goodbye {
		t.depart(t.peers[m.Node], now)
		return
	}
	p := t.peerFor(m, now)
	if p == nil {
		return
	}
	p.heard = now
	t.countStreams(p, m.Streams)
	switch {
	case m.List != nil:
		t.handleList(p, m, now)
	case m.Number < p.number && now.Sub(p.advanced) > lateTime:
		p.behind, p.doubted = true, true
	case m.Number <= p.number: // already applied
	case m.hasChanges() && m.Number == p.number+1:
		p.number, p.advanced = m.Number, now
		t.addUsers(p, slices.Values(m.Joined))
		t.removeUsers(p, slices.Values(m.Left))
		t.addMembers(p, slices.Values(m.Present))
		t.removeMembers(p, keysOf(m.Absent))
	default:
		p.behind = true
	}
	if m.Number == p.number && m.Sum != p.sum && !p.partial {
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

// peerFor returns the peer that has sent a message; nil if the message is to be ignored.
func (t *Tracker) peerFor(m message, now time.Time) *peer {
	p := t.peers[m.Node]
	switch {
	case p == nil && len(t.peers) >= maxPeers:
		return nil
	case p == nil:
		p = newPeer(m.Node)
		t.peers[m.Node] = p
	case p.departed.IsZero():
		return p
	case now.Sub(p.departed) < lateTime:
		return nil
	}
	p.departed = time.Time{} // a goodbye before was forged
	t.setUp(p, true)
	return p
}

// handleList applies a list once its last part has arrived, if no part is missing. People beyond
// the bound of memory are left out.
func (t *Tracker) handleList(p *peer, m message, now time.Time) {
	if m.Number < p.number && !p.doubted {
		return // later changes have been applied
	}
	if m.List.Part == 1 {
		t.discardList(p)
		p.arriving = &arriving{id: m.List.ID, users: make(map[string]bool), members: make(map[key]claim)}
	}
	l := p.arriving
	if l == nil || m.List.ID != l.id || m.List.Part != l.part+1 {
		return // a part is missing: the peer stays behind, and is asked again
	}
	l.part = m.List.Part
	for _, user := range m.Joined {
		if cost := costOfUser(user); !l.users[user] && t.charge(cost, &l.partial) {
			l.users[user] = true
			l.cost += cost
		}
	}
	for _, n := range m.Present {
		k, c := n.split()
		cost := costOfMember(k, c)
		if _, listed := l.members[k]; !listed && t.charge(cost, &l.partial) {
			l.members[k] = c
			l.cost += cost
		}
	}
	if m.List.Part < m.List.Parts {
		return
	}
	t.discardList(p)
	p.number, p.advanced = m.Number, now
	p.behind, p.doubted, p.partial = false, false, l.partial
	// Maps may change while they are read, which Go allows.
	t.removeUsers(p, missing(p.users, l.users))
	t.addUsers(p, maps.Keys(l.users))
	t.removeMembers(p, missing(p.members, l.members))
	t.addMembers(p, func(yield func(member) bool) {
		for k, c := range l.members {
			if !yield(member{Topic: k.topic, User: k.user, Value: []byte(c.value), At: c.at}) {
				return
			}
		}
	})
}

// missing returns the keys of known that listed does not have.
func missing[K comparable, V any](known, listed map[K]V) iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range known {
			if _, ok := listed[k]; !ok && !yield(k) {
				return
			}
		}
	}
}

// discardList releases a list that is arriving.
func (t *Tracker) discardList(p *peer) {
	if p.arriving != nil {
		t.remoteBytes.Add(-p.arriving.cost)
		p.arriving = nil
	}
}

func (m member) split() (key, claim) {
	return key{m.Topic, m.User}, claim{m.At, string(m.Value)}
}

func keysOf(members []member) iter.Seq[key] {
	return func(yield func(key) bool) {
		for _, m := range members {
			if !yield(key{m.Topic, m.User}) {
				return
			}
		}
	}
}

// batchSize is the number of users whose counts change while mu is held. Registries call Join
// and Leave under locks for which senders wait, and a node can have 100,000 users.
const batchSize = 1000

// inBatches calls apply for each item, with the lock held for one batch after another.
func inBatches[T any](t *Tracker, items iter.Seq[T], apply func(T)) {
	var batch []T
	flush := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, item := range batch {
			apply(item)
		}
		batch = batch[:0]
	}
	for item := range items {
		if batch = append(batch, item); len(batch) == batchSize {
			flush()
		}
	}
	if len(batch) > 0 {
		flush()
	}
}

// addUsers records that users are at a peer. Repeating it has no effect, as with the next three.
func (t *Tracker) addUsers(p *peer, users iter.Seq[string]) {
	inBatches(t, users, func(user string) {
		if p.users[user] || !t.charge(costOfUser(user), &p.partial) {
			return
		}
		p.users[user] = true
		p.sum ^= sumOfUser(user)
		c := t.users[user]
		c.elsewhere++
		t.users[user] = c
	})
}

// removeUsers records that users are no longer at a peer.
func (t *Tracker) removeUsers(p *peer, users iter.Seq[string]) {
	inBatches(t, users, func(user string) {
		if !p.users[user] {
			return
		}
		delete(p.users, user)
		p.sum ^= sumOfUser(user)
		t.remoteBytes.Add(-costOfUser(user))
		c := t.users[user]
		c.elsewhere--
		t.setLocked(user, c)
	})
}

// addMembers records that members of topics are at a peer.
func (t *Tracker) addMembers(p *peer, members iter.Seq[member]) {
	inBatches(t, members, func(m member) {
		k, c := m.split()
		known, ok := p.members[k]
		cost, sum := costOfMember(k, c), sumOfMember(k, c)
		if ok {
			cost -= costOfMember(k, known)
			sum ^= sumOfMember(k, known)
		}
		if ok && known == c || !t.charge(cost, &p.partial) {
			return
		}
		p.sum ^= sum
		k = t.claimLocked(p, k, c)
		p.members[k] = c
	})
}

// removeMembers records that members of topics are no longer at a peer.
func (t *Tracker) removeMembers(p *peer, members iter.Seq[key]) {
	inBatches(t, members, func(k key) {
		known, ok := p.members[k]
		if !ok {
			return
		}
		delete(p.members, k)
		p.sum ^= sumOfMember(k, known)
		t.remoteBytes.Add(-costOfMember(k, known))
		t.disclaimLocked(p, k)
	})
}

// The memory that a user and a member of a peer take, beside names and value.
const (
	userCost   = 100
	memberCost = 350
)

func costOfUser(user string) int64 { return userCost + int64(len(user)) }

func costOfMember(k key, c claim) int64 {
	return memberCost + int64(len(k.topic)+len(k.user)+len(c.value))
}

// charge counts memory for the people of peers. If that would be too much, it sets partial and
// reports false.
func (t *Tracker) charge(cost int64, partial *bool) bool {
	if cost > 0 && t.remoteBytes.Load()+cost > t.cfg.MaxRemoteBytes {
		*partial = true
		return false
	}
	t.remoteBytes.Add(cost)
	return true
}

// countStreams records the number of a peer's streams.
func (t *Tracker) countStreams(p *peer, streams int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remoteStreams += streams - p.streams
	p.streams = streams
}

// setUp records that a peer is up, or no longer is.
func (t *Tracker) setUp(p *peer, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if up {
		t.nodes[p.name] = struct{}{}
	} else {
		delete(t.nodes, p.name)
	}
}

// expire forgets the peers that have sent nothing for the lease.
func (t *Tracker) expire() {
	for _, p := range t.peers {
		if time.Since(p.heard) >= lease {
			t.forget(p)
		}
	}
}

// depart handles the goodbye of a peer; nil is one that is not known. Its people have the grace to
// come back at other nodes.
func (t *Tracker) depart(p *peer, now time.Time) {
	switch {
	case p == nil || !p.departed.IsZero():
	case t.cfg.Grace <= 0:
		t.forget(p)
	default:
		p.departed = now
		t.countStreams(p, 0)
		t.setUp(p, false)
		if t.departures == nil {
			t.departures = time.After(t.cfg.Grace)
		}
	}
}

// forgetDeparted forgets the peers whose people have had their grace.
func (t *Tracker) forgetDeparted() {
	t.departures = nil
	for _, p := range t.peers {
		if p.departed.IsZero() {
			continue
		}
		if left := t.cfg.Grace - time.Since(p.departed); left <= 0 {
			t.forget(p)
		} else if t.departures == nil {
			t.departures = time.After(max(left, gatherTime)) // it may be a little late for others
		}
	}
}

// forget removes a peer and its people.
func (t *Tracker) forget(p *peer) {
	t.discardList(p)
	t.removeUsers(p, maps.Keys(p.users))
	t.removeMembers(p, maps.Keys(p.members))
	delete(t.peers, p.name)
	t.countStreams(p, 0)
	t.setUp(p, false)
}
