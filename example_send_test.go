package ginsse_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/ginsse/ginsse"
)

// An event reaches all streams of its user. The receipt has their number.
func ExampleRegistry_SendTo() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	laptop := exampleOpen(server, "alice", "")
	defer laptop.Close()
	phone := exampleOpen(server, "alice", "")
	defer phone.Close()

	ctx := context.Background()
	comment := ginsse.Event{Type: "comment", Data: map[string]any{"post": 7, "by": "bob"}}
	receipt, err := registry.SendTo(ctx, "alice", comment)
	if err != nil {
		panic(err)
	}
	fmt.Println(receipt.Streams, "streams")
	laptop.print(1)
	phone.print(1)

	// A user without a stream gets the event later, from the log.
	receipt, err = registry.SendTo(ctx, "carol", comment)
	if err != nil {
		panic(err)
	}
	if receipt.Streams == 0 {
		fmt.Println("carol may want an e-mail")
	}

	// An invalid event is refused, and reaches no stream.
	_, err = registry.SendTo(ctx, "alice", ginsse.Event{Type: "com\nment"})
	fmt.Println(errors.Is(err, ginsse.ErrInvalidEvent), err)

	// Output:
	// 2 streams
	// comment {"by":"bob","post":7}
	// comment {"by":"bob","post":7}
	// carol may want an e-mail
	// true ginsse: invalid event: type "com\nment" contains a line break
}

// Each of several users gets the event once.
func ExampleRegistry_SendToUsers() {
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

	followers := []string{"alice", "bob", "alice"}
	receipt, err := registry.SendToUsers(context.Background(), followers, ginsse.Event{Type: "post", Data: 8})
	if err != nil {
		panic(err)
	}
	fmt.Println(receipt.Streams, "streams")
	alice.print(1)
	bob.print(1)

	// Output:
	// 2 streams
	// post 8
	// post 8
}
