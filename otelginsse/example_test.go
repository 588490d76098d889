package otelginsse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/otelginsse"
)

// The send of a handler is a child of the request's span. See docs/tracing.md for a program with streams.
func Example() {
	var output bytes.Buffer
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(&output))
	if err != nil {
		fmt.Println(err)
		return
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	telemetry, err := otelginsse.New(otelginsse.Config{TracerProvider: tracers})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		Observers: []*ginsse.Observer{telemetry.Observer()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registry.Close()

	r := gin.New()
	r.Use(otelgin.Middleware("comments", otelgin.WithTracerProvider(tracers)))
	r.POST("/comments", func(c *gin.Context) {
		if _, err := registry.SendTo(c.Request.Context(), "alice", ginsse.Event{Type: "comment"}); err != nil {
			_ = c.AbortWithError(http.StatusServiceUnavailable, err)
		}
	})
	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/comments", http.NoBody))

	if err := tracers.Shutdown(context.Background()); err != nil { // writes the spans
		fmt.Println(err)
		return
	}
	for spans := json.NewDecoder(&output); spans.More(); {
		var span struct {
			Name string `json:"Name"`
		}
		if err := spans.Decode(&span); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(span.Name)
	}
	// Output:
	// send user
	// POST /comments
}
