package ginsse_test

import (
	"fmt"
	"net/http"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
)

// A user with too many streams is refused for good. A client that meets a full
// registry may come back, and since a browser takes any status but 200 as final,
// it is told so on a stream.
func ExampleRegistryConfig_limits() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{MaxStreams: 2, MaxStreamsPerUser: 1})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()

	examplePrint(exampleDo(server, http.MethodGet, "/events", "X-User", "alice"))

	bob := exampleOpen(server, "bob", "")
	defer bob.Close()
	response := exampleDo(server, http.MethodGet, "/events", "X-User", "carol")
	defer response.Body.Close()
	e, err := client.NewDecoder(response.Body, client.DecoderConfig{}).Next()
	if err != nil {
		panic(err)
	}
	fmt.Println(response.StatusCode, e.Type, e.Data)

	// Output:
	// 429 {"error":{"code":"too_many_streams","message":"you have too many event streams open"}}
	// 200 sse.close {"reason":"overloaded","reconnect":true}
}
