// Package presence tracks which users have a stream at which node of a shared log, and which users
// are members of which topics.
//
// Each node is the only source for its own people. It sends numbered changes to all nodes,
// and repeats its last number every 5 s. A node that misses a number requests a full list. So
// messages may be lost, repeated or reordered, and nothing is stored.
//
// A user leaves [Config.Grace] after the last stream. The node that the stream was on waits, and the
// other nodes hear of it afterwards. A node that shuts down cannot wait, so the others do.
package presence

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// gatherTime is the time for which a node gathers changes before it sends them. A
	// page that is reloaded within that time causes no message, also without a grace.
	gatherTime = 100 * time.Millisecond
	// heartbeatInterval is the longest time that a node sends nothing.
	heartbeatInterval = 5 * time.Second
	// lease is the silence after which a node's people no longer count.
	lease = 3 * heartbeatInterval
	// requestInterval is the shortest time between two requests to one node for its list.
	requestInterval = time.Second
	// inboxSize is the number of messages that may wait for Run. Further ones are dropped.
	inboxSize = 1024
	// defaultMaxRemoteBytes is what the people of all other nodes may take in memory.
	defaultMaxRemoteBytes = 1 << 30
)

// Transport carries messages between nodes. It may lose, repeat and reorder them.
type Transport interface {
	// Post sends a message of at most 64 KiB to the node with the given name, or to all
	// nodes if the name is empty. It does not keep the message.
	Post(to string, message []byte) error
	// Receive calls fn with each message to the named node or to all nodes, until stop is
	// called. fn does not block, and owns the message.
	Receive(name string, fn func(message []byte)) (stop func())
}

// Config holds the settings of a [Tracker].
type Config struct {
	// Node is the name of this node: 1 to 32 ASCII letters and digits. No other node, and
	// no earlier run of this one, has the same name. It is required with a Transport.
	Node string
	// Transport connects this node with the others. Without one there are no others, and Run
	// must not be called.
	Transport Transport
	// ValidName reports whether a user ID or a topic that another node names can be one. It
	// refuses invalid UTF-8 and control characters. It is required with a Transport.
	ValidName func(name string) bool
	// Grace is how long a user stays after the last stream. 0 is none.
	Grace time.Duration
	// HasReaders reports whether this node has readers of a topic. Changes of other topics
	// are not reported. It is required with Changed.
	HasReaders func(topic string) bool
	// Changed is called after the members of a topic have changed: after 0.1 s, or for a crowd
	// after 5 s since the last call for the topic. Calls come one at a time, in order. It may
	// call the tracker, and must not block for long. nil reports nothing.
	Changed func(change Change)
	// MaxRemoteBytes bounds the memory for the people of all other nodes, by an estimate of 100
	// bytes a user and 350 a member, and the names and values. People beyond it are ignored. So a
	// forged message cannot fill the memory. Default 1 GiB.
	MaxRemoteBytes int64
}

// Stats are counts of this node and all nodes that it has heard of.
type Stats struct {
	Nodes   int // including this one
	Streams int
	Users   int // that are online, each counted once
}

// Tracker knows which users have a stream at this node, and at the other nodes, and which are
// members of topics.
//
// All methods but Run may be called concurrently, and under other locks: they do no I/O and wait
// only for mu, which is never held for long.
type Tracker struct {
	cfg   Config
	inbox chan []byte   // from the transport to Run; never closed
	wake  chan struct{} // to Run: there are changes; holds one token
	done  chan struct{} // closed by Run when it returns
	used  atomic.Bool   // there was a member of a topic

	dropped     atomic.Uint64 // messages that were not handled, because too many waited
	remoteBytes atomic.Int64  // estimate for the people of all peers; only Run's goroutine changes it

	// mu guards the fields below. No other lock is taken and no function of Config is called
	// while it is held.
	mu            sync.RWMutex
	users         map[string]count // by user ID; no entry is zero
	topics        map[string]*topic
	members       int     // of all topics
	changed       changes // since Run last looked; not used without a Transport
	localStreams  int
	remoteStreams int
	nodes         map[string]struct{} // names of the other nodes that are up
	graces        graces
	chores        chores

	// The fields below belong to Run's goroutine.
	announced  announced
	number     uint64 // of the last changes sent
	lists      uint64 // full lists sent
	peers      map[string]*peer
	departures <-chan time.Time // fires when a peer that said goodbye may be forgotten
}

