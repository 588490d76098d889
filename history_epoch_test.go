package ginsse_test

import (
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// The past after a position of another log is not known, however high the position is.
func TestHistoryAfterAPositionOfAnotherLogIsAGap(t *testing.T) {
	t.Parallel()
	before, registry := newRegistry(t, ginsse.RegistryConfig{}), newRegistry(t, ginsse.RegistryConfig{})
	var old string
	for n := range 20 {
		old = publish(t, before, "board", n).ID
	}
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	publish(t, registry, "board", 1)
	check(t, registry.Grant(t.Context(), "alice", "board", ginsse.WithHistory(old)))
	publish(t, registry, "board", 2)
	wantNext(t, stream, `sse.topics {"topics":["board"],"added":["board"]}`, `sse.gap {"reason":"epoch","topic":"board"}`, "n 2")
}
