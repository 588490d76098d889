package ginsse_test

import (
	"testing"
	"testing/synctest"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A stream that reads a command and one transient event in the same turn gets both.
func TestTransientEventIsNotDroppedBesideACommand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
		lagging := &laggingNode{Node: nodes[1]}
		b := newRegistry(t, ginsse.RegistryConfig{Log: lagging})
		stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		synctest.Wait() // until it waits for news
		lagging.lags.Store(true)
		check(t, a.Grant(t.Context(), "alice", "board"))
		_, err := a.SendTo(t.Context(), "alice", ginsse.Event{Type: "typing", Data: "bob", Transient: true})
		check(t, err)
		lagging.lags.Store(false)
		send(t, a, "alice", 1)
		got := make(map[string]bool)
		for e := stream.Next(); ; e = stream.Next() {
			got[e.Type] = true
			if e.Data == "1" {
				send(t, a, "alice", 2) // what was ready has been written by then
			}
			if e.Data == "2" {
				break
			}
		}
		if !got["sse.topics"] || !got["typing"] {
			t.Errorf("got the types %v, want sse.topics and typing", got)
		}
	})
}
