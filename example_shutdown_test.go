package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ginsse/ginsse"
)

// http.Server.Shutdown waits for handlers. Close ends the streams, so that their handlers return.
func ExampleRegistry_Close() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	server := exampleServer(registry.Handler())
	defer server.Close()
	server.Config.RegisterOnShutdown(registry.Close)
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		panic(err)
	}
	alice.print(2)
	_, err = registry.SendTo(ctx, "alice", ginsse.Event{Data: "late"})
	fmt.Println(errors.Is(err, ginsse.ErrClosed))

	// Output:
	// sse.reconnect shutdown
	// end
	// true
}

// With several nodes, Shutdown ends the streams one after another, so that their clients do not
// reconnect to the other nodes at once. This example has one node, so the window is off.
func ExampleRegistry_Shutdown() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{ShutdownWindow: -1})
	if err != nil {
		panic(err)
	}
	server := exampleServer(registry.Handler())
	defer server.Close()
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()
	if _, err := registry.SendTo(context.Background(), "alice", ginsse.Event{Data: "last words"}); err != nil {
		panic(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = registry.Shutdown(ctx)
	if err := errors.Join(err, server.Config.Shutdown(ctx)); err != nil {
		panic(err)
	}
	alice.print(3)
	fmt.Println("live:", registry.Stats().Streams)

	// Output:
	// message last words
	// sse.reconnect shutdown
	// end
	// live: 0
}
