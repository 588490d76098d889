package browser_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/browser"
)

const (
	noCache   = "no-cache"
	immutable = "max-age=31536000, immutable"
)

// server is a real server with the handler at /ginsse.js.
type server struct {
	t      *testing.T
	url    string
	client *http.Client
}

func newServer(t *testing.T, middleware ...gin.HandlerFunc) *server {
	t.Helper()
	r := gin.New()
	r.Use(middleware...)
	r.Any("/ginsse.js", browser.Handler())
	s := httptest.NewServer(r)
	// It asks for no compression by itself.
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		s.Close()
	})
	return &server{t, s.URL, client}
}

type response struct {
	status int
	header http.Header
	body   string
}

// do sends a request with headers, given as names and values.
func (s *server) do(method, pathAndQuery string, headers ...string) response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+pathAndQuery, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(body)}
}

func (s *server) get(pathAndQuery string, headers ...string) response {
	s.t.Helper()
	return s.do(http.MethodGet, pathAndQuery, headers...)
}

func TestModuleIsServedAsItWasBuilt(t *testing.T) {
	t.Parallel()
	built := readFile(t, "dist/ginsse.js")
	got := newServer(t).get("/ginsse.js")
	if got.status != http.StatusOK || got.body != built {
		t.Errorf("got status %d and %d bytes, want 200 and the %d bytes of dist/ginsse.js", got.status, len(got.body), len(built))
	}
	etag := got.header.Get("ETag")
	if len(etag) < 10 || !strings.HasPrefix(etag, `"`) {
		t.Errorf("got ETag %s, want a strong one", etag)
	}
	wantHeaders(t, got, map[string]string{
		"Content-Type":           "text/javascript; charset=utf-8",
		"Content-Length":         strconv.Itoa(len(built)),
		"Content-Encoding":       "",
		"X-Content-Type-Options": "nosniff",
		"Cache-Control":          noCache,
		"Vary":                   "Accept-Encoding",
		"Accept-Ranges":          "bytes",
		"SourceMap":              "?map",
		"Last-Modified":          "", // the time of a build says nothing about the content
	})
}

func TestModuleIsCompressedForClientsThatPreferIt(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	plain := s.get("/ginsse.js")
	for _, tt := range []struct {
		accept string
		gzip   bool
	}{
		{"gzip, deflate, br, zstd", true}, // what browsers send
		{"br;q=1.0, GZip;q=0.8, *;q=0.1", true},
		{"x-gzip", true},
		{"*", true},
		{"deflate, *;q=0.5", true},
		{"gzip ; q=0.001", true},
		{"gzip, identity", true},
		{"identity;q=0.5, *", true},
		{"identity", false},
		{"deflate", false},
		{"gzip;q=0", false},
		{"gzip;q=0.0, *", false},
		{"*;q=0", false},
		{"identity, gzip;q=0.5", false},
		{"gzip;q=2", false},
		{"gzip;q=x", false},
		{"gzip;q=NaN", false},
		{"gzip;p=1", false},
		{"notgzip", false},
		{",;,", false},
	} {
		got := s.get("/ginsse.js", "Accept-Encoding", tt.accept)
		if !tt.gzip {
			if got.header.Get("Content-Encoding") != "" || got.body != plain.body {
				t.Errorf("%q: got Content-Encoding %q, want the module as it is", tt.accept, got.header.Get("Content-Encoding"))
			}
			continue
		}
		wantHeaders(t, got, map[string]string{
			"Content-Type":     "text/javascript; charset=utf-8",
			"Content-Length":   strconv.Itoa(len(got.body)),
			"Content-Encoding": "gzip",
			"Vary":             "Accept-Encoding",
		})
		if gunzip(t, got.body) != plain.body {
			t.Errorf("%q: the compressed module is another one", tt.accept)
		}
		if etag := got.header.Get("ETag"); etag == plain.header.Get("ETag") || !strings.HasPrefix(etag, `"`) {
			t.Errorf("%q: got ETag %s, want a strong one, other than without compression", tt.accept, etag)
		}
	}
	// Two header lines are one list.
	if got := s.get("/ginsse.js", "Accept-Encoding", "br", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "gzip" {
		t.Error("the second line of Accept-Encoding is ignored")
	}
}

func TestVaryOfMiddlewareIsKept(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *gin.Context) { c.Header("Vary", "Origin") })
	vary := strings.Join(s.get("/ginsse.js").header.Values("Vary"), ", ")
	if vary != "Origin, Accept-Encoding" {
		t.Errorf("got Vary: %s", vary)
	}
}

