package ginsse_test

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// Who is present is read when the stream reaches a command. A client that takes its stream
// slowly may be far behind a revocation then, and must not see who came after it.
func TestSlowStreamDoesNotShowWhoCameAfterItsRevocation(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]func(t *testing.T, registry *ginsse.Registry, stream string){
		"state": func(t *testing.T, registry *ginsse.Registry, stream string) {
			control(t, controlEngine(t, registry), "alice", fmt.Sprintf(`{"stream":%q,"state":true}`, stream))
		},
		"grant": func(t *testing.T, registry *ginsse.Registry, _ string) {
			check(t, registry.Revoke(t.Context(), "alice", "board:7"))
			check(t, registry.Grant(t.Context(), "alice", "board:7"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{})
			server := ssetest.NewServer(t, presenceEngine(t, registry))
			response := openBody(t, server, "/events?topic=board:7")
			lines := bufio.NewReader(response.Body)
			readTo := func(want string) {
				t.Helper()
				for {
					line, err := lines.ReadString('\n')
					check(t, err)
					switch line = strings.TrimSuffix(line, "\n"); {
					case strings.Contains(line, "late"):
						t.Fatalf("got %s after the revocation", line)
					case line == want:
						return
					}
				}
			}
			readTo("event: sse.open")
			send := func(eventType string) {
				_, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: eventType, Data: strings.Repeat("x", 256<<10)})
				check(t, err)
			}
			send("large")
			readTo("event: large") // and no more: the stream waits in its write
			send("backlog")
			command(t, registry, registry.Streams("alice")[0].ID())
			check(t, registry.Revoke(t.Context(), "alice", "board:7"))
			server.Open(t, "/events?topic=board:7&name=late", as("late")).NextOf("sse.open")
			send("end")
			readTo("event: end")
		})
	}
}
