package compat_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	sentrygin "github.com/getsentry/sentry-go/gin"
	"github.com/gin-contrib/cors"
	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-contrib/secure"
	"github.com/gin-contrib/sessions"
	"github.com/gin-contrib/sessions/cookie"
	"github.com/gin-gonic/gin"
	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"
	"github.com/newrelic/go-agent/v3/integrations/nrgin"
	"github.com/newrelic/go-agent/v3/newrelic"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metrics "github.com/slok/go-http-metrics/metrics/prometheus"
	"github.com/slok/go-http-metrics/middleware"
	metricsgin "github.com/slok/go-http-metrics/middleware/gin"
	metricsstd "github.com/slok/go-http-metrics/middleware/std"
	"go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/ginsse/ginsse"
)

// How a stream behaves behind a middleware.
const (
	works   = "works"
	warns   = "works, with a warning about "
	refused = "refused: "
)

// vendor is a row of README.md: a middleware, registered as its vendor documents.
type vendor struct {
	name    string
	module  string
	use     func(t *testing.T) []gin.HandlerFunc            // with Engine.Use
	wrap    func(t *testing.T, h http.Handler) http.Handler // or around the engine
	after   bool                                            // or use on the route, after ginsse.Middleware
	outcome string
}

const aroundEngine, engineUse, onRoute = "around the engine", "`Engine.Use`", "on the route, after `ginsse.Middleware`"

// registered describes where the middleware is registered.
func (v vendor) registered() string {
	switch {
	case v.wrap != nil:
		return aroundEngine
	case v.after:
		return onRoute
	default:
		return engineUse
	}
}

// handler returns a handler with the middleware registered.
func (v vendor) handler(t *testing.T, stream gin.HandlerFunc) http.Handler {
	engine := gin.New()
	route := []gin.HandlerFunc{ginsse.Middleware(newAuth(t))}
	switch {
	case v.use == nil:
	case v.after:
		route = append(route, v.use(t)...)
	default:
		engine.Use(v.use(t)...)
	}
	engine.GET("/events", append(route, stream)...)
	engine.GET("/page", page)
	if v.wrap != nil {
		return v.wrap(t, engine)
	}
	return engine
}

