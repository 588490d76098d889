package debug_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/debug"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// node is a node with a page at /debug/events, for requests with the header Admin. Users open streams
// at /events.
type node struct {
	t        *testing.T
	registry *ginsse.Registry
	server   *httptest.Server
}

func newNode(t *testing.T, cfg ginsse.RegistryConfig, name string) *node {
	t.Helper()
	return newNodeWith(t, cfg, debug.Config{Name: name})
}

func newNodeWith(t *testing.T, cfg ginsse.RegistryConfig, of debug.Config) *node {
	t.Helper()
	page := debug.NewPage(of)
	cfg.Observers = append(cfg.Observers, page.Observer())
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return newNodeOf(t, registry, page)
}

func newNodeOf(t *testing.T, registry *ginsse.Registry, page *debug.Page) *node {
	t.Helper()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("Test-User")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithTopics(c.QueryArray("topic")...))
	})
	page.Mount(r.Group("/debug/events"), registry, func(c *gin.Context) {
		if c.GetHeader("Admin") == "" {
			c.AbortWithStatus(http.StatusForbidden)
		}
	})
	n := &node{t, registry, httptest.NewServer(r)}
	n.server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(func() {
		registry.Close()
		n.server.CloseClientConnections()
		n.server.Close()
		n.server.Client().CloseIdleConnections()
	})
	return n
}

// open opens the stream of a user.
func (n *node) open(user, query string, options ...ssetest.Option) *ssetest.Stream {
	n.t.Helper()
	return ssetest.Connect(n.t, n.server.Client(), n.request(http.MethodGet, "/events"+query, nil, "Test-User", user), options...)
}

func (n *node) request(method, path string, body io.Reader, header ...string) *http.Request {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.server.URL+path, body)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Admin", "yes")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	return r
}

func (n *node) do(r *http.Request) (*http.Response, string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	response, err := n.server.Client().Do(r.WithContext(ctx))
	if err != nil {
		n.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return response, string(body)
}

// look reads views of the page until one is as wanted.
func (n *node) look(query, what string, wanted func(v debug.View) bool) (v debug.View) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	response, err := n.server.Client().Do(n.request(http.MethodGet, "/debug/events/stream"+query, nil, "Accept", "text/event-stream").WithContext(ctx))
	if err != nil {
		n.t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			n.t.Fatalf("%s: %v; the last view is %+v", what, err, v)
		}
		if data, found := strings.CutPrefix(line, "data: {"); found {
			v = debug.View{}
			if err := json.Unmarshal([]byte("{"+data), &v); err != nil {
				n.t.Fatal(err)
			}
			if wanted(v) {
				return v
			}
		}
	}
}

func newLog(t *testing.T, cfg eventlog.MemoryLogConfig) *eventlog.MemoryLog {
	t.Helper()
	log, err := eventlog.NewMemoryLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestMountRefusesToServeEveryone(t *testing.T) {
	t.Parallel()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	front := func(*gin.Context) {}
	once := debug.NewPage(debug.Config{})
	for name, c := range map[string]struct {
		mount func(r *gin.RouterGroup)
		want  string
	}{
		"no_handler":  {func(r *gin.RouterGroup) { debug.NewPage(debug.Config{}).Mount(r, registry) }, "Config.InsecureAllowEveryone"},
		"nil_handler": {func(r *gin.RouterGroup) { debug.NewPage(debug.Config{}).Mount(r, registry, nil) }, "is nil"},
		"no_registry": {func(r *gin.RouterGroup) { debug.NewPage(debug.Config{}).Mount(r, nil, front) }, "needs the registry"},
		"insecure":    {func(r *gin.RouterGroup) { debug.NewPage(debug.Config{InsecureAllowEveryone: true}).Mount(r, registry) }, ""},
		"root":        {func(r *gin.RouterGroup) { debug.NewPage(debug.Config{}).Mount(r.Group("/"), registry, front) }, ""},
		"twice": {func(r *gin.RouterGroup) {
			once.Mount(r.Group("/a"), registry, front)
			once.Mount(r.Group("/b"), registry, front)
		}, "called twice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var panicked string
			func() {
				defer func() {
					if p := recover(); p != nil {
						panicked = fmt.Sprint(p)
					}
				}()
				c.mount(&gin.New().RouterGroup)
			}()
			if !strings.Contains(panicked, c.want) || (c.want == "") != (panicked == "") {
				t.Errorf("it panicked with %q, want %q", panicked, c.want)
			}
		})
	}
}

