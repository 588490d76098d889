package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/internal/freeport"
	"github.com/ginsse/ginsse/ssetest"
)

// Tests with servers and networks that misbehave.

func TestHalfAnEventIsDeliveredOnceAndWhole(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(string) http.HandlerFunc{"ended": stream, "dropped": abort, "short": short} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, step("id: 1\ndata: a\n\nid: 2\ndata: b\n"), stream("id: 2\ndata: b\n\n"), status(http.StatusNoContent))
			events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
			if !isStatus(err, http.StatusNoContent) || fmt.Sprint(events) != "[{message a 1} {message b 2}]" {
				t.Errorf("got %v, %v", events, err)
			}
			if got := s.header(1).Get("Last-Event-ID"); got != "1" {
				t.Errorf("resumed from %q, want 1", got)
			}
		})
	}
}

// A reset discards bytes that the client has not read yet, so the server resets only after the
// client has read all.
func TestResetMidStreamReconnects(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	s := newScript(t, hijackTCP(func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1\ndata: a\n\ndata: ha")
		<-read
		_ = conn.SetLinger(0)
	}), status(http.StatusNoContent))
	var ends []error
	c := newClient(t, client.Config{URL: s.URL, OnDisconnect: func(err error, _ time.Duration) { ends = append(ends, err) }})
	for event, err := range c.Events(t.Context()) {
		if err == nil && event.Data == "a" {
			close(read)
		} else if !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v", event, err)
		}
	}
	if len(ends) != 1 || !errors.Is(ends[0], syscall.ECONNRESET) {
		t.Errorf("the connections ended with %v", ends)
	}
	if got := s.header(1).Get("Last-Event-ID"); got != "1" {
		t.Errorf("resumed from %q, want 1", got)
	}
}

func TestBlockOfOnlyAnIDMovesTheLastEventID(t *testing.T) {
	t.Parallel()
	s := newScript(t,
		stream("id: 1\ndata: a\n\nid: 2\n\nid: 3\n"),
		stream("id\n\n"), // none, again
		status(http.StatusNoContent))
	if _, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL})); !isStatus(err, http.StatusNoContent) {
		t.Error(err)
	}
	if got := s.header(1).Get("Last-Event-ID"); got != "2" {
		t.Errorf("resumed from %q, want 2", got)
	}
	if _, ok := s.header(2)["Last-Event-Id"]; ok {
		t.Error("an empty last event ID was sent")
	}
}

func TestIDThatAHeaderCannotCarryIsFinal(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("id: a\x01secret\ndata: a\n\ndata: b\n\n"), status(http.StatusNoContent))
	c := newClient(t, client.Config{URL: s.URL})
	events, err := rangeOver(t.Context(), c)
	if len(events) != 2 || err == nil || !strings.Contains(err.Error(), "last event ID") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, %v", events, err)
	}
	if n := s.requests(); n != 1 {
		t.Errorf("%d requests were made", n)
	}
}

