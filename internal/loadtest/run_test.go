package loadtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// kit is a server with a registry: /events, and POSTs to /announce and /users/NAME. A token is the
// name of a user.
type kit struct {
	*httptest.Server

	registry *ginsse.Registry
	// between, if not nil, is called for each stream, and may wrap its writer, as a bad proxy.
	between func(w http.ResponseWriter, r *http.Request) http.ResponseWriter
}

func newKit(t *testing.T, cfg ginsse.RegistryConfig, start func(*httptest.Server)) *kit {
	t.Helper()
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		user, found := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		if !found {
			return ginsse.Identity{}, errors.New("no token")
		}
		return ginsse.Identity{UserID: user}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{registry: registry}
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	send := func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		if err != nil {
			c.AbortWithStatus(http.StatusBadRequest)
			return
		}
		event := ginsse.Event{Type: "note", Data: string(body)}
		if user := c.Param("user"); user != "" {
			_, err = registry.SendTo(c.Request.Context(), user, event)
		} else {
			_, err = registry.Broadcast(c.Request.Context(), event)
		}
		if err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
			return
		}
		c.Status(http.StatusNoContent)
	}
	r.POST("/announce", send)
	r.POST("/users/:user", send)
	k.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if k.between != nil && req.URL.Path == "/events" {
			w = k.between(w, req)
		}
		r.ServeHTTP(w, req)
	}))
	k.Config.ConnContext = ginsse.ConnContext
	k.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(k.Server)
	t.Cleanup(func() {
		registry.Close()
		k.CloseClientConnections()
		k.Close()
	})
	return k
}

// config returns a configuration for streams of anyone at url, without an end. Run waits for events that
// are missing as long as a test waits. A test in which some stay missing has a shorter Settle.
func config(t *testing.T, rawURL string, streams int) Config {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		URL: u, Header: http.Header{"Authorization": {"Bearer anyone"}}, Streams: streams, Rate: 10_000,
		Settle: patience, Dial: (&net.Dialer{}).DialContext,
	}
}

// sending makes cfg send events to url.
func sending(t *testing.T, cfg *Config, url string, events int) *Send {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	cfg.Events = events
	cfg.Send = &Send{
		URL: url, Header: http.Header{}, Body: `{"text":"{{.Mark}}, event {{.N}} of {{.Time}}"}`, Rate: 500, Parallel: 1,
		Client: &http.Client{Transport: transport},
	}
	return cfg.Send
}

// patience is when a test gives up. It is no demand on speed.
const patience = 30 * time.Second

// load runs cfg, within a limit of time.
func load(t *testing.T, cfg Config) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	result, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatal("the run did not end in time")
	}
	return result
}

// shortSettle is the Settle of tests in which events stay missing. They wait for it.
const shortSettle = 3 * time.Second

func unlimited() ginsse.RegistryConfig { return ginsse.RegistryConfig{MaxStreamsPerUser: -1} }

func TestFindsEachEventAtEachStream(t *testing.T) {
	t.Parallel()
	for name, parallel := range map[string]int{"one_at_a_time": 1, "several_at_a_time": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, unlimited(), (*httptest.Server).Start)
			cfg := config(t, k.URL+"/events", 20)
			sending(t, &cfg, k.URL+"/announce", 50).Parallel = parallel
			got := load(t, cfg)
			if got.Failed() || got.Streams != (Streams{20, 20, 20, 0}) || got.Events != 1000 || got.Own < 20 {
				t.Errorf("%+v", got)
			}
			sent := got.Sent
			if sent.Events != 50 || sent.Arrived != 1000 || sent.Expecting != 20 || len(sent.Failed) != 0 || sent.Answers.Count != 50 {
				t.Errorf("%+v", sent)
			}
			if l := sent.Latency; l.Count != 1000 || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max {
				t.Errorf("%+v", l)
			}
			if got.Opening.Count != 20 || got.Tool.CPUs == 0 {
				t.Errorf("%+v, %+v", got.Opening, got.Tool)
			}
		})
	}
}

