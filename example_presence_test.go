package ginsse_test

import (
	"context"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// Bob sees who is at the board that he reads.
func ExampleWithPresence() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{PresenceGrace: -1}) // so that a leave comes at once
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(func(c *gin.Context) {
		user := ginsse.UserID(c) // c itself must not be used by the function
		_ = registry.Serve(c, ginsse.WithTopics("board:7"), ginsse.WithPresence(func(topic string) any {
			return gin.H{"name": "the user " + user}
		}))
	})
	defer server.Close()

	bob := exampleOpen(server, "bob", "")
	defer bob.Close()
	bob.print(2) // himself
	alice := exampleOpen(server, "alice", "")
	bob.print(1)
	for _, member := range registry.Present("board:7") {
		fmt.Println(member.UserID, string(member.Value))
	}
	alice.Close()
	bob.print(1)

	// Output:
	// sse.present {"topic":"board:7","count":1,"users":[{"user":"bob","value":{"name":"the user bob"}}]}
	// sse.join {"topic":"board:7","user":"bob","value":{"name":"the user bob"},"count":1}
	// sse.join {"topic":"board:7","user":"alice","value":{"name":"the user alice"},"count":2}
	// alice {"name":"the user alice"}
	// bob {"name":"the user bob"}
	// sse.leave {"topic":"board:7","user":"alice","count":1}
}

// An administrator sees the streams of all nodes.
func ExampleRegistry_ListStreams() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler(ginsse.WithTopics("board:7")))
	defer server.Close()
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()

	streams, err := registry.ListStreams(context.Background(), ginsse.StreamFilter{Topic: "board:7"})
	if err != nil {
		panic(err)
	}
	for _, s := range streams {
		fmt.Println(s.UserID, s.ID == alice.session, s.Topics)
	}

	// Output:
	// alice true [board:7]
}
