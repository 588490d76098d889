package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// A client that reconnects with its last event ID gets the events that were sent meanwhile. An
// EventSource does so by itself.
func ExampleRegistry_Serve_resume() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	send := func(data string) {
		if _, err := registry.SendTo(context.Background(), "alice", ginsse.Event{Type: "comment", Data: data}); err != nil {
			panic(err)
		}
	}

	alice := exampleOpen(server, "alice", "")
	send("first")
	alice.print(1)
	if err := alice.Close(); err != nil { // as if the connection were lost
		panic(err)
	}
	send("second")
	send("third")

	alice = exampleOpen(server, "alice", alice.LastEventID())
	defer alice.Close()
	fmt.Println("resumed:", alice.resumed)
	alice.print(2)

	// Output:
	// comment first
	// resumed: true
	// comment second
	// comment third
}
