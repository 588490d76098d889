package ginsse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// keyed returns an event that replaces those with the same key.
func keyed(key string, n int) ginsse.Event { return ginsse.Event{Type: "n", Key: key, Data: n} }

func TestReaderThatWasAwayGetsTheNewestOfAKey(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 100})})
	server := ssetest.NewServer(t, newEngine(t, registry))
	old := send(t, registry, "alice", 0).ID
	send(t, registry, "alice", 1)
	for n := range 10_000 {
		_, err := registry.SendTo(t.Context(), "alice", keyed("unread", n))
		check(t, err)
	}
	send(t, registry, "alice", 2)
	stream := server.Open(t, "/events", as("alice"), ssetest.LastEventID(old))
	stream.NextOf("sse.open")
	wantNext(t, stream, "n 1", "n 9999", "n 2")
}

// A reader that lags skips to the newest, and has no gap.
func TestLaggingReaderSkipsToTheNewestOfAKey(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 100}, 2)
	a, b := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]}), newRegistry(t, ginsse.RegistryConfig{Log: nodes[1]})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	nodes[1].SetPartitioned(true)
	for n := range 5000 {
		_, err := a.SendTo(t.Context(), "alice", keyed(fmt.Sprint("price ", n%3), n))
		check(t, err)
	}
	nodes[1].SetPartitioned(false)
	wantNext(t, stream, "n 4997", "n 4998", "n 4999")
}

func TestNewStreamGetsTheNewestOfEachKeyFirst(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	send(t, a, "alice", 1) // not of a key
	for n, e := range []ginsse.Event{keyed("unread", 2), keyed("other", 3), keyed("unread", 4)} {
		_, err := a.SendTo(t.Context(), "alice", e)
		check(t, err)
		_, err = a.Publish(t.Context(), "board", keyed("progress", 10+n))
		check(t, err)
	}
	_, err := a.Broadcast(t.Context(), ginsse.Event{Type: "banner", Key: "banner", Data: 20, TTL: time.Hour})
	check(t, err)
	_, err = a.Broadcast(t.Context(), ginsse.Event{Type: "banner", Key: "old banner", Data: 21, TTL: time.Nanosecond})
	check(t, err)
	server := ssetest.NewServer(t, stateEngine(t, b, ginsse.WithLatest()))
	stream := server.Open(t, "/events?topic=board", as("alice"))
	if id := stream.NextOf("sse.open").LastEventID; id != "" {
		t.Errorf("sse.open has the ID %s", id)
	}
	wantNext(t, stream, "n 3", "n 4", "banner 20", "n 12")
	_, err = a.SendTo(t.Context(), "alice", keyed("unread", 5))
	check(t, err)
	wantNext(t, stream, "n 5")
	// A client that resumes has them.
	again := server.Open(t, "/events?topic=board", as("alice"), ssetest.LastEventID(stream.LastEventID()))
	again.NextOf("sse.open")
	send(t, a, "alice", 6)
	wantNext(t, again, "n 6")
}

func TestGrantSendsTheNewestOfEachKeyOnlyWithHistory(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, stateEngine(t, registry, ginsse.WithLatest())).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	for _, topic := range []string{"a", "b"} {
		_, err := registry.Publish(t.Context(), topic, keyed("price", 1))
		check(t, err)
	}
	check(t, registry.Grant(t.Context(), "alice", "a"))
	wantNext(t, stream, `sse.topics {"topics":["a"],"added":["a"]}`)
	check(t, registry.Grant(t.Context(), "alice", "b", ginsse.WithHistory("")))
	wantNext(t, stream, `sse.topics {"topics":["a","b"],"added":["b"]}`, "n 1")
}

func TestRepeatedSendIsOneEvent(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, a)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	invoice := ginsse.Event{Type: "n", Data: 1, DedupKey: "invoice 7"}
	first, err := a.SendTo(t.Context(), "alice", invoice)
	check(t, err)
	again, err := b.SendTo(t.Context(), "alice", invoice)
	check(t, err)
	if again.ID != first.ID {
		t.Errorf("the receipts have the IDs %s and %s", first.ID, again.ID)
	}
	other, err := b.SendTo(t.Context(), "bob", invoice)
	check(t, err)
	if other.ID == first.ID {
		t.Error("another user's event has the same ID")
	}
	send(t, a, "alice", 2)
	wantNext(t, stream, "n 1", "n 2")
}

func TestTransientEventsOfAKeyLeaveTheNewest(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
	lagging := &laggingNode{Node: nodes[1]}
	b := newRegistry(t, ginsse.RegistryConfig{Log: lagging})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	lagging.setLag(true)
	send(t, a, "bob", 0) // what follows waits until the node has read this
	for n := range 500 {
		_, err := a.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Key: "cursor", Data: n, Transient: true})
		check(t, err)
	}
	lagging.setLag(false)
	send(t, a, "alice", 1000)
	seen := 0
	for {
		if e := stream.Next(); e.Data == "1000" {
			break
		}
		seen++
	}
	if seen > 64 {
		t.Errorf("%d events of one key were delivered", seen)
	}
}
