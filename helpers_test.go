package ginsse_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// pass waits for a duration. In a bubble of synctest that takes no real time.
func pass(d time.Duration) { <-time.After(d) }

// within receives from ch, and fails the test after a minute. A machine that runs many tests at
// once is slow.
func within[T any](t testing.TB, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(time.Minute):
		t.Fatalf("%s: nothing within a minute", what)
	}
	return v
}

// transport is a way for HTTP to reach the server, over real sockets.
type transport struct {
	name  string
	start func(t testing.TB, h http.Handler, configure func(*http.Server)) *httptest.Server
}

// transports are the transports that the kit supports.
var transports = []transport{
	{"http1", func(t testing.TB, h http.Handler, configure func(*http.Server)) *httptest.Server {
		return startServer(t, h, configure, (*httptest.Server).Start)
	}},
	{"http1_tls", func(t testing.TB, h http.Handler, configure func(*http.Server)) *httptest.Server {
		return startServer(t, h, configure, (*httptest.Server).StartTLS)
	}},
	{"http2", func(t testing.TB, h http.Handler, configure func(*http.Server)) *httptest.Server {
		return startServer(t, h, configure, func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		})
	}},
	{"h2c", func(t testing.TB, h http.Handler, configure func(*http.Server)) *httptest.Server {
		return startServer(t, h, configure, func(s *httptest.Server) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			protocols := new(http.Protocols)
			protocols.SetUnencryptedHTTP2(true)
			s.Client().Transport = &http.Transport{Protocols: protocols}
		})
	}},
}

// until waits until a condition is true, and fails the test after a minute.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); pass(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func startServer(t testing.TB, h http.Handler, configure func(*http.Server), start func(*httptest.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if configure != nil {
		configure(s.Config)
	}
	start(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		s.Client().CloseIdleConnections()
	})
	return s
}

// onEachTransport runs a test once for each transport.
func onEachTransport(t *testing.T, test func(t *testing.T, tr transport)) {
	t.Helper()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			test(t, tr)
		})
	}
}

// connect opens an event stream of a server on sockets.
func connect(t testing.TB, s *httptest.Server, path string, options ...ssetest.Option) *ssetest.Stream {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return ssetest.Connect(t, s.Client(), request, options...)
}

// as sets the user of a request to an engine from newEngine.
func as(userID string) ssetest.Option { return ssetest.Header("X-User", userID) }

// headerAuth takes the user ID and the lifetime of the credential from headers. It stands for an
// application's own authentication.
func headerAuth(t testing.TB) *ginsse.Auth {
	t.Helper()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		identity := ginsse.Identity{UserID: c.GetHeader("X-User")}
		if text := c.GetHeader("X-Lifetime"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				return identity, err
			}
			identity.Expiry = time.Now().Add(d)
		}
		return identity, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// newRegistry returns a registry. It turns heartbeats off unless cfg sets them, because they would
// wake a stream that should have been woken before.
func newRegistry(t testing.TB, cfg ginsse.RegistryConfig) *ginsse.Registry {
	t.Helper()
	if cfg.Stream.HeartbeatInterval == 0 {
		cfg.Stream.HeartbeatInterval = -1
	}
	if cfg.PresenceGrace == 0 {
		cfg.PresenceGrace = -1 // tests see by Online whether streams are open
	}
	cfg.Stream.Compact = cfg.Stream.Compact || allCompact()
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return registry
}

// allCompact reports whether the streams of all registries are compact, so that each test runs in
// both modes. It is no variable: go test would not see that the cached result of the other mode is
// stale.
func allCompact() bool { return os.Getenv("GINSSE_TEST_COMPACT") != "" }

// needsHandler skips a test that looks at the response of a stream's handler.
func needsHandler(t *testing.T) {
	t.Helper()
	if allCompact() {
		t.Skip("the handlers of compact streams return when the stream is open")
	}
}

// newEngine serves the streams of a registry at /events. The query parameter topic grants a topic.
func newEngine(t testing.TB, registry *ginsse.Registry) *gin.Engine {
	t.Helper()
	r := gin.New()
	r.GET("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithTopics(c.QueryArray("topic")...))
	})
	return r
}

// serveAt returns an engine with one handler, at /.
func serveAt(handler gin.HandlerFunc, middleware ...gin.HandlerFunc) *gin.Engine {
	r := gin.New()
	r.Any("/", append(middleware, handler)...)
	return r
}

// send sends a user the event numbered(n).
func send(t testing.TB, registry *ginsse.Registry, userID string, n int) ginsse.Receipt {
	t.Helper()
	receipt, err := registry.SendTo(t.Context(), userID, numbered(n))
	if err != nil {
		t.Fatalf("sending %d to %q: %v", n, userID, err)
	}
	return receipt
}

// numbered returns an event of type "n" whose data is n.
func numbered(n int) ginsse.Event { return ginsse.Event{Type: "n", Data: n} }

// sendSingly sends an event and waits until the stream has taken it, so that it is not written
// together with later ones.
func sendSingly(ctx context.Context, s *ginsse.Stream, e ginsse.Event) error {
	if err := s.Send(ctx, e); err != nil {
		return err
	}
	for s.Unread() > 0 {
		select {
		case <-s.Done():
			return s.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// wantNumbers fails unless the next events of type "n" are from first to last.
func wantNumbers(t testing.TB, s *ssetest.Stream, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		if e := s.NextOf("n"); e.Data != fmt.Sprint(n) {
			t.Fatalf("got %s, want %d", e.Data, n)
		}
	}
}

// openBody opens a stream for alice. The test reads its bytes at its own pace.
func openBody(t *testing.T, server *ssetest.Server, path string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-User", "alice")
	response, err := server.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// stalledGet opens a stream over a connection of its own. It reads one byte, and never more.
func stalledGet(t testing.TB, s *httptest.Server, path string, header http.Header) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		ReadBufferSize:  1,
	}}
	if tr, ok := s.Client().Transport.(*http.Transport); ok {
		client.Transport = tr.Clone()
	}
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
		client.CloseIdleConnections()
	})
}

func newMemoryLog(t testing.TB, cfg eventlog.MemoryLogConfig) *eventlog.MemoryLog {
	t.Helper()
	log, err := eventlog.NewMemoryLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return log
}
