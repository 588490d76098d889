package ginsse_test

import (
	"context"

	"github.com/ginsse/ginsse"
)

// A page gets its state first, and then what changes it.
func ExampleWithState() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	unread := map[string]int{"alice": 3}
	cards := map[string][]string{"board": {"write", "test"}}
	server := exampleServer(registry.Handler(
		ginsse.WithTopics("board"),
		ginsse.WithState(func(_ context.Context, state *ginsse.State) error { // as read from a database
			if state.Topic() == "" {
				return state.Send(ginsse.Event{Type: "unread", Data: unread[state.UserID()]})
			}
			return state.Send(ginsse.Event{Type: "cards", Data: cards[state.Topic()]})
		}),
	))
	defer server.Close()

	alice := exampleOpen(server, "alice", "")
	defer alice.Close()
	if _, err := registry.Publish(context.Background(), "board", ginsse.Event{Type: "card", Data: "ship"}); err != nil {
		panic(err)
	}
	alice.print(4)

	// Output:
	// unread 3
	// cards ["write","test"]
	// sse.heartbeat
	// card ship
}