// count is where a user has streams.
type count struct {
	here      int32 // streams at this node, or leaving
	elsewhere int32 // other nodes at which the user has a stream
}

// leaving stands for a number of streams at this node: none, but the grace has not passed.
const leaving = -1

// key names a user who is online, or with a topic, a member of it.
type key struct{ topic, user string }

// changes holds the latest state of what has changed at this node.
type changes struct {
	users   map[string]bool // by user ID; false has left
	members map[key]claim   // the zero claim has left
}

// announced is what the other nodes know of this one, as of the changes sent so far.
type announced struct {
	users   map[string]bool
	members map[key]claim
	sum     uint64
}

// New returns a tracker without users. It exchanges messages only while Run runs.
func New(cfg Config) *Tracker {
	if cfg.MaxRemoteBytes == 0 {
		cfg.MaxRemoteBytes = defaultMaxRemoteBytes
	}
	return &Tracker{
		cfg:       cfg,
		inbox:     make(chan []byte, inboxSize),
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
		users:     make(map[string]count),
		topics:    make(map[string]*topic),
		changed:   newChanges(),
		nodes:     make(map[string]struct{}),
		graces:    graces{until: make(map[key]time.Time)},
		announced: announced{users: make(map[string]bool), members: make(map[key]claim)},
		peers:     make(map[string]*peer),
	}
}

func newChanges() changes {
	return changes{users: make(map[string]bool), members: make(map[key]claim)}
}

// Join adds a stream of a user at this node.
func (t *Tracker) Join(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.localStreams++
	c := t.users[user]
	switch c.here {
	case leaving:
		c.here = 0
		delete(t.graces.until, key{user: user})
	case 0:
		t.userChangedLocked(user, true)
	}
	c.here++
	t.users[user] = c
}

// Leave removes a stream. Each call follows a Join with the same user.
func (t *Tracker) Leave(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.localStreams--
	c := t.users[user]
	if c.here--; c.here > 0 {
		t.users[user] = c
		return
	}
	c.here = leaving
	t.users[user] = c
	t.leaveLocked(key{user: user})
}

// userGoneLocked removes a user whose last stream at this node has ended.
func (t *Tracker) userGoneLocked(user string) {
	c := t.users[user]
	c.here = 0
	t.setLocked(user, c)
	t.userChangedLocked(user, false)
}

// userChangedLocked records that a user has come to this node, or left it.
func (t *Tracker) userChangedLocked(user string, here bool) {
	if t.cfg.Transport != nil {
		t.changed.users[user] = here
		t.wakeRunLocked()
	}
}

func (t *Tracker) wakeRunLocked() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// setLocked stores the count of a user.
func (t *Tracker) setLocked(user string, c count) {
	if c == (count{}) {
		delete(t.users, user)
	} else {
		t.users[user] = c
	}
}

// Online reports whether a user has a stream at this node or at another, or had one until a moment
// ago: see [Config.Grace].
func (t *Tracker) Online(user string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, online := t.users[user]
	return online
}

// Stats returns the present counts.
func (t *Tracker) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return Stats{
		Nodes:   1 + len(t.nodes),
		Streams: t.localStreams + t.remoteStreams,
		Users:   len(t.users),
	}
}

// Load is how much a tracker has to hold and to do.
type Load struct {
	Topics  int    // with a member at any node, or that had one until a moment ago
	Members int    // a user counts once for each topic
	Leaving int    // users and members of this node that have no stream, and have not left yet
	Bytes   int64  // estimate for the people of other nodes; see Config.MaxRemoteBytes
	Dropped uint64 // messages that were not handled, because too many waited
}

