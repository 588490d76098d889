package ginsse

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"time"
)

// bulletin is what a node tells the others.
type bulletin struct {
	Node    string   `json:"node"`
	Seq     uint64   `json:"seq"` // counts those with changes
	Streams int      `json:"streams"`
	Here    []string `json:"here,omitempty"` // users who have come
	Gone    []string `json:"gone,omitempty"` // users who have gone
	// A list, if it has a number, is of all users, as of Seq. Here has those in one of its
	// parts.
	List  uint64 `json:"list,omitempty"`
	Part  int    `json:"part,omitempty"` // from 1
	Parts int    `json:"parts,omitempty"`

	Ask    bool `json:"ask,omitempty"`    // for all
	Leaves bool `json:"leaves,omitempty"` // there will be no more
}

// bulletinBytes bounds the names in a bulletin. As JSON they are at most twice as long.
const bulletinBytes = 28 << 10

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

// postChanges tells all nodes who has come and who has gone.
func (r *Registry) postChanges() {
	r.mu.RLock()
	changed := r.presence.take()
	r.mu.RUnlock()
	r.postChanged(changed)
}

// take returns what has changed, and starts anew. Registry.mu is held, for reading: others
// who do so do not look at changed.
func (p *presence) take() map[string]bool {
	changed := p.changed
	p.changed = make(map[string]bool)
	return changed
}

func (r *Registry) postChanged(changed map[string]bool) {
	var here, gone []string
	for subject, isHere := range changed {
		if isHere {
			here = append(here, subject)
		} else {
			gone = append(gone, subject)
		}
	}
	for _, names := range batches(here) {
		r.presence.seq++
		r.post("", bulletin{Here: names})
	}
	for _, names := range batches(gone) {
		r.presence.seq++
		r.post("", bulletin{Gone: names})
	}
}

// postAll tells a node who is here: what all have been told, no more and no less.
func (r *Registry) postAll(to string) {
	p := &r.presence
	var here []string
	r.mu.RLock()
	changed := p.take()
	for subject := range r.audiences {
		if isUser(subject) {
			here = append(here, subject)
		}
	}
	r.mu.RUnlock()
	r.postChanged(changed)
	parts := batches(here)
	if len(parts) == 0 {
		parts = [][]string{nil}
	}
	p.lists++
	for i, names := range parts {
		r.post(to, bulletin{Here: names, List: p.lists, Part: i + 1, Parts: len(parts)})
	}
}

// batches returns the users of subjects, as many at a time as a bulletin takes.
func batches(subjects []string) (list [][]string) {
	for len(subjects) > 0 {
		n, size := 0, 0
		for n < len(subjects) && size < bulletinBytes {
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

const (
	// mostPeers is the most other nodes that a node counts.
	mostPeers = 1000
	// mostStreams is the most streams that another node is counted with: the sum of all fits
	// into an int.
	mostStreams = math.MaxInt / (mostPeers + 1)
	// mostParts is the most parts of a list.
	mostParts = 1 << 20
)

// decodeBulletin returns a bulletin whose numbers a registry can have sent, with the names
// that a user can have. Others may be forged, and would make counts negative.
func decodeBulletin(message []byte) (b bulletin, ok bool) {
	if err := json.Unmarshal(message, &b); err != nil {
		return b, false
	}
	switch {
	case !isNodeName(b.Node), b.Streams < 0, b.Streams > mostStreams:
		return b, false
	case b.List > 0 && (len(b.Gone) > 0 || b.Parts < 1 || b.Parts > mostParts || b.Part < 1 || b.Part > b.Parts):
		return b, false
	}
	invalid := func(name string) bool { return checkName("user ID", name) != nil }
	b.Here, b.Gone = slices.DeleteFunc(b.Here, invalid), slices.DeleteFunc(b.Gone, invalid)
	return b, true
}

// isNodeName reports whether a node may have the name: it is posted to.
func isNodeName(name string) bool {
	for i := range len(name) {
		if c := name[i] | 0x20; (c < 'a' || c > 'z') && (name[i] < '0' || name[i] > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 32
}

// read takes in a bulletin of another node.
func (r *Registry) read(message []byte) {
	b, ok := decodeBulletin(message)
	if !ok || b.Node == r.node {
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
		if len(p.peers) >= mostPeers {
			return
		}
		at = &peer{users: make(map[string]bool)}
		p.peers[b.Node] = at
	}
	at.heard = now
	r.count(b.Streams - at.streams)
	at.streams = b.Streams
	switch changes := len(b.Here)+len(b.Gone) > 0; {
	case b.List > 0:
		r.readAll(at, &b)
	case b.Seq <= at.seq: // known
	case changes && b.Seq == at.seq+1:
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

// readAll takes in a part of the list of a node's users.
func (r *Registry) readAll(at *peer, b *bulletin) {
	if b.Seq < at.seq {
		return // it is old
	}
	if b.Part == 1 {
		at.list, at.number, at.parts = make(map[string]bool), b.List, 0
	}
	if at.list == nil || b.List != at.number || b.Part != at.parts+1 {
		return // a part before is missing: all will be asked for again
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
