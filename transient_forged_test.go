package ginsse_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Any client of the transport can forge messages. A message that no node can have sent has no
// effect.
func TestForgedTransientEventsAreDropped(t *testing.T) {
	t.Parallel()
	for name, forged := range map[string]struct{ node, frame string }{
		"the kit's own type":           {"Z", "event: sse.close\ndata: {\"reason\":\"disconnected\"}\n\n"},
		"the kit's own type, spelled":  {"Z", "event:sse.close\ndata: {}\n\n"},
		"an ID":                        {"Z", "id: forged\ndata: x\n\n"},
		"a node with an invalid name":  {"no node", "data: x\n\n"},
		"a node with a very long name": {strings.Repeat("Z", 1<<20), "data: x\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
			registry := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
			stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
			stream.NextOf("sse.open")
			head, err := nodes[1].Head(t.Context())
			check(t, err)
			check(t, nodes[1].Post("", []byte("T"+forged.node+"\n"+head.String()+"\nall\n\n"+forged.frame)))
			_, err = registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "genuine", Transient: true})
			check(t, err)
			if e := stream.Next(); e.Type != "genuine" {
				t.Errorf("got %q %q", e.Type, e.LastEventID)
			}
		})
	}
}
