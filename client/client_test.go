package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/ssetest"
)

func TestNewNamesTheInvalidField(t *testing.T) {
	t.Parallel()
	const valid = "http://example.com/events"
	newRequest := func(context.Context) (*http.Request, error) { return nil, nil } //nolint:nilnil // never called
	for _, test := range []struct {
		name string
		cfg  client.Config
		want string
	}{
		{"no_url", client.Config{}, "either URL or NewRequest"},
		{"both", client.Config{URL: valid, NewRequest: newRequest}, "NewRequest"},
		{"header_without_url", client.Config{NewRequest: newRequest, Header: http.Header{"A": {"b"}}}, "Header"},
		{"relative_url", client.Config{URL: "/events"}, "URL"},
		{"url_without_host", client.Config{URL: "http:///events"}, "URL"},
		{"ftp", client.Config{URL: "ftp://example.com/secret"}, "URL"},
		{"broken_url", client.Config{URL: "http://example.com/%zz?token=secret"}, "URL"},
		{"header_name", client.Config{URL: valid, Header: http.Header{"A B": {"c"}}}, `"A B" in Header`},
		{"empty_header_name", client.Config{URL: valid, Header: http.Header{"": {"c"}}}, `"" in Header`},
		{"header_value", client.Config{URL: valid, Header: http.Header{"Authorization": {"secret\n"}}}, "Authorization in Header"},
		{"last_event_id_header", client.Config{URL: valid, Header: http.Header{"last-event-id": {"1"}}}, "LastEventID"},
		{"last_event_id", client.Config{URL: valid, LastEventID: "secret\x00"}, "LastEventID"},
		{"http_client_timeout", client.Config{URL: valid, HTTPClient: &http.Client{Timeout: time.Minute}}, "HTTPClient"},
		{"idle_timeout", client.Config{URL: valid, IdleTimeout: 30}, "IdleTimeout"},
		{"connect_timeout", client.Config{URL: valid, ConnectTimeout: 30}, "ConnectTimeout"},
		{"reconnection_time", client.Config{URL: valid, ReconnectionTime: -1}, "ReconnectionTime"},
		{"max_reconnection_time", client.Config{URL: valid, MaxReconnectionTime: -time.Hour}, "MaxReconnectionTime"},
		{"max_backoff", client.Config{URL: valid, MaxBackoff: -time.Hour}, "MaxBackoff"},
		{"stable_after", client.Config{URL: valid, StableAfter: -time.Hour}, "StableAfter"},
		{"max_failures", client.Config{URL: valid, MaxFailures: -1}, "MaxFailures"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := client.New(test.cfg)
			if err == nil || c != nil {
				t.Fatalf("New returned %v, %v, want an error", c, err)
			}
			if text := err.Error(); !strings.Contains(text, test.want) || strings.Contains(text, "secret") {
				t.Errorf("the error is %q, want it to name %s", text, test.want)
			}
		})
	}
}

func TestNewAcceptsNegativeAsOff(t *testing.T) {
	t.Parallel()
	if _, err := client.New(client.Config{URL: "https://example.com", IdleTimeout: -1, ConnectTimeout: -1, MaxEventBytes: -1}); err != nil {
		t.Error(err)
	}
}

func TestRequestHeader(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("id: é\ndata: x\n\n"), status(http.StatusNoContent))
	token := []string{"Bearer a"}
	header := http.Header{"authorization": token, "accept": {"text/event-stream;q=1"}}
	c := newClient(t, client.Config{URL: s.URL, Header: header, LastEventID: "7"})
	token[0] = "changed"
	if _, err := rangeOver(t.Context(), c); !isStatus(err, http.StatusNoContent) {
		t.Fatal(err)
	}
	for i, id := range []string{"7", "é"} {
		for name, want := range map[string]string{
			"Last-Event-ID": id, "Authorization": "Bearer a", "Accept": "text/event-stream;q=1",
			"Cache-Control": "no-cache", "Accept-Encoding": "identity",
		} {
			if got := s.header(i).Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("request %d has %s: %q, want %s", i, name, got, want)
			}
		}
	}
}

