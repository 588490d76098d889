package ginsse

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
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
	list    map[string]bool
	listSeq uint64
	parts   int
}

// bulletin is what a node tells the others.
type bulletin struct {
	Node    string   `json:"node"`
	Seq     uint64   `json:"seq"` // counts those with changes
	Streams int      `json:"streams"`
	Here    []string `json:"here,omitempty"` // users who have come
	Gone    []string `json:"gone,omitempty"` // users who have gone
	// Part of Parts lists all users in Here, as of Seq.
	Part  int `json:"part,omitempty"`
	Parts int `json:"parts,omitempty"`

	Ask    bool `json:"ask,omitempty"`    // for all
	Leaves bool `json:"leaves,omitempty"` // there will be no more
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

	// The bounds of a bulletin. Written as JSON a name is at most twice as long.
	bulletinNames = 1000
	bulletinBytes = 28 << 10

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

// post sends a bulletin. One that is lost is missed by those who get the next.
func (r *Registry) post(to string, b bulletin) {
	r.mu.RLock()
	b.Node, b.Seq, b.Streams = r.node, r.presence.seq, r.streams
	r.mu.RUnlock()
	var message bytes.Buffer
	encoder := json.NewEncoder(&message)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(b); err == nil { // there is nothing in it that cannot be
		_ = r.shared.Post(to, message.Bytes())
	}
}

func (r *Registry) postChanges() {
	p := &r.presence
	r.mu.Lock()
	changed := p.changed
	p.changed = make(map[string]bool)
	r.mu.Unlock()
	var here, gone []string
	for subject, isHere := range changed {
		if isHere {
			here = append(here, subject)
		} else {
			gone = append(gone, subject)
		}
	}
	for _, names := range batches(here) {
		p.seq++
		r.post("", bulletin{Here: names})
	}
	for _, names := range batches(gone) {
		p.seq++
		r.post("", bulletin{Gone: names})
	}
}

// postAll tells a node who is here. Some may have changed already and be told to all by
// the next bulletin, which changes nothing then.
func (r *Registry) postAll(to string) {
	var here []string
	r.mu.RLock()
	for subject := range r.audiences {
		if isUser(subject) {
			here = append(here, subject)
		}
	}
	r.mu.RUnlock()
	parts := batches(here)
	if len(parts) == 0 {
		parts = [][]string{nil}
	}
	for i, names := range parts {
		r.post(to, bulletin{Here: names, Part: i + 1, Parts: len(parts)})
	}
}

// batches returns the users of subjects, as many at a time as a bulletin takes.
func batches(subjects []string) (list [][]string) {
	for len(subjects) > 0 {
		n, size := 0, 0
		for n < min(len(subjects), bulletinNames) && size <= bulletinBytes {
			size += len(subjects[n])
			n++
		}
		names := make([]string, n)
		for i, subject := range subjects[:n] {
			names[i] = userOf(subject)
		}
		list, subjects = append(list, names), subjects[n:]
	}
	return list
}

// read takes in a bulletin of another node.
func (r *Registry) read(message []byte) {
	var b bulletin
	if err := json.Unmarshal(message, &b); err != nil || b.Node == "" || b.Node == r.node {
		return
	}
	p := &r.presence
	if b.Leaves {
		r.forget(b.Node)
		return
	}
	now := time.Now()
	at := p.peers[b.Node]
	if at == nil {
		at = &peer{users: make(map[string]bool)}
		p.peers[b.Node] = at
	}
	at.heard = now
	r.count(b.Streams - at.streams)
	at.streams = b.Streams
	switch changes := len(b.Here)+len(b.Gone) > 0; {
	case b.Parts > 0:
		r.readAll(at, &b)
	case b.Seq <= at.seq: // known
	case changes && b.Seq == at.seq+1 && !at.missed:
		at.seq = b.Seq
		r.move(at, slices.Values(b.Here), true)
		r.move(at, slices.Values(b.Gone), false)
	default:
		at.missed = true
	}
	if at.missed && now.Sub(at.asked) > presenceAnswer {
		at.asked = now
		r.post(b.Node, bulletin{Ask: true})
	}
	if b.Ask {
		r.postAll(b.Node)
	}
}

// readAll takes in one part of all users of a node.
func (r *Registry) readAll(at *peer, b *bulletin) {
	if b.Part == 1 {
		at.list, at.listSeq, at.parts = make(map[string]bool), b.Seq, 0
	}
	if at.list == nil || b.Seq < at.seq || b.Seq != at.listSeq || b.Part != at.parts+1 {
		at.list = nil // a part is missing, or it is old: it will be asked for again
		return
	}
	at.parts = b.Part
	for _, name := range b.Here {
		at.list[name] = true
	}
	if b.Part < b.Parts {
		return
	}
	at.seq, at.missed = b.Seq, false
	gone := maps.Clone(at.users)
	for name := range at.list {
		delete(gone, name)
	}
	r.move(at, maps.Keys(gone), false)
	r.move(at, maps.Keys(at.list), true)
	at.list = nil
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
		if held++; held%bulletinNames == 0 { // senders wait for the lock
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
	r.move(at, maps.Keys(maps.Clone(at.users)), false)
	delete(r.presence.peers, node)
	r.count(-at.streams)
}
