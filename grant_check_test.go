package ginsse_test

import (
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A membership that is committed while a stream opens: the check says yes, and Grant comes a moment
// later. An old position shows nothing from before it.
func TestOldPositionShowsNothingFromBeforeAGrantDuringTheCheck(t *testing.T) {
	t.Parallel()
	var registry *ginsse.Registry
	registry = newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: func(c *gin.Context, _ string) (bool, error) {
		return true, registry.Grant(c.Request.Context(), "alice", "board")
	}})
	old := send(t, registry, "alice", 0).ID
	publish(t, registry, "board", 1)
	stream := ssetest.NewServer(t, controlEngine(t, registry)).Open(t, "/events?topic=board", as("alice"), ssetest.LastEventID(old))
	stream.NextOf("sse.open")
	publish(t, registry, "board", 2)
	wantNext(t, stream, `sse.gap {"reason":"topics"}`, "n 2")
}