func TestHeaderFromTheConfigReplacesTheDefault(t *testing.T) {
	t.Parallel()
	s := newScript(t, status(http.StatusNoContent))
	want := http.Header{"Accept": {"*/*"}, "Cache-Control": {"max-age=0"}, "Accept-Encoding": {"gzip"}, "User-Agent": {"mine/1"}}
	if _, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL, Header: want})); !isStatus(err, http.StatusNoContent) {
		t.Fatal(err)
	}
	if got := s.header(0); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the request has %v, want %v", got, want)
	}
}

func TestNewRequestIsCalledForEachAttempt(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("id: 1\ndata: x\n\n"), status(http.StatusServiceUnavailable), status(http.StatusNoContent))
	shared := http.Header{"Last-Event-Id": {"stale"}}
	attempts := 0
	c := newClient(t, client.Config{
		RetryStatus: client.RetryTransient,
		NewRequest: func(ctx context.Context) (*http.Request, error) {
			attempts++
			if attempts == 2 {
				return nil, errors.New("no token")
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader("question"))
			if err == nil {
				request.Header = shared
				request.Header.Set("Authorization", fmt.Sprint("token ", attempts))
			}
			return request, err
		},
	})
	if _, err := rangeOver(t.Context(), c); !isStatus(err, http.StatusNoContent) {
		t.Fatal(err)
	}
	for i, want := range []string{"token 1 ''", "token 3 '1'", "token 4 '1'"} {
		h := s.header(i)
		if got := fmt.Sprintf("%s '%s'", h.Get("Authorization"), h.Get("Last-Event-ID")); got != want {
			t.Errorf("request %d has %s, want %s", i, got, want)
		}
	}
	if got := shared.Get("Last-Event-ID"); got != "stale" {
		t.Errorf("the caller's header was changed to %v", shared)
	}
}

func TestNewRequestMayReturnABareRequest(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("data: a\n\n"))
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, client.Config{NoReconnect: true, LastEventID: "7", NewRequest: func(ctx context.Context) (*http.Request, error) {
		return (&http.Request{URL: u}).WithContext(ctx), nil
	}})
	if events, err := rangeOver(t.Context(), c); len(events) != 1 || err != nil {
		t.Errorf("got %v, %v", events, err)
	}
	if got := s.header(0).Get("Last-Event-ID"); got != "7" {
		t.Errorf("the last event ID is %q", got)
	}
}

func TestUnusableNewRequestIsFinal(t *testing.T) {
	t.Parallel()
	var cached *http.Request
	for name, newRequest := range map[string]func(context.Context) (*http.Request, error){
		"nil": func(context.Context) (*http.Request, error) { return nil, nil }, //nolint:nilnil // the point
		"foreign_context": func(context.Context) (*http.Request, error) {
			return httptest.NewRequest(http.MethodGet, "/", http.NoBody), nil
		},
		"cached": func(ctx context.Context) (_ *http.Request, err error) {
			if cached == nil {
				cached, err = http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:0/", http.NoBody)
			}
			return cached, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, client.Config{NewRequest: newRequest})
			if _, err := rangeOver(t.Context(), c); err == nil || !strings.Contains(err.Error(), "NewRequest") {
				t.Errorf("the iteration ended with %v", err)
			}
		})
	}
}

func TestErrorTextsContainNoQuery(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]client.Config{
		"refused": {URL: "http://user:secret@" + refusing + "/events?token=secret"},
		"broken_request": {NewRequest: func(ctx context.Context) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodGet, "http://exa mple/?token=secret", http.NoBody)
		}},
		"broken_redirect": {URL: newScript(t, status(http.StatusFound, "Location", "http://%zz/?token=secret")).URL},
		"broken_header": {URL: newScript(t, hijack(func(conn io.Writer) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nCookie secret\r\n\r\n")
		})).URL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.MaxFailures = 2
			_, err := rangeOver(t.Context(), newClient(t, cfg))
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestLeavingTheLoopClosesTheConnectionAndRangingAgainResumes(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 2)
	s := newScript(t, holdUntil(gone, "id: 1\ndata: a\n\nid: 2\ndata: b\n\n"), holdUntil(gone, "id: 2\ndata: b\n\n"))
	c := newClient(t, client.Config{URL: s.URL})
	for i, want := range []string{"a", "b"} {
		for event, err := range c.Events(t.Context()) {
			if err != nil || event.Data != want {
				t.Fatal(event, err)
			}
			break
		}
		<-gone
		if got := c.LastEventID(); got != fmt.Sprint(i+1) {
			t.Errorf("the last event ID is %q", got)
		}
	}
	if got := s.header(1).Get("Last-Event-ID"); got != "1" {
		t.Errorf("the second loop resumed from %q, want 1", got)
	}
}

