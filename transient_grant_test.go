package ginsse_test

import (
	"fmt"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A grant shows nothing from before it, also no transient event that a stream could still get.
func TestTransientEventFromBeforeAGrantIsNotDelivered(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	_, err := registry.Publish(t.Context(), "board", ginsse.Event{Type: "typing", Data: "secret", Transient: true})
	check(t, err)
	check(t, registry.Grant(t.Context(), "alice", "board"))
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`)
	for n := range 2 { // the first may be written before a transient event that was there earlier
		send(t, registry, "alice", n)
		wantNext(t, stream, fmt.Sprint("n ", n))
	}
}

// A node that lags may know the head of the log, for example because a stream has opened. It still
// holds a transient event back that was sent after a revocation which it has not read.
func TestTransientEventDoesNotOvertakeARevocationOnANodeThatKnowsTheHead(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
	lagging := &laggingNode{Node: nodes[1]}
	b := newRegistry(t, ginsse.RegistryConfig{Log: lagging})
	server := ssetest.NewServer(t, newEngine(t, b))
	stream := server.Open(t, "/events?topic=board", as("alice"))
	stream.NextOf("sse.open")
	lagging.setLag(true)
	check(t, a.Revoke(t.Context(), "alice", "board"))
	server.Open(t, "/events", as("bob")).NextOf("sse.open") // asks for the head
	_, err := a.Publish(t.Context(), "board", ginsse.Event{Type: "typing", Data: "secret", Transient: true})
	check(t, err)
	_, err = b.SendTo(t.Context(), "alice", ginsse.Event{Type: "typing", Data: "own", Transient: true}) // wakes the stream
	check(t, err)
	lagging.setLag(false)
	send(t, a, "alice", 1)
	stream.NextOf("sse.topics")
	for e := stream.Next(); e.Type != "n"; e = stream.Next() {
		if e.Data == "secret" {
			t.Error("got a transient event from after the revocation")
		}
	}
}