// Load returns the present figures.
func (t *Tracker) Load() Load {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return Load{
		Topics: len(t.topics), Members: t.members, Leaving: len(t.graces.until),
		Bytes: t.remoteBytes.Load(), Dropped: t.dropped.Load(),
	}
}

// Nodes returns the names of the other nodes that are up, in no order.
func (t *Tracker) Nodes() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := make([]string, 0, len(t.nodes))
	for name := range t.nodes {
		names = append(names, name)
	}
	return names
}

// Run exchanges messages with the other nodes until ctx ends, and then sends a goodbye. It is
// called once.
func (t *Tracker) Run(ctx context.Context) {
	defer close(t.done)
	stop := t.cfg.Transport.Receive(t.cfg.Node, t.receive)
	defer stop()
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	t.post("", message{Request: true})
	var gathered <-chan time.Time
	for {
		select {
		case <-t.wake:
			if gathered == nil {
				gathered = time.After(gatherTime)
			}
		case <-gathered:
			gathered = nil
			t.announce()
		case <-heartbeat.C:
			t.expire()
			t.post("", message{})
		case <-t.departures:
			t.forgetDeparted()
		case encoded := <-t.inbox:
			t.handle(encoded)
		case <-ctx.Done():
			t.post("", message{Goodbye: true})
			return
		}
	}
}

// Done returns a channel that is closed when Run has sent its goodbye.
func (t *Tracker) Done() <-chan struct{} { return t.done }

// receive passes a message to Run. If Run is far behind, the message is dropped, and a later
// one shows that it is missing.
func (t *Tracker) receive(encoded []byte) {
	select {
	case t.inbox <- encoded:
	default:
		t.dropped.Add(1)
	}
}

// post sends a message. An error needs no handling: the message counts as lost.
func (t *Tracker) post(to string, m message) {
	t.mu.RLock()
	m.Streams = t.localStreams
	t.mu.RUnlock()
	m.Node, m.Number, m.Sum = t.cfg.Node, t.number, t.announced.sum
	if encoded, err := m.encode(); err == nil {
		_ = t.cfg.Transport.Post(to, encoded)
	}
}

// announce sends the changes since the last call to all nodes. What has changed back is not sent.
func (t *Tracker) announce() {
	t.mu.Lock()
	changed := t.changed
	t.changed = newChanges()
	t.mu.Unlock()
	var batch batch
	send := func() {
		t.number++
		t.post("", message{people: batch.people, Left: batch.left, Absent: batch.absent})
		batch.reset()
	}
	for user, here := range changed.users {
		switch {
		case here == t.announced.users[user]:
			continue
		case here:
			t.announced.users[user] = true
		default:
			delete(t.announced.users, user)
		}
		t.announced.sum ^= sumOfUser(user)
		if batch.addUser(user, here) {
			send()
		}
	}
	for k, c := range changed.members {
		known := t.announced.members[k]
		if c == known {
			continue
		}
		if !known.isZero() {
			t.announced.sum ^= sumOfMember(k, known)
		}
		if c.isZero() {
			delete(t.announced.members, k)
		} else {
			t.announced.members[k] = c
			t.announced.sum ^= sumOfMember(k, c)
		}
		if batch.addMember(k, c) {
			send()
		}
	}
	if batch.size > 0 {
		send()
	}
}

// sendList sends a node all people announced so far. The node can apply later changes to it.
func (t *Tracker) sendList(to string) {
	var batch batch
	var parts []people
	for user := range t.announced.users {
		if batch.addUser(user, true) {
			parts = append(parts, batch.people)
			batch.reset()
		}
	}
	for k, c := range t.announced.members {
		if batch.addMember(k, c) {
			parts = append(parts, batch.people)
			batch.reset()
		}
	}
	if batch.size > 0 || len(parts) == 0 {
		parts = append(parts, batch.people)
	}
	t.lists++
	for i, people := range parts {
		t.post(to, message{List: &list{ID: t.lists, Part: i + 1, Parts: len(parts)}, people: people})
	}
}
