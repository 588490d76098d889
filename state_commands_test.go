package ginsse_test

import (
	"context"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// If a revocation may have left the log while the state was collected, the state is not sent.
func TestStateIsNotSentIfCommandsWereLost(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Log: newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 2})})
	engine := stateEngine(t, registry, ginsse.WithState(func(ctx context.Context, state *ginsse.State) error {
		if state.Topic() == "" {
			return nil
		}
		for _, topic := range []string{"board", "x", "y", "z"} {
			if err := registry.RevokeTopic(ctx, topic); err != nil {
				return err
			}
		}
		return state.Send(ginsse.Event{Type: "secret"})
	}))
	stream := ssetest.NewServer(t, engine).Open(t, "/events?topic=board", as("alice"))
	stream.NextOf("sse.open")
	rest, _ := stream.WaitEnd()
	for _, e := range rest {
		if e.Type == "secret" {
			t.Errorf("the state of a revoked topic was sent: %+v", rest)
		}
	}
}