func TestEndlessLineIsFinal(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	s := newScript(t, func(w http.ResponseWriter, r *http.Request) {
		write(w, "id: 1\ndata: a\n\ndata: ")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<12))
		}
		gone <- struct{}{}
	})
	c := newClient(t, client.Config{URL: s.URL, MaxEventBytes: 1 << 16})
	events, err := rangeOver(t.Context(), c)
	var tooLarge *client.EventTooLargeError
	if len(events) != 1 || !errors.As(err, &tooLarge) || tooLarge.Limit != 1<<16 {
		t.Errorf("got %v, %v", events, err)
	}
	<-gone
	if got := c.LastEventID(); got != "1" {
		t.Errorf("the last event ID is %q", got)
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	for contentType, ok := range map[string]bool{
		"text/event-stream":                 true,
		"text/event-stream; charset=utf-8":  true,
		"Text/Event-Stream;charset=UTF-8":   true,
		" text/event-stream ; a=b; a=c; ;=": true, // malformed parameters are ignored
		"text/event-stream;charset=utf-16":  true, // still decoded as UTF-8 (9.2.5)
		"":                                  false,
		"text/plain":                        false,
		"text/html; x=text/event-stream":    false,
		"text/event-streams":                false,
		"application/json":                  false,
		"text/event-stream, text/plain":     false,
		"text/" + strings.Repeat("x", 99):   false,
	} {
		t.Run(contentType, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{contentType}
				_, _ = io.WriteString(w, "data: a\n\n")
			}, status(http.StatusNoContent))
			events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
			var wrong *client.ContentTypeError
			switch {
			case ok && (len(events) != 1 || !isStatus(err, http.StatusNoContent)):
				t.Errorf("got %v, %v", events, err)
			case !ok && (len(events) != 0 || !errors.As(err, &wrong) || wrong.ContentType != contentType || s.requests() != 1):
				t.Errorf("got %v, %v after %d requests", events, err, s.requests())
			case !ok && len(err.Error()) > 150:
				t.Errorf("the text is %s", err)
			}
		})
	}
}

func TestStatusError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   client.StatusError
		text   string
	}{
		{
			"unauthorized",
			status(http.StatusUnauthorized, "Content-Type", "text/plain; charset=utf-8", "body", "the token\n\t has expired\x1b[2J\xff\n"),
			client.StatusError{Status: 401, Body: "the token has expired[2J"},
			`ginsse: status 401 Unauthorized: "the token has expired[2J"`,
		},
		{
			"json",
			status(http.StatusForbidden, "Content-Type", "application/problem+json", "body", `{"title":"no"}`),
			client.StatusError{Status: 403, Body: `{"title":"no"}`},
			`ginsse: status 403 Forbidden: "{\"title\":\"no\"}"`,
		},
		{
			"image",
			status(http.StatusNotFound, "Content-Type", "image/png", "body", "PNG"),
			client.StatusError{Status: 404},
			"ginsse: status 404 Not Found",
		},
		{
			"long",
			status(http.StatusInternalServerError, "Content-Type", "text/plain", "body", "x"+strings.Repeat("é", 1<<16)),
			client.StatusError{Status: 500, Body: "x" + strings.Repeat("é", 255)},
			"",
		},
		{
			"retry_after",
			status(http.StatusServiceUnavailable, "Retry-After", "7"),
			client.StatusError{Status: 503, RetryAfter: 7 * time.Second},
			"ginsse: status 503 Service Unavailable",
		},
		{
			"redirect_to_nowhere",
			status(http.StatusFound),
			client.StatusError{Status: 302},
			"ginsse: status 302 Found",
		},
		{
			"no_content",
			status(http.StatusNoContent),
			client.StatusError{Status: 204},
			"ginsse: status 204 No Content: the server asks the client not to reconnect",
		},
		{
			"created",
			status(http.StatusCreated, "Content-Type", "text/event-stream", "body", "data: a\n\n"),
			client.StatusError{Status: 201, Body: "data: a"},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, test.answer)
			_, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
			var refused *client.StatusError
			if !errors.As(err, &refused) || *refused != test.want {
				t.Errorf("the iteration ended with %#v, want %#v", err, test.want)
			}
			if test.text != "" && err.Error() != test.text {
				t.Errorf("the text is %s, want %s", err, test.text)
			}
			if n := s.requests(); n != 1 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}

// The last event ID is kept across streams that have no IDs.
func TestLastEventIDOutlivesStreamsWithoutOne(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("retry: 0\nid: 1\ndata: a\n\n"), stream(""), stream("data: b\n\n"), status(http.StatusNoContent))
	events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
	if !isStatus(err, http.StatusNoContent) || len(events) != 2 || events[1] != (client.Event{Type: "message", Data: "b", LastEventID: "1"}) {
		t.Errorf("got %v, %v", events, err)
	}
	for i, want := range []string{"", "1", "1", "1"} {
		if got := s.header(i).Get("Last-Event-ID"); got != want {
			t.Errorf("request %d has %q", i, got)
		}
	}
}

