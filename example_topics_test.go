package ginsse_test

import (
	"context"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// A stream reads the topics that its handler grants.
func ExampleRegistry_Publish() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	rooms := map[string][]string{"alice": {"room-1", "room-2"}, "bob": {"room-2"}}
	server := exampleServer(func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithTopics(rooms[ginsse.UserID(c)]...))
	})
	defer server.Close()
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()
	bob := exampleOpen(server, "bob", "")
	defer bob.Close()

	for _, room := range []string{"room-1", "room-2"} {
		receipt, err := registry.Publish(context.Background(), room, ginsse.Event{Type: "talk", Data: "hello " + room})
		if err != nil {
			panic(err)
		}
		fmt.Println(room, receipt.Streams)
	}
	alice.print(2)
	bob.print(1)

	// Output:
	// room-1 1
	// room-2 2
	// talk hello room-1
	// talk hello room-2
	// talk hello room-2
}
