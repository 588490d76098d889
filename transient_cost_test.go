package ginsse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Each entry of the log looks for transient events that may go on. Forged senders of those must
// not make that slow: 1,024 small messages hold for 5 s.
func TestManySendersOfWaitingTransientEventsDoNotSlowTheLog(t *testing.T) {
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
	head, err := nodes[2].Head(t.Context())
	check(t, err)
	head.Seq = 1 << 40 // has not come
	cost := func(node *ssetest.Node, senders int) time.Duration {
		registry := newRegistry(t, ginsse.RegistryConfig{Log: node})
		defer registry.Close()
		for n := range 1024 {
			check(t, nodes[2].Post("", fmt.Appendf(nil, "T%032d\n%s\nall\n\ndata: x\n\n", n%senders, head)))
		}
		least := time.Hour
		for range 5 { // the machine may pause in one of them
			start := time.Now()
			for n := range 50 {
				send(t, registry, "bob", n)
			}
			least = min(least, time.Since(start))
		}
		return least
	}
	if one, many := cost(nodes[0], 1), cost(nodes[1], 1024); many > 50*one {
		t.Errorf("sending took %v with waiting events of one node, and %v with those of 1024", one, many)
	}
}