func TestStopOfPulledEventsClosesTheConnection(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	s := newScript(t, holdUntil(gone, "data: a\n\n"))
	next, stop := iter.Pull2(newClient(t, client.Config{URL: s.URL}).Events(t.Context()))
	if event, err, ok := next(); !ok || err != nil || event.Data != "a" {
		t.Fatal(event, err, ok)
	}
	stop()
	<-gone
}

func TestPanicInTheLoopClosesTheConnection(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	s := newScript(t, holdUntil(gone, "id: 1\ndata: a\n\n"), status(http.StatusNoContent))
	c := newClient(t, client.Config{URL: s.URL})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic did not reach the caller")
			}
		}()
		for range c.Events(t.Context()) {
			panic("loop")
		}
	}()
	<-gone
	if _, err := rangeOver(t.Context(), c); !isStatus(err, http.StatusNoContent) {
		t.Errorf("after the panic, the iteration ended with %v", err)
	}
}

// Without an HTTPClient the client owns its transport, so it must close the idle connections.
func TestEndOfTheLoopLeavesNoConnection(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(&script{steps: []http.HandlerFunc{stream("data: a\n\n"), status(http.StatusNoContent)}})
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{URL: server.URL, ReconnectionTime: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rangeOver(t.Context(), c); !isStatus(err, http.StatusNoContent) {
		t.Fatal(err)
	}
	<-closed // keep-alive held it open until the loop had ended
}

func TestSecondLoopGetsErrBusy(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("data: a\n\n"), status(http.StatusNoContent))
	c := newClient(t, client.Config{URL: s.URL})
	loops := 0
	for event, err := range c.Events(t.Context()) {
		if err != nil {
			break
		}
		loops++
		events, err := rangeOver(t.Context(), c)
		if len(events) != 0 || !errors.Is(err, client.ErrBusy) {
			t.Errorf("the second loop got %v, %v", events, err)
		}
		if event.Data != "a" {
			t.Errorf("the first got %+v", event)
		}
	}
	if loops != 1 {
		t.Errorf("the first loop had %d events", loops)
	}
}

// A range loop over a function panics if the function breaks the rules of iterators. This test
// calls the function directly and counts the calls.
func TestYieldIsNotCalledAfterItsEnd(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("data: a\n\ndata: b\n\n"), status(http.StatusNoContent))
	c := newClient(t, client.Config{URL: s.URL})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, ctx := range map[string]context.Context{"event": t.Context(), "final": t.Context(), "cancelled": cancelled} {
		calls := 0
		c.Events(ctx)(func(client.Event, error) bool {
			calls++
			return false
		})
		if calls != 1 {
			t.Errorf("%s: yield was called %d times", name, calls)
		}
	}
	// An error is the last value, even if yield returns true.
	calls := 0
	c.Events(t.Context())(func(event client.Event, err error) bool {
		calls++
		if err == nil || event != (client.Event{}) {
			t.Errorf("yield was called with %+v, %v", event, err)
		}
		return true
	})
	if calls != 1 {
		t.Errorf("yield was called %d times", calls)
	}
}

