package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// A client that cannot resume gets sse.gap: here the process has restarted, and its log was in
// memory. The page then fetches its state again.
func ExampleGapReason() {
	before, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	receipt, err := before.SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: "before"})
	if err != nil {
		panic(err)
	}
	before.Close()

	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	alice := exampleOpen(server, "alice", receipt.ID)
	defer alice.Close()
	fmt.Println("resumed:", alice.resumed)
	alice.print(1)
	if _, err := registry.SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: "after"}); err != nil {
		panic(err)
	}
	alice.print(1)

	// Output:
	// resumed: false
	// sse.gap {"reason":"epoch"}
	// comment after
}
