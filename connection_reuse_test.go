package ginsse_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// A stream takes over the response and gives it back. These tests use what remains afterwards: the
// request's context until the handler returns, and the connection for more requests.

const (
	// streamTimeout is the write timeout of the streams here.
	streamTimeout = 2 * time.Second
	// aMoment is how long a context is watched. A spoiled context ends at once.
	aMoment = 100 * time.Millisecond
)

// lives returns nil if ctx does not end within d, else its cause.
func lives(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// answer is a way in which the kit responds to a request.
type answer struct {
	name   string
	status int    // 0 stands for 200
	body   string // a part of the response's body
	head   bool   // the request is a HEAD request
	// handler returns the handler that responds in this way.
	handler func(t *testing.T) gin.HandlerFunc
}

// producing returns a handler that serves a stream of one request.
func producing(produce func(ctx context.Context, s *ginsse.Stream) error) func(*testing.T) gin.HandlerFunc {
	return func(*testing.T) gin.HandlerFunc {
		return func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: streamTimeout}, produce)
		}
	}
}

// serving returns a handler that serves a stream of a registry to alice, after others have opened
// streams.
func serving(cfg ginsse.RegistryConfig, options []ginsse.ServeOption, others ...string) func(*testing.T) gin.HandlerFunc {
	return func(t *testing.T) gin.HandlerFunc {
		cfg := cfg
		cfg.Stream.WriteTimeout = streamTimeout
		registry := newRegistry(t, cfg)
		engine := newEngine(t, registry)
		if len(others) > 0 {
			server := transports[0].start(t, engine, nil)
			for _, user := range others {
				connect(t, server, "/events", as(user)).NextOf("sse.open")
			}
		}
		auth := ginsse.Middleware(headerAuth(t))
		return func(c *gin.Context) {
			c.Request.Header.Set("X-User", "alice")
			auth(c)
			_ = registry.Serve(c, options...)
		}
	}
}

func sendX(ctx context.Context, s *ginsse.Stream) error {
	return s.Send(ctx, ginsse.Event{Data: "x"})
}

var answers = []answer{
	{name: "serve", body: "data: x\n", handler: producing(sendX)},
	{name: "serve_that_fails", body: "data: x\n", handler: producing(func(ctx context.Context, s *ginsse.Stream) error {
		_ = sendX(ctx, s)
		return errors.New("the model is out")
	})},
	{name: "serve_that_panics", body: "data: x\n", handler: producing(func(ctx context.Context, s *ginsse.Stream) error {
		_ = sendX(ctx, s)
		panic("boom")
	})},
	{name: "serve_seq", body: "data: x\n", handler: func(*testing.T) gin.HandlerFunc {
		return func(c *gin.Context) {
			_ = ginsse.ServeSeq(c, ginsse.StreamConfig{WriteTimeout: streamTimeout}, func(context.Context) iter.Seq2[ginsse.Event, error] {
				return func(yield func(ginsse.Event, error) bool) { yield(ginsse.Event{Data: "x"}, nil) }
			})
		}
	}},
	{name: "without_write_timeout", body: "data: x\n", handler: func(*testing.T) gin.HandlerFunc {
		return func(c *gin.Context) { _ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: -1}, sendX) }
	}},
	{name: "disconnected", body: `"reason":"over"`, handler: serving(ginsse.RegistryConfig{
		ConnectFunc: func(s *ginsse.Stream) { s.Disconnect("over") },
	}, nil)},
	{name: "expired", body: `"reason":"lifetime"`, handler: serving(ginsse.RegistryConfig{
		Stream: ginsse.StreamConfig{MaxLifetime: 50 * time.Millisecond},
	}, nil)},
	{name: "registry_full", body: `"reason":"overloaded"`, handler: serving(ginsse.RegistryConfig{MaxStreams: 1}, nil, "bob")},
	{name: "registry_closed", body: `"reason":"shutdown"`, handler: func(t *testing.T) gin.HandlerFunc {
		registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{WriteTimeout: streamTimeout}})
		registry.Close()
		auth := ginsse.Middleware(headerAuth(t))
		return func(c *gin.Context) {
			c.Request.Header.Set("X-User", "alice")
			auth(c)
			_ = registry.Serve(c)
		}
	}},
	{name: "too_many_streams", status: http.StatusTooManyRequests, body: "too_many_streams",
		handler: serving(ginsse.RegistryConfig{MaxStreamsPerUser: 1, RefuseNewest: true}, nil, "alice")},
	{name: "option_refused", status: http.StatusBadRequest, body: "invalid_request",
		handler: serving(ginsse.RegistryConfig{}, []ginsse.ServeOption{ginsse.WithTopics("")})},
	{name: "writer_refused", status: http.StatusInternalServerError, body: "stream_unsupported", handler: func(t *testing.T) gin.HandlerFunc {
		serve := producing(sendX)(t)
		return func(c *gin.Context) {
			c.Header("Content-Encoding", "br")
			serve(c)
		}
	}},
	{name: "head", head: true, handler: producing(sendX)},
	{name: "head_of_registry", head: true, handler: serving(ginsse.RegistryConfig{}, nil)},
}