func TestContextEndsTheIteration(t *testing.T) {
	t.Parallel()
	cause := errors.New("sign out")
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		cfg     client.Config
		events  int
	}{
		"while_connecting":         {handler: silent, cfg: client.Config{ConnectTimeout: -1}},
		"while_reading":            {handler: hold("data: a\n\ndata: half"), cfg: client.Config{IdleTimeout: -1}, events: 1},
		"while_waiting":            {handler: stream("retry: 1800000\ndata: a\n\n"), events: 1},
		"while_making_the_request": {cfg: client.Config{NewRequest: func(ctx context.Context) (*http.Request, error) { <-ctx.Done(); return nil, ctx.Err() }}},
		"while_reading_a_refusal":  {handler: refuseSlowly, cfg: client.Config{ConnectTimeout: -1, RetryStatus: client.RetryTransient}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := ssetest.NewServer(t, test.handler)
				if test.cfg.NewRequest == nil {
					test.cfg.URL = server.URL
				}
				test.cfg.HTTPClient = server.Client
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				test.cfg.OnDisconnect = func(err error, _ time.Duration) {
					if ctx.Err() != nil {
						t.Errorf("OnDisconnect was called with %v", err)
					}
				}
				c := newClient(t, test.cfg)
				time.AfterFunc(20*time.Second, func() { cancel(cause) })
				start := time.Now()
				events, err := rangeOver(ctx, c)
				if len(events) != test.events || err != cause {
					t.Errorf("got %v, %v, want %v", events, err, cause)
				}
				if took := time.Since(start); took != 20*time.Second {
					t.Errorf("it ended after %v", took)
				}
			})
		})
	}
}

