package ginsse_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Disconnect ends what it can reach if the log does not take its command: a signed-out user must
// not go on reading a run on the node that was told.
func TestDisconnectThatTheLogRefusesEndsFollowersOfThisNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		node := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0], onAppend: func(_ context.Context, r eventlog.Record) error {
			if strings.HasPrefix(r.Subject, "command:") {
				return errBrokerAway
			}
			return nil
		}}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: node})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		goOn := make(chan struct{})
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			if err := sendNumbers(run, 1, 1); err != nil {
				return err
			}
			<-goOn
			return sendNumbers(run, 2, 2)
		})
		stream := follow(t, server, run)
		wantNumbers(t, stream, 1, 1)
		if _, err := registry.Disconnect(t.Context(), "alice", ""); err == nil {
			t.Fatal("the log took the command")
		}
		pass(time.Second)
		close(goOn)
		if e, err := stream.TryNext(10 * time.Second); err == nil {
			t.Errorf("got %s %s after Disconnect", e.Type, e.Data)
		}
	})
}
