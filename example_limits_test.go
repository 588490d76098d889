package ginsse_test

import (
	"net/http"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
)

// At the limit of a user, the newest stream opens and the oldest ends. If the registry is full, the
// client is asked to reconnect later. The answer is a stream, because a browser does not reconnect
// after any status but 200.
func ExampleRegistryConfig_limits() {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{MaxStreams: 2, MaxStreamsPerUser: 1})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	oldest := exampleOpen(server, "alice", "")
	defer oldest.Close()
	newest := exampleOpen(server, "alice", "")
	defer newest.Close()
	oldest.print(1)

	bob := exampleOpen(server, "bob", "")
	defer bob.Close()
	response := exampleDo(server, http.MethodGet, "/events", "X-User", "carol")
	defer response.Body.Close()
	carol := &exampleStream{Decoder: client.NewDecoder(response.Body, client.DecoderConfig{})}
	carol.print(1)

	// Output:
	// sse.close {"reason":"replaced"}
	// sse.reconnect overloaded
}
