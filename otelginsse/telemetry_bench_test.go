package otelginsse_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/otelginsse"
)

// parents are contexts as a request has them.
var parents = []struct {
	name  string
	flags trace.TraceFlags
}{{"unsampled", 0}, {"sampled", trace.FlagsSampled}}

// contextOf returns a context in a trace of a client.
func contextOf(flags trace.TraceFlags) context.Context {
	return trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: flags,
	}))
}

func benchTelemetry(b *testing.B) *otelginsse.Telemetry {
	discard := tracetest.NewNoopExporter() // so that only the making of spans is measured
	telemetry, err := otelginsse.New(otelginsse.Config{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(discard), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
	})
	if err != nil {
		b.Fatal(err)
	}
	return telemetry
}

// BenchmarkSend measures an event to a user without a stream.
func BenchmarkSend(b *testing.B) {
	run := func(name string, ctx context.Context, observers ...*ginsse.Observer) {
		b.Run(name, func(b *testing.B) {
			registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Observers: observers})
			if err != nil {
				b.Fatal(err)
			}
			defer registry.Close()
			e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := registry.SendTo(ctx, "alice", e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("none", context.Background())
	for _, p := range parents {
		run(p.name, contextOf(p.flags), benchTelemetry(b).Observer())
	}
}

// BenchmarkDeliver measures what a registry calls for a delivery. An event without a trace has only the
// metrics. Of an event with one, the first 10 deliveries have a span.
func BenchmarkDeliver(b *testing.B) {
	written := ginsse.Written{Events: 1, Bytes: 150, Delay: 1000}
	o := benchTelemetry(b).Observer()
	b.Run("unsampled", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			o.Written(nil, written)
		}
	})
	deliver := func(b *testing.B, trace func(i int) string) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			o.Written(nil, written)
			o.Delivered(nil, ginsse.Delivered{Kind: "user", ID: "AAAAAAAAAAAAAAAAAAAAAA", Trace: trace(i), Delay: 1000})
		}
	}
	b.Run("span", func(b *testing.B) {
		traces := make([]string, 10_000)
		for i := range traces {
			traces[i] = fmt.Sprintf("00-0123456789abcdef0123456789abcdef-%016x-01", i+1)
		}
		deliver(b, func(i int) string { return traces[i%len(traces)] })
	})
	b.Run("beyond", func(b *testing.B) {
		const trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
		deliver(b, func(int) string { return trace })
	})
}
