package ginsse_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A command that comes while the topics of a stream are checked ends the stream in time, also if its
// client is slow and far behind.
func TestDisconnectDuringTheCheckEndsASlowStreamInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var registry *ginsse.Registry
		opened := make(chan *ginsse.Stream, 1)
		registry = newRegistry(t, ginsse.RegistryConfig{
			AllowTopicFunc: func(c *gin.Context, _ string) (bool, error) {
				_, err := registry.Disconnect(c.Request.Context(), "alice", "")
				return true, err
			},
			ConnectFunc: func(s *ginsse.Stream) { opened <- s },
		})
		server := ssetest.NewServer(t, controlEngine(t, registry))
		old := send(t, registry, "alice", 0).ID
		for range 20 {
			_, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: strings.Repeat("x", 60_000)})
			check(t, err)
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events?topic=board", http.NoBody)
		check(t, err)
		request.Header.Set("X-User", "alice")
		request.Header.Set("Last-Event-ID", old)
		response, err := server.Client.Do(request) // and reads nothing
		check(t, err)
		defer response.Body.Close()
		s := <-opened
		pass(20 * time.Second)
		if s.Err() == nil {
			t.Error("the stream is open 20 s after Disconnect")
		}
	})
}
