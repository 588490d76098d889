package ginsse

import (
	"maps"
	"time"
)

// presence is who is online at the other nodes of a [SharedLog], as far as this one has
// heard, and what it has to tell them.
//
// Each node alone says who is at it. It tells changes, which it numbers, and every few
// seconds the number it has reached; whoever finds that one was missed asks for all. So
// messages may be lost, and nothing is stored, however many streams come and go.
type presence struct {
	inbox  chan []byte   // bulletins; what finds no room is lost
	turned chan struct{} // has room for one: there is something in changed
	done   chan struct{} // closed when runPresence has ended

	// Guarded by Registry.mu.
	changed   map[string]bool // the users, by subject, who have come (true) or gone since it was told
	elsewhere map[string]int  // at how many other nodes a user is, by subject; never 0
	both      int             // users who are here and elsewhere
	nodes     int             // other nodes
	streams   int             // at them

	// Of runPresence alone.
	seq   uint64 // of the last changes told
	lists uint64 // told
	peers map[string]*peer
}

// peer is another node.
type peer struct {
	heard   time.Time       // when it last said something
	asked   time.Time       // when it was last asked for all
	seq     uint64          // of its changes
	missed  bool            // there were changes that did not come here
	users   map[string]bool // who is at it, by subject
	streams int

	// All its users, of which some parts have come.
	list   map[string]bool
	number uint64 // of the list
	parts  int    // that have come
}

const (
	// presencePause gathers what changes: a page that is reloaded changes nothing.
	presencePause = 100 * time.Millisecond
	// presenceBeat is the longest silence of a node.
	presenceBeat = 5 * time.Second
	// presenceLease is the silence after which a node's users are not online any more.
	presenceLease = 3 * presenceBeat
	// presenceAnswer is how long a node that was asked for all may take.
	presenceAnswer = time.Second

	// moveAtOnce is how many users come or go while senders wait for the lock.
	moveAtOnce = 1000

	inboxSize = 1024
)

// turnedLocked notes that a user's first stream here has come, or the last has gone.
func (r *Registry) turnedLocked(subject string, here bool) {
	if r.shared == nil {
		return
	}
	p := &r.presence
	if _, ok := p.changed[subject]; ok {
		delete(p.changed, subject) // it is again what the others think
	} else {
		p.changed[subject] = here
	}
	if p.elsewhere[subject] > 0 {
		if here {
			p.both++
		} else {
			p.both--
		}
	}
	select {
	case p.turned <- struct{}{}:
	default:
	}
}

// runPresence exchanges with the other nodes who is online, until the registry is closed.
func (r *Registry) runPresence() {
	p := &r.presence
	defer close(p.done)
	stop := r.shared.Receive(r.node, func(message []byte) {
		select {
		case p.inbox <- message:
		default:
		}
	})
	defer stop()
	beat := time.NewTicker(presenceBeat)
	defer beat.Stop()
	r.post("", bulletin{Ask: true})
	var soon <-chan time.Time
	for {
		select {
		case <-p.turned:
			if soon == nil {
				soon = time.After(presencePause)
			}
		case <-soon:
			soon = nil
			r.postChanges()
		case <-beat.C:
			r.forgetSilent()
			r.post("", bulletin{})
		case message := <-p.inbox:
			r.read(message)
		case <-r.life.Done():
			r.post("", bulletin{Leaves: true})
			return
		}
	}
}

// move notes that users have come to a node or gone from it; they may have before.
func (r *Registry) move(at *peer, names func(yield func(string) bool), here bool) {
	p := &r.presence
	r.mu.Lock()
	defer r.mu.Unlock()
	held := 0
	for name := range names {
		if at.users[name] == here {
			continue
		}
		if held++; held%moveAtOnce == 0 {
			r.mu.Unlock()
			r.mu.Lock()
		}
		subject := subjectUser + name
		before := p.elsewhere[subject]
		after := before - 1
		if here {
			after = before + 1
			at.users[name] = true
		} else {
			delete(at.users, name)
		}
		if after == 0 {
			delete(p.elsewhere, subject)
		} else {
			p.elsewhere[subject] = after
		}
		if (before == 0) != (after == 0) && r.audiences[subject] != nil {
			p.both += after - before
		}
	}
}

// count notes how the others' streams have changed in number, and how many they are.
func (r *Registry) count(streams int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.presence.streams += streams
	r.presence.nodes = len(r.presence.peers)
}

func (r *Registry) forgetSilent() {
	for node, at := range r.presence.peers {
		if time.Since(at.heard) >= presenceLease {
			r.forget(node)
		}
	}
}

// forget notes that a node is there no more.
func (r *Registry) forget(node string) {
	at := r.presence.peers[node]
	if at == nil {
		return
	}
	r.move(at, maps.Keys(at.users), false)
	delete(r.presence.peers, node)
	r.count(-at.streams)
}
