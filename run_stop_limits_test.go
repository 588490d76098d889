package ginsse_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// Each stop is a command in the log, as each request to ControlHandler is, which has a limit.
func TestStoppingARunTooOftenIsThrottled(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxOpensPerMinute: 4})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	run := startRun(t, registry, func(context.Context, *ginsse.Run) error { return nil })
	within(t, "the run", run.Done())
	throttled := false
	for range 20 {
		status, _ := request(t, server, http.MethodDelete, "/runs/"+run.ID(), "alice")
		throttled = throttled || status == http.StatusTooManyRequests
	}
	if !throttled {
		t.Error("20 stops within a minute were taken, with MaxOpensPerMinute 4")
	}
}