// The next attempt does not reuse a dead HTTP/2 connection.
func TestDeadHTTP2ConnectionIsNotReused(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: HTTP/%d\n\n", r.ProtoMajor)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	httpClient := server.Client()
	t.Cleanup(httpClient.CloseIdleConnections)
	var mu sync.Mutex
	var dialled []*deafConn
	httpClient.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		dialled = append(dialled, &deafConn{Conn: conn})
		return dialled[len(dialled)-1], nil
	}
	c := newClient(t, client.Config{URL: server.URL, HTTPClient: httpClient, IdleTimeout: 100 * time.Millisecond, ReconnectionTime: time.Millisecond})
	n := 0
	// A request on a dead connection would wait for the client's ConnectTimeout, of 30 s.
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	for event, err := range c.Events(ctx) {
		if err != nil || event.Data != "HTTP/2" {
			t.Fatalf("%v, %v", event, err)
		}
		if n++; n == 3 {
			break
		}
		mu.Lock()
		for _, conn := range dialled {
			conn.deaf.Store(true)
		}
		mu.Unlock()
	}
	// A busy machine may need more, because the client takes a late event for silence.
	mu.Lock()
	defer mu.Unlock()
	if len(dialled) < 3 {
		t.Errorf("3 streams used %d connections", len(dialled))
	}
}

// deafConn is a connection whose writes are lost once deaf is set, as if the peer had vanished.
type deafConn struct {
	net.Conn

	deaf atomic.Bool
}

func (c *deafConn) Write(p []byte) (int, error) {
	if c.deaf.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// The server's text in an error is short and has no control characters.
func TestServerTextInErrorsIsShortAndPrintable(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "\x1b]0;owned\a"+strings.Repeat("nonsense", 10_000)+"\r\n\r\n")
			conn.Close()
		}
	}()
	c := newClient(t, client.Config{URL: "http://" + listener.Addr().String(), NoReconnect: true})
	_, err = rangeOver(t.Context(), c)
	if err == nil || len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Errorf("the error is %.600q", fmt.Sprint(err))
	}
}

func TestHostInHeaderSetsTheHostOfTheRequest(t *testing.T) {
	t.Parallel()
	host := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host <- r.Host
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	_, err := rangeOver(t.Context(), newClient(t, client.Config{URL: server.URL, Header: http.Header{"Host": {"events.example"}}}))
	if got := <-host; got != "events.example" || !isStatus(err, http.StatusNoContent) {
		t.Errorf("Host is %q, %v", got, err)
	}
}

func TestRetryStatusTriesAgain(t *testing.T) {
	t.Parallel()
	s := newScript(t, status(http.StatusInternalServerError), stream("data: a\n\n"), status(http.StatusNoContent))
	everything := func(int) bool { return true } // but not 204
	events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL, RetryStatus: everything}))
	if len(events) != 1 || !isStatus(err, http.StatusNoContent) {
		t.Errorf("got %v, %v", events, err)
	}
}

func TestUnfinishedRefusalIsReadForALimitedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := ssetest.NewServer(t, http.HandlerFunc(refuseSlowly))
		start := time.Now()
		_, err := rangeOver(t.Context(), newClient(t, client.Config{URL: server.URL, HTTPClient: server.Client, ConnectTimeout: -1}))
		var refused *client.StatusError
		if !errors.As(err, &refused) || refused.Body != "because" {
			t.Errorf("the iteration ended with %v", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestRedirect(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("id: 1\ndata: a\n\n"),
		status(http.StatusTemporaryRedirect, "Location", "/elsewhere"), stream("data: b\n\n"),
		status(http.StatusNoContent))
	events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL + "/?token=secret"}))
	if len(events) != 2 || !isStatus(err, http.StatusNoContent) {
		t.Errorf("got %v, %v", events, err)
	}
	h := s.header(2)
	if h.Get("Last-Event-ID") != "1" || h.Get("Accept") != "text/event-stream" || h.Get("Referer") != "" {
		t.Errorf("the redirected request has %v", h)
	}
}