func TestHeadHasTheHeadersOfGet(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, path := range []string{"/ginsse.js", "/ginsse.js?map", browser.URL("/ginsse.js")} {
		for _, encoding := range []string{"identity", "gzip"} {
			get := s.get(path, "Accept-Encoding", encoding)
			head := s.do(http.MethodHead, path, "Accept-Encoding", encoding)
			if head.status != http.StatusOK || head.body != "" {
				t.Errorf("%s: HEAD got status %d and %d bytes", path, head.status, len(head.body))
			}
			want := map[string]string{}
			for name := range get.header {
				if name != "Date" {
					want[name] = get.header.Get(name)
				}
			}
			wantHeaders(t, head, want)
		}
	}
}

func TestUnchangedModuleIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	plain := s.get("/ginsse.js").header.Get("ETag")
	gzipped := s.get("/ginsse.js", "Accept-Encoding", "gzip").header.Get("ETag")
	for _, tt := range []struct {
		name, encoding, ifNoneMatch, etag string
		status                            int
	}{
		{"same", "identity", plain, plain, http.StatusNotModified},
		{"same_gzip", "gzip", gzipped, gzipped, http.StatusNotModified},
		{"weak", "gzip", "W/" + gzipped, gzipped, http.StatusNotModified}, // as a proxy has made it
		{"list", "identity", `"a", W/"b" ,` + plain, plain, http.StatusNotModified},
		{"any", "identity", "*", plain, http.StatusNotModified},
		{"older", "identity", `"a"`, plain, http.StatusOK},
		{"other_encoding", "gzip", plain, gzipped, http.StatusOK},
		{"unquoted", "identity", strings.Trim(plain, `"`), plain, http.StatusOK},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for path, cacheControl := range map[string]string{"/ginsse.js": noCache, browser.URL("/ginsse.js"): immutable} {
				got := s.do(method, path, "Accept-Encoding", tt.encoding, "If-None-Match", tt.ifNoneMatch)
				if got.status != tt.status {
					t.Errorf("%s: %s got status %d, want %d", tt.name, method, got.status, tt.status)
				}
				wantHeaders(t, got, map[string]string{"ETag": tt.etag, "Cache-Control": cacheControl, "Vary": "Accept-Encoding"})
				if got.status == http.StatusNotModified {
					wantHeaders(t, got, map[string]string{"Content-Encoding": "", "Content-Length": ""})
				}
			}
		}
	}
}

func TestFailedPreconditionKeepsTheConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, encoding := range []string{"identity", "gzip"} {
		etag := s.get("/ginsse.js", "Accept-Encoding", encoding).header.Get("ETag")
		if got := s.get("/ginsse.js", "Accept-Encoding", encoding, "If-Match", etag); got.status != http.StatusOK || got.body == "" {
			t.Errorf("%s: got status %d for the right ETag", encoding, got.status)
		}
		if got := s.get("/ginsse.js", "Accept-Encoding", encoding, "If-Match", `"a"`); got.status != http.StatusPreconditionFailed || got.body != "" {
			t.Errorf("%s: got status %d for another ETag, want 412", encoding, got.status)
		}
		reused := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }})
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, s.url+"/ginsse.js", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if !reused {
			t.Errorf("%s: the 412 cost the connection", encoding)
		}
	}
}

