package compat_test

import (
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/otelginsse"
	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/ssetest"
)

// TestTraceLeadsThroughADatabase sends on one node, directly and in a transaction, to a compact stream
// on another. The nodes share a database.
func TestTraceLeadsThroughADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	exporter := tracetest.NewInMemoryExporter()
	start := func() (*httptest.Server, *ginsse.Registry) {
		db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		events, err := sqllog.OpenSQLite(t.Context(), db, sqllog.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = events.Close() })
		tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		telemetry, err := otelginsse.New(otelginsse.Config{TracerProvider: tracers})
		if err != nil {
			t.Fatal(err)
		}
		registry := newRegistry(t, ginsse.RegistryConfig{
			Log:       events,
			Observers: []*ginsse.Observer{telemetry.Observer()},
			Stream:    ginsse.StreamConfig{Compact: true},
		})
		auth, err := ginsse.NewAuthFunc(func(*gin.Context) (ginsse.Identity, error) {
			return ginsse.Identity{UserID: "alice"}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		r := gin.New()
		r.GET("/events", ginsse.Middleware(auth), registry.Handler())
		r.Use(otelgin.Middleware("test", otelgin.WithTracerProvider(tracers)))
		r.POST("/direct", func(c *gin.Context) {
			if _, err := registry.SendTo(c.Request.Context(), "alice", ginsse.Event{Type: "comment"}); err != nil {
				_ = c.AbortWithError(http.StatusInternalServerError, err)
			}
		})
		r.POST("/transaction", func(c *gin.Context) {
			ctx := c.Request.Context()
			tx, err := db.BeginTx(ctx, nil)
			if err == nil {
				err = registry.In(events.Tx(tx)).SendTo(ctx, "alice", ginsse.Event{Type: "comment"})
				err = errors.Join(err, tx.Commit())
			}
			if err != nil {
				_ = c.AbortWithError(http.StatusInternalServerError, err)
			}
		})
		server := httptest.NewUnstartedServer(r)
		server.Config.ConnContext = ginsse.ConnContext
		server.Start()
		t.Cleanup(server.Close)
		t.Cleanup(registry.Close) // before the server, which waits for streams
		return server, registry
	}
	node1, _ := start()
	node2, registry2 := start()
	alice := ssetest.Connect(t, node2.Client(), newRequest(t, http.MethodGet, node2.URL+"/events", nil))
	alice.NextOf("sse.open")
	for _, path := range []string{"/direct", "/transaction"} {
		exporter.Reset()
		response, err := node1.Client().Do(newRequest(t, http.MethodPost, node1.URL+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		id := alice.NextOf("comment").LastEventID
		spans := awaitSpans(t, exporter, "POST "+path, "send user", "deliver user")
		request, send, delivery := spans[0], spans[1], spans[2]
		if send.Parent.SpanID() != request.SpanContext.SpanID() || delivery.Parent.SpanID() != send.SpanContext.SpanID() ||
			delivery.SpanContext.TraceID() != request.SpanContext.TraceID() {
			t.Errorf("%s: the delivery does not descend from the request", path)
		}
		delivered := ""
		for _, a := range delivery.Attributes {
			if a.Key == "messaging.message.id" {
				delivered = a.Value.AsString()
			}
		}
		if delivered != id {
			t.Errorf("%s: the delivery is of event %q, want %q", path, delivered, id)
		}
		if took := delivery.EndTime.Sub(delivery.StartTime); took <= 0 || took > 30*time.Second {
			t.Errorf("%s: the delivery took %v", path, took)
		}
	}
	if stats := registry2.Stats(); stats.Compact != 1 && runtime.GOOS == "linux" {
		t.Errorf("node 2 has %d compact streams", stats.Compact)
	}
}

// awaitSpans waits until the exporter has a span of each name, and returns them in that order.
func awaitSpans(t *testing.T, exporter *tracetest.InMemoryExporter, names ...string) []tracetest.SpanStub {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		var found []tracetest.SpanStub
		spans := exporter.GetSpans()
		for _, name := range names {
			for _, s := range spans {
				if s.Name == name {
					found = append(found, s)
				}
			}
		}
		if len(found) == len(names) {
			return found
		}
		select {
		case <-deadline:
			t.Fatalf("want the spans %q, there are %d of these", names, len(found))
		case <-time.After(time.Millisecond):
		}
	}
}
