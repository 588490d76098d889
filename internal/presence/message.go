package presence

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"slices"
)

// message is what one node sends to others, as JSON. Every message says that the node lives.
type message struct {
	Node    string   `json:"node"`              // the sender
	Streams int      `json:"streams"`           // at the sender
	Number  uint64   `json:"number"`            // of the sender's last changes; with Joined or Left, of these
	Joined  []string `json:"joined,omitempty"`  // users that now have a stream at the sender
	Left    []string `json:"left,omitempty"`    // users that no longer have one
	List    *list    `json:"list,omitempty"`    // all users at the sender, as of Number
	Request bool     `json:"request,omitempty"` // asks for a list
	Goodbye bool     `json:"goodbye,omitempty"` // the sender ends
}

// list is one part of a full list of users.
type list struct {
	ID    uint64   `json:"id"`   // the same in all parts of one list
	Part  int      `json:"part"` // from 1
	Parts int      `json:"parts"`
	Users []string `json:"users,omitempty"`
}

const (
	// maxUserBytes bounds the user IDs in a message, with 2 bytes for each ID's quotes. JSON
	// takes at most twice as much, so that a message stays below 64 KiB.
	maxUserBytes = 28 << 10
	// maxPeers is the most other nodes that a node keeps track of.
	maxPeers = 1000
	// maxStreams is the most streams that another node may report. The sum over all nodes
	// then fits into an int.
	maxStreams = math.MaxInt / (maxPeers + 1)
	// maxParts is the most parts of a list.
	maxParts = 1 << 20
	// maxNodeBytes is the most bytes of a node's name.
	maxNodeBytes = 32
)

// encode returns the message as JSON.
func (m message) encode() ([]byte, error) {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false) // would make some characters six times as long
	err := encoder.Encode(m)
	return encoded.Bytes(), err
}

// decode returns a message that a node can have sent, and only valid users of it. Any client
// of the transport can forge messages, and a forged number must not make a count negative.
func decode(encoded []byte, validUser func(string) bool) (m message, ok bool) {
	if err := json.Unmarshal(encoded, &m); err != nil {
		return m, false
	}
	if !validNode(m.Node) || m.Streams < 0 || m.Streams > maxStreams {
		return m, false
	}
	invalid := func(user string) bool { return !validUser(user) }
	m.Joined, m.Left = slices.DeleteFunc(m.Joined, invalid), slices.DeleteFunc(m.Left, invalid)
	if l := m.List; l != nil {
		if l.Parts < 1 || l.Parts > maxParts || l.Part < 1 || l.Part > l.Parts {
			return m, false
		}
		l.Users = slices.DeleteFunc(l.Users, invalid)
	}
	return m, true
}

// validNode reports whether a node may have the name. Answers are posted to it.
func validNode(name string) bool {
	for i := range len(name) {
		if c := name[i] | 0x20; (c < 'a' || c > 'z') && (name[i] < '0' || name[i] > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxNodeBytes
}

// batches splits users into runs that each fit into one message.
func batches(users []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		for len(users) > 0 {
			n, size := 0, 0
			for n < len(users) && size < maxUserBytes {
				size += len(users[n]) + 2
				n++
			}
			if !yield(users[:n:n]) {
				return
			}
			users = users[n:]
		}
	}
}
