package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// An event for all users arrives in order with the events of each user.
func ExampleRegistry_Broadcast() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()
	bob := exampleOpen(server, "bob", "")
	defer bob.Close()

	ctx := context.Background()
	if _, err := registry.SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: "nice"}); err != nil {
		panic(err)
	}
	receipt, err := registry.Broadcast(ctx, ginsse.Event{Type: "notice", Data: "maintenance at noon"})
	if err != nil {
		panic(err)
	}
	fmt.Println(receipt.Streams, "streams")
	alice.print(2)
	bob.print(1)

	// Output:
	// 2 streams
	// comment nice
	// notice maintenance at noon
	// notice maintenance at noon
}
