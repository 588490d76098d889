package ginsse_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A stream that finds its end when its state is ready does not send the state, which may be from
// after Disconnect.
func TestStateIsNotSentAfterDisconnect(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	entered, release := make(chan struct{}), make(chan struct{})
	var reads atomic.Int32
	node := &changedNode{Node: nodes[1], onRead: func(_ context.Context, q eventlog.Query) error {
		if readsCommands(q) && reads.Add(1) == 1 {
			close(entered)
			<-release
		}
		return nil
	}}
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
	b := newRegistry(t, ginsse.RegistryConfig{Log: node, MaxStates: 1})
	asked, goOn, finished := make(chan struct{}), make(chan struct{}), make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(ctx context.Context, state *ginsse.State) error {
		if state.UserID() == "bob" { // has the place of alice's state, which is ready
			close(finished)
			return nil
		}
		close(asked)
		<-goOn
		return state.Send(ginsse.Event{Type: "secret"})
	}))
	server := ssetest.NewServer(t, engine)
	alice := server.Open(t, "/events", as("alice"))
	alice.NextOf("sse.open")
	within(t, "asking for the state", asked)
	server.Open(t, "/events", as("bob")).NextOf("sse.open")
	send(t, a, "alice", 1)
	_, err := a.Disconnect(t.Context(), "alice", "")
	check(t, err)
	within(t, "reading the command", entered)
	close(goOn)
	within(t, "collecting the state", finished)
	close(release)
	rest, _ := alice.WaitEnd()
	for _, e := range rest {
		if e.Type == "secret" {
			t.Errorf("got %+v", rest)
		}
	}
}