// requestBody is a request's body, and what the handler does with it before it streams.
type requestBody struct {
	name   string
	body   func() io.Reader // nil for a GET request
	expect bool             // the client waits for 100 Continue
	closes bool             // on HTTP/1 net/http closes the connection after the response
	use    func(c *gin.Context) error
}

const smallJSON = `{"prompt":"hello"}`

func small() io.Reader { return strings.NewReader(smallJSON) }

// chunked returns a body without a Content-Length.
func chunked() io.Reader { return io.MultiReader(strings.NewReader(smallJSON)) }

// large returns a body larger than the 256 KiB that net/http would read itself.
func large() io.Reader { return bytes.NewReader(make([]byte, 600<<10)) }

func unread(*gin.Context) error { return nil }

func readAll(c *gin.Context) error {
	_, err := io.Copy(io.Discard, c.Request.Body)
	return err
}

func bind(c *gin.Context) error {
	var request struct{ Prompt string }
	if err := c.ShouldBindJSON(&request); err != nil || request.Prompt != "hello" {
		return fmt.Errorf("bound %+v, %w", request, err)
	}
	return nil
}

// bounded wraps the body in http.MaxBytesReader, like middleware of gin, with gin's writer.
func bounded(limit int64, use func(c *gin.Context) error) func(c *gin.Context) error {
	return func(c *gin.Context) error {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, limit)
		return use(c)
	}
}

func readTooMuch(c *gin.Context) error {
	var tooLarge *http.MaxBytesError
	if err := readAll(c); !errors.As(err, &tooLarge) {
		return fmt.Errorf("reading beyond the limit: %w", err)
	}
	return nil
}

var requestBodies = []requestBody{
	{name: "no_body", use: unread},
	{name: "read", body: small, use: readAll},
	{name: "unread", body: small, use: unread},
	{name: "partly_read", body: small, use: func(c *gin.Context) error {
		_, err := io.ReadFull(c.Request.Body, make([]byte, 3))
		return err
	}},
	{name: "bound", body: small, use: bind},
	{name: "limited_and_read", body: small, use: bounded(1<<20, readAll)},
	{name: "limited_and_unread", body: small, use: bounded(1<<20, unread)},
	{name: "limited_and_too_large", body: small, use: bounded(3, readTooMuch)},
	{name: "limited_by_a_byte", body: small, use: bounded(int64(len(smallJSON))-1, readTooMuch)},
	// With net/http's own writer, MaxBytesReader makes net/http close the connection.
	{name: "limited_below_gin", body: small, closes: true, use: func(c *gin.Context) error {
		w := c.Writer.(interface{ Unwrap() http.ResponseWriter }).Unwrap()
		c.Request.Body = http.MaxBytesReader(w, c.Request.Body, 3)
		return readTooMuch(c)
	}},
	{name: "replaced", body: small, use: func(c *gin.Context) error {
		b, err := io.ReadAll(c.Request.Body)
		c.Request.Body = io.NopCloser(bytes.NewBuffer(b))
		return err
	}},
	{name: "wrapped_and_unread", body: small, use: func(c *gin.Context) error {
		c.Request.Body = io.NopCloser(io.TeeReader(c.Request.Body, io.Discard))
		return nil
	}},
	{name: "replaced_by_no_body", body: small, use: func(c *gin.Context) error {
		c.Request.Body = http.NoBody
		return nil
	}},
	{name: "closed", body: small, use: func(c *gin.Context) error { return c.Request.Body.Close() }},
	{name: "chunked_and_read", body: chunked, use: readAll},
	{name: "chunked_and_unread", body: chunked, use: unread},
	{name: "chunked_and_bound", body: chunked, use: bind},
	{name: "chunked_and_too_large", body: chunked, use: bounded(3, readTooMuch)},
	{name: "expect_and_read", body: small, expect: true, use: readAll},
	{name: "expect_and_unread", body: small, expect: true, closes: true, use: unread},
	{name: "large_and_read", body: large, use: readAll},
	{name: "large_and_unread", body: large, closes: true, use: unread},
}