func TestRangesAreOfTheEncodedBytes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, encoding := range []string{"identity", "gzip"} {
		whole := s.get("/ginsse.js", "Accept-Encoding", encoding)
		etag, size := whole.header.Get("ETag"), strconv.Itoa(len(whole.body))
		part := s.get("/ginsse.js", "Accept-Encoding", encoding, "Range", "bytes=10-19", "If-Range", etag)
		if part.status != http.StatusPartialContent || part.body != whole.body[10:20] {
			t.Errorf("%s: got status %d and %q", encoding, part.status, part.body)
		}
		wantHeaders(t, part, map[string]string{
			"Content-Range":    "bytes 10-19/" + size,
			"Content-Length":   "10",
			"Content-Encoding": whole.header.Get("Content-Encoding"),
			"ETag":             etag,
		})
		changed := s.get("/ginsse.js", "Accept-Encoding", encoding, "Range", "bytes=10-19", "If-Range", `"a"`)
		if changed.status != http.StatusOK || changed.body != whole.body {
			t.Errorf("%s: got status %d and %d bytes for a part of another version", encoding, changed.status, len(changed.body))
		}
		beyond := s.get("/ginsse.js", "Accept-Encoding", encoding, "Range", "bytes="+size+"-")
		if beyond.status != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s: got status %d for a range beyond the end", encoding, beyond.status)
		}
		// The text of the error is neither compressed nor to be kept.
		wantHeaders(t, beyond, map[string]string{"Content-Range": "bytes */" + size, "Content-Encoding": "", "Cache-Control": ""})
	}
}

func TestURLOfThisVersionIsKept(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	url := browser.URL("/ginsse.js")
	if _, version, found := strings.Cut(url, "/ginsse.js?v="); !found || len(version) < 8 {
		t.Fatalf("got the URL %q", url)
	}
	module := s.get("/ginsse.js")
	for _, tt := range []struct{ name, url, cacheControl string }{
		{"this_version", url, immutable},
		{"another_version", "/ginsse.js?v=0123456789abcdef", noCache},
		{"prefix_of_the_version", url[:len(url)-1], noCache},
		{"empty", "/ginsse.js?v=", noCache},
		{"none", "/ginsse.js", noCache},
		{"foreign_parameter", "/ginsse.js?w=1", noCache},
	} {
		got := s.get(tt.url)
		if got.status != http.StatusOK || got.body != module.body {
			t.Errorf("%s: got status %d and %d bytes, want the module", tt.name, got.status, len(got.body))
		}
		wantHeaders(t, got, map[string]string{"Cache-Control": tt.cacheControl, "ETag": module.header.Get("ETag")})
	}
}

func TestSourceMapIsServedByTheSameRoute(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	module := s.get("/ginsse.js")
	got := s.get("/ginsse.js" + module.header.Get("Sourcemap"))
	if got.status != http.StatusOK || got.body != readFile(t, "dist/ginsse.js.map") {
		t.Fatalf("got status %d and %d bytes, want dist/ginsse.js.map", got.status, len(got.body))
	}
	wantHeaders(t, got, map[string]string{
		"Content-Type":           "application/json",
		"X-Content-Type-Options": "nosniff",
		"Cache-Control":          noCache,
		"Vary":                   "Accept-Encoding",
		"SourceMap":              "",
	})
	var sourceMap struct {
		Version        int      `json:"version"`
		Sources        []string `json:"sources"`
		SourcesContent []string `json:"sourcesContent"`
	}
	if err := json.Unmarshal([]byte(got.body), &sourceMap); err != nil {
		t.Fatal(err)
	}
	if sourceMap.Version != 3 || len(sourceMap.Sources) == 0 || len(sourceMap.Sources) != len(sourceMap.SourcesContent) {
		t.Errorf("version %d, %d sources and the content of %d", sourceMap.Version, len(sourceMap.Sources), len(sourceMap.SourcesContent))
	}
	for _, source := range sourceMap.Sources {
		if !strings.HasPrefix(source, "../src/") {
			t.Errorf("the source %q is none of the package", source)
		}
	}
	zipped := s.get("/ginsse.js?map", "Accept-Encoding", "gzip")
	if gunzip(t, zipped.body) != got.body {
		t.Error("the compressed map is another one")
	}
	etag := got.header.Get("ETag")
	if etag == module.header.Get("ETag") {
		t.Error("the map has the ETag of the module")
	}
	if again := s.get("/ginsse.js?map", "If-None-Match", etag); again.status != http.StatusNotModified {
		t.Errorf("got status %d for an unchanged map", again.status)
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		got := s.do(method, "/ginsse.js")
		if got.status != http.StatusMethodNotAllowed || got.body != "" {
			t.Errorf("%s: got status %d and %d bytes, want 405", method, got.status, len(got.body))
		}
		wantHeaders(t, got, map[string]string{"Allow": "GET, HEAD"})
	}
}