func TestStreamsOfUsersGetTheirOwnEvents(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	cfg := config(t, k.URL+"/events", 6)
	cfg.Users = []User{{"alice", "alice"}, {"bob", "bob"}, {"carol", "carol"}}
	sending(t, &cfg, k.URL+"/users/{{.User}}", 30).Parallel = 3
	got := load(t, cfg)
	if got.Failed() || got.Events != 60 || got.Sent.Arrived != 60 {
		t.Errorf("%+v, %+v", got, got.Sent)
	}
	// A server that sends to the wrong user.
	cfg.Users[0].Token, cfg.Users[1].Token = "bob", "alice"
	cfg.Settle = shortSettle
	got = load(t, cfg)
	if s := got.Sent; !got.Failed() || s.Foreign != 40 || s.Missing != 40 || s.Arrived != 20 {
		t.Errorf("%+v", s)
	}
}

// badProxy changes what a handler writes. Each block of an event comes to it in one piece, because
// the kit's server writes what it sends to an idle stream with one call.
type badProxy struct {
	http.ResponseWriter

	mu     sync.Mutex
	blocks int // events, in this connection
	change func(n int, block []byte) [][]byte
}

func (p *badProxy) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *badProxy) Flush() { _ = http.NewResponseController(p.ResponseWriter).Flush() }

func (p *badProxy) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for block := range strings.SplitAfterSeq(string(b), "\n\n") {
		pieces := [][]byte{[]byte(block)}
		if strings.HasPrefix(block, "event: note\n") {
			pieces = p.change(p.blocks, []byte(block))
			p.blocks++
		}
		for _, piece := range pieces {
			if _, err := p.ResponseWriter.Write(piece); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func TestFindsWhatABadServerDoes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func() func(n int, block []byte) [][]byte
		want   Sent
		ids    IDs
	}{
		"loss": {
			func() func(int, []byte) [][]byte {
				return func(n int, block []byte) [][]byte {
					if n == 3 || n == 9 { // 9 is the last one
						return nil
					}
					return [][]byte{block}
				}
			},
			Sent{Arrived: 16, Missing: 4, Incomplete: 2}, IDs{},
		},
		"repeat": {
			func() func(int, []byte) [][]byte {
				return func(n int, block []byte) [][]byte {
					if n == 4 {
						return [][]byte{block, block}
					}
					return [][]byte{block}
				}
			},
			Sent{Arrived: 20, Twice: 2}, IDs{Repeated: 2},
		},
		"disorder": {
			func() func(int, []byte) [][]byte {
				var held []byte
				return func(n int, block []byte) [][]byte {
					switch n {
					case 2:
						held = block
						return nil
					case 4:
						return [][]byte{block, held}
					}
					return [][]byte{block}
				}
			},
			Sent{Arrived: 20, OutOfOrder: 2}, IDs{Behind: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKit(t, unlimited(), (*httptest.Server).Start)
			k.between = func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter {
				return &badProxy{ResponseWriter: w, change: test.change()}
			}
			cfg := config(t, k.URL+"/events", 2)
			sending(t, &cfg, k.URL+"/announce", 10)
			if test.want.Missing > 0 {
				cfg.Settle = shortSettle
			}
			got := load(t, cfg)
			s := got.Sent
			if !got.Failed() || got.IDs != test.ids ||
				!reflect.DeepEqual(Sent{Arrived: s.Arrived, Missing: s.Missing, Incomplete: s.Incomplete, Twice: s.Twice, OutOfOrder: s.OutOfOrder}, test.want) {
				t.Errorf("%+v, %+v, want %+v, %+v", s, got.IDs, test.want, test.ids)
			}
		})
	}
}

func TestReconnectsWithTheLastEventID(t *testing.T) {
	t.Parallel()
	cfgOfServer := unlimited()
	cfgOfServer.Stream = ginsse.StreamConfig{MaxLifetime: 300 * time.Millisecond, ReconnectionTime: 20 * time.Millisecond}
	k := newKit(t, cfgOfServer, (*httptest.Server).Start)
	cfg := config(t, k.URL+"/events", 5)
	sending(t, &cfg, k.URL+"/announce", 200).Rate = 200
	got := load(t, cfg)
	if got.Failed() || got.Sent.Arrived != 1000 || got.Reconnects < 5 || got.Ends["sse.reconnect: lifetime"] < 5 || got.Streams.Closed != 0 {
		t.Errorf("%+v, %+v", got, got.Sent)
	}
}

