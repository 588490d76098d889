package compat_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-contrib/cors"
	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-contrib/timeout"
	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// place is the position of a middleware on the route of a stream.
type place int

const (
	first  place = iota // Engine.Use, before ginsse.Middleware
	second              // on the route, after it
)

func (p place) String() string { return [...]string{"before", "after"}[p] }

// newTimeout returns the only instance of this middleware. A second call of timeout.New would write
// to variables that the first instance reads.
var newTimeout = sync.OnceValue(func() gin.HandlerFunc { return timeout.New(timeout.WithTimeout(10 * time.Second)) })

// Middleware that compresses or buffers must not affect a stream. Otherwise the request is refused
// before the 200, with an error that names the writer. This holds for all options and positions, so
// no stream is delayed or undecodable.
func TestStreamWorksOrIsRefusedBehindMiddleware(t *testing.T) {
	t.Parallel()
	const gzipWriter, timeoutWriter = "*gzip.gzipWriter", "*timeout.Writer"
	always := func(*gin.Context) bool { return true }
	notEvents := func(c *gin.Context) bool { return c.FullPath() != "/events" }
	for _, test := range []struct {
		name       string
		middleware func() gin.HandlerFunc
		compresses bool // compresses the page when registered first
		// The writer that is refused at each position; "" if the stream works.
		before, after string
	}{
		{"none", func() gin.HandlerFunc { return func(*gin.Context) {} }, false, "", ""},
		{"gzip", func() gin.HandlerFunc { return gingzip.Gzip(gingzip.DefaultCompression) }, true, gzipWriter, ""},
		{"gzip_with_min_length", func() gin.HandlerFunc {
			return gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithMinLength(2048))
		}, true, gzipWriter, ""},
		{"gzip_with_path_excluded", func() gin.HandlerFunc {
			return gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithExcludedPaths([]string{"/events"}))
		}, true, "", ""},
		{"gzip_with_function_for_all", func() gin.HandlerFunc {
			return gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithCustomShouldCompressFn(always))
		}, true, gzipWriter, gzipWriter},
		{"gzip_with_function_for_others", func() gin.HandlerFunc {
			return gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithCustomShouldCompressFn(notEvents))
		}, true, "", ""},
		{"gzip_for_decompression_only", func() gin.HandlerFunc {
			return gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithDecompressOnly())
		}, false, "", ""},
		{"timeout", newTimeout, false, timeoutWriter, timeoutWriter},
	} {
		for _, at := range []place{first, second} {
			t.Run(test.name+"_"+at.String(), func(t *testing.T) {
				t.Parallel()
				onEachTransport(t, func(t *testing.T, start func(*httptest.Server)) {
					ended := make(chan ginsse.Reason, 8)
					registry := newRegistry(t, ginsse.RegistryConfig{
						Stream: ginsse.StreamConfig{WriteTimeout: streamWriteTimeout},
						DisconnectFunc: func(s *ginsse.Stream, reason ginsse.Reason) {
							if s.UserID() == "stalled" {
								ended <- reason
							}
						},
					})
					served := make(chan error, 8)
					engine := around(newAuth(t), test.middleware(), at, func(c *gin.Context) { served <- registry.Serve(c) })
					refused := test.before
					if at == second {
						refused = test.after
					}
					limit := serverWriteTimeout
					if refused != "" {
						limit = 0 // a slow machine must not end an ordinary response
					}
					server := serve(t, engine, start, limit)
					if test.compresses && at == first {
						checkCompresses(t, server)
					}
					if refused != "" {
						checkRefusal(t, server, served, refused)
						return
					}
					stall(t, server.Client(), server.URL, registry)
					checkStream(t, server, registry)
					wantSlow(t, ended)
				})
			})
		}
	}
}

// The same holds for streams without a registry.
func TestServeIsRefusedBehindMiddlewareThatHoldsBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		middleware gin.HandlerFunc
		at         place
		writer     string
	}{
		"gzip_before":                 {gingzip.Gzip(gingzip.DefaultCompression), first, "*gzip.gzipWriter"},
		"gzip_with_min_length_before": {gingzip.Gzip(gingzip.DefaultCompression, gingzip.WithMinLength(2048)), first, "*gzip.gzipWriter"},
		"timeout_before":              {newTimeout(), first, "*timeout.Writer"},
		"timeout_after":               {newTimeout(), second, "*timeout.Writer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEachTransport(t, func(t *testing.T, start func(*httptest.Server)) {
				served := make(chan error, 1)
				engine := around(newAuth(t), test.middleware, test.at, func(c *gin.Context) {
					served <- ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error { return nil })
				})
				checkRefusal(t, serve(t, engine, start, 0), served, test.writer)
			})
		})
	}
}

// around returns an engine with a middleware at the given position, a stream at /events and a page
// at /page.
func around(auth *ginsse.Auth, middleware gin.HandlerFunc, at place, stream gin.HandlerFunc) *gin.Engine {
	engine := gin.New()
	handlers := []gin.HandlerFunc{ginsse.Middleware(auth), stream}
	if at == first {
		engine.Use(middleware)
	} else {
		handlers = slices.Insert(handlers, 1, middleware)
	}
	engine.GET("/events", handlers...)
	engine.GET("/page", page)
	return engine
}

