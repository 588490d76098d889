package compat_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"

	"github.com/ginsse/ginsse/browser"
)

// gin-contrib/gzip takes the header Content-Encoding from what is compressed already, which no
// browser can read then. So the module reaches it as it is.
func TestModuleIsReadableBehindCompression(t *testing.T) {
	t.Parallel()
	want, _ := getModule(t, moduleHandler(), http.MethodGet, "")
	if !strings.Contains(want, "export{") {
		t.Fatalf("got the module %q", want)
	}
	for name, handler := range map[string]http.Handler{
		"none":                 moduleHandler(),
		"gin_contrib":          moduleHandler(gingzip.Gzip(gingzip.BestSpeed)),
		"gin_contrib_min":      moduleHandler(gingzip.Gzip(gingzip.BestSpeed, gingzip.WithMinLength(100))),
		"gin_contrib_too_long": moduleHandler(gingzip.Gzip(gingzip.BestSpeed, gingzip.WithMinLength(1<<20))),
		"gorilla":              handlers.CompressHandler(moduleHandler()),
		"klauspost":            gzhttp.GzipHandler(moduleHandler()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodGet} {
				body, header := getModule(t, handler, method, "")
				if method == http.MethodGet && body != want {
					t.Errorf("got %d bytes with the headers %v, want the %d of the module", len(body), header, len(want))
				}
				if body, _ := getModule(t, handler, method, header.Get("ETag")); body != "" {
					t.Errorf("got %d bytes for an unchanged module", len(body))
				}
			}
		})
	}
}

func moduleHandler(middleware ...gin.HandlerFunc) http.Handler {
	engine := gin.New()
	engine.Use(middleware...)
	engine.Any("/ginsse.js", browser.Handler())
	return engine
}

// getModule returns the body of a response after the decoding that a browser does.
func getModule(t *testing.T, handler http.Handler, method, etag string) (string, http.Header) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/ginsse.js", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if want := http.StatusNotModified; etag != "" && response.StatusCode != want {
		t.Errorf("got status %d for an unchanged module, want %d", response.StatusCode, want)
	}
	var body io.Reader = response.Body
	if response.Header.Get("Content-Encoding") == "gzip" && method == http.MethodGet && etag == "" {
		if body, err = gzip.NewReader(body); err != nil {
			t.Fatal(err)
		}
	}
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content), response.Header
}
