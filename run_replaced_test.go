package ginsse_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A stream that was replaced still writes to its slow client. Such streams count, as those of
// users do: there may be as many again as MaxStreams allows.
func TestReplacedFollowersOfSlowClientsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{MaxStreams: 2, MaxStreamsPerUser: 1})
		server := ssetest.NewServer(t, newRunEngine(t, registry))
		run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
			return run.Send(ginsse.Event{Data: strings.Repeat("x", 512<<10)})
		})
		within(t, "the run", run.Done())
		served := 0
		for range 12 {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/runs/"+run.ID(), http.NoBody)
			check(t, err)
			request.Header.Set("X-User", "alice")
			response, err := server.Client.Do(request)
			check(t, err)
			t.Cleanup(func() { _ = response.Body.Close() })
			if response.StatusCode == http.StatusOK {
				served++
				_, err := io.ReadFull(response.Body, make([]byte, 100<<10)) // and no more
				check(t, err)
			}
		}
		if served > 4 {
			t.Errorf("%d streams hold 512 KiB each, with MaxStreams 2", served)
		}
	})
}
