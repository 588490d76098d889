package presence

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"slices"
	"unicode/utf8"
)

// message is what one node sends to others, as JSON. Every message says that the node lives.
type message struct {
	Node    string   `json:"node"`    // the sender
	Streams int      `json:"streams"` // at the sender
	Number  uint64   `json:"number"`  // of the sender's last changes; with changes, of these
	Sum     uint64   `json:"sum"`     // of all people at the sender, as of Number
	people           // that now are at the sender; with List, a part of all people, as of Number
	Left    []string `json:"left,omitempty"`    // users that no longer have a stream at the sender
	Absent  []member `json:"absent,omitempty"`  // members that are gone from the sender
	List    *list    `json:"list,omitempty"`    // the message is a part of a list
	Request bool     `json:"request,omitempty"` // asks for a list
	Goodbye bool     `json:"goodbye,omitempty"` // the sender ends
}

// people are users with a stream, and members of topics.
type people struct {
	Joined  []string `json:"joined,omitempty"`
	Present []member `json:"present,omitempty"`
}

// member is a user at a topic.
type member struct {
	Topic string          `json:"topic"`
	User  string          `json:"user"`
	Value json.RawMessage `json:"value,omitempty"`
	At    int64           `json:"at,omitempty"` // when the value was set, in milliseconds since 1970
}

// list says which part of a full list a message is.
type list struct {
	ID    uint64 `json:"id"`   // the same in all parts of one list
	Part  int    `json:"part"` // from 1
	Parts int    `json:"parts"`
}

const (
	// maxBatchBytes bounds the people in a message, by what JSON takes if it escapes nothing.
	// JSON takes at most twice as much, so that a message stays below 64 KiB.
	maxBatchBytes = 28 << 10
	// memberBytes is what JSON adds to the names and the value of a member.
	memberBytes = 56
	// MaxValueBytes is the most bytes of a member's value.
	MaxValueBytes = 512
	// maxPeers is the most other nodes that a node keeps track of.
	maxPeers = 1000
	// maxStreams is the most streams that another node may report. The sum over all nodes
	// then fits into an int.
	maxStreams = math.MaxInt / (maxPeers + 1)
	// maxParts is the most parts of a list.
	maxParts = 1 << 20
	// maxNodeBytes is the most bytes of a node's name.
	maxNodeBytes = 32
	// maxAt is the latest time at which a value may be set.
	maxAt = 1 << 50
)

// encode returns the message as JSON.
func (m message) encode() ([]byte, error) {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false) // would make some characters six times as long
	err := encoder.Encode(m)
	return encoded.Bytes(), err
}

// decode returns a message that a node can have sent, and only valid people of it. Any client
// of the transport can forge messages, and a forged number must not make a count negative.
func decode(encoded []byte, validName func(string) bool) (m message, ok bool) {
	if err := json.Unmarshal(encoded, &m); err != nil {
		return m, false
	}
	if !IsNode(m.Node) || m.Streams < 0 || m.Streams > maxStreams {
		return m, false
	}
	if l := m.List; l != nil && (l.Parts < 1 || l.Parts > maxParts || l.Part < 1 || l.Part > l.Parts) {
		return m, false
	}
	invalid := func(user string) bool { return !validName(user) }
	m.Joined, m.Left = slices.DeleteFunc(m.Joined, invalid), slices.DeleteFunc(m.Left, invalid)
	m.Absent = slices.DeleteFunc(m.Absent, func(n member) bool { return !validName(n.Topic) || !validName(n.User) })
	m.Present = slices.DeleteFunc(m.Present, func(n member) bool {
		return !validName(n.Topic) || !validName(n.User) || len(n.Value) > MaxValueBytes || !utf8.Valid(n.Value) ||
			n.At < 1 || n.At > maxAt
	})
	return m, true
}

// sumOfUser returns what a user adds to the sum of all people at a node, by exclusive or. With sums,
// nodes find what is wrong at the right number: after a forged message.
func sumOfUser(user string) uint64 { return sumOfMember(key{user: user}, claim{}) }

// sumOfMember is sumOfUser for a member of a topic.
func sumOfMember(k key, c claim) uint64 {
	h := fnv.New64a()
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(c.at))
	_, _ = h.Write(at[:])
	for _, text := range []string{k.topic, k.user, c.value} {
		_, _ = h.Write([]byte(text))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

// hasChanges reports whether the message has changes that belong to its number.
func (m message) hasChanges() bool {
	return m.List == nil && len(m.Joined)+len(m.Left)+len(m.Present)+len(m.Absent) > 0
}

// IsNode reports whether a node may have the name. Answers are posted to it.
func IsNode(name string) bool {
	for i := range len(name) {
		if c := name[i] | 0x20; (c < 'a' || c > 'z') && (name[i] < '0' || name[i] > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxNodeBytes
}

// batch gathers people for one message.
type batch struct {
	people

	left   []string
	absent []member
	size   int
}

// addUser adds a user who is here, or has left. It reports whether the batch is full.
func (b *batch) addUser(user string, here bool) (full bool) {
	if here {
		b.Joined = append(b.Joined, user)
	} else {
		b.left = append(b.left, user)
	}
	return b.grow(len(user) + 3)
}

// addMember adds a member with a claim; one with the zero claim has left. It reports whether the
// batch is full.
func (b *batch) addMember(k key, c claim) (full bool) {
	m := member{Topic: k.topic, User: k.user}
	if c.isZero() {
		b.absent = append(b.absent, m)
	} else {
		m.At, m.Value = c.at, json.RawMessage(c.value)
		b.Present = append(b.Present, m)
	}
	return b.grow(len(k.topic) + len(k.user) + len(c.value) + memberBytes)
}

func (b *batch) grow(size int) (full bool) {
	b.size += size
	return b.size >= maxBatchBytes
}

func (b *batch) reset() { *b = batch{} }
