package loadtest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// TestLatencyCountsFromWhenAnEventWasDue has the server hold one request for a while. The events that were
// due meanwhile are late, although each of them is fast once it is sent.
func TestLatencyCountsFromWhenAnEventWasDue(t *testing.T) {
	t.Parallel()
	const stall = 500 * time.Millisecond
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	var posts atomic.Int64
	url := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		if posts.Add(1) == 10 {
			time.Sleep(stall) // this is the slow server
		}
		body, _ := io.ReadAll(r.Body)
		if _, err := k.registry.Broadcast(r.Context(), ginsse.Event{Type: "note", Data: string(body)}); err != nil {
			t.Error(err)
		}
	})
	cfg := config(t, k.URL+"/events", 1)
	sending(t, &cfg, url, 50).Rate = 100 // all are due within the stall
	got := load(t, cfg)
	// After the stall, at least 30 of 50 events are due, the median for more than 200 ms.
	if l := got.Sent.Latency; got.Failed() || l.Count != 50 || l.P50 < 100 {
		t.Errorf("half of the events are late by more than 100 ms, and the latencies are %+v", l)
	}
}

// TestManyFailedRequestsAreNotMissing has the server refuse every second event, which are more than a
// sequence keeps holes.
func TestManyFailedRequestsAreNotMissing(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	var posts atomic.Int64
	url := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if posts.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if _, err := k.registry.Broadcast(r.Context(), ginsse.Event{Type: "note", Data: string(body)}); err != nil {
			t.Error(err)
		}
	})
	cfg := config(t, k.URL+"/events", 2)
	const events = 4 * mostHoles
	sending(t, &cfg, url, events).Rate = 2000
	got := load(t, cfg)
	if s := got.Sent; got.Failed() || s.Arrived != events || s.Failed["status 429 Too Many Requests"] != events/2 {
		t.Errorf("%d arrived, %d missing, failed: %v", s.Arrived, s.Missing, s.Failed)
	}
}

// TestEventsPerSecondAreThoseOfTheLoad has a server that sends events on the first stream alone, and opens
// the second one when they have arrived.
func TestEventsPerSecondAreThoseOfTheLoad(t *testing.T) {
	t.Parallel()
	var streams atomic.Int64
	arrived := make(chan struct{})
	url := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if streams.Add(1) == 1 {
			for i := range 100 {
				fmt.Fprintf(w, "data: %d\n\n", i)
			}
		} else {
			select {
			case <-arrived:
			case <-r.Context().Done():
			}
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	cfg := config(t, url, 2)
	cfg.For = 100 * time.Millisecond
	count := sync.OnceFunc(func() { close(arrived) })
	cfg.Progress = func(p Progress) {
		if p.Events == 100 {
			count()
		}
	}
	got := load(t, cfg)
	if got.Events != 100 || got.EventsPerSecond != 0 {
		t.Errorf("%d events, %.0f in a second of the load, want 100, and none during it", got.Events, got.EventsPerSecond)
	}
}

// TestRunEndsWithoutStreamsThatWereClosed waits for the events of each stream, one of which the server
// has ended before.
func TestRunEndsWithoutStreamsThatWereClosed(t *testing.T) {
	t.Parallel()
	streams := make(chan int, 2)
	streams <- 1
	streams <- 2
	url := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		if <-streams == 1 {
			fmt.Fprint(w, "event: sse.close\ndata: {\"reason\":\"banned\"}\n\n")
			return
		}
		fmt.Fprint(w, "data: 2\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	cfg := config(t, url, 2)
	cfg.Events = 2
	if got := load(t, cfg); got.Events != 3 || got.Streams.Closed != 1 {
		t.Errorf("%+v", got)
	}
}
