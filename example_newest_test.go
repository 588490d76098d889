package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// Of a key, only the newest event is kept. A page that opens gets it first.
func ExampleWithLatest() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler(ginsse.WithLatest()))
	defer server.Close()

	for n := range 1000 {
		e := ginsse.Event{Type: "unread", Key: "unread", Data: n}
		if _, err := registry.SendTo(context.Background(), "alice", e); err != nil {
			panic(err)
		}
	}
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()
	alice.print(1)

	// Output:
	// unread 999
}

// A send that is repeated, because the first answer was lost, is one event.
func ExampleRegistry_SendTo_repeated() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	var ids [2]string
	for i := range ids {
		receipt, err := registry.SendTo(context.Background(), "alice", ginsse.Event{Type: "invoice", Data: 7, DedupKey: "invoice 7"})
		if err != nil {
			panic(err)
		}
		ids[i] = receipt.ID
	}
	fmt.Println(ids[0] == ids[1])

	// Output:
	// true
}

// What is of no use later goes to the streams that are open now, and not to the page that caused it.
func ExampleRegistry_Publish_transient() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler(ginsse.WithTopics("board")))
	defer server.Close()
	alice, bob := exampleOpen(server, "alice", ""), exampleOpen(server, "bob", "")
	defer alice.Close()
	defer bob.Close()

	typing := ginsse.Event{Type: "typing", Data: "alice", Transient: true, Except: alice.session}
	if _, err := registry.Publish(context.Background(), "board", typing); err != nil {
		panic(err)
	}
	bob.print(1)

	// Output:
	// typing alice
}
