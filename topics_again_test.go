package ginsse_test

import (
	"context"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// grantAgain grants a topic, revokes it and grants it again, all while the first state is collected.
// The events 0, 1 and 2 are from after the first grant, the revocation and the second grant.
func grantAgain(t *testing.T) (a *ginsse.Registry, stream *ssetest.Stream) {
	t.Helper()
	a, b := twoNodes(t, ginsse.RegistryConfig{})
	asked, goOn := make(chan struct{}, 2), make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		if state.Topic() == "" {
			return nil
		}
		asked <- struct{}{}
		<-goOn
		return state.Send(ginsse.Event{Type: "board", Data: 1})
	}))
	stream = ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	check(t, a.Grant(t.Context(), "alice", "board"))
	within(t, "asking for the state", asked)
	publish(t, a, "board", 0)
	check(t, a.Revoke(t.Context(), "alice", "board"))
	publish(t, a, "board", 1)
	check(t, a.Grant(t.Context(), "alice", "board"))
	publish(t, a, "board", 2)
	send(t, a, "alice", 3)
	wantNext(t, stream, `sse.topics {"topics":[],"refused":["board"]}`, "n 3")
	close(goOn)
	return a, stream
}

// The state of the first grant is not that of the second one: what lies between them is not shown.
func TestSecondGrantShowsNothingFromBeforeIt(t *testing.T) {
	t.Parallel()
	_, stream := grantAgain(t)
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`, "board 1", "n 2")
}