func TestRedirectLoopIsFinal(t *testing.T) {
	t.Parallel()
	s := newScript(t, status(http.StatusFound, "Location", "/"))
	_, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
	if !errors.Is(err, client.ErrTooManyRedirects) {
		t.Errorf("the iteration ended with %v", err)
	}
	if n := s.requests(); n != 11 {
		t.Errorf("%d requests were made, want the first and ten redirects", n)
	}
}

// On the same host, net/http would send the credentials again, in clear.
func TestRedirectFromHTTPSToHTTPIsFinal(t *testing.T) {
	t.Parallel()
	plain := newScript(t, status(http.StatusNoContent))
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(secure.Close)
	httpClient := secure.Client()
	t.Cleanup(httpClient.CloseIdleConnections)
	_, err := rangeOver(t.Context(), newClient(t, client.Config{URL: secure.URL, HTTPClient: httpClient}))
	if err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("the iteration ended with %v", err)
	}
	if n := plain.requests(); n != 0 {
		t.Errorf("%d requests were made in clear", n)
	}
}

func TestRedirectToAnotherHostSendsNoSecret(t *testing.T) {
	t.Parallel()
	s := newScript(t, status(http.StatusFound, "Location", "http://two.test/"), status(http.StatusNoContent))
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, strings.TrimPrefix(s.URL, "http://"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	_, err := rangeOver(t.Context(), newClient(t, client.Config{
		URL:        "http://user:secret@one.test/?token=secret",
		Header:     http.Header{"Authorization": {"Bearer secret"}, "Cookie": {"session=secret"}},
		HTTPClient: &http.Client{Transport: transport},
	}))
	if !isStatus(err, http.StatusNoContent) {
		t.Error(err)
	}
	if first := fmt.Sprint(s.header(0)); !strings.Contains(first, "Bearer secret") {
		t.Errorf("the first host got %s", first)
	}
	if second := fmt.Sprint(s.header(1)); strings.Contains(second, "secret") {
		t.Errorf("the second host got %s", second)
	}
}

func TestCheckRedirectOfTheHTTPClient(t *testing.T) {
	t.Parallel()
	refusal := errors.New("not there")
	for name, test := range map[string]struct {
		err  error
		want func(error) bool
	}{
		"refused":           {refusal, func(err error) bool { return errors.Is(err, refusal) }},
		"use_last_response": {http.ErrUseLastResponse, func(err error) bool { return isStatus(err, http.StatusFound) }},
		"allowed":           {nil, func(err error) bool { return isStatus(err, http.StatusNoContent) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, status(http.StatusFound, "Location", "/elsewhere"), status(http.StatusNoContent))
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			given := &http.Client{
				Transport:     transport,
				CheckRedirect: func(*http.Request, []*http.Request) error { return test.err },
			}
			_, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL, HTTPClient: given}))
			if !test.want(err) {
				t.Errorf("the iteration ended with %v", err)
			}
		})
	}
}

func TestRefusedConnectionIsTriedAgainUntilTheServerIsUp(t *testing.T) {
	t.Parallel()
	// No other test of this process, and no connection, gets the port meanwhile.
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	s := &script{steps: []http.HandlerFunc{stream("data: a\n\n"), status(http.StatusNoContent)}}
	var ends []error
	c := newClient(t, client.Config{
		URL: "http://" + address.String() + "/events",
		OnDisconnect: func(err error, _ time.Duration) {
			ends = append(ends, err)
			if len(ends) != 2 {
				return
			}
			listener, err := net.Listen("tcp", address.String())
			if err != nil {
				t.Error(err)
				return
			}
			server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: s}}
			server.Start()
			t.Cleanup(server.Close)
		},
	})
	events, err := rangeOver(t.Context(), c)
	if len(events) != 1 || !isStatus(err, http.StatusNoContent) {
		t.Errorf("got %v, %v", events, err)
	}
	if len(ends) != 3 || !errors.Is(ends[0], syscall.ECONNREFUSED) || !errors.Is(ends[1], syscall.ECONNREFUSED) || ends[2] != io.EOF {
		t.Errorf("the attempts ended with %v", ends)
	}
}

