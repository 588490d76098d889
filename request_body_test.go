package ginsse_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// rawConn is a client that writes requests by hand, so that it can delay a body.
type rawConn struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialRaw(t *testing.T, s *httptest.Server) *rawConn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &rawConn{t, conn, bufio.NewReader(conn)}
}

func (c *rawConn) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// answer returns the next response and its body, which must be complete.
func (c *rawConn) answer() (r *http.Response, text string) {
	c.t.Helper()
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Errorf("the response is not whole: %v, after %q", err, b)
	}
	return r, string(b)
}

// wantEnd fails the test unless the server closes the connection without sending anything.
func (c *rawConn) wantEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || len(rest) > 0 {
		c.t.Errorf("got %q, %v, want the connection to end", rest, err)
	}
}

// net/http waits for the rest of a body before it sends the headers, for at most half of the write
// timeout. If the rest arrives by then, all is well; otherwise the response and its connection end.
func TestStreamWaitsForABodyForALimitedTime(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second
	for _, test := range []struct {
		name, header, now, late string
	}{
		{"announced", "Content-Length: 5", "", "hello"},
		{"in_parts", "Content-Length: 5", "he", "llo"},
		{"chunked", "Transfer-Encoding: chunked", "", "5\r\nhello\r\n0\r\n\r\n"},
		{"chunked_in_parts", "Transfer-Encoding: chunked", "5\r\nhe", "llo\r\n0\r\n\r\n"},
		{"last_chunk", "Transfer-Encoding: chunked", "5\r\nhello\r\n", "0\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			began, after := make(chan struct{}, 2), make(chan error, 2)
			server := transports[0].start(t, serveAt(func(c *gin.Context) {
				began <- struct{}{}
				cfg := ginsse.StreamConfig{WriteTimeout: timeout}
				if c.GetHeader("X-Patient") != "" { // a busy machine may send the rest late
					cfg.WriteTimeout = time.Minute
				}
				err := ginsse.Serve(c, cfg, sendX)
				after <- errors.Join(err, lives(c.Request.Context(), aMoment))
			}), nil)
			request := test.header + "\r\n\r\n" + test.now

			patient := dialRaw(t, server)
			patient.send("POST / HTTP/1.1\r\nHost: x\r\nX-Patient: yes\r\n" + request)
			within(t, "the handler", began)
			patient.send(test.late)
			if r, text := patient.answer(); r.Close || !strings.Contains(text, "data: x\n") {
				t.Errorf("the client whose body came got %q, and the connection closes: %v", text, r.Close)
			}
			if err := within(t, "the handler", after); err != nil {
				t.Errorf("the stream and the request: %v", err)
			}
			patient.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, text := patient.answer(); !strings.Contains(text, "data: x\n") {
				t.Errorf("the next request on the connection got %q", text)
			}
			within(t, "the next handler", began)
			if err := within(t, "the next handler", after); err != nil {
				t.Errorf("the next stream on the connection: %v", err)
			}

			withholding := dialRaw(t, server)
			start := time.Now()
			withholding.send("POST / HTTP/1.1\r\nHost: x\r\n" + request)
			if r, _ := withholding.answer(); !r.Close {
				t.Error("the connection of a client that withholds its body is kept")
			}
			// To net/http, a body that does not arrive means that the client has gone.
			if err := within(t, "the handler", after); !errors.Is(err, ginsse.ReasonClientGone) {
				t.Errorf("the stream ended with %v", err)
			}
			if took := time.Since(start); took < timeout/2 || took > 4*timeout {
				t.Errorf("the stream of a client that withholds its body took %v", took)
			}
			withholding.wantEnd()
		})
	}
}

// lateWriter is the writer of middleware that delays the first write.
type lateWriter struct {
	gin.ResponseWriter
	late time.Duration
}

func (w *lateWriter) Write(p []byte) (int, error) {
	pass(w.late)
	w.late = 0
	return w.ResponseWriter.Write(p)
}

