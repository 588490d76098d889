package ginsse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ginsse/ginsse"
)

func BenchmarkSendTo(b *testing.B) {
	registry := newRegistry(b, ginsse.RegistryConfig{})
	e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.SendTo(b.Context(), "alice", e); err != nil {
			b.Fatal(err)
		}
	}
}

// The streams write into recorders: what is measured is the kit, not the network.
func BenchmarkBroadcast(b *testing.B) {
	for _, count := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			registry, written := manyStreams(b, count)
			e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
			b.ReportAllocs()
			before := written.Load()
			for b.Loop() {
				if _, err := registry.Broadcast(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(written.Load()-before)/float64(b.N)/float64(count), "writes/delivery")
			if gaps := registry.Stats().Gaps; gaps > 0 {
				b.ReportMetric(float64(gaps), "gaps")
			}
		})
	}
}

// manyStreams opens streams that write into recorders, and counts their writes.
func manyStreams(tb testing.TB, count int) (*ginsse.Registry, *atomic.Int64) {
	registry := newRegistry(tb, ginsse.RegistryConfig{MaxStreamsPerUser: -1})
	engine := newEngine(tb, registry)
	written := new(atomic.Int64)
	done := make(chan struct{}, count)
	for range count {
		go func() {
			defer func() { done <- struct{}{} }()
			request := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
			request.Header.Set("X-User", "alice")
			engine.ServeHTTP(discard{httptest.NewRecorder(), written}, request)
		}()
	}
	for written.Load() < int64(count) { // each has sent its first block
		runtime.Gosched()
	}
	tb.Cleanup(func() {
		registry.Close()
		for range count {
			<-done
		}
	})
	return registry, written
}

// discard is a recorder that keeps nothing but the number of writes.
type discard struct {
	*httptest.ResponseRecorder

	written *atomic.Int64
}

func (d discard) Write(p []byte) (int, error) {
	d.written.Add(1)
	return len(p), nil
}

// BenchmarkResume is a stream that comes back, gets the events it has missed, and
// leaves: all of it but the network and the credential.
func BenchmarkResume(b *testing.B) {
	for _, missed := range []int{0, 100, 1000} {
		b.Run(fmt.Sprint(missed), func(b *testing.B) {
			registry := newRegistry(b, ginsse.RegistryConfig{MaxOpensPerMinute: -1})
			engine := newEngine(b, registry)
			e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
			was, err := registry.SendTo(b.Context(), "alice", e)
			if err != nil {
				b.Fatal(err)
			}
			last := was
			for range missed {
				if last, err = registry.SendTo(b.Context(), "alice", e); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", http.NoBody)
				request.Header.Set("X-User", "alice")
				request.Header.Set("Last-Event-ID", was.ID)
				came := false
				engine.ServeHTTP(&until{ResponseRecorder: httptest.NewRecorder(), id: last.ID, then: func() { came = true; cancel() }}, request)
				cancel()
				if !came {
					b.Fatal("the stream has ended without the last event")
				}
			}
			if gaps := registry.Stats().Gaps; gaps > 0 {
				b.Fatalf("%d gaps", gaps)
			}
		})
	}
}

// until is a recorder that keeps nothing, and calls then when an ID has come.
type until struct {
	*httptest.ResponseRecorder

	id   string
	then func()
}

func (u *until) Write(p []byte) (int, error) {
	if strings.Contains(string(p[max(0, len(p)-200):]), u.id) {
		u.then()
	}
	return len(p), nil
}
