package ginsse_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A page that asks for its state does not lose the past of a topic that is being granted.
func TestPastOfAGrantIsSentAlthoughThePageAsksForItsState(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	asked, goOn := make(chan struct{}, 10), make(chan struct{})
	auth := headerAuth(t)
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler(ginsse.WithState(func(_ context.Context, state *ginsse.State) error {
		if state.Topic() != "" {
			asked <- struct{}{}
			<-goOn
		}
		return nil
	})))
	r.POST("/events", auth.RequireUser(), registry.ControlHandler())
	stream := ssetest.NewServer(t, r).Open(t, "/events", as("alice"))
	id := streamID(t, stream)
	publish(t, registry, "board", 1)
	check(t, registry.Grant(t.Context(), "alice", "board", ginsse.WithHistory("")))
	within(t, "asking for the state", asked)
	control(t, r, "alice", fmt.Sprintf(`{"stream":%q,"state":true}`, id))
	select { // until the stream has reached the request
	case <-asked:
	case <-time.After(time.Second): // it may also wait for the grant
	}
	close(goOn)
	publish(t, registry, "board", 2)
	stream.NextOf("sse.topics")
	wantNext(t, stream, "n 1", "n 2")
}
