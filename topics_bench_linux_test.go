package ginsse_test

import (
	"fmt"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// BenchmarkGrant measures from the call of Grant to the first event of the topic at a client, over a
// real connection.
func BenchmarkGrant(b *testing.B) {
	registry := newRegistry(b, ginsse.RegistryConfig{})
	server := startServer(b, newEngine(b, registry), nil, (*httptest.Server).Start)
	stream := connect(b, server, "/events", as("alice"))
	stream.NextOf("sse.open")
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		topic := fmt.Sprint("board ", n)
		start := time.Now()
		check(b, registry.Grant(b.Context(), "alice", topic))
		publish(b, registry, topic, n)
		stream.NextOf("n")
		took = append(took, time.Since(start))
		check(b, registry.Revoke(b.Context(), "alice", topic))
		stream.NextOf("sse.topics")
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkKeyedUpdates measures updates of 10,000 keys of one topic, which 1,000 clients that take
// nothing read. Run it with -benchtime 1000000x.
func BenchmarkKeyedUpdates(b *testing.B) {
	const clients, keys = 1000, 10_000
	registry := newRegistry(b, ginsse.RegistryConfig{
		MaxStreamsPerUser: -1, MaxOpensPerMinute: -1,
		Stream: ginsse.StreamConfig{WriteTimeout: -1},
	})
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(headerAuth(b)), registry.Handler(ginsse.WithTopics("prices")))
	server := startServer(b, engine, nil, (*httptest.Server).Start)
	for range clients {
		openRaw(b, server, rawRequest{user: "alice", small: true})
	}
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprint("price ", i)
	}
	e := ginsse.Event{Type: "price", Data: strings.Repeat("x", 100)}
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before, worst := heap(), time.Duration(0)
	for n := 0; b.Loop(); n++ {
		e.Key = names[n%keys]
		start := time.Now()
		if _, err := registry.Publish(b.Context(), "prices", e); err != nil {
			b.Fatal(err)
		}
		worst = max(worst, time.Since(start))
	}
	b.StopTimer()
	b.ReportMetric(heap()-before, "MB-more")
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
	b.ReportMetric(float64(registry.Stats().Gaps), "gaps")
}

// BenchmarkTransient measures events that are kept and events that are not, to 1,000 streams.
func BenchmarkTransient(b *testing.B) {
	for _, transient := range []bool{false, true} {
		b.Run(fmt.Sprintf("transient=%v", transient), func(b *testing.B) {
			const streams = 1000
			registry, written := manyStreams(b, streams)
			e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100), Transient: transient}
			for n := int64(1); b.Loop(); n++ {
				before := written.Load()
				if _, err := registry.Broadcast(b.Context(), e); err != nil {
					b.Fatal(err)
				}
				for written.Load() < before+streams { // all have it
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/streams, "ns/delivery")
		})
	}
}
