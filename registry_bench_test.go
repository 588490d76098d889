package ginsse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
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
			registry := newRegistry(b, ginsse.RegistryConfig{MaxStreamsPerUser: -1})
			engine := newEngine(b, registry)
			done := make(chan struct{}, count)
			for range count {
				go func() {
					defer func() { done <- struct{}{} }()
					request := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
					request.Header.Set("X-User", "alice")
					engine.ServeHTTP(discard{httptest.NewRecorder()}, request)
				}()
			}
			for registry.Stats().Streams < count {
			}
			e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := registry.Broadcast(b.Context(), e); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			registry.Close()
			for range count {
				<-done
			}
			if gaps := registry.Stats().Gaps; gaps > 0 {
				b.ReportMetric(float64(gaps), "gaps")
			}
		})
	}
}

// discard is a recorder that keeps nothing.
type discard struct{ *httptest.ResponseRecorder }

func (discard) Write(p []byte) (int, error) { return len(p), nil }
