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

// BenchmarkBroadcast measures an event to many streams. They write into recorders, so that the
// network is not measured.
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

// manyStreams opens streams of alice that write into recorders. It returns the number of writes so
// far, which goes on counting.
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
			engine.ServeHTTP(countingRecorder{httptest.NewRecorder(), written}, request)
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

// countingRecorder is a recorder that counts writes and discards them.
type countingRecorder struct {
	*httptest.ResponseRecorder

	written *atomic.Int64
}

func (r countingRecorder) Write(p []byte) (int, error) {
	r.written.Add(1)
	return len(p), nil
}

// BenchmarkResume measures a client that reconnects, gets its backlog and leaves. The network and
// authentication by a token are not part of it.
func BenchmarkResume(b *testing.B) {
	for _, backlog := range []int{0, 100, 1000} {
		b.Run(fmt.Sprint(backlog), func(b *testing.B) {
			registry := newRegistry(b, ginsse.RegistryConfig{MaxOpensPerMinute: -1})
			engine := newEngine(b, registry)
			e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
			first, err := registry.SendTo(b.Context(), "alice", e)
			if err != nil {
				b.Fatal(err)
			}
			last := first
			for range backlog {
				if last, err = registry.SendTo(b.Context(), "alice", e); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", http.NoBody)
				request.Header.Set("X-User", "alice")
				request.Header.Set("Last-Event-ID", first.ID)
				found := false
				engine.ServeHTTP(&searchingRecorder{ResponseRecorder: httptest.NewRecorder(), id: last.ID, found: func() { found = true; cancel() }}, request)
				cancel()
				if !found {
					b.Fatal("the stream ended without the last event")
				}
			}
			if gaps := registry.Stats().Gaps; gaps > 0 {
				b.Fatalf("%d gaps", gaps)
			}
		})
	}
}

// searchingRecorder is a recorder that discards writes, and calls found when one ends with an ID.
type searchingRecorder struct {
	*httptest.ResponseRecorder

	id    string
	found func()
}

func (r *searchingRecorder) Write(p []byte) (int, error) {
	if strings.Contains(string(p[max(0, len(p)-200):]), r.id) {
		r.found()
	}
	return len(p), nil
}
