package ginsse_test

import (
	"fmt"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A page that removes a topic and adds it again at once has it: its own request is no revocation.
func TestPageThatRemovesAndAddsATopicHasIt(t *testing.T) {
	t.Parallel()
	var remove func()
	registry := newRegistry(t, ginsse.RegistryConfig{AllowTopicFunc: func(*gin.Context, string) (bool, error) {
		if remove != nil {
			remove() // the requests are on their way at the same time
		}
		return true, nil
	}})
	engine := controlEngine(t, registry)
	stream := ssetest.NewServer(t, engine).Open(t, "/events?topic=board", as("alice"))
	id := streamID(t, stream)
	remove = func() { control(t, engine, "alice", fmt.Sprintf(`{"stream":%q,"remove":["board"]}`, id)) }
	control(t, engine, "alice", fmt.Sprintf(`{"stream":%q,"add":["board"]}`, id))
	wantNext(t, stream, `sse.topics {"topics":[],"removed":["board"]}`, `sse.topics {"topics":["board"],"added":["board"]}`)
}