func TestPageHasStrictHeaders(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{}, "web")
	for path, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.js": "text/javascript; charset=utf-8", "/chart.js": "text/javascript; charset=utf-8",
		"/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			response, body := n.do(n.request(method, "/debug/events"+path, nil))
			h := response.Header
			if response.StatusCode != http.StatusOK || h.Get("Content-Type") != contentType || (method == http.MethodGet) != (body != "") {
				t.Errorf("%s %s: status %d, %s, %d bytes", method, path, response.StatusCode, h.Get("Content-Type"), len(body))
			}
			policy := h.Get("Content-Security-Policy")
			for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
				if !strings.Contains(policy, part) {
					t.Errorf("%s: the policy %q lacks %s", path, policy, part)
				}
			}
			if strings.Contains(policy, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Set-Cookie") != "" {
				t.Errorf("%s: %v", path, h)
			}
			if strings.Contains(body, "://") && !strings.Contains(body, "http://www.w3.org/2000/svg") {
				t.Errorf("%s loads something from elsewhere", path)
			}
		}
	}
	for _, path := range []string{"", "/", "/page.js", "/stream"} {
		if response, _ := n.do(n.request(http.MethodGet, "/debug/events"+path, nil, "Admin", "")); response.StatusCode != http.StatusForbidden {
			t.Errorf("%q: everybody gets status %d", path, response.StatusCode)
		}
	}
}

func TestPageWorksBehindAPrefix(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{}, "web")
	proxy := httptest.NewServer(http.StripPrefix("/app", n.server.Config.Handler))
	t.Cleanup(proxy.Close)
	direct := n.server.URL
	n.server.URL = proxy.URL
	response, _ := n.do(n.request(http.MethodGet, "/app/debug/events?x=1", nil))
	location, err := response.Location()
	if err != nil || location.String() != proxy.URL+"/app/debug/events/" {
		t.Errorf("it leads to %v, %v", location, err)
	}
	_, body := n.do(n.request(http.MethodGet, "/app/debug/events/", nil))
	if strings.Contains(body, `="/`) {
		t.Error("the page has a link that is not relative")
	}
	n.server.URL = direct
}

