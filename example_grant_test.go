package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// A topic is granted to a stream that is open, and taken away. Both have an exact place among the
// events.
func ExampleRegistry_Grant() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()

	ctx := context.Background()
	talk := func(text string) {
		if _, err := registry.Publish(ctx, "room", ginsse.Event{Type: "talk", Data: text}); err != nil {
			panic(err)
		}
	}
	talk("before she joins")
	if err := registry.Grant(ctx, "alice", "room"); err != nil {
		panic(err)
	}
	talk("welcome")
	if err := registry.Revoke(ctx, "alice", "room"); err != nil {
		panic(err)
	}
	talk("after she has left")
	if err := registry.Grant(ctx, "alice", "room", ginsse.WithHistory("")); err != nil { // she may see it all
		panic(err)
	}
	alice.print(7)
	fmt.Println("position:", alice.LastEventID() != "")

	// Output:
	// sse.topics {"topics":["room"],"added":["room"]}
	// talk welcome
	// sse.topics {"topics":[],"removed":["room"]}
	// sse.topics {"topics":["room"],"added":["room"]}
	// talk before she joins
	// talk welcome
	// talk after she has left
	// position: true
}
