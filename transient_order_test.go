package ginsse_test

import (
	"strconv"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// delayedNode is a node that hears of new entries a moment later than of messages.
type delayedNode struct {
	*ssetest.Node
	news chan func()
}

func (n *delayedNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	return n.Node.Watch(func(subject string, seq uint64) { n.news <- func() { fn(subject, seq) } })
}

// Transient events of one sender arrive in its order, also if some of them have to wait for the log.
// With a key, a stream would else end up with an older one.
func TestTransientEventsOfOneSenderKeepTheirOrder(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
	delayed := &delayedNode{nodes[1], make(chan func(), 100)}
	go func() {
		for tell := range delayed.news {
			tell()
		}
	}()
	t.Cleanup(func() { close(delayed.news) })
	b := newRegistry(t, ginsse.RegistryConfig{Log: delayed})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	const last = 20_000
	for n := range last + 1 {
		if n%3 == 0 {
			send(t, a, "bob", n)
		}
		_, err := a.SendTo(t.Context(), "alice", ginsse.Event{Type: "cursor", Key: "cursor", Data: n, Transient: true})
		check(t, err)
	}
	for have := -1; have < last; {
		n, err := strconv.Atoi(stream.NextOf("cursor").Data)
		check(t, err)
		if n <= have {
			t.Fatalf("%d came after %d", n, have)
		}
		have = n
	}
}