func TestMaxFailures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		url  string
		want error
	}{
		"refused":       {"http://" + refusing, syscall.ECONNREFUSED},
		"ended_at_once": {newScript(t, stream(": a\n\n")).URL, io.EOF},
		"no_answer":     {newScript(t, hijack(func(io.Writer) {})).URL, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attempts := 1
			_, err := rangeOver(t.Context(), newClient(t, client.Config{
				URL:          test.url,
				MaxFailures:  4,
				OnDisconnect: func(error, time.Duration) { attempts++ },
			}))
			if !errors.Is(err, test.want) || attempts != 4 {
				t.Errorf("after %d attempts the iteration ended with %v", attempts, err)
			}
		})
	}
}

// inBubble runs a client with cfg against steps, in a bubble of synctest. It returns how its
// connections ended and how long it waited after each.
func inBubble(t *testing.T, cfg client.Config, steps ...http.HandlerFunc) (events []client.Event, ends []error, waits []time.Duration, last error) {
	t.Helper()
	server := ssetest.NewServer(t, &script{steps: steps})
	cfg.URL, cfg.HTTPClient = server.URL, server.Client
	disconnected := time.Time{}
	cfg.OnOpen = func(*http.Response) { disconnected = time.Time{} }
	var announced []time.Duration
	cfg.OnDisconnect = func(err error, wait time.Duration) {
		ends = append(ends, err)
		announced = append(announced, wait)
		disconnected = time.Now()
	}
	newRequest := func(ctx context.Context) (*http.Request, error) {
		if !disconnected.IsZero() {
			waits = append(waits, time.Since(disconnected))
		}
		return http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
	}
	cfg.URL, cfg.NewRequest = "", newRequest
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	events, last = rangeOver(t.Context(), c)
	if fmt.Sprint(announced) != fmt.Sprint(waits) {
		t.Errorf("waited %v, but OnDisconnect received %v", waits, announced)
	}
	return events, ends, waits, last
}

// between reports whether a wait is d plus a random part of up to half.
func between(wait, d time.Duration) bool { return wait >= d && wait <= d+d/2 }

func TestServerThatEndsAtOnceIsNotHammered(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]http.HandlerFunc{
		"clean_without_an_event": stream(": a\n\n"),
		"clean_after_sse_open":   stream("event: sse.open\ndata: {\"stream\":\"x\",\"resumed\":false}\n\n"),
		"clean_after_heartbeats": stream("event: sse.heartbeat\ndata:\nid: 1\n\n"),
		"lost_after_an_event":    abort("data: a\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, _, waits, err := inBubble(t, client.Config{MaxFailures: 9}, step)
				if err == nil || !strings.Contains(err.Error(), "giving up after 9 consecutive attempts") {
					t.Errorf("the iteration ended with %v", err)
				}
				expectWaits(t, waits, 1, 2, 4, 8, 16, 30, 30, 30)
			})
		})
	}
}

// Ending each response after an event is how long polling works, so it is no failure.
func TestCleanEndAfterAnEventDoesNotRaiseTheBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		poll, fail := stream("data: a\n\n"), status(http.StatusBadGateway)
		events, _, waits, err := inBubble(t, client.Config{RetryStatus: client.RetryTransient, MaxFailures: 3},
			poll, poll, poll, fail, fail, poll, fail, fail, poll, poll, status(http.StatusNoContent))
		if len(events) != 6 || !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v", events, err)
		}
		expectWaits(t, waits, 1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
	})
}