func TestCountsGaps(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	k.between = func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
		// As if the stream had been at a server that has lost its log.
		r.Header.Set("Last-Event-ID", eventlog.Cursor{Seq: 7, Epoch: 1, Check: 2}.String())
		return w
	}
	cfg := config(t, k.URL+"/events", 2)
	sending(t, &cfg, k.URL+"/announce", 3)
	got := load(t, cfg)
	if !got.Failed() || sum(got.Gaps) != 2 || got.Gaps["no reason"] != 0 || got.Sent.Arrived != 6 || got.IDs != (IDs{}) {
		t.Errorf("%+v, %+v", got, got.Sent)
	}
}

func TestStopsWhenTheServerClosesTheStream(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	cfg := config(t, k.URL+"/events", 3)
	cfg.For = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	closed := false
	cfg.Progress = func(p Progress) {
		switch {
		case p.Open == 3 && !closed:
			closed = true
			if _, err := k.registry.Disconnect(ctx, "anyone", "signed out"); err != nil {
				t.Error(err)
			}
		case closed && p.Open == 0:
			cancel()
		}
	}
	got, err := Run(ctx, cfg)
	if err != nil || got.Streams.Closed != 3 || got.Ends["sse.close: signed out"] != 3 || got.Reconnects != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefusedStreamsAreCounted(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	cfg := config(t, k.URL+"/events", 3)
	cfg.Header = nil
	_, err := Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "3 × status 401 Unauthorized") {
		t.Errorf("%v", err)
	}
	cfg.Header, cfg.For = http.Header{}, 10*time.Millisecond
	cfg.Users = []User{{Token: "alice"}, {}, {Token: "carol"}} // the second has none
	got := load(t, cfg)
	if got.Streams != (Streams{3, 2, 2, 1}) || got.Errors["status 401 Unauthorized"] != 1 {
		t.Errorf("%+v", got)
	}
}

func TestReadsOverTLS(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).StartTLS)
	cfg := config(t, k.URL+"/events", 5)
	send := sending(t, &cfg, k.URL+"/announce", 10)
	send.Client = k.Client()
	cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "TLS: x509") {
		t.Errorf("with an unknown certificate: %v", err)
	}
	cfg.TLS.RootCAs.AddCert(k.Certificate())
	if got := load(t, cfg); got.Failed() || got.Sent.Arrived != 50 {
		t.Errorf("%+v, %+v", got, got.Sent)
	}
}

// newServer serves streams by hand.
func newServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

func TestFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	reached := make(chan string, 9)
	other := newServer(t, func(_ http.ResponseWriter, r *http.Request) { reached <- r.URL.Path })
	url := newServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) })
	_, err := Run(t.Context(), config(t, url, 2))
	if err == nil || !strings.Contains(err.Error(), "2 × status 302 Found") {
		t.Errorf("%v", err)
	}
	if len(reached) > 0 {
		t.Error("the other server was reached")
	}
}

func TestSlowServerShowsInTheLatency(t *testing.T) {
	t.Parallel()
	const delay = 100 * time.Millisecond
	events := make(chan string, 10)
	url := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			events <- string(body)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case data := <-events:
				time.Sleep(delay) // this is the slow server
				fmt.Fprintf(w, "data: %s\n\n", data)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	cfg := config(t, url, 1)
	sending(t, &cfg, url, 3).Rate = 5
	got := load(t, cfg)
	if l := got.Sent.Latency; got.Failed() || l.Count != 3 || l.P50 < 90 {
		t.Errorf("%+v, %+v", got, l)
	}
}

func TestRetriesAfterATemporaryStatusAndACutConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	requests := []string{}
	url := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n := len(requests)
		requests = append(requests, r.Header.Get("Last-Event-ID"))
		mu.Unlock()
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprintf(w, "retry: 1\nid: at-%d\ndata: x\n\nid: not\ndata: complete", n)
		_ = http.NewResponseController(w).Flush()
		if n == 0 {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
	})
	cfg := config(t, url, 1)
	cfg.Events = 2 // one of each connection
	got := load(t, cfg)
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(requests) != "[ at-0 at-0]" {
		t.Errorf("the requests have the last event IDs %q", requests)
	}
	if got.Reconnects != 1 || got.Errors["status 503 Service Unavailable"] != 1 || got.Ends["cut off within the response"] != 1 || got.IDs.Unknown != 2 || got.Bytes != 2 || got.Failed() {
		t.Errorf("%+v", got)
	}
}

func TestPauseGrowsWithFailuresAndIsBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		retry, asked time.Duration
		failures     int
		want         time.Duration
	}{
		"ended":           {time.Second, 0, 0, time.Second},
		"asked_for_none":  {0, 0, 0, leastReconnect},
		"none_and_down":   {0, 0, 4, 8 * leastReconnect},
		"first_failure":   {time.Second, 0, 1, time.Second},
		"third_failure":   {time.Second, 0, 3, 4 * time.Second},
		"many_failures":   {time.Second, 0, 100, mostReconnect},
		"asked_for_more":  {time.Second, 20 * time.Second, 1, 20 * time.Second},
		"asked_too_much":  {24 * time.Hour, 24 * time.Hour, 3, mostAsked},
		"more_than_grown": {40 * time.Second, 0, 3, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stream{tally: newTally(), failures: test.failures, wait: test.asked, block: block{retry: test.retry}}
			if got := s.pause(); got < test.want || got > test.want*3/2 {
				t.Errorf("%v, want %v and up to half more", got, test.want)
			}
			s.opened(0)
			if got := s.pause(); got > max(min(test.retry, mostAsked), leastReconnect)*3/2 {
				t.Errorf("after it was open again: %v", got)
			}
		})
	}
}

func TestFindsEventsOfOneTypeOnly(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	url := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, eventType := range []string{"", "badge"} {
			if _, err := k.registry.Broadcast(r.Context(), ginsse.Event{Type: eventType, Data: string(body)}); err != nil {
				t.Error(err)
			}
		}
	})
	for eventType, want := range map[string]Sent{
		"message": {Arrived: 10}, "badge": {Arrived: 10}, "": {Arrived: 10}, "other": {Missing: 10},
	} {
		cfg := config(t, k.URL+"/events", 2)
		sending(t, &cfg, url, 5).Type = eventType
		if want.Missing > 0 {
			cfg.Settle = shortSettle
		}
		got := load(t, cfg)
		if s := got.Sent; s.Arrived != want.Arrived || s.Missing != want.Missing || eventType != "" && s.Twice > 0 || eventType == "" && s.Twice == 0 {
			t.Errorf("type %q: %+v", eventType, s)
		}
	}
}

func TestFailedRequestsAreNotMissing(t *testing.T) {
	t.Parallel()
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	var mu sync.Mutex
	posts := 0
	url := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if posts++; posts == 3 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		body, _ := io.ReadAll(r.Body)
		if _, err := k.registry.Broadcast(r.Context(), ginsse.Event{Type: "note", Data: string(body)}); err != nil {
			t.Error(err)
		}
	})
	cfg := config(t, k.URL+"/events", 2)
	sending(t, &cfg, url, 5)
	got := load(t, cfg)
	if s := got.Sent; got.Failed() || s.Arrived != 8 || s.Failed["status 418 I'm a teapot"] != 1 {
		t.Errorf("%+v", s)
	}
}

// A server may send a header without an end.
func TestHeaderIsBounded(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		served.Wait()
	})
	served.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		field := []byte("X-Long: " + strings.Repeat("x", 4000) + "\r\n")
		_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
		for sent := 0; err == nil; sent += len(field) {
			if sent > 100<<20 {
				t.Error("it has taken 100 MB")
				return
			}
			_, err = conn.Write(field)
		}
	})
	cfg := config(t, "http://"+listener.Addr().String(), 1)
	_, err = Run(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "1 × the header of the response is too long") {
		t.Errorf("it ends with %v", err)
	}
}

// The errors of net/http quote a malformed line of a header, which may have a cookie or a token.
func TestErrorsDoNotShowMalformedHeaders(t *testing.T) {
	t.Parallel()
	want := func(text string) {
		t.Helper()
		if strings.Contains(text, "secret") || !strings.Contains(text, "the header of the response is malformed") {
			t.Errorf("the text is %q", text)
		}
	}
	k := newKit(t, unlimited(), (*httptest.Server).Start)
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nSet-Cookie session=secret\r\nContent-Type: text/event-stream\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://[::1/?token=secret\r\nContent-Length: 0\r\n\r\n",
	} {
		bad := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, answer)
		})
		if strings.HasPrefix(answer, "HTTP/1.1 200") { // streams follow no Location
			if _, err := Run(t.Context(), config(t, bad, 1)); err != nil {
				want(err.Error())
			} else {
				t.Error("a stream has opened")
			}
		}
		cfg := config(t, k.URL+"/events", 1)
		sending(t, &cfg, bad, 1)
		want(load(t, cfg).Sent.FirstFailure)
	}
}
