package ginsse_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// readsTopicCommands reports whether a stream looks for commands that change topics with q.
func readsTopicCommands(q eventlog.Query) bool {
	return len(q.Subjects) == 2 && q.Subjects[1] == "revoke:all"
}

// A stream that cannot check a grant reads it again, with the events beside it.
func TestGrantAndEventsAreNotLostIfTheLogFailsOnce(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	var fail atomic.Bool
	faulty := &changedNode{Node: nodes[1], onRead: func(_ context.Context, q eventlog.Query) error {
		if readsTopicCommands(q) && fail.CompareAndSwap(true, false) {
			return errBrokerAway
		}
		return nil
	}}
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0], AllowTopicFunc: allowAllButSecrets})
	b := newRegistry(t, ginsse.RegistryConfig{Log: faulty})
	stream := ssetest.NewServer(t, newEngine(t, b)).Open(t, "/events", as("alice"))
	id := streamID(t, stream)
	nodes[1].SetPartitioned(true)
	send(t, a, "alice", 1)
	control(t, controlEngine(t, a), "alice", fmt.Sprintf(`{"stream":%q,"add":["board"]}`, id))
	send(t, a, "alice", 2)
	publish(t, a, "board", 3)
	fail.Store(true)
	nodes[1].SetPartitioned(false)
	wantNext(t, stream, "n 1", `sse.topics {"topics":["board"],"added":["board"]}`, "n 2", "n 3")
}
