package compat_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// onEachTransport runs a test over HTTP/1.1 and over HTTP/2 with TLS.
func onEachTransport(t *testing.T, test func(t *testing.T, start func(*httptest.Server))) {
	t.Helper()
	for name, start := range map[string]func(*httptest.Server){
		"http1": (*httptest.Server).Start,
		"http2_tls": func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start)
		})
	}
}

// serverWriteTimeout would end every longer stream if the kit did not override it. A busy machine has that
// long for an ordinary response.
const serverWriteTimeout = 2 * time.Second

// streamWriteTimeout ends the stream of a client that takes nothing for as long.
const streamWriteTimeout = 2 * time.Second

// serve serves a handler over sockets with small kernel buffers, so that a stalled reader is
// noticed soon.
func serve(t *testing.T, handler http.Handler, start func(*httptest.Server), writeTimeout time.Duration) *httptest.Server {
	t.Helper()
	return serveConnections(t, handler, start, writeTimeout, func(ctx context.Context, _ net.Conn) context.Context { return ctx })
}

// serveConnections is serve with an http.Server.ConnContext.
func serveConnections(t *testing.T, handler http.Handler, start func(*httptest.Server), writeTimeout time.Duration,
	connContext func(context.Context, net.Conn) context.Context,
) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.WriteTimeout = writeTimeout
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		tcp := conn
		if c, ok := conn.(*tls.Conn); ok {
			tcp = c.NetConn()
			// Within http.Server.WriteTimeout a busy machine may not be ready.
			handshake, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_ = c.HandshakeContext(handshake) // the server finds the error again
		}
		_ = tcp.(*net.TCPConn).SetWriteBuffer(32 << 10)
		return connContext(ctx, conn)
	}
	start(server)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		server.Client().CloseIdleConnections()
	})
	return server
}

func newRegistry(t *testing.T, cfg ginsse.RegistryConfig) *ginsse.Registry {
	t.Helper()
	cfg.Stream.Compact = cfg.Stream.Compact || allCompact()
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return registry
}

// allCompact reports whether the streams of all registries are compact, as in the root's tests.
func allCompact() bool { return os.Getenv("GINSSE_TEST_COMPACT") != "" }

var secret = []byte("an example secret of 32 bytes or more")

func newAuth(t *testing.T) *ginsse.Auth {
	t.Helper()
	auth, err := ginsse.NewAuth(ginsse.AuthConfig{Key: secret, Methods: []string{"HS256"}})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// as returns the header value for a valid token of a user.
func as(t *testing.T, userID string) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": userID,
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + token
}

// newRequest returns a request that accepts compressed responses, like fetch. The client does not
// decompress them, so that the test sees what was sent.
func newRequest(t *testing.T, method, url string, header map[string]string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "gzip")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	return request
}

// checkStream requires that every event arrives as soon as it is sent. The stream must outlive the
// server's write timeout, and its connection must serve the next request.
func checkStream(t *testing.T, server *httptest.Server, registry *ginsse.Registry) {
	t.Helper()
	var carried, reused net.Conn
	request := newRequest(t, http.MethodGet, server.URL+"/events", map[string]string{"Authorization": as(t, "alice")})
	request = request.WithContext(traceConn(request.Context(), &carried))
	stream := ssetest.Connect(t, server.Client(), request)
	if encoding := stream.Response.Header.Get("Content-Encoding"); encoding != "" {
		t.Fatalf("the stream has the encoding %q", encoding)
	}
	stream.NextOf("sse.open")
	// Wait for each event before sending the next, so that a delay on the way is noticed.
	exchange := func(n int) {
		receipt, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: n})
		if err != nil {
			t.Fatal(err)
		}
		if e := stream.NextOf("n"); e.LastEventID != receipt.ID {
			t.Fatalf("got %+v, want %d", e, n)
		}
	}
	for n := range 5 {
		exchange(n)
	}
	if e, err := stream.TryNext(serverWriteTimeout + 100*time.Millisecond); e.Type != "" || !registry.Online("alice") {
		t.Fatalf("while nothing was sent: %+v, %v", e, err)
	}
	exchange(5)
	_, _ = registry.Disconnect(t.Context(), "alice", "")
	if rest, err := stream.WaitEnd(); err != nil || len(rest) != 1 || rest[0].Type != "sse.close" {
		t.Errorf("at the end got %+v, %v", rest, err)
	}

	request = newRequest(t, http.MethodGet, server.URL+"/page", nil)
	response, err := server.Client().Do(request.WithContext(traceConn(request.Context(), &reused)))
	if err != nil {
		t.Fatalf("the next request on the connection: %v", err)
	}
	defer response.Body.Close()
	again := reused == carried || allCompact() // a compact stream closes its connection
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || !again {
		t.Errorf("the next request got status %d, %d bytes, %v; on the same connection: %v",
			response.StatusCode, len(body), err, reused == carried)
	}
}

// traceConn records the connection of a request in conn.
func traceConn(ctx context.Context, conn *net.Conn) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { *conn = info.Conn }})
}

// stall opens a stream that it does not read, and sends more than all buffers hold. It sends less
// than the log keeps, because after a gap there would be nothing left to write.
func stall(t *testing.T, client *http.Client, url string, registry *ginsse.Registry) {
	t.Helper()
	request := newRequest(t, http.MethodGet, url+"/events", map[string]string{"Authorization": as(t, "stalled")})
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	data := strings.Repeat("x", 64<<10)
	for range 200 {
		if _, err := registry.SendTo(t.Context(), "stalled", ginsse.Event{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
}

// wantSlow requires that the stalled stream ends at its own deadline.
func wantSlow(t *testing.T, ended <-chan ginsse.Reason) {
	t.Helper()
	select {
	case reason := <-ended:
		if reason != ginsse.ReasonSlow {
			t.Errorf("the stalled stream ended for %q", reason)
		}
	case <-time.After(20 * time.Second):
		t.Error("the stalled stream has not ended")
	}
}