func TestContextThatHasEndedDoesNotConnect(t *testing.T) {
	t.Parallel()
	s := newScript(t, stream("data: a\n\n"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if events, err := rangeOver(ctx, newClient(t, client.Config{URL: s.URL})); len(events) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", events, err)
	}
	if n := s.requests(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

// Events that have arrived but were not yielded do not count as seen.
func TestContextThatEndsWithinTheLoopEndsTheLoop(t *testing.T) {
	t.Parallel()
	s := newScript(t, hold("id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\n\n"))
	c := newClient(t, client.Config{URL: s.URL})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []string
	for event, err := range c.Events(ctx) {
		seen = append(seen, fmt.Sprint(event.Data, err))
		cancel()
	}
	if got := fmt.Sprint(seen); got != "[a<nil> context canceled]" {
		t.Errorf("the loop saw %s", got)
	}
	if id := c.LastEventID(); id != "1" {
		t.Errorf("the last event ID is %q", id)
	}
}

func TestNoReconnectIsOneConnection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		events  int
		want    func(error) bool
	}{
		"clean_end":      {stream("data: a\n\n"), 1, func(err error) bool { return err == nil }},
		"half_an_event":  {stream("data: a\n\ndata: b\n"), 1, func(err error) bool { return err == nil }},
		"abort":          {abort("data: a\n\n"), 1, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"no_answer":      {hijack(func(io.Writer) {}), 0, func(err error) bool { return err != nil && !errors.Is(err, io.EOF) }},
		"refused":        {status(http.StatusServiceUnavailable), 0, func(err error) bool { return isStatus(err, http.StatusServiceUnavailable) }},
		"not_a_stream":   {status(http.StatusOK), 0, func(err error) bool { return errors.As(err, new(*client.ContentTypeError)) }},
		"closed_in_band": {stream("event: sse.close\ndata: {\"reason\":\"signed out\"}\n\n"), 1, func(err error) bool { return errors.As(err, new(*client.ClosedError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, test.handler)
			c := newClient(t, client.Config{URL: s.URL, NoReconnect: true, RetryStatus: client.RetryTransient})
			events, err := rangeOver(t.Context(), c)
			if len(events) != test.events || !test.want(err) {
				t.Errorf("got %v, %v", events, err)
			}
			if n := s.requests(); n != 1 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}

// An EOF of NewRequest is not the clean end of a stream.
func TestNoReconnectReportsAnEOFOfNewRequest(t *testing.T) {
	t.Parallel()
	c := newClient(t, client.Config{NoReconnect: true, NewRequest: func(context.Context) (*http.Request, error) { return nil, io.EOF }})
	if _, err := rangeOver(t.Context(), c); !errors.Is(err, io.EOF) {
		t.Errorf("the iteration ended with %v", err)
	}
}

func TestCallbacksReportWhatHappens(t *testing.T) {
	t.Parallel()
	s := newScript(t, status(http.StatusBadGateway), stream(": hi\n\ndata: a\n\n:there\n\n"), abort(": half"), status(http.StatusNoContent))
	var log []string
	c := newClient(t, client.Config{
		URL:         s.URL,
		RetryStatus: client.RetryTransient,
		OnOpen: func(response *http.Response) {
			body, err := io.ReadAll(response.Body)
			log = append(log, fmt.Sprintf("open %d %s %d %v", response.StatusCode, response.Header.Get("X-Step"), len(body), err))
		},
		OnDisconnect: func(err error, wait time.Duration) {
			if wait < time.Millisecond || wait > 2*time.Millisecond {
				t.Errorf("the wait is %v", wait)
			}
			log = append(log, "end "+err.Error())
		},
		OnComment: func(text string) { log = append(log, "comment "+text) },
	})
	for event, err := range c.Events(t.Context()) {
		log = append(log, fmt.Sprint("event ", event.Data, err))
	}
	got := strings.Join(log, "\n")
	want := strings.Join([]string{
		"end ginsse: status 502 Bad Gateway",
		"open 200 1 0 <nil>", "comment hi", "event a<nil>", "comment there", "end EOF",
		"open 200 2 0 <nil>", "end unexpected EOF",
		"event ginsse: status 204 No Content: the server asks the client not to reconnect",
	}, "\n")
	if got != want {
		t.Errorf("what happened was\n%s\nwant\n%s", got, want)
	}
}

func TestEventsOverHTTP2(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	s := &script{steps: []http.HandlerFunc{stream("id: 1\ndata: a\n\n"), abort("id: 2\ndata: b\n\ndata: half"), holdUntil(gone, "id: 3\ndata: c\n\n")}}
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	var versions []string
	c := newClient(t, client.Config{
		URL:        server.URL,
		HTTPClient: server.Client(),
		OnOpen:     func(response *http.Response) { versions = append(versions, response.Proto) },
	})
	var got []string
	for event, err := range c.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, event.Data); len(got) == 3 {
			break
		}
	}
	<-gone
	if fmt.Sprint(got, versions) != "[a b c] [HTTP/2.0 HTTP/2.0 HTTP/2.0]" {
		t.Errorf("got %v over %v", got, versions)
	}
}

func TestSilenceOverHTTP2(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		cfg     client.Config
		want    error
	}{
		"of_a_stream": {hold(""), client.Config{IdleTimeout: time.Millisecond}, client.ErrIdle},
		"of_a_header": {silent, client.Config{ConnectTimeout: 50 * time.Millisecond}, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(test.handler)
			server.EnableHTTP2 = true
			server.StartTLS()
			t.Cleanup(server.Close)
			test.cfg.URL, test.cfg.HTTPClient, test.cfg.MaxFailures = server.URL, server.Client(), 1
			if _, err := rangeOver(t.Context(), newClient(t, test.cfg)); !errors.Is(err, test.want) {
				t.Errorf("the iteration ended with %v", err)
			}
		})
	}
}

// With a registry of the kit, every event arrives once across dropped connections.
func TestEventsOfARegistryAcrossConnections(t *testing.T) {
	t.Parallel()
	registry := newKit(t, ginsse.RegistryConfig{})
	server := httptest.NewServer(kitEngine(t, registry))
	t.Cleanup(server.Close)
	t.Cleanup(registry.Close)
	send := func(n int) {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: n}); err != nil {
			t.Error(err)
		}
	}
	const events = 30
	n, opens, drops := 0, 0, 0
	c := newClient(t, client.Config{
		URL:    server.URL + "/events",
		Header: http.Header{"X-User": {"alice"}},
		// The kit asks for 3 s.
		MaxReconnectionTime: time.Millisecond,
		OnDisconnect: func(error, time.Duration) {
			n++
			send(n) // while the client is disconnected
			drops++
		},
	})
	var got []int
	for event, err := range c.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		switch event.Type {
		case "sse.open":
			opens++
			n++
			send(n)
			continue
		case "n":
		default:
			t.Fatalf("unexpected %+v", event)
		}
		var number int
		if err := event.Unmarshal(&number); err != nil {
			t.Fatal(err)
		}
		if got = append(got, number); len(got) == events {
			break
		}
		if number%4 == 0 {
			server.CloseClientConnections()
			continue
		}
		n++
		send(n)
	}
	for i, number := range got {
		if number != i+1 {
			t.Fatalf("got %v", got)
		}
	}
	if drops < 3 || opens != drops+1 {
		t.Errorf("there were %d connections, and %d of them were dropped", opens, drops)
	}
}