func TestActionsRefuseOtherSites(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{}, "web")
	alice := n.open("alice", "")
	alice.NextOf("sse.open")
	const good, wrong = `{"user":"alice"}`, `{"user":"alice","other":1}`
	own := []string{"Ginsse-Debug", "1", "Content-Type", "application/json"}
	for name, c := range map[string]struct {
		header []string
		body   string
		status int
	}{
		"cross_site":    {[]string{"Sec-Fetch-Site", "cross-site"}, good, http.StatusForbidden},
		"same_site":     {[]string{"Sec-Fetch-Site", "same-site"}, good, http.StatusForbidden},
		"other_origin":  {[]string{"Origin", "https://other.example"}, good, http.StatusForbidden},
		"no_header":     {[]string{"Ginsse-Debug", ""}, good, http.StatusForbidden},
		"form":          {[]string{"Content-Type", "text/plain"}, good, http.StatusForbidden},
		"not_admin":     {[]string{"Admin", ""}, good, http.StatusForbidden},
		"unknown_field": {nil, wrong, http.StatusBadRequest},
		"no_json":       {nil, "x", http.StatusBadRequest},
		"large":         {nil, `{"user":"` + strings.Repeat("x", 20_000) + `"}`, http.StatusBadRequest},
		"no_user":       {nil, `{}`, http.StatusBadRequest},
	} {
		for _, path := range []string{"/disconnect", "/send"} {
			response, body := n.do(n.request(http.MethodPost, "/debug/events"+path, strings.NewReader(c.body), append(own, c.header...)...))
			if response.StatusCode != c.status || strings.Contains(body, "ginsse:") || strings.Contains(body, "json:") {
				t.Errorf("%s of %s: status %d, want %d: %s", path, name, response.StatusCode, c.status, body)
			}
		}
	}
	if response, _ := n.do(n.request(http.MethodGet, "/debug/events/stream", nil, "Sec-Fetch-Site", "cross-site")); response.StatusCode != http.StatusForbidden {
		t.Errorf("another site may look: status %d", response.StatusCode)
	}
	if n := len(n.registry.Streams("alice")); n != 1 {
		t.Errorf("alice has %d streams", n)
	}

	// The page itself, as a browser names it.
	own = append(own, "Sec-Fetch-Site", "same-origin")
	_, body := n.do(n.request(http.MethodPost, "/debug/events/send", strings.NewReader(`{"user":"alice","type":"test","data":"a\nb"}`), own...))
	if e := alice.NextOf("test"); e.Data != "a\nb" || !strings.Contains(body, "The user has 1 stream on this node.") {
		t.Errorf("alice got %q, the page %s", e.Data, body)
	}
	_, body = n.do(n.request(http.MethodPost, "/debug/events/send", strings.NewReader(`{"user":"bob","type":"test"}`), own...))
	if !strings.Contains(body, "The user has no stream.") {
		t.Error(body)
	}
	_, body = n.do(n.request(http.MethodPost, "/debug/events/disconnect", strings.NewReader(`{"user":"alice","reason":" banned "}`), own...))
	if e := alice.NextOf("sse.close"); e.Data != `{"reason":"banned"}` || !strings.Contains(body, "1 stream on this node") {
		t.Errorf("alice got %q, the page %s", e.Data, body)
	}
	for _, c := range []string{`{"user":"alice","type":"sse.open"}`, `{"user":"alice","type":"a\nb"}`} {
		response, body := n.do(n.request(http.MethodPost, "/debug/events/send", strings.NewReader(c), own...))
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(body, "one line") {
			t.Errorf("%s: status %d: %s", c, response.StatusCode, body)
		}
	}
	n.registry.Close()
	if response, _ := n.do(n.request(http.MethodPost, "/debug/events/send", strings.NewReader(good), own...)); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the end: status %d", response.StatusCode)
	}
}

func TestActionsAreLogged(t *testing.T) {
	t.Parallel()
	var logged strings.Builder
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	page := debug.NewPage(debug.Config{Logger: logger})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Observers: []*ginsse.Observer{page.Observer()}})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("Test-User")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	page.Mount(r.Group("/debug/events"), registry, auth.RequireUser())
	act := func(path, body string) {
		t.Helper()
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/debug/events"+path, strings.NewReader(body))
		for name, value := range map[string]string{"Test-User": "root", "Ginsse-Debug": "1", "Content-Type": "application/json"} {
			request.Header.Set(name, value)
		}
		logged.Reset()
		r.ServeHTTP(httptest.NewRecorder(), request)
	}
	for _, test := range []struct{ path, body, want string }{
		{"/disconnect", `{"user":"alice","reason":"banned"}`, `msg="disconnecting a user from the live page" reason=banned user=alice by=root address=192.0.2.1` + "\n"},
		{"/send", `{"user":"alice","type":"test","data":"private"}`, ` user=alice by=root address=192.0.2.1` + "\n"},
		{"/send", `{"user":"","type":"test"}`, `user="" by=root address=192.0.2.1 error=`},
	} {
		act(test.path, test.body)
		if text := logged.String(); !strings.Contains(text, test.want) || strings.Contains(text, "private") || strings.Count(text, "\n") != 1 {
			t.Errorf("%s %s: logged %s", test.path, test.body, text)
		}
	}
	registry.Close()
}

// A user whose ID looks like that of another one is not shown as that one.
func TestFilterTakesNamesAsTheyAre(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{}, "web")
	n.open("alice", "").NextOf("sse.open")
	const other = "alice\u00a0" // a space that does not break a line
	n.open(other, "").NextOf("sse.open")
	v := n.look("?only-user="+url.QueryEscape(other), "the streams and entries", func(v debug.View) bool { return len(v.Rows) > 0 && len(v.Entries) > 0 })
	for _, r := range v.Rows {
		if r.UserID != other {
			t.Errorf("a stream of %q is shown", r.UserID)
		}
	}
	for _, e := range v.Entries {
		if e.User != other {
			t.Errorf("an entry of %q is shown", e.User)
		}
	}
}
