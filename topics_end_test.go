package ginsse_test

import (
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A command from after the end of a stream is not carried out: its position is past events that the
// client has not got.
func TestEndedStreamGivesNoPositionFromAfterItsEnd(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	slow := &changedNode{Node: nodes[1]}
	release := slow.holdTurns()
	a, b := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]}), newRegistry(t, ginsse.RegistryConfig{Log: slow})
	server := ssetest.NewServer(t, newEngine(t, b))
	stream := server.Open(t, "/events?topic=board", as("alice"))
	stream.NextOf("sse.open")
	send(t, a, "alice", 1)
	b.Streams("alice")[0].Disconnect(ginsse.ReasonShutdown)
	send(t, a, "alice", 2)
	check(t, a.Revoke(t.Context(), "alice", "board"))
	release()
	if rest, _ := stream.WaitEnd(); rest[0].Data != "1" {
		t.Errorf("got %+v, want 1 first", rest)
	}
	again := server.Open(t, "/events", as("alice"), ssetest.LastEventID(stream.LastEventID()))
	again.NextOf("sse.open")
	send(t, a, "alice", 3)
	wantNext(t, again, "n 2", "n 3")
}
