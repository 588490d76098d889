package ginsse_test

import (
	"context"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// MaxStreams bounds the streams of runs together with the others, whichever come first.
func TestFollowersCountForMaxStreamsOfOtherStreams(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreams: 2})
	engine := newRunEngine(t, registry)
	engine.GET("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) { _ = registry.Serve(c) })
	server := ssetest.NewServer(t, engine)
	run := startRun(t, registry, func(ctx context.Context, run *ginsse.Run) error {
		if err := sendNumbers(run, 1, 1); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	for range 2 {
		wantNumbers(t, follow(t, server, run), 1, 1)
	}
	if e := server.Open(t, "/events", as("alice")).Next(); e.Type != "sse.reconnect" {
		t.Errorf("a third stream got %s with MaxStreams 2, want sse.reconnect", e.Type)
	}
}