var vendors = []vendor{
	{
		name: "`otelgin.Middleware`", module: "go.opentelemetry.io/contrib/instrumentation/github.com/gin-gonic/gin/otelgin",
		use:     use(func() gin.HandlerFunc { return otelgin.Middleware("service") }),
		outcome: works,
	},
	{
		name: "`otelhttp.NewHandler`", module: "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
		wrap:    func(_ *testing.T, h http.Handler) http.Handler { return otelhttp.NewHandler(h, "service") },
		outcome: works,
	},
	{
		name: "`sentrygin.New`", module: "github.com/getsentry/sentry-go/gin",
		use:     use(func() gin.HandlerFunc { return sentrygin.New(sentrygin.Options{Repanic: true}) }),
		outcome: works,
	},
	{
		name: "`promhttp.InstrumentHandler*`, all six", module: "github.com/prometheus/client_golang",
		wrap: instrument, outcome: works,
	},
	{
		name: "go-http-metrics, `middleware/gin`", module: "github.com/slok/go-http-metrics",
		use:     use(func() gin.HandlerFunc { return metricsgin.Handler("", newMetrics()) }),
		outcome: works,
	},
	{
		name: "go-http-metrics, `middleware/std`", module: "github.com/slok/go-http-metrics",
		wrap:    func(_ *testing.T, h http.Handler) http.Handler { return metricsstd.Handler("", newMetrics(), h) },
		outcome: warns + "`*std.responseWriterInterceptor`",
	},
	{
		name: "`handlers.CombinedLoggingHandler`", module: "github.com/gorilla/handlers",
		wrap:    func(_ *testing.T, h http.Handler) http.Handler { return handlers.CombinedLoggingHandler(io.Discard, h) },
		outcome: works,
	},
	{
		name: "`handlers.CompressHandler`", module: "github.com/gorilla/handlers",
		wrap:    func(_ *testing.T, h http.Handler) http.Handler { return handlers.CompressHandler(h) },
		outcome: refused + "`Content-Encoding \"gzip\"`",
	},
	{
		name: "`handlers.ProxyHeaders`", module: "github.com/gorilla/handlers",
		wrap: func(_ *testing.T, h http.Handler) http.Handler {
			h = handlers.ProxyHeaders(h)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("X-Forwarded-For", "203.0.113.7")
				h.ServeHTTP(w, r)
			})
		},
		outcome: works,
	},
	{
		name: "`handlers.RecoveryHandler`", module: "github.com/gorilla/handlers",
		wrap:    func(_ *testing.T, h http.Handler) http.Handler { return handlers.RecoveryHandler()(h) },
		outcome: works,
	},
	{
		name: "`handlers.CORS`", module: "github.com/gorilla/handlers",
		wrap:    func(_ *testing.T, h http.Handler) http.Handler { return handlers.CORS()(h) },
		outcome: works,
	},
	{
		name: "`gzhttp.GzipHandler`", module: "github.com/klauspost/compress",
		wrap:    func(_ *testing.T, h http.Handler) http.Handler { return gzhttp.GzipHandler(h) },
		outcome: refused + "`gzhttp.GzipResponseWriterWithCloseNotify`",
	},
	{
		name: "scs, `LoadAndSave`", module: "github.com/alexedwards/scs/v2",
		wrap: loadAndSave, outcome: works,
	},
	{
		name: "`secure.New`", module: "github.com/gin-contrib/secure",
		use:     use(func() gin.HandlerFunc { return secure.New(secure.Config{FrameDeny: true, ContentTypeNosniff: true}) }),
		outcome: works,
	},
	{
		name: "`sessions.Sessions`", module: "github.com/gin-contrib/sessions",
		use: func(t *testing.T) []gin.HandlerFunc {
			return []gin.HandlerFunc{sessions.Sessions("session", cookie.NewStore(secret)), func(c *gin.Context) {
				session := sessions.Default(c)
				session.Set("visited", true)
				if err := session.Save(); err != nil {
					t.Error(err)
				}
			}}
		},
		outcome: works,
	},
	{
		name: "`gzip.Gzip`", module: "github.com/gin-contrib/gzip",
		use:     use(func() gin.HandlerFunc { return gingzip.Gzip(gingzip.DefaultCompression) }),
		outcome: refused + "`*gzip.gzipWriter`",
	},
	{
		name: "`gzip.Gzip` with `WithMinLength`", module: "github.com/gin-contrib/gzip",
		use: use(func() gin.HandlerFunc {
			return gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithMinLength(2048))
		}),
		outcome: refused + "`*gzip.gzipWriter`",
	},
	{
		name: "`gzip.Gzip`", module: "github.com/gin-contrib/gzip", after: true,
		use:     use(func() gin.HandlerFunc { return gingzip.Gzip(gingzip.DefaultCompression) }),
		outcome: works,
	},
	{
		name: "`timeout.New`", module: "github.com/gin-contrib/timeout",
		use:     use(newTimeout),
		outcome: refused + "`*timeout.Writer`",
	},
	{
		name: "`timeout.New`", module: "github.com/gin-contrib/timeout", after: true,
		use:     use(newTimeout),
		outcome: refused + "`*timeout.Writer`",
	},
	{
		name: "`cors.New`", module: "github.com/gin-contrib/cors",
		use: use(func() gin.HandlerFunc {
			return cors.New(cors.Config{AllowOrigins: []string{"https://app.example.com"}})
		}),
		outcome: works,
	},
	{
		name: "`nrgin.Middleware`", module: "github.com/newrelic/go-agent/v3/integrations/nrgin",
		use:     func(t *testing.T) []gin.HandlerFunc { return []gin.HandlerFunc{nrgin.Middleware(newRelic(t))} },
		outcome: warns + "`*nrgin.replacementResponseWriter`",
	},
}

// use adapts a middleware whose constructor needs no testing.T.
func use(middleware func() gin.HandlerFunc) func(*testing.T) []gin.HandlerFunc {
	return func(*testing.T) []gin.HandlerFunc { return []gin.HandlerFunc{middleware()} }
}

// instrument wraps a handler in all instruments of promhttp.
func instrument(_ *testing.T, h http.Handler) http.Handler {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total", Help: "of a test"}, []string{"code", "method"})
	h = promhttp.InstrumentHandlerCounter(counter, h)
	for _, instrument := range []func(prometheus.ObserverVec, http.Handler) http.Handler{
		func(v prometheus.ObserverVec, h http.Handler) http.Handler {
			return promhttp.InstrumentHandlerDuration(v, h)
		},
		func(v prometheus.ObserverVec, h http.Handler) http.Handler {
			return promhttp.InstrumentHandlerTimeToWriteHeader(v, h)
		},
		func(v prometheus.ObserverVec, h http.Handler) http.Handler {
			return promhttp.InstrumentHandlerRequestSize(v, h)
		},
		func(v prometheus.ObserverVec, h http.Handler) http.Handler {
			return promhttp.InstrumentHandlerResponseSize(v, h)
		},
	} {
		h = instrument(prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "histogram_seconds", Help: "of a test"}, nil), h)
	}
	return promhttp.InstrumentHandlerInFlight(prometheus.NewGauge(prometheus.GaugeOpts{Name: "in_flight", Help: "of a test"}), h)
}