// page responds with 7,000 bytes, unless the request's context has ended.
func page(c *gin.Context) {
	if err := c.Request.Context().Err(); err != nil {
		c.String(http.StatusInternalServerError, "the context has ended: %v", err)
		return
	}
	c.String(http.StatusOK, strings.Repeat("a page ", 1000))
}

// checkCompresses requires that the page is compressed. Otherwise the test of the stream would
// prove nothing.
func checkCompresses(t *testing.T, server *httptest.Server) {
	t.Helper()
	response, body := get(t, server, http.MethodGet, "/page", nil)
	if response.Header.Get("Content-Encoding") != "gzip" || len(body) != 7000 {
		t.Fatalf("the page has the headers %v and %d bytes", response.Header, len(body))
	}
}

// checkRefusal requires a JSON response, and an error that names the writer.
func checkRefusal(t *testing.T, server *httptest.Server, served <-chan error, writer string) {
	t.Helper()
	response, body := get(t, server, http.MethodGet, "/events", map[string]string{"Authorization": as(t, "alice")})
	select {
	case err := <-served:
		if !errors.Is(err, ginsse.ErrUnsupportedWriter) || !strings.Contains(err.Error(), writer) {
			t.Errorf("the handler got the error %v, want one that names %s", err, writer)
		}
	case <-time.After(20 * time.Second):
		t.Error("the handler has not returned")
	}
	wantError(t, response, body, http.StatusInternalServerError, "stream_unsupported")
}

// wantError checks a response that is not a stream.
func wantError(t *testing.T, response *http.Response, body []byte, status int, code string) {
	t.Helper()
	var answer struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Errorf("the response %q: %v", body, err)
	}
	if got := response.Header.Get("Content-Type"); response.StatusCode != status || !strings.HasPrefix(got, "application/json") {
		t.Errorf("got status %d of type %q, want %d and JSON", response.StatusCode, got, status)
	}
	if answer.Error.Code != code || answer.Error.Message == "" {
		t.Errorf("got the error %+v, want code %q", answer.Error, code)
	}
	if got := response.Header.Get("X-Accel-Buffering"); got != "" {
		t.Errorf("a response that is not a stream has X-Accel-Buffering: %s", got)
	}
}

// get returns a response and its decompressed body.
func get(t *testing.T, server *httptest.Server, method, path string, header map[string]string) (*http.Response, []byte) {
	t.Helper()
	response, err := server.Client().Do(newRequest(t, method, server.URL+path, header))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var reader io.Reader = response.Body
	if response.Header.Get("Content-Encoding") == "gzip" {
		if reader, err = gzip.NewReader(reader); err != nil {
			t.Fatalf("decompressing: %v", err)
		}
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("reading the response: %v", err)
	}
	return response, body
}

// If cors is registered before authentication, a page of another origin can read the stream, and
// the reason of a refusal.
func TestStreamAndRefusalKeepTheHeadersOfCORS(t *testing.T) {
	t.Parallel()
	const origin = "https://app.example.com"
	onEachTransport(t, func(t *testing.T, start func(*httptest.Server)) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		engine := gin.New()
		engine.Use(cors.New(cors.Config{
			AllowOrigins:     []string{origin},
			AllowHeaders:     []string{"Authorization", "Last-Event-ID"},
			AllowCredentials: true,
		}))
		engine.GET("/events", ginsse.Middleware(newAuth(t)), registry.Handler())
		engine.GET("/page", page)
		server := serve(t, engine, start, serverWriteTimeout)
		wantCORS := func(t *testing.T, h http.Header) {
			t.Helper()
			if h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Credentials") != "true" ||
				!slices.Contains(h.Values("Vary"), "Origin") {
				t.Errorf("got the headers %v", h)
			}
		}

		preflight, _ := get(t, server, http.MethodOptions, "/events", map[string]string{
			"Origin":                         origin,
			"Access-Control-Request-Method":  http.MethodGet,
			"Access-Control-Request-Headers": "authorization,last-event-id",
		})
		if allowed := preflight.Header.Get("Access-Control-Allow-Headers"); preflight.StatusCode != http.StatusNoContent ||
			!strings.Contains(allowed, "Last-Event-Id") || !strings.Contains(allowed, "Authorization") {
			t.Errorf("the preflight got %d and %v", preflight.StatusCode, preflight.Header)
		}
		wantCORS(t, preflight.Header)

		refusal, body := get(t, server, http.MethodGet, "/events", map[string]string{"Origin": origin})
		wantError(t, refusal, body, http.StatusUnauthorized, "unauthenticated")
		wantCORS(t, refusal.Header)
		if got := refusal.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
			t.Errorf("the refusal has WWW-Authenticate %q", got)
		}

		request := newRequest(t, http.MethodGet, server.URL+"/events", map[string]string{
			"Origin": origin, "Authorization": as(t, "carol"),
		})
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "text/event-stream" {
			t.Errorf("got status %d of type %q", response.StatusCode, got)
		}
		wantCORS(t, response.Header)
		checkStream(t, server, registry)

		other, _ := get(t, server, http.MethodGet, "/events", map[string]string{"Origin": "https://evil.example.org"})
		if other.StatusCode != http.StatusForbidden || other.Header.Get("Content-Type") == "text/event-stream" {
			t.Errorf("another origin got %d and %v", other.StatusCode, other.Header)
		}
	})
}
