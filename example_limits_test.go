package ginsse_test

import (
	"net/http"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
)

// A user's newest stream gets in, and the oldest ends. A client that meets a full
// registry is asked to come back later, on a stream: a browser takes any status but
// 200 as final.
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