// If a server asks for no wait and ends each response at once, the client still waits from the
// second one on.
func TestServerThatAsksForNoWaitIsNotHammered(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"retry":         "retry: 0\ndata: a\n\n",
		"sse_reconnect": "retry: 0\nevent: sse.reconnect\ndata: {\"reason\":\"lifetime\",\"retry\":0}\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				step := stream(text)
				_, _, waits, err := inBubble(t, client.Config{}, step, step, step, step, status(http.StatusNoContent))
				if !isStatus(err, http.StatusNoContent) {
					t.Errorf("the iteration ended with %v", err)
				}
				expectWaits(t, waits, 0, 0.1, 0.1, 0.1)
			})
		})
	}
}

// expectWaits compares waits with the wanted ones, given in seconds without the random part.
func expectWaits(t *testing.T, waits []time.Duration, seconds ...float64) {
	t.Helper()
	if len(waits) != len(seconds) {
		t.Fatalf("the waits are %v, want %d", waits, len(seconds))
	}
	for i, s := range seconds {
		if want := time.Duration(s * float64(time.Second)); !between(waits[i], want) {
			t.Errorf("wait %d is %v, want %v and a half of it at most", i, waits[i], want)
		}
	}
}

func TestStableConnectionResetsTheBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fail := status(http.StatusBadGateway)
		stable := func(w http.ResponseWriter, _ *http.Request) {
			write(w, ": hi\n\n")
			time.Sleep(10 * time.Second)
		}
		_, _, waits, err := inBubble(t, client.Config{RetryStatus: client.RetryTransient, MaxFailures: 4},
			fail, fail, fail, stable, fail, fail, stable, stable, status(http.StatusNoContent))
		if !isStatus(err, http.StatusNoContent) || len(waits) != 8 {
			t.Fatalf("the iteration ended with %v after %v", err, waits)
		}
		for i, seconds := range []int{1, 2, 4, 1, 1, 2, 1, 1} {
			if want := time.Duration(seconds) * time.Second; !between(waits[i], want) {
				t.Errorf("wait %d is %v, want %v and a half of it at most", i, waits[i], want)
			}
		}
	})
}

func TestRetryFieldAppliesAcrossConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, waits, err := inBubble(t, client.Config{},
			stream("retry: 0\n\n"), stream(": a\n\n"),
			stream("retry: 60000\n\n"), stream(": a\n\n"),
			stream("retry: 99999999999999999999\n\n"),
			status(http.StatusNoContent))
		if !isStatus(err, http.StatusNoContent) || len(waits) != 5 {
			t.Fatalf("the iteration ended with %v after %v", err, waits)
		}
		for i, want := range []time.Duration{0, 200 * time.Millisecond, time.Minute, time.Minute, time.Hour} {
			if !between(waits[i], want) {
				t.Errorf("wait %d is %v, want %v and a half of it at most", i, waits[i], want)
			}
		}
	})
}

func TestRetryAfterIsRespected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		date := func(w http.ResponseWriter, r *http.Request) {
			at := time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat)
			status(http.StatusTooManyRequests, "Retry-After", at)(w, r)
		}
		_, _, waits, err := inBubble(t, client.Config{RetryStatus: client.RetryTransient},
			status(http.StatusServiceUnavailable, "Retry-After", "120"), date,
			status(http.StatusServiceUnavailable, "Retry-After", "999999999999"),
			status(http.StatusServiceUnavailable, "Retry-After", "soon"),
			status(http.StatusNoContent))
		if !isStatus(err, http.StatusNoContent) || len(waits) != 4 {
			t.Fatalf("the iteration ended with %v after %v", err, waits)
		}
		// HTTP dates are whole seconds. The fourth failure waits 8 s.
		for i, want := range []time.Duration{2 * time.Minute, 10*time.Minute - time.Second, time.Hour, 8 * time.Second} {
			if waits[i] < want || waits[i] > want+want/2+2*time.Second {
				t.Errorf("wait %d is %v, want %v and a half of it at most", i, waits[i], want)
			}
		}
	})
}

func TestSilenceEndsTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		half := func(w http.ResponseWriter, r *http.Request) {
			write(w, "id: 1\ndata: a\n\n")
			time.Sleep(59 * time.Second)
			write(w, "data: ha")
			<-r.Context().Done()
			if took := time.Since(start); took < 119*time.Second || took > 120*time.Second {
				t.Errorf("the client left after %v", took)
			}
		}
		events, ends, waits, err := inBubble(t, client.Config{}, half, hold(""), status(http.StatusNoContent))
		if len(events) != 1 || !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v", events, err)
		}
		if len(ends) != 2 || ends[0] != client.ErrIdle || ends[1] != client.ErrIdle {
			t.Errorf("the connections ended with %v", ends)
		}
		for _, wait := range waits { // long-lived connections do not increase the wait
			if !between(wait, time.Second) {
				t.Errorf("waited %v", waits)
			}
		}
	})
}

func TestSlowDripIsNotSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		drip := func(w http.ResponseWriter, _ *http.Request) {
			for _, c := range "data: drip\n\n:\n" {
				write(w, string(c))
				time.Sleep(59 * time.Second)
			}
		}
		events, ends, _, err := inBubble(t, client.Config{}, drip, status(http.StatusNoContent))
		if len(events) != 1 || len(ends) != 1 || ends[0] != io.EOF || !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v, %v", events, ends, err)
		}
	})
}

func TestSlowLoopIsNotSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := ssetest.NewServer(t, &script{steps: []http.HandlerFunc{stream("data: a\n\ndata: b\n\n"), status(http.StatusNoContent)}})
		c := newClient(t, client.Config{URL: server.URL, HTTPClient: server.Client, OnDisconnect: func(err error, _ time.Duration) {
			if err != io.EOF {
				t.Errorf("the connection ended with %v", err)
			}
		}})
		n := 0
		for event, err := range c.Events(t.Context()) {
			if err == nil {
				n++
				time.Sleep(time.Hour)
			} else if n != 2 || !isStatus(err, http.StatusNoContent) {
				t.Errorf("got %v, %v", event, err)
			}
		}
	})
}

func TestIdleTimeoutOffWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		patient := func(w http.ResponseWriter, _ *http.Request) {
			write(w, ":\n\n")
			time.Sleep(1000 * time.Hour)
			write(w, "data: a\n\n")
		}
		events, ends, _, err := inBubble(t, client.Config{IdleTimeout: -1}, patient, status(http.StatusNoContent))
		if len(events) != 1 || len(ends) != 1 || !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v, %v", events, ends, err)
		}
	})
}

func TestMissingResponseHeaderTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		events, ends, waits, err := inBubble(t, client.Config{}, silent, stream("data: a\n\n"), status(http.StatusNoContent))
		if len(events) != 1 || !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v", events, err)
		}
		if len(ends) != 2 || !errors.Is(ends[0], os.ErrDeadlineExceeded) || errors.Is(ends[0], context.Canceled) {
			t.Errorf("the attempts ended with %v", ends)
		}
		if took := time.Since(start); took != 30*time.Second+waits[0]+waits[1] {
			t.Errorf("it took %v", took)
		}
	})
}

func TestSlowNewRequestTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, client.Config{MaxFailures: 1, NewRequest: func(ctx context.Context) (*http.Request, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		start := time.Now()
		if _, err := rangeOver(t.Context(), c); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the iteration ended with %v", err)
		}
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// short answers with a stream of fewer bytes than its Content-Length.
func short(text string) http.HandlerFunc {
	return hijack(func(conn io.Writer) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n"+text)
	})
}

// hijackTCP hands the connection to f and closes it.
func hijackTCP(f func(*net.TCPConn)) http.HandlerFunc {
	return hijack(func(conn io.Writer) { f(conn.(*net.TCPConn)) })
}

// refusing is an address without a listener. No test can listen on it.
const refusing = "127.0.0.1:1"