func TestConnectionIsUsableAfterAStream(t *testing.T) {
	needsHandler(t)
	t.Parallel()
	onEachTransport(t, func(t *testing.T, tr transport) {
		var wg sync.WaitGroup
		// Many subtests wait at the same time, but not all begin at once. A stream whose handler
		// gets no processor for half of its write timeout looks like one whose body is withheld, and is
		// opened again.
		begin := make(chan struct{}, 16)
		for _, answer := range answers {
			for _, body := range requestBodies {
				if answer.head && body.body != nil {
					continue
				}
				wg.Go(func() {
					t.Run(answer.name+"/"+body.name, func(t *testing.T) { useConnectionAgain(t, tr, answer, body, begin) })
				})
			}
		}
		wg.Wait()
	})
}

// useConnectionAgain sends a request for a stream, and then other requests over the same
// connection.
func useConnectionAgain(t *testing.T, tr transport, answer answer, body requestBody, begin chan struct{}) {
	t.Helper()
	after := make(chan error, 1) // the state of the request's context after the stream
	r := gin.New()
	r.Any("/stream", func(c *gin.Context) {
		if err := body.use(c); err != nil {
			t.Error(err)
		}
		c.Next()
		after <- lives(c.Request.Context(), aMoment)
	}, gin.RecoveryWithWriter(io.Discard), answer.handler(t))
	r.Any("/work", func(c *gin.Context) {
		read, err := io.Copy(io.Discard, c.Request.Body)
		d := aMoment
		if c.Query("long") != "" { // longer than any deadline of the stream
			d += streamTimeout
		}
		if err == nil {
			err = lives(c.Request.Context(), d)
		}
		if err != nil {
			t.Errorf("%s on the connection afterwards: %v", c.Request.Method, err)
		}
		c.String(http.StatusOK, "%d %s", read, strings.Repeat("y", 20_000))
	})
	server := tr.start(t, r, nil)
	// Otherwise the client sends its body without waiting for 100 Continue.
	server.Client().Transport.(*http.Transport).ExpectContinueTimeout = 10 * time.Second

	method := http.MethodGet
	content := func() io.Reader { return nil }
	switch {
	case answer.head:
		method = http.MethodHead
	case body.body != nil:
		method, content = http.MethodPost, body.body
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if body.expect {
		header.Set("Expect", "100-continue")
	}
	var first response
	var err error // of the request's context
	inTime := func() bool {
		begin <- struct{}{}
		defer func() { <-begin }()
		begun := time.Now()
		first = exchange(t, server.Client(), method, server.URL+"/stream", content(), header)
		took := time.Since(begun)
		err = within(t, "the handler", after)
		return took < streamTimeout/2
	}
	for attempts := 3; attempts > 0 && !inTime(); attempts-- {
	}
	if first.status != cmp.Or(answer.status, http.StatusOK) || !strings.Contains(first.text, answer.body) {
		t.Errorf("got status %d, %q, want %q in it", first.status, first.text, answer.body)
	}
	if err != nil {
		t.Errorf("the request's context ended before its handler returned: %v", err)
	}
	closes := body.closes && strings.HasPrefix(tr.name, "http1")
	for _, next := range []struct {
		method, path string
		body         io.Reader
		want         string
	}{
		{http.MethodGet, "/work", nil, "0 "},
		{http.MethodPost, "/work", small(), fmt.Sprint(len(smallJSON), " ")},
		{http.MethodGet, "/work?long=yes", nil, "0 "},
	} {
		got := exchange(t, server.Client(), next.method, server.URL+next.path, next.body, nil)
		if got.status != http.StatusOK || !strings.HasPrefix(got.text, next.want) || len(got.text) < 20_000 {
			t.Errorf("%s afterwards: status %d, %.30q", next.method, got.status, got.text)
		}
		if same := got.connection == first.connection; same == closes {
			t.Errorf("%s afterwards came over %s, the stream over %s; want the same: %v", next.method, got.connection, first.connection, !closes)
		}
	}
}

// response is what a client has received.
type response struct {
	status     int
	text       string
	connection string // the client's end of it
}

// exchange sends a request and reads the response, which must be complete.
func exchange(t *testing.T, client *http.Client, method, url string, body io.Reader, header http.Header) (got response) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { got.connection = info.Conn.LocalAddr().String() },
	})
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	r, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Errorf("%s %s: the response is not whole: %v", method, url, err)
	}
	got.status, got.text = r.StatusCode, string(text)
	return got
}
