package ginsse_test

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse"
)

// All streams of a user end with a reason of the application. A page closes its EventSource at
// sse.close.
func ExampleRegistry_Disconnect() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{PresenceGrace: -1})
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

	ended, err := registry.Disconnect(context.Background(), "alice", "signed out")
	if err != nil {
		panic(err)
	}
	fmt.Println(ended, "streams")
	laptop.print(2)
	phone.print(2)
	fmt.Println("online:", registry.Online("alice"))

	// Output:
	// 2 streams
	// sse.close {"reason":"signed out"}
	// end
	// sse.close {"reason":"signed out"}
	// end
	// online: false
}