// compressor is a middleware that announces compression before the handler runs, and compresses
// whatever is written, as middleware does that does not look at the response.
func compressor(c *gin.Context) {
	if !strings.Contains(c.GetHeader("Accept-Encoding"), "gzip") {
		return
	}
	c.Header("Content-Encoding", "gzip")
	w := gzip.NewWriter(c.Writer)
	c.Writer = compressingWriter{c.Writer, w}
	c.Next()
	if c.Writer.Written() && c.Request.Method != http.MethodHead {
		_ = w.Close()
	}
}

type compressingWriter struct {
	gin.ResponseWriter

	gzip *gzip.Writer
}

func (w compressingWriter) Write(p []byte) (int, error)       { return w.gzip.Write(p) }
func (w compressingWriter) WriteString(s string) (int, error) { return w.gzip.Write([]byte(s)) }

func TestMiddlewareThatCompressesGetsTheModuleAsItIs(t *testing.T) {
	t.Parallel()
	plain := newServer(t).get("/ginsse.js")
	s := newServer(t, func(c *gin.Context) {
		before := c.GetHeader("Range")
		c.Next()
		if after := c.GetHeader("Range"); after != before {
			t.Errorf("the request had the range %q, and has %q for the middleware", before, after)
		}
	}, compressor)
	weak := "W/" + plain.header.Get("ETag")
	// It could only compress a range of something else than it sends otherwise.
	for _, headers := range [][]string{nil, {"Range", "bytes=10-19"}} {
		got := s.get("/ginsse.js", append(headers, "Accept-Encoding", "gzip")...)
		if got.status != http.StatusOK || gunzip(t, got.body) != plain.body {
			t.Errorf("got status %d and another module", got.status)
		}
		wantHeaders(t, got, map[string]string{"Content-Encoding": "gzip", "ETag": weak, "Content-Range": ""})
	}
	got := s.get("/ginsse.js", "Accept-Encoding", "gzip", "If-None-Match", weak)
	if got.status != http.StatusNotModified || got.body != "" {
		t.Errorf("got status %d and %d bytes for an unchanged module", got.status, len(got.body))
	}
	got = s.get("/ginsse.js", "Accept-Encoding", "identity")
	if got.body != plain.body || got.header.Get("ETag") != plain.header.Get("ETag") {
		t.Error("a client without compression gets another module, or a weak ETag")
	}
}

func wantHeaders(t *testing.T, got response, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got.header.Get(name) != value {
			t.Errorf("status %d: got %s %q, want %q", got.status, name, got.header.Get(name), value)
		}
	}
}

func gunzip(t *testing.T, body string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	if _, err := plain.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return plain.String()
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestOtherModulesHaveHandlersOfTheirOwn(t *testing.T) {
	t.Parallel()
	engine := gin.New()
	engine.GET("/ginsse.js", browser.Handler())
	engine.GET("/eventsource.js", browser.EventSourceHandler())
	engine.GET("/control.js", browser.ControlModuleHandler())
	get := func(path string) string {
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d", path, w.Code)
		}
		return w.Body.String()
	}
	for path, exported := range map[string]string{"/eventsource.js": "as eventSource", "/control.js": "as control"} {
		if body := get(path); !strings.Contains(body, exported) || body == get("/ginsse.js") {
			t.Errorf("the module %s is %.200s", path, body)
		}
		if body := get(path + "?map"); !strings.Contains(body, strings.TrimPrefix(path, "/")) {
			t.Errorf("the source map of %s is %.200s", path, body)
		}
	}
}
