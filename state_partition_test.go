package ginsse_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A state that is ready while the node is partitioned waits for the events that follow it.
func TestPartitionLeavesNoHoleBetweenStateAndEvents(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	var partitioned atomic.Bool
	read := make(chan struct{}, 1)
	node := &changedNode{Node: nodes[1], afterRead: func(q eventlog.Query) {
		if partitioned.Load() && len(q.Subjects) == 1 && q.Subjects[0] == "topic:board" {
			select {
			case read <- struct{}{}:
			default:
			}
		}
	}}
	a, b := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]}), newRegistry(t, ginsse.RegistryConfig{Log: node})
	asked, goOn := make(chan struct{}), make(chan struct{})
	engine := stateEngine(t, b, ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		if state.Topic() == "" {
			return nil
		}
		close(asked)
		<-goOn
		return state.Send(ginsse.Event{Type: "board", Data: 0})
	}))
	stream := ssetest.NewServer(t, engine).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	check(t, a.Grant(t.Context(), "alice", "board"))
	within(t, "asking for the state", asked)
	publish(t, a, "board", 1)
	send(t, a, "alice", 2)
	wantNext(t, stream, "n 2")
	nodes[1].SetPartitioned(true)
	partitioned.Store(true)
	close(goOn)
	select {
	case <-read:
	case <-time.After(time.Second): // a stream may also wait before it reads
	}
	nodes[1].SetPartitioned(false)
	publish(t, a, "board", 3)
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`, "board 0", "n 1", "n 3")
}