func (w *lateWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// It is not possible to know for certain that net/http waits for a body. Middleware may have
// replaced the body, and the machine may have been suspended. If net/http did not wait, the
// connection is spoiled and must not be reused.
func TestSpoiledConnectionIsNotReused(t *testing.T) {
	t.Parallel()
	const timeout = 6 * time.Second
	for _, tr := range transports[:2] {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			r := gin.New()
			r.POST("/stream", func(c *gin.Context) {
				b, err := io.ReadAll(c.Request.Body)
				if err != nil {
					t.Error(err)
				}
				c.Request.Body = io.NopCloser(bytes.NewReader(b))
				c.Writer = &lateWriter{c.Writer, timeout * 2 / 3}
				_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout}, sendX)
			})
			next := make(chan error, 1)
			r.GET("/next", func(c *gin.Context) { next <- lives(c.Request.Context(), aMoment) })
			server := tr.start(t, r, nil)
			spoiled := make(chan string, 1)
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GotConn: func(info httptrace.GotConnInfo) { spoiled <- info.Conn.LocalAddr().String() },
			})
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/stream", small())
			if err != nil {
				t.Fatal(err)
			}
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			got := exchange(t, server.Client(), http.MethodGet, server.URL+"/next", nil, nil)
			if err := within(t, "the next handler", next); err != nil {
				t.Errorf("the context of the next request: %v", err)
			}
			if got.connection == within(t, "the connection", spoiled) {
				t.Error("the connection was used again")
			}
		})
	}
}

// The server does not ask a client that waits for 100 Continue to send a body that the handler does
// not read. The client gets its stream at once, and the connection ends with it.
func TestStreamDoesNotAskForAnUnreadBody(t *testing.T) {
	t.Parallel()
	after := make(chan error, 1)
	server := transports[0].start(t, serveAt(func(c *gin.Context) {
		err := ginsse.Serve(c, ginsse.StreamConfig{}, sendX)
		after <- errors.Join(err, lives(c.Request.Context(), aMoment))
	}), nil)
	for _, body := range []string{"", "hello"} { // some clients send it anyway
		conn := dialRaw(t, server)
		conn.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n" + body)
		r, text := conn.answer()
		if r.StatusCode != http.StatusOK || !r.Close || !strings.Contains(text, "data: x\n") {
			t.Errorf("with the body %q got status %d, %q, and the connection closes: %v", body, r.StatusCode, text, r.Close)
		}
		if err := within(t, "the handler", after); err != nil {
			t.Errorf("with the body %q, the stream and the request: %v", body, err)
		}
		conn.wantEnd()
	}
}

// With full duplex a producer reads the request's body while it streams.
func TestProducerReadsTheBodyWhileItStreams(t *testing.T) {
	t.Parallel()
	after := make(chan error, 1)
	server := transports[0].start(t, serveAt(func(c *gin.Context) {
		_ = http.NewResponseController(c.Writer).EnableFullDuplex()
		body := bufio.NewReader(c.Request.Body)
		err := ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: streamTimeout}, func(ctx context.Context, s *ginsse.Stream) error {
			for {
				line, err := body.ReadString('\n')
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err == nil {
					err = s.Send(ctx, ginsse.Event{Data: "got " + strings.TrimSpace(line)})
				}
				if err != nil {
					return err
				}
			}
		})
		after <- errors.Join(err, lives(c.Request.Context(), aMoment))
	}), nil)
	for _, test := range []struct{ name, header, format, end string }{
		{"announced", "Content-Length: 9", "%[2]s", ""},
		{"chunked", "Transfer-Encoding: chunked", "%x\r\n%s\r\n", "0\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := dialRaw(t, server)
			for range 2 { // the second request comes over the same connection
				conn.send("POST / HTTP/1.1\r\nHost: x\r\n" + test.header + "\r\n\r\n")
				r, err := http.ReadResponse(conn.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewReader(r.Body)
				for _, line := range []string{"a1\n", "b2\n", "c3\n"} {
					pass(streamTimeout / 4) // in total longer than half of the timeout
					conn.send(fmt.Sprintf(test.format, len(line), line))
					for want := "data: got " + line; ; {
						got, err := lines.ReadString('\n')
						if err != nil {
							t.Fatalf("waiting for %q: %v", want, err)
						}
						if got == want {
							break
						}
					}
				}
				conn.send(test.end)
				if _, err := io.Copy(io.Discard, lines); err != nil {
					t.Errorf("the response is not whole: %v", err)
				}
				if err := within(t, "the handler", after); err != nil {
					t.Errorf("the stream and the request: %v", err)
				}
			}
		})
	}
}

