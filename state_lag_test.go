package ginsse_test

import (
	"context"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// The state comes from the database, which may be ahead of what the node has seen of the log. It is
// not sent before the node has seen the revocations from before it.
func TestStateOfARevokedTopicIsNotSentByANodeThatLags(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
	lagging := &laggingNode{Node: nodes[1]}
	b := newRegistry(t, ginsse.RegistryConfig{Log: lagging})
	returned := make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(ctx context.Context, state *ginsse.State) error {
		if state.Topic() == "" {
			return nil
		}
		defer close(returned)
		lagging.setLag(true)
		if err := a.Revoke(ctx, "alice", "board"); err != nil {
			return err
		}
		return state.Send(ginsse.Event{Type: "secret"}) // was written after the revocation
	}))
	stream := ssetest.NewServer(t, engine).Open(t, "/events?topic=board", as("alice"))
	stream.NextOf("sse.open")
	within(t, "reading the state", returned)
	if e, err := stream.TryNext(time.Second); err == nil && e.Type == "secret" {
		t.Error("the state of a revoked topic was sent")
	}
	lagging.setLag(false)
	wantNext(t, stream, `sse.topics {"topics":[],"removed":["board"]}`)
}
