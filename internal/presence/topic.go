package presence

import (
	"slices"
	"strings"
	"time"
)

// topic holds the members of one topic, on all nodes. Tracker.mu guards it.
type topic struct {
	name    string
	members map[string]*place // by user
	report  report
}

// place is where a member of a topic has streams.
type place struct {
	here      int32 // streams at this node, or leaving
	own       claim // of the latest join here; not used if here is 0
	elsewhere []remoteClaim
}

// claim is what a node says of a member. The zero claim says that the member is not there.
type claim struct {
	at    int64  // when the value was set, in milliseconds since 1970
	value string // JSON
}

// remoteClaim is the claim of another node.
type remoteClaim struct {
	*peer
	claim
}

func (c claim) isZero() bool { return c == claim{} }

// isBefore reports whether other counts more. The value decides between claims of the same time, so
// that all nodes agree.
func (c claim) isBefore(other claim) bool {
	return c.at < other.at || c.at == other.at && c.value < other.value
}

// Member is a user who is present at a topic.
type Member struct {
	User  string
	Value string // JSON of at most MaxValueBytes; that of the user's latest join, on any node
}

// winner returns the claim that counts: that of the latest join.
func (p *place) winner() (latest claim) {
	if p.here != 0 {
		latest = p.own
	}
	for _, other := range p.elsewhere {
		if latest.isBefore(other.claim) {
			latest = other.claim
		}
	}
	return latest
}

// JoinTopic adds a stream of a user at this node to a topic. The value becomes the user's. It is
// JSON without spaces, of at most [MaxValueBytes].
//
// "Latest" goes by the clocks of the nodes. A value that replaces one which this node knows of is
// later than that one, whatever the clocks say.
func (t *Tracker) JoinTopic(name, user, value string) {
	now := time.Now().UnixMilli()
	t.mu.Lock()
	defer t.mu.Unlock()
	tp := t.topicLocked(name)
	p, before := t.placeLocked(tp, user)
	latest := p.winner()
	isNew := p.here == 0
	if p.here == leaving {
		p.here = 0
		delete(t.graces.until, key{name, user})
	}
	p.here++
	if isNew || p.own.value != value || latest.value != value {
		p.own = claim{at: min(max(now, latest.at+1), maxAt), value: value}
		t.memberChangedLocked(key{tp.name, user}, p.own)
		t.noteLocked(tp, user, before)
	}
}

// LeaveTopic removes a stream from a topic. Each call follows a JoinTopic with the same topic and
// user.
func (t *Tracker) LeaveTopic(name, user string) { t.leaveTopic(name, user, t.leaveLocked) }

// RemoveFromTopic is LeaveTopic without a grace, for a user who may not be there any more.
func (t *Tracker) RemoveFromTopic(name, user string) { t.leaveTopic(name, user, t.goneLocked) }

func (t *Tracker) leaveTopic(name, user string, leaveLocked func(k key)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tp := t.topics[name]
	p := tp.members[user]
	if p.here--; p.here == 0 {
		p.here = leaving
		leaveLocked(key{tp.name, user})
	}
}

// memberGoneLocked removes a member whose last stream at this node has ended.
func (t *Tracker) memberGoneLocked(k key) {
	tp := t.topics[k.topic]
	p, before := t.placeLocked(tp, k.user)
	p.here, p.own = 0, claim{}
	t.memberChangedLocked(k, claim{})
	t.settleLocked(tp, k.user, p, before)
}

// memberChangedLocked records what this node has to say of a member.
func (t *Tracker) memberChangedLocked(k key, c claim) {
	if t.cfg.Transport != nil {
		t.changed.members[k] = c
		t.wakeRunLocked()
	}
}

// claimLocked records that a peer has a member.
// It returns the key with the name that the topic has in memory already.
func (t *Tracker) claimLocked(peer *peer, k key, c claim) key {
	tp := t.topicLocked(k.topic)
	p, before := t.placeLocked(tp, k.user)
	if i := p.find(peer); i >= 0 {
		p.elsewhere[i].claim = c
	} else {
		p.elsewhere = append(p.elsewhere, remoteClaim{peer, c})
	}
	t.noteLocked(tp, k.user, before)
	return key{tp.name, k.user}
}

// disclaimLocked records that a peer no longer has a member.
func (t *Tracker) disclaimLocked(peer *peer, k key) {
	tp := t.topics[k.topic]
	p, before := t.placeLocked(tp, k.user)
	i := p.find(peer)
	p.elsewhere = slices.Delete(p.elsewhere, i, i+1)
	t.settleLocked(tp, k.user, p, before)
}

// find returns the index of a peer's claim; -1 if there is none.
func (p *place) find(peer *peer) int {
	return slices.IndexFunc(p.elsewhere, func(c remoteClaim) bool { return c.peer == peer })
}

// topicLocked returns a topic, which it creates if there is none.
func (t *Tracker) topicLocked(name string) *topic {
	tp := t.topics[name]
	if tp == nil {
		tp = &topic{name: name, members: make(map[string]*place), report: report{wanted: true}}
		t.topics[name] = tp
		t.used.Store(true)
	}
	return tp
}

// placeLocked returns the place of a user, which it creates if there is none. before says what the
// topic's readers see of the user so far; the zero claim is nothing.
func (t *Tracker) placeLocked(tp *topic, user string) (p *place, before claim) {
	p = tp.members[user]
	if p == nil {
		p = new(place)
		tp.members[user] = p
		t.members++
		return p, claim{}
	}
	return p, p.winner()
}

// settleLocked notes a change of a member after which the member may be gone.
func (t *Tracker) settleLocked(tp *topic, user string, p *place, before claim) {
	if p.here == 0 && len(p.elsewhere) == 0 {
		delete(tp.members, user)
		t.members--
	}
	t.noteLocked(tp, user, before)
	t.tidyLocked(tp)
}

// tidyLocked removes a topic that nothing is known of.
func (t *Tracker) tidyLocked(tp *topic) {
	if len(tp.members) == 0 && !tp.report.pending {
		delete(t.topics, tp.name)
	}
}

// Present returns the members of a topic on all nodes, sorted by user ID. Members that come or go
// during the call may be missing or included.
func (t *Tracker) Present(name string) []Member {
	t.mu.RLock()
	tp := t.topics[name]
	if tp == nil {
		t.mu.RUnlock()
		return nil
	}
	members := make([]Member, 0, len(tp.members))
	for user, p := range tp.members { // may change while the lock is released, which Go allows
		members = append(members, Member{user, p.winner().value})
		if len(members)%batchSize == 0 {
			t.mu.RUnlock()
			t.mu.RLock()
		}
	}
	t.mu.RUnlock()
	sortMembers(members)
	return members
}

// PresentCount returns the number of members of a topic on all nodes.
func (t *Tracker) PresentCount(name string) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if tp := t.topics[name]; tp != nil {
		return len(tp.members)
	}
	return 0
}

// IsUsed reports whether any topic has had a member, on any node.
func (t *Tracker) IsUsed() bool { return t.used.Load() }

func sortMembers(members []Member) {
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.User, b.User) })
}
