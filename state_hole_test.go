package ginsse_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// If the log loses events of a granted topic while its state is collected, the state that is sent is
// newer than what was lost.
func TestStateOfAGrantIsNotOlderThanItsGap(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]ginsse.RegistryConfig{
		"trimmed":   {Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 2})},
		"too large": {MaxStateBytes: 60},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, cfg)
			w := &world{version: make(map[string]int)}
			asked, goOn := make(chan struct{}, 10), make(chan struct{})
			engine := stateEngine(t, registry, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
				if state.Topic() == "" {
					return nil
				}
				n := w.read("board")
				asked <- struct{}{}
				<-goOn
				return state.Send(ginsse.Event{Type: "state", Data: n})
			}))
			stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
			stream.NextOf("sse.open")
			check(t, registry.Grant(t.Context(), "alice", "board"))
			within(t, "asking for the state", asked)
			for range 4 {
				w.change(t, registry, "board")
			}
			send(t, registry, "alice", 100)
			wantNext(t, stream, "n 100")
			close(goOn)
			stream.NextOf("sse.topics")
			// Whatever comes, no version is missing between the state and what follows.
			w.change(t, registry, "board")
			have := -1
			for have < 5 {
				var n int
				switch e := stream.Next(); e.Type {
				case "state":
					check(t, json.Unmarshal([]byte(e.Data), &have))
				case "n":
					check(t, json.Unmarshal([]byte(e.Data), &n))
					if have >= 0 && n > have+1 {
						t.Fatalf("%d came after %d", n, have)
					}
					have = max(have, n)
				case "sse.gap":
					have = -1 // the state follows
				}
			}
		})
	}
}
