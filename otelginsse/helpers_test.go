package otelginsse_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/otelginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// node is a node of an application with telemetry.
type node struct {
	registry *ginsse.Registry
	server   *ssetest.Server
	tracers  *sdktrace.TracerProvider
	metrics  *metric.ManualReader
}

// newNode returns a node whose spans go to the exporter, with the node's name. Its log is in memory if
// log is nil. Requests to /events open a stream, also of topics. Requests to /send call send.
func newNode(t testing.TB, name string, log eventlog.Log, exporter sdktrace.SpanExporter, cfg otelginsse.Config,
	send func(ctx context.Context, registry *ginsse.Registry) error,
) *node {
	t.Helper()
	n := &node{metrics: metric.NewManualReader()}
	n.tracers = sdktrace.NewTracerProvider(
		sdktrace.WithSyncer(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.instance.id", name))),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
	)
	cfg.TracerProvider, cfg.MeterProvider = n.tracers, metric.NewMeterProvider(metric.WithReader(n.metrics))
	telemetry, err := otelginsse.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.registry, err = ginsse.NewRegistry(ginsse.RegistryConfig{
		Log:               log,
		Observers:         []*ginsse.Observer{telemetry.Observer()},
		MaxStreamsPerUser: -1,
		AllowTopicFunc:    func(*gin.Context, string) (bool, error) { return true, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.registry.Close)
	if err := telemetry.Watch(n.registry); err != nil {
		t.Fatal(err)
	}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("Test-User")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.Use(otelgin.Middleware("test",
		otelgin.WithTracerProvider(n.tracers),
		otelgin.WithPropagators(propagation.TraceContext{}),
		otelgin.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/events" }),
	))
	r.GET("/events", ginsse.Middleware(auth), n.registry.Handler())
	r.POST("/send", func(c *gin.Context) {
		if err := send(c.Request.Context(), n.registry); err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
		}
	})
	n.server = ssetest.NewServer(t, r)
	return n
}

// open opens a stream that has begun.
func (n *node) open(t testing.TB, user, query string, options ...ssetest.Option) *ssetest.Stream {
	t.Helper()
	stream := n.server.Open(t, "/events"+query, append(options, ssetest.Header("Test-User", user))...)
	stream.NextOf("sse.open")
	return stream
}

// post calls /send of a node, with a traceparent unless that is "". It returns the status.
func (n *node) post(t testing.TB, traceparent string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.server.URL+"/send", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if traceparent != "" {
		request.Header.Set("Traceparent", traceparent)
	}
	response, err := n.server.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// await waits until the exporter has so many spans of a name, and returns them.
func await(t testing.TB, exporter *tracetest.InMemoryExporter, count int, name string) tracetest.SpanStubs {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		if found := named(exporter, name); len(found) >= count {
			return found
		}
		select {
		case <-deadline:
			t.Fatalf("there are %d spans %q, want %d:\n%s", len(named(exporter, name)), name, count, picture(exporter.GetSpans()))
		case <-time.After(time.Millisecond):
		}
	}
}

func named(exporter *tracetest.InMemoryExporter, name string) (found tracetest.SpanStubs) {
	for _, s := range exporter.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// valueOf returns an attribute of a span as text; "" for none.
func valueOf(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.Emit()
		}
	}
	return ""
}