// A registry and a client with their defaults: no event is too large for the client.
func TestLargestEventOfARegistryFitsTheDefaultLimit(t *testing.T) {
	t.Parallel()
	registry := newKit(t, ginsse.RegistryConfig{})
	server := httptest.NewServer(kitEngine(t, registry))
	t.Cleanup(server.Close)
	t.Cleanup(registry.Close)
	// Over the limit of 1 MiB with a type, data and line ends of no more than 16 bytes.
	send := func(size int) error {
		_, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: strings.Repeat("x", size)})
		return err
	}
	largest := 1 << 20
	for event, err := range newClient(t, client.Config{URL: server.URL + "/events", Header: http.Header{"X-User": {"alice"}}}).Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Type != "sse.open" {
			if len(event.Data) != largest {
				t.Errorf("%d bytes of data arrived, want %d", len(event.Data), largest)
			}
			break
		}
		for errors.Is(send(largest), ginsse.ErrEventTooLarge) {
			largest--
		}
		if largest < 1<<20-32 {
			t.Fatalf("the registry accepts no more than %d bytes", largest)
		}
	}
}

func TestDisconnectByTheRegistryIsFinal(t *testing.T) {
	t.Parallel()
	registry := newKit(t, ginsse.RegistryConfig{})
	server := httptest.NewServer(kitEngine(t, registry))
	t.Cleanup(server.Close)
	t.Cleanup(registry.Close)
	c := newClient(t, client.Config{URL: server.URL + "/events", Header: http.Header{"X-User": {"alice"}}})
	var types []string
	for event, err := range c.Events(t.Context()) {
		if err != nil {
			var closed *client.ClosedError
			if !errors.As(err, &closed) || closed.Reason != "signed out" {
				t.Errorf("the iteration ended with %v", err)
			}
			continue
		}
		types = append(types, event.Type)
		if event.Type == "sse.open" {
			if _, err := registry.Disconnect(t.Context(), "alice", "signed out"); err != nil {
				t.Error(err)
			}
		}
	}
	if got := fmt.Sprint(types); got != "[sse.open sse.close]" {
		t.Errorf("got %s", got)
	}
}

func TestLifetimeAndRestartOfTheRegistryReconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := newKit(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{MaxLifetime: time.Hour}})
		second := newKit(t, ginsse.RegistryConfig{})
		engines := []http.Handler{kitEngine(t, first), kitEngine(t, first), kitEngine(t, second)}
		opens := 0
		server := ssetest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			opens++
			engines[opens-1].ServeHTTP(w, r)
		}))
		t.Cleanup(second.Close)
		c, err := client.New(client.Config{URL: server.URL + "/events", Header: http.Header{"X-User": {"alice"}}, HTTPClient: server.Client})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for event, err := range c.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			var data struct{ Reason string }
			if strings.HasPrefix(event.Type, "sse.") {
				if err := event.Unmarshal(&data); err != nil {
					t.Error(err)
				}
			}
			got = append(got, strings.TrimSpace(event.Type+" "+data.Reason))
			if opens == 1 && event.Type == "sse.open" {
				if _, err := first.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: 1}); err != nil {
					t.Fatal(err)
				}
			}
			if opens == 2 && event.Type == "sse.open" {
				first.Close()
			}
			if event.Type == "sse.gap" {
				break
			}
		}
		const want = "sse.open, n, sse.reconnect lifetime, sse.open, sse.reconnect shutdown, sse.open, sse.gap epoch"
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	})
}