// When the stream has ended, the handler can read the rest of the body.
func TestHandlerReadsTheBodyAfterItsStream(t *testing.T) {
	t.Parallel()
	rest := make(chan string, 1)
	server := transports[0].start(t, serveAt(func(c *gin.Context) {
		_ = http.NewResponseController(c.Writer).EnableFullDuplex()
		err := ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: streamTimeout}, sendX)
		b, readErr := io.ReadAll(c.Request.Body)
		rest <- fmt.Sprint(string(b), errors.Join(err, readErr))
	}), nil)
	conn := dialRaw(t, server)
	conn.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
	r, err := http.ReadResponse(conn.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(r.Body)
	for line := ""; line != "data: x\n"; {
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	pass(aMoment) // the stream has ended, and the handler reads
	conn.send("hello")
	if got := within(t, "the handler", rest); got != "hello<nil>" {
		t.Errorf("the handler read %q", got)
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("the response is not whole: %v", err)
	}
}

// With full duplex net/http keeps a connection whose body it could not read. If the body arrives
// later, it must not be taken for a request.
func TestLateBodyIsNotARequest(t *testing.T) {
	t.Parallel()
	r := gin.New()
	ended, smuggled := make(chan struct{}), make(chan struct{}, 1)
	r.POST("/", func(c *gin.Context) {
		defer close(ended)
		_ = http.NewResponseController(c.Writer).EnableFullDuplex()
		_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: streamTimeout}, sendX)
	})
	r.GET("/smuggled", func(*gin.Context) { smuggled <- struct{}{} })
	server := transports[0].start(t, r, func(s *http.Server) {
		s.ErrorLog = log.New(io.Discard, "", 0) // net/http panics on such a connection, and closes it
	})
	const body = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	conn := dialRaw(t, server)
	conn.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body)))
	if _, text := conn.answer(); !strings.Contains(text, "data: x\n") {
		t.Errorf("got %q", text)
	}
	within(t, "the handler", ended)
	pass(aMoment) // net/http waits for the body now
	conn.send(body)
	conn.wantEnd()
	select {
	case <-smuggled:
		t.Error("the body was served as a request")
	default:
	}
}

// When its stream has ended, a handler may run for longer than the write timeout. The end of the
// response must still reach the client.
func TestResponseEndsWholeLongAfterTheStream(t *testing.T) {
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		const timeout = time.Second
		worked := make(chan error, 1)
		server := tr.start(t, serveAt(func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout}, sendX)
			worked <- lives(c.Request.Context(), 5*timeout/2)
		}), func(s *http.Server) {
			s.WriteTimeout = 2 * timeout // it does not apply to streams
		})
		if got := exchange(t, server.Client(), http.MethodGet, server.URL, nil, nil); !strings.Contains(got.text, "data: x\n") {
			t.Errorf("got %q", got.text)
		}
		if err := within(t, "the handler", worked); err != nil {
			t.Errorf("the request's context ended while its handler worked: %v", err)
		}
	})
}

// On HTTP/2 the connection does not depend on the body of one request.
func TestStreamOnHTTP2DoesNotNeedTheBody(t *testing.T) {
	t.Parallel()
	for _, tr := range transports[2:] {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			after := make(chan error, 2)
			server := tr.start(t, serveAt(func(c *gin.Context) {
				err := ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: streamTimeout}, sendX)
				after <- errors.Join(err, lives(c.Request.Context(), streamTimeout))
			}), nil)
			withheld, end := io.Pipe()
			defer end.Close()
			var connections [2]string
			for i, body := range []io.Reader{withheld, small()} {
				got := exchange(t, server.Client(), http.MethodPost, server.URL, body, nil)
				if !strings.Contains(got.text, "data: x\n") {
					t.Errorf("got %q", got.text)
				}
				if err := within(t, "the handler", after); err != nil {
					t.Errorf("the stream and the request: %v", err)
				}
				connections[i] = got.connection
			}
			if connections[0] != connections[1] {
				t.Errorf("the requests came over %q", connections)
			}
		})
	}
}
