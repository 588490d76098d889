package promginsse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/promginsse"
)

// BenchmarkScrape measures what a scrape costs.
func BenchmarkScrape(b *testing.B) {
	for _, streams := range []int{0, 10_000} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			metrics := promginsse.New()
			gatherer := prometheus.NewRegistry()
			gatherer.MustRegister(metrics.Collector(recordedStreams(b, streams, metrics.Observer())))
			handler := promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{})
			request := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
			fastest := time.Hour
			size := 0
			b.ReportAllocs()
			for b.Loop() {
				response := httptest.NewRecorder()
				begun := time.Now()
				handler.ServeHTTP(response, request)
				fastest = min(fastest, time.Since(begun))
				size = response.Body.Len()
			}
			b.ReportMetric(fastest.Seconds()*1000, "fastest-ms")
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

// recordedStreams returns a registry with streams that write into recorders: so many connections would
// need more descriptors than a process may have.
func recordedStreams(b *testing.B, streams int, observer *ginsse.Observer) *ginsse.Registry {
	registry := newRegistry(b, ginsse.RegistryConfig{Observers: []*ginsse.Observer{observer}, MaxStreamsPerUser: -1})
	engine := newEngine(b, registry)
	var handlers sync.WaitGroup
	for range streams {
		handlers.Go(func() {
			request := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
			request.Header.Set("X-User", "alice")
			engine.ServeHTTP(httptest.NewRecorder(), request)
		})
	}
	b.Cleanup(func() {
		registry.Close()
		handlers.Wait()
	})
	until(b, "the streams are open", func() bool { return registry.Stats().Streams == streams })
	return registry
}

// BenchmarkHooks measures what counting costs, and reading the clock, which the registry does for each
// append.
func BenchmarkHooks(b *testing.B) {
	o := promginsse.New().Observer()
	b.Run("written", func(b *testing.B) {
		w := ginsse.Written{Events: 1, Bytes: 150, Delay: 3 * time.Millisecond}
		measureHook(b, func() { o.Written(nil, w) })
	})
	b.Run("appended", func(b *testing.B) {
		a := ginsse.Appended{Kind: eventlog.KindUser, Bytes: 150, Took: 3 * time.Microsecond}
		measureHook(b, func() { o.Appended(a) })
	})
	b.Run("clock", func(b *testing.B) {
		made := time.Now()
		measureHook(b, func() { _ = time.Since(made) })
	})
	b.Run("sent", func(b *testing.B) {
		s := ginsse.Sent{Kind: eventlog.KindUser}
		measureHook(b, func() { o.Sent(b.Context(), s) })
	})
}

// measureHook reports the fastest of some thousand calls each, which a busy machine disturbs least.
func measureHook(b *testing.B, hook func()) {
	const calls = 2000
	fastest := time.Hour
	b.ReportAllocs()
	for b.Loop() {
		begun := time.Now()
		for range calls {
			hook()
		}
		fastest = min(fastest, time.Since(begun))
	}
	b.ReportMetric(float64(fastest.Nanoseconds())/calls, "fastest-ns/call")
}

// BenchmarkDelivery measures an event from SendTo until each client has read it, with and without
// metrics, one after the other, so that both meet the same machine. It reports the medians, and the
// best, which a busy machine disturbs least.
func BenchmarkDelivery(b *testing.B) {
	for _, streams := range []int{1, 1000} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			metrics := promginsse.New()
			without := newDelivery(b, streams, nil)
			with := newDelivery(b, streams, metrics.Observer())
			b.ReportAllocs()
			for first, second := without, with; b.Loop(); first, second = second, first {
				first.measure(b)
				second.measure(b)
			}
			without.report(b, "without")
			with.report(b, "with")
		})
	}
}

type delivery struct {
	registry *ginsse.Registry
	audience *audience
	took     []time.Duration
}

func newDelivery(b *testing.B, streams int, observers ...*ginsse.Observer) *delivery {
	registry := newRegistry(b, ginsse.RegistryConfig{
		Observers: observers, MaxStreamsPerUser: -1, Stream: ginsse.StreamConfig{Compact: true},
	})
	d := &delivery{registry: registry, audience: newAudience(b, serve(b, registry), streams), took: make([]time.Duration, 0, 1<<20)}
	return d
}

var benchEvent = ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}

func (d *delivery) measure(b *testing.B) {
	d.audience.want.Add(int64(d.registry.Stats().Streams))
	begun := time.Now()
	if _, err := d.registry.SendTo(b.Context(), "alice", benchEvent); err != nil {
		b.Fatal(err)
	}
	d.audience.await(b)
	d.took = append(d.took, time.Since(begun))
}

func (d *delivery) report(b *testing.B, name string) {
	slices.Sort(d.took)
	streams := float64(d.registry.Stats().Streams)
	b.ReportMetric(float64(d.took[len(d.took)/2])/streams, name+"-median-ns/delivery")
	b.ReportMetric(float64(d.took[len(d.took)/20])/streams, name+"-p5-ns/delivery")
}
