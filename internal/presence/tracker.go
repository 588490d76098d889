// Package presence tracks which users have a stream at which node of a shared log.
//
// Each node is the only source for its own users. It sends numbered changes to all nodes,
// and repeats its last number every 5 s. A node that misses a number requests a full list. So
// messages may be lost, repeated or reordered, and nothing is stored.
package presence

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// gatherTime is the time for which a node gathers changes before it sends them. A
	// page that is reloaded within that time causes no message.
	gatherTime = 100 * time.Millisecond
	// heartbeatInterval is the longest time that a node sends nothing.
	heartbeatInterval = 5 * time.Second
	// lease is the silence after which a node's users no longer count as online.
	lease = 3 * heartbeatInterval
	// requestInterval is the shortest time between two requests to one node for its list.
	requestInterval = time.Second
	// inboxSize is the number of messages that may wait for Run. Further ones are dropped.
	inboxSize = 1024
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

// Config holds the settings of a [Tracker]. All are required.
type Config struct {
	// Node is the name of this node: 1 to 32 ASCII letters and digits. No other node, and
	// no earlier run of this one, has the same name.
	Node string
	// Transport connects this node with the others.
	Transport Transport
	// ValidUser reports whether a user ID that another node names can be one. It refuses
	// invalid UTF-8 and control characters.
	ValidUser func(user string) bool
}

// Stats are counts of this node and all nodes that it has heard of.
type Stats struct {
	Nodes   int // including this one
	Streams int
	Users   int // with a stream at any node, each counted once
}

// Tracker knows which users have a stream at this node, and at the other nodes.
//
// Join, Leave, Online and Stats may be called concurrently, and under other locks: they do
// no I/O and wait only for mu, which is never held for long.
type Tracker struct {
	cfg   Config
	inbox chan []byte   // from the transport to Run; never closed
	wake  chan struct{} // from Join and Leave to Run: changed is not empty; holds one token
	done  chan struct{} // closed by Run when it returns

	// mu guards the fields below. No other lock is taken and no function of Config is called
	// while it is held.
	mu            sync.RWMutex
	users         map[string]count // by user ID; no entry is zero
	changed       map[string]bool  // users that joined (true) or left (false) since Run last looked
	localStreams  int
	remoteStreams int
	remoteNodes   int

	// The fields below belong to Run's goroutine.
	announced map[string]bool // local users, as of the changes sent so far
	number    uint64          // of the last changes sent
	lists     uint64          // full lists sent
	peers     map[string]*peer
}

// count is where a user has streams.
type count struct {
	here      int32 // streams at this node
	elsewhere int32 // other nodes at which the user has a stream
}

// New returns a tracker without users. It exchanges messages only while Run runs.
func New(cfg Config) *Tracker {
	return &Tracker{
		cfg:       cfg,
		inbox:     make(chan []byte, inboxSize),
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
		users:     make(map[string]count),
		changed:   make(map[string]bool),
		announced: make(map[string]bool),
		peers:     make(map[string]*peer),
	}
}

// Join adds a stream of a user at this node.
func (t *Tracker) Join(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.users[user]
	c.here++
	t.users[user] = c
	t.localStreams++
	if c.here == 1 {
		t.changeLocked(user, true)
	}
}

// Leave removes a stream. Each call follows a Join with the same user.
func (t *Tracker) Leave(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.users[user]
	c.here--
	t.setLocked(user, c)
	t.localStreams--
	if c.here == 0 {
		t.changeLocked(user, false)
	}
}

// changeLocked records that a user's first stream at this node has opened, or that the last
// has ended.
func (t *Tracker) changeLocked(user string, joined bool) {
	if _, pending := t.changed[user]; pending {
		delete(t.changed, user) // the other nodes know the present state
	} else {
		t.changed[user] = joined
	}
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

// Online reports whether a user has a stream at this node or at another.
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
		Nodes:   1 + t.remoteNodes,
		Streams: t.localStreams + t.remoteStreams,
		Users:   len(t.users),
	}
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
	}
}

// post sends a message. An error needs no handling: the message counts as lost.
func (t *Tracker) post(to string, m message) {
	t.mu.RLock()
	m.Streams = t.localStreams
	t.mu.RUnlock()
	m.Node, m.Number = t.cfg.Node, t.number
	if encoded, err := m.encode(); err == nil {
		_ = t.cfg.Transport.Post(to, encoded)
	}
}

// announce sends the changes since the last call to all nodes.
func (t *Tracker) announce() {
	t.mu.Lock()
	changed := t.changed
	t.changed = make(map[string]bool)
	t.mu.Unlock()
	var joined, left []string
	for user, isHere := range changed {
		if isHere {
			joined = append(joined, user)
		} else {
			left = append(left, user)
		}
	}
	for users := range batches(joined) {
		for _, user := range users {
			t.announced[user] = true
		}
		t.number++
		t.post("", message{Joined: users})
	}
	for users := range batches(left) {
		for _, user := range users {
			delete(t.announced, user)
		}
		t.number++
		t.post("", message{Left: users})
	}
}

// sendList sends a node all users announced so far. The node can apply later changes to it.
func (t *Tracker) sendList(to string) {
	parts := slices.Collect(batches(slices.Collect(maps.Keys(t.announced))))
	if len(parts) == 0 {
		parts = [][]string{nil}
	}
	t.lists++
	for i, users := range parts {
		t.post(to, message{List: &list{ID: t.lists, Part: i + 1, Parts: len(parts), Users: users}})
	}
}