// On a server that is busy with other users, heartbeats move the position of an idle client. Any
// goroutine may read the position.
func TestHeartbeatsMoveTheLastEventID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newKit(t, ginsse.RegistryConfig{})
		server := ssetest.NewServer(t, kitEngine(t, registry))
		t.Cleanup(registry.Close)
		c, err := client.New(client.Config{URL: server.URL + "/events", Header: http.Header{"X-User": {"alice"}}, HTTPClient: server.Client})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 3 {
				time.Sleep(30 * time.Second)
				if _, err := registry.SendTo(t.Context(), "bob", ginsse.Event{Data: "x"}); err != nil {
					t.Error(err)
				}
				time.Sleep(30 * time.Second)
				ids = append(ids, c.LastEventID())
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		events, err := rangeOver(ctx, c)
		if len(events) != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", events, err)
		}
		<-done
		if len(ids) != 3 || ids[0] == "" || ids[0] == ids[1] || ids[1] == ids[2] {
			t.Errorf("the last event ID was %q", ids)
		}
	})
}

// newKit returns a registry. The caller's server ends its streams.
func newKit(t *testing.T, cfg ginsse.RegistryConfig) *ginsse.Registry {
	t.Helper()
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// kitEngine serves registry at /events. The header X-User names the user.
func kitEngine(t *testing.T, registry *ginsse.Registry) http.Handler {
	t.Helper()
	quietly()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	return r
}

// quietly keeps gin from printing its routes.
var quietly = sync.OnceFunc(func() { gin.SetMode(gin.TestMode) })

// newClient returns a client that waits about a millisecond between attempts, unless cfg asks for
// more.
func newClient(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	if cfg.ReconnectionTime == 0 {
		cfg.ReconnectionTime = time.Millisecond
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = time.Millisecond
	}
	if cfg.HTTPClient == nil {
		// Like the default, but closed at the end of the test, so that the servers can close.
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		cfg.HTTPClient = &http.Client{Transport: transport}
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rangeOver ranges to the end.
func rangeOver(ctx context.Context, c *client.Client) (events []client.Event, last error) {
	for event, err := range c.Events(ctx) {
		if last != nil {
			panic("a value follows the error")
		}
		if last = err; err == nil {
			events = append(events, event)
		}
	}
	return events, last
}

func isStatus(err error, status int) bool {
	var refused *client.StatusError
	return errors.As(err, &refused) && refused.Status == status
}

// script is a handler with one step for each request. It repeats the last step.
type script struct {
	URL   string
	steps []http.HandlerFunc

	mu      sync.Mutex // guards the fields below
	headers []http.Header
}

// newScript serves steps over real connections until the end of the test.
func newScript(t *testing.T, steps ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{steps: steps}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.headers)
	s.headers = append(s.headers, r.Header.Clone())
	s.mu.Unlock()
	w.Header().Set("X-Step", fmt.Sprint(n))
	s.steps[min(n, len(s.steps)-1)](w, r)
}

// requests returns the number of requests so far.
func (s *script) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.headers)
}

// header returns the header of request n.
func (s *script) header(n int) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= len(s.headers) {
		return nil
	}
	return s.headers[n]
}

// write begins an event stream.
func write(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
}

// stream answers with a stream that ends cleanly.
func stream(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { write(w, text) }
}

// abort answers with a stream and then drops the connection.
func abort(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		write(w, text)
		panic(http.ErrAbortHandler)
	}
}

// hold answers with a stream that stays open and silent.
func hold(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		write(w, text)
		<-r.Context().Done()
	}
}

// holdUntil is hold, and sends to gone when the client has disconnected.
func holdUntil(gone chan<- struct{}, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		hold(text)(w, r)
		gone <- struct{}{}
	}
}

// silent does not answer.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// status answers with a status and header fields, given as name, value, name, value. The value of
// "body" becomes the body.
func status(code int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		body := ""
		for i := 0; i < len(fields); i += 2 {
			if fields[i] == "body" {
				body = fields[i+1]
			} else {
				w.Header().Set(fields[i], fields[i+1])
			}
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// refuseSlowly begins the body of a refusal and does not finish it.
func refuseSlowly(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "because")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// hijack hands the connection to f and closes it.
func hijack(f func(conn io.Writer)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		f(conn)
	}
}
