package ginsse_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// The commands of a gap are carried out completely or not at all. Here the log fails between two of
// them.
func TestLogThatFailsWithinAGapShowsNothingFromBeforeAGrant(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2}, 2)
	var reads atomic.Int64
	reads.Store(-1000)
	faulty := &changedNode{Node: nodes[1], onRead: func(_ context.Context, q eventlog.Query) error {
		if readsTopicCommands(q) && reads.Add(1) == 2 { // the first one reads the commands of the gap
			return errBrokerAway
		}
		return nil
	}}
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0], AllowTopicFunc: allowAllButSecrets})
	b := newRegistry(t, ginsse.RegistryConfig{Log: faulty})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events?topic=board", as("alice"))
	id := streamID(t, stream)
	send(t, a, "alice", 0)
	wantNext(t, stream, "n 0")
	nodes[1].SetPartitioned(true)
	for n := range 3 {
		publish(t, a, "board", 10+n)
	}
	publish(t, a, "room", 1) // from before the grant
	check(t, a.RevokeTopic(t.Context(), "board"))
	check(t, a.Grant(t.Context(), "alice", "room"))
	control(t, controlEngine(t, a), "alice", fmt.Sprintf(`{"stream":%q,"add":["other"]}`, id))
	reads.Store(0)
	nodes[1].SetPartitioned(false)
	publish(t, a, "room", 2)
	gap := false
	for e := stream.Next(); e.Data != "2" && e.Data != "3"; e = stream.Next() {
		switch {
		case e.Type == "sse.gap":
			gap = true
			publish(t, a, "room", 3)
		case e.Data == "1":
			t.Error("got an event of the topic from before its grant")
		}
	}
	if !gap {
		t.Error("got no sse.gap for the events that were lost")
	}
}
