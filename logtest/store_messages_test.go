package logtest

import (
	"bytes"
	"math/rand/v2"
)

// The messages between nodes of a store: of every twelve one is lost, of every five one comes
// twice, and some come after later ones.

// storeReceiver is a name that a node receives under.
type storeReceiver struct {
	name string
	fn   func(message []byte)
}

// delivery is a message on its way.
type delivery struct {
	to      *storeReceiver
	message []byte
}

func (n *storeNode) Post(to string, message []byte) error {
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.isPartitioned() {
		return errPartitioned
	}
	if len(message) > 64<<10 {
		return errTooLarge
	}
	for _, other := range s.nodes {
		other.queueLocked(to, message)
	}
	return nil
}

// queueLocked is called with the store's lock.
func (n *storeNode) queueLocked(to string, message []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.partitioned {
		return
	}
	for r := range n.receivers {
		if to != "" && to != r.name {
			continue
		}
		n.store.deliveries++
		copies := 1
		switch {
		case n.store.deliveries%12 == 0:
			copies = 0
		case n.store.deliveries%5 == 0:
			copies = 2
		}
		for range copies {
			n.messages = append(n.messages, delivery{r, bytes.Clone(message)})
		}
	}
	n.notifyLocked()
}

func (n *storeNode) Receive(name string, fn func(message []byte)) (stop func()) {
	r := &storeReceiver{name, fn}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.receivers[r] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.receivers, r)
	}
}

// takeMessages returns the messages to deliver now, and those to deliver later.
func (n *storeNode) takeMessages() (now, later []delivery) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.messages
	n.messages = nil
	rand.Shuffle(len(m), func(i, j int) { m[i], m[j] = m[j], m[i] })
	split := len(m) - len(m)/4
	if rand.IntN(4) == 0 {
		split = 0
	}
	return m[:split], m[split:]
}

func (n *storeNode) deliver(messages []delivery) {
	for _, d := range messages {
		n.mu.Lock()
		open := n.receivers[d.to]
		n.mu.Unlock()
		if open {
			d.to.fn(d.message)
		}
	}
}
