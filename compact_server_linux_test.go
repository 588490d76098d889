package ginsse_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// Tests of what net/http, gin and middleware have to do with compact streams.

// policyWriter changes the body, and allows no Hijack.
type policyWriter struct {
	gin.ResponseWriter
	asked *atomic.Int64
}

func (w policyWriter) Write(b []byte) (int, error) {
	if _, err := w.ResponseWriter.Write(bytes.ReplaceAll(b, []byte("secret"), []byte("******"))); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (w policyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.asked.Add(1)
	return nil, nil, errors.New("not allowed")
}

func (w policyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestWriterOfAMiddlewareIsNotBypassed(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{})
		var asked, hijacked atomic.Int64
		engine := engineWith(t, registry, func(c *gin.Context) { c.Writer = policyWriter{c.Writer, &asked} })
		server := tr.start(t, engine, func(s *http.Server) {
			s.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateHijacked {
					hijacked.Add(1)
				}
			}
		})
		c := openRaw(t, server, rawRequest{user: "alice"})
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: "a secret"}); err != nil {
			t.Fatal(err)
		}
		c.readUntil("event: n\ndata: a ******\n")
		if s := registry.Stats(); s.Compact != 0 || s.Streams != 1 || asked.Load() != 0 || hijacked.Load() != 0 {
			t.Errorf("%+v; the writer was asked %d times to hijack, and %d connections were", s, asked.Load(), hijacked.Load())
		}
	})
}

// What follows a request on the connection of a stream is nobody's request.
func TestNoSecondRequestOnTheConnectionOfACompactStream(t *testing.T) {
	t.Parallel()
	const headers = "Host: test\r\nX-User: alice\r\n"
	for name, request := range map[string]string{
		"pipelined":   "GET /events HTTP/1.1\r\n" + headers + "\r\n",
		"keep_alive":  "GET /events HTTP/1.1\r\n" + headers + "Connection: keep-alive\r\n\r\n",
		"length":      "POST /events HTTP/1.1\r\n" + headers + "Content-Length: 5\r\n\r\nhello",
		"length_zero": "POST /events HTTP/1.1\r\n" + headers + "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n",
		"h2c":         "GET /events HTTP/1.1\r\n" + headers + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
		"websocket":   "GET /events HTTP/1.1\r\n" + headers + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"options":     "OPTIONS /events HTTP/1.1\r\n" + headers + "\r\n",
		"connect":     "CONNECT /events HTTP/1.1\r\n" + headers + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onCompactTransports(t, func(t *testing.T, tr transport) {
				registry := newCompactRegistry(t, ginsse.RegistryConfig{})
				engine := engineWith(t, registry, func(c *gin.Context) { _, _ = io.Copy(io.Discard, c.Request.Body) })
				var second atomic.Int64
				engine.GET("/second", func(*gin.Context) { second.Add(1) })
				server := tr.start(t, engine, nil)
				var cfg *tls.Config
				if server.TLS != nil {
					cfg = &tls.Config{InsecureSkipVerify: true}
				}
				c := dialClient(t, server.Listener.Addr().String(), cfg, false)
				c.write(request + "GET /second HTTP/1.1\r\n" + headers + "\r\n")
				untilCompact(t, registry, 1)
				disconnect(t, registry, "alice", "")
				all, err := io.ReadAll(c.r)
				if err != nil {
					t.Fatal(err)
				}
				if n := strings.Count(string(all), "HTTP/1.1 200 OK\r\n"); n != 1 || second.Load() != 0 {
					t.Errorf("%d responses, and the second request was served %d times: %q", n, second.Load(), all)
				}
				if !bytes.HasSuffix(all, []byte("\r\n0\r\n\r\n")) {
					t.Errorf("the stream has no regular end: %q", all)
				}
			})
		})
	}
}

// So no credential stays in memory for as long as the stream is open.
func TestNothingOfTheRequestOfACompactStreamStays(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{})
		requests, secrets := make(chan weak.Pointer[http.Request], 1), make(chan weak.Pointer[string], 1)
		server := tr.start(t, serveAtEvents(t, func(c *gin.Context) {
			requests <- weak.Make(c.Request)
			secrets <- weak.Make(&c.Request.Header["X-Secret"][0])
			_ = registry.Serve(c)
		}), nil)
		c := openRaw(t, server, rawRequest{user: "alice", lines: "X-Secret: secret\r\n"})
		untilCompact(t, registry, 1)
		request, secret := <-requests, <-secrets
		until(t, "request and header are freed", func() bool {
			runtime.GC()
			return request.Value() == nil && secret.Value() == nil
		})
		send(t, registry, "alice", 1)
		c.readUntil("event: n\ndata: 1\n")
	})
}

func TestTimeoutsOfTheServerDoNotEndCompactStreams(t *testing.T) {
	t.Parallel()
	const timeout = 3 * time.Second // longer than it takes a busy machine to open a stream
	run, wait := allAtOnce(t)
	defer wait()
	for _, tr := range compactTransports {
		run(tr.name, func(t *testing.T) {
			registry := newCompactRegistry(t, ginsse.RegistryConfig{})
			server := tr.start(t, newEngine(t, registry), func(s *http.Server) {
				s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = timeout, timeout, timeout
			})
			c := openRaw(t, server, rawRequest{user: "alice"})
			untilCompact(t, registry, 1)
			for n := range 2 {
				pass(timeout * 5 / 4)
				c.write("some bytes")
				send(t, registry, "alice", n)
				c.readUntil("event: n\ndata: " + string(rune('0'+n)) + "\n")
			}
		})
	}
}

// The server has handed the connections over, so it neither counts nor closes them.
func TestServerDoesNotKnowCompactStreams(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{})
		var open atomic.Int64
		server := tr.start(t, newEngine(t, registry), func(s *http.Server) {
			s.ConnState = func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					open.Add(1)
				case http.StateClosed, http.StateHijacked:
					open.Add(-1)
				default:
				}
			}
		})
		c := openRaw(t, server, rawRequest{user: "alice"})
		untilCompact(t, registry, 1)
		if n := open.Load(); n != 0 {
			t.Errorf("by ConnState, %d connections are open", n)
		}
		if err := server.Config.Close(); err != nil {
			t.Fatal(err)
		}
		send(t, registry, "alice", 1)
		c.readUntil("event: n\ndata: 1\n")
	})
}