func newMetrics() middleware.Middleware {
	return middleware.New(middleware.Config{Recorder: metrics.NewRecorder(metrics.Config{Registry: prometheus.NewRegistry()})})
}

// newManager returns the only session manager. Each manager has a goroutine that cannot be stopped
// without a data race.
var newManager = sync.OnceValue(scs.New)

// loadAndSave wraps a handler with a session that each request changes.
func loadAndSave(_ *testing.T, h http.Handler) http.Handler {
	manager := newManager()
	return manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "visited", true)
		h.ServeHTTP(w, r)
	}))
}

// newRelic returns an application that sends no reports.
func newRelic(t *testing.T) *newrelic.Application {
	app, err := newrelic.NewApplication(
		newrelic.ConfigAppName("service"),
		newrelic.ConfigLicense(strings.Repeat("0", 40)),
		func(c *newrelic.Config) { c.ServerlessMode.Enabled = true },
	)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// Each middleware of README.md is registered as its vendor documents. Where the stream works, its
// first block and each event arrive at once, it ends cleanly, and its connection serves the next
// request. It also outlives http.Server.WriteTimeout, and a stalled reader's stream is closed. If
// the registry has warned that it cannot set write deadlines, these last two need HTTP/1.1 and
// ginsse.ConnContext, with which there is no warning.
func TestStreamBehindTheMiddlewareOfVendors(t *testing.T) {
	t.Parallel()
	for _, v := range vendors {
		t.Run(strings.ReplaceAll(v.name+" "+v.registered(), "`", ""), func(t *testing.T) {
			t.Parallel()
			onEachTransport(t, func(t *testing.T, start func(*httptest.Server)) {
				if writer, ok := strings.CutPrefix(v.outcome, refused); ok {
					checkVendorRefused(t, v, start, strings.Trim(writer, "`"))
					return
				}
				writer, hides := strings.CutPrefix(v.outcome, warns)
				logged := checkVendorWorks(t, v, start, !hides, func(ctx context.Context, _ net.Conn) context.Context { return ctx })
				if warnings := strings.Count(logged, "level=WARN"); !hides && warnings != 0 ||
					hides && (warnings != 1 || !strings.Contains(logged, strings.Trim(writer, "`"))) {
					t.Errorf("the registry has logged %s", logged)
				}
				if !hides || strings.Contains(t.Name(), "http2") {
					return
				}
				if logged := checkVendorWorks(t, v, start, true, ginsse.ConnContext); logged != "" {
					t.Errorf("with ConnContext the registry has logged %s", logged)
				}
			})
		})
	}
}

func checkVendorRefused(t *testing.T, v vendor, start func(*httptest.Server), writer string) {
	registry := newRegistry(t, ginsse.RegistryConfig{})
	served := make(chan error, 1)
	server := serve(t, v.handler(t, func(c *gin.Context) { served <- registry.Serve(c) }), start, 0)
	checkRefusal(t, server, served, writer)
}

// checkVendorWorks checks the stream, with or without write deadlines, and returns the registry's
// log.
func checkVendorWorks(t *testing.T, v vendor, start func(*httptest.Server), deadlines bool,
	connContext func(context.Context, net.Conn) context.Context,
) string {
	var logged logBuffer
	ended := make(chan ginsse.Reason, 8)
	registry := newRegistry(t, ginsse.RegistryConfig{
		Stream: ginsse.StreamConfig{WriteTimeout: streamWriteTimeout},
		Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		DisconnectFunc: func(s *ginsse.Stream, reason ginsse.Reason) {
			if s.UserID() == "stalled" {
				ended <- reason
			}
		},
	})
	limit := time.Duration(0)
	if deadlines {
		limit = serverWriteTimeout
	}
	server := serveConnections(t, v.handler(t, registry.Handler()), start, limit, connContext)
	if deadlines {
		stall(t, server.Client(), server.URL, registry)
	}
	checkStream(t, server, registry)
	if deadlines {
		wantSlow(t, ended)
	} else {
		checkStream(t, server, registry) // the registry warns only once
	}
	return logged.String()
}

// logBuffer is a bytes.Buffer that several goroutines may use.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The table of README.md lists exactly the tested middleware, with the versions of go.mod.
func TestTableOfVendorsMatchesTheTests(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "|") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{"| middleware | module | registered | a stream |", "|---|---|---|---|"}
	for _, v := range vendors {
		_, version, ok := strings.Cut(string(gomod), "\t"+v.module+" v")
		if !ok {
			t.Errorf("go.mod does not require %s", v.module)
			continue
		}
		version = "v" + strings.Fields(version)[0]
		want = append(want, fmt.Sprintf("| %s | `%s` %s | %s | %s |", v.name, v.module, version, v.registered(), v.outcome))
	}
	if got, want := strings.Join(got, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}
