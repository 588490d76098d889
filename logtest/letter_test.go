package logtest

import (
	"bytes"
	"math/rand/v2"

	"github.com/ginsse/ginsse"
)

// The messages of nodes: of every twelve one is lost, of every five one comes twice, and
// some come after what was posted later.

// box is where a node receives messages.
type box struct {
	name string
	fn   func(message []byte)
}

// letter is a message on its way.
type letter struct {
	to      *box
	message []byte
}

func (n *node) Post(to string, message []byte) error {
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return errAway
	}
	if len(message) > 64<<10 {
		return errTooLarge
	}
	for _, other := range s.nodes {
		other.deliver(to, message)
	}
	return nil
}

// deliver is called with the store's lock.
func (n *node) deliver(to string, message []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for b := range n.boxes {
		if to != "" && to != b.name {
			continue
		}
		n.store.letters++
		copies := 1
		switch {
		case n.store.letters%12 == 0:
			copies = 0
		case n.store.letters%5 == 0:
			copies = 2
		}
		for range copies {
			n.letters = append(n.letters, letter{b, bytes.Clone(message)})
		}
	}
	select {
	case n.news <- struct{}{}:
	default:
	}
}

func (n *node) Receive(name string, fn func(message []byte)) (stop func()) {
	b := &box{name, fn}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boxes[b] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.boxes, b)
	}
}

// take returns the messages that have come: those to hand over now, and those for later.
func (n *node) take() (now, later []letter) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rand.Shuffle(len(n.letters), func(i, j int) { n.letters[i], n.letters[j] = n.letters[j], n.letters[i] })
	split := len(n.letters) - len(n.letters)/4
	if rand.IntN(4) == 0 {
		split = 0
	}
	now, later = n.letters[:split], n.letters[split:]
	n.letters = nil
	return now, later
}

// hand gives messages to those who still receive.
func (n *node) hand(letters []letter) {
	for _, l := range letters {
		n.mu.Lock()
		open := n.boxes[l.to]
		n.mu.Unlock()
		if open {
			l.to.fn(l.message)
		}
	}
}

var _ ginsse.SharedLog = (*node)(nil)
