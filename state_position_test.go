package ginsse_test

import (
	"context"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A client that loses its connection before it has the state of a granted topic gets the state, or a
// gap, when it comes back.
func TestClientThatLosesTheStateOfAGrantGetsItLater(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	asked, goOn := make(chan struct{}, 10), make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		if state.Topic() == "" {
			return nil
		}
		asked <- struct{}{}
		<-goOn
		return state.Send(ginsse.Event{Type: "board", Data: 0})
	}))
	server := ssetest.NewServer(t, engine)
	stream := server.Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	check(t, a.Grant(t.Context(), "alice", "board"))
	within(t, "asking for the state", asked)
	publish(t, a, "board", 1)
	send(t, a, "alice", 2)
	wantNext(t, stream, "n 2")
	stream.Close()
	close(goOn)
	again := server.Open(t, "/events?topic=board", as("alice"), ssetest.LastEventID(stream.LastEventID()))
	again.NextOf("sse.open")
	send(t, a, "alice", 3)
	if e := again.Next(); e.Type != "sse.gap" && e.Type != "board" {
		t.Errorf("got %s %s without the state and the events before", e.Type, e.Data)
	}
}
