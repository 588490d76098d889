package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// The hooks are called for each stream that has opened or ended.
func ExampleRegistryConfig_hooks() {
	ended := make(chan ginsse.Reason)
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		ConnectFunc: func(s *ginsse.Stream) {
			welcome := ginsse.Event{Type: "welcome", Data: "hello " + s.UserID()}
			if err := s.Send(context.Background(), welcome); err != nil {
				return // the stream has ended, and DisconnectFunc gets the reason
			}
		},
		DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason },
	})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()

	alice := exampleOpen(server, "alice", "")
	alice.print(1)
	fmt.Println("live:", registry.Stats().Streams)
	if err := alice.Close(); err != nil {
		panic(err)
	}
	fmt.Println(<-ended == ginsse.ReasonClientGone)
	fmt.Println("live:", registry.Stats().Streams)

	// Output:
	// welcome hello alice
	// live: 1
	// true
	// live: 0
}
