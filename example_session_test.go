package ginsse_test

import (
	"context"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// One of a user's streams gets an event. It is found by its ID, which the page knows from
// sse.open. Metadata that the handler attached would do as well.
func ExampleStream_Send() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithMetadata(map[string]any{"agent": c.Request.UserAgent()}))
	})
	defer server.Close()
	laptop := exampleOpen(server, "alice", "")
	defer laptop.Close()
	phone := exampleOpen(server, "alice", "")
	defer phone.Close()

	for _, stream := range registry.Streams("alice") {
		if stream.ID() != phone.session {
			continue
		}
		event := ginsse.Event{Type: "you-are", Data: stream.Metadata()["agent"]}
		if err := stream.Send(context.Background(), event); err != nil {
			panic(err)
		}
	}
	if _, err := registry.SendTo(context.Background(), "alice", ginsse.Event{Data: "to both"}); err != nil {
		panic(err)
	}
	laptop.print(1)
	phone.print(2)
	fmt.Println(len(registry.Streams("alice")), "streams")

	// Output:
	// message to both
	// you-are Go-http-client/1.1
	// message to both
	// 2 streams
}
