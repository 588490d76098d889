package presence_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// gathered is enough time for a change to reach all nodes.
const gathered = 200 * time.Millisecond

// heartbeat is the interval in which an idle node sends a message.
const heartbeat = 5 * time.Second

// pass lets time pass in a bubble of synctest, and then the nodes handle all messages.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// mesh connects nodes in memory. A message arrives at once unless a link says otherwise.
type mesh struct {
	mu    sync.Mutex // guards links, and the fields of each
	links []*link
}

// link is a node's connection to the mesh.
type link struct {
	mesh *mesh

	name        string
	receive     func(message []byte) // nil if the node does not listen
	partitioned bool                 // no message leaves or arrives
	carry       func(to string, message []byte, deliver func())
	sent        []sent
}

type sent struct{ to, message string }

var errPartitioned = errors.New("the node is partitioned")

func (l *link) Post(to string, message []byte) error {
	message = bytes.Clone(message)
	l.mesh.mu.Lock()
	l.sent = append(l.sent, sent{to, string(message)})
	carry, partitioned := l.carry, l.partitioned
	l.mesh.mu.Unlock()
	switch {
	case partitioned:
		return errPartitioned
	case carry != nil:
		carry(to, message, func() { l.mesh.deliver(to, message) })
	default:
		l.mesh.deliver(to, message)
	}
	return nil
}

func (l *link) Receive(name string, fn func(message []byte)) (stop func()) {
	set := func(fn func(message []byte)) {
		l.mesh.mu.Lock()
		defer l.mesh.mu.Unlock()
		l.name, l.receive = name, fn
	}
	set(fn)
	return func() { set(nil) }
}

// deliver passes a message to one node or to all.
func (m *mesh) deliver(to string, message []byte) {
	var receivers []func([]byte)
	m.mu.Lock()
	for _, l := range m.links {
		if l.receive != nil && !l.partitioned && (to == "" || to == l.name) {
			receivers = append(receivers, l.receive)
		}
	}
	m.mu.Unlock()
	for _, receive := range receivers {
		receive(bytes.Clone(message))
	}
}

func (l *link) setPartitioned(partitioned bool) {
	l.mesh.mu.Lock()
	defer l.mesh.mu.Unlock()
	l.partitioned = partitioned
}

// setCarry has fn deliver the messages that the node sends; nil delivers them at once.
func (l *link) setCarry(fn func(to string, message []byte, deliver func())) {
	l.mesh.mu.Lock()
	defer l.mesh.mu.Unlock()
	l.carry = fn
}

// messages returns the messages that the node has sent so far.
func (l *link) messages() []sent {
	l.mesh.mu.Lock()
	defer l.mesh.mu.Unlock()
	return slices.Clone(l.sent)
}

// node is a running tracker and its link.
type node struct {
	*presence.Tracker
	*link

	stop context.CancelFunc
}

// start adds a node to the mesh and runs its tracker until the test ends.
func (m *mesh) start(t testing.TB, name string, options ...func(cfg *presence.Config)) *node {
	t.Helper()
	l := &link{mesh: m}
	m.mu.Lock()
	m.links = append(m.links, l)
	m.mu.Unlock()
	cfg := presence.Config{Node: name, Transport: l, ValidName: validName}
	for _, option := range options {
		option(&cfg)
	}
	n := &node{link: l, Tracker: presence.New(cfg)}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go n.Run(ctx)
	t.Cleanup(func() {
		cancel()
		<-n.Done()
		n.Stop()
	})
	return n
}

// startAll starts nodes on a new mesh.
func startAll(t testing.TB, names ...string) (*mesh, []*node) {
	t.Helper()
	return startAllWith(t, func(*presence.Config) {}, names...)
}

// startAllWith is startAll with other settings.
func startAllWith(t testing.TB, option func(cfg *presence.Config), names ...string) (*mesh, []*node) {
	t.Helper()
	m := new(mesh)
	nodes := make([]*node, len(names))
	for i, name := range names {
		nodes[i] = m.start(t, name, option)
	}
	synctest.Wait()
	return m, nodes
}

// withGrace has users leave 5 s after their last stream.
func withGrace(cfg *presence.Config) { cfg.Grace = grace }

const grace = 5 * time.Second

func validName(user string) bool {
	return user != "" && len(user) <= 256 && !strings.Contains(user, "\x00")
}

// wantOnline fails unless exactly these of a few users are online at a node.
func wantOnline(t *testing.T, n *node, users ...string) {
	t.Helper()
	want, got := make(map[string]bool), make(map[string]bool)
	for _, user := range []string{"alice", "bob", "carol"} {
		want[user], got[user] = slices.Contains(users, user), n.Online(user)
	}
	if !maps.Equal(got, want) {
		t.Errorf("online at node %s: %v, want %v", n.name, got, want)
	}
}

// wantPresent fails unless exactly these members are present at a topic, in order. A member is a
// user with a value: `alice:"A"`.
func wantPresent(t *testing.T, n *presence.Tracker, topic string, members ...string) {
	t.Helper()
	if got := texts(n.Present(topic)); !slices.Equal(got, members) {
		t.Errorf("present at %s: %v, want %v", topic, got, members)
	}
	if got := n.PresentCount(topic); got != len(members) {
		t.Errorf("%d are present at %s, want %d", got, topic, len(members))
	}
}

func texts(members []presence.Member) (texts []string) {
	for _, m := range members {
		texts = append(texts, m.User+":"+m.Value)
	}
	return texts
}

func wantStats(t *testing.T, n *node, want presence.Stats) {
	t.Helper()
	if got := n.Stats(); got != want {
		t.Errorf("node %s counts %+v, want %+v", n.name, got, want)
	}
}
