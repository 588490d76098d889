package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const schemeTLS = "https"

// Config holds the settings of a [Client]. Zero means default. Negative means off for the fields
// that say so, and is an error for others. A duration that is set must be at least 1 ms.
//
// The functions are called on the goroutine that ranges over [Client.Events]. The client reads
// nothing while they run. They must not range over the same client.
type Config struct {
	// URL is the address of the stream, http or https. Set either URL or NewRequest. Each attempt
	// starts from URL, even if the previous attempt was redirected.
	URL string

	// Header is added to the requests for URL. New copies it. Its Host field, if any, becomes the
	// request's Host.
	//
	// A redirect sends the header to the host that the server names. If that host is neither the
	// original host nor a subdomain of it, net/http removes Authorization, Cookie and
	// Proxy-Authorization. It still sends all other fields, such as X-Api-Key and Last-Event-ID,
	// and after a 307 or 308 also the body of a request from NewRequest. A different port counts as
	// the same host. A CheckRedirect in HTTPClient can refuse a redirect by comparing the new URL
	// with that of via[0].
	//
	// The client adds Accept, Cache-Control: no-cache and Accept-Encoding: identity if they are not
	// set, since compression may delay events. With Accept-Encoding: gzip, the client decodes a
	// gzip response as it arrives, and MaxEventBytes limits the decoded size. The same holds for
	// the header of a request from NewRequest.
	Header http.Header

	// NewRequest makes the request of each attempt, for example with a fresh token. The request
	// must use ctx, which ends with the attempt and after ConnectTimeout. The client sets the
	// header Last-Event-ID.
	//
	// An error counts as a failed attempt. If the iteration ends with it, its text is yielded
	// unchanged. To end the iteration from NewRequest, cancel the context of Events with a cause.
	// If the server may refuse a token that is still valid for the client, let RetryStatus accept
	// 401 as well, and make a new token then.
	NewRequest func(ctx context.Context) (*http.Request, error)

	// HTTPClient sends the requests. New copies its settings. Its Timeout must be 0, because it
	// would end streams. An error from its CheckRedirect ends the iteration. Without a
	// CheckRedirect, more than ten redirects end it, and so does a redirect from https to http. A
	// redirect carries no Referer unless the request had one, because it would reveal the query.
	//
	// The default has its own transport with the settings of [http.DefaultTransport], and sends
	// HTTP/2 pings to detect dead connections. It keeps no connection open while no loop runs.
	HTTPClient *http.Client

	// LastEventID is the last event ID that the first request sends. Default: none.
	LastEventID string

	// MaxEventBytes is the largest size of one event; see [DecoderConfig]. A larger event ends the
	// iteration, because the server would send it again. Keep it above the limit of the server: for
	// a registry of the kit, RegistryConfig.MaxEventBytes, whose default is 1 MiB. Default 2 MiB;
	// negative: no limit.
	MaxEventBytes int

	// IdleTimeout is how long the client waits for a byte before it closes the connection with
	// [ErrIdle] and reconnects. It does not run while the body of the loop runs. Negative: off.
	//
	// Default 1 min. If the kit's sse.open names the server's heartbeat interval, the default is
	// three intervals, but at least 1 s and at most 1 h. A timeout that is set should be longer
	// than several heartbeats.
	IdleTimeout time.Duration

	// ConnectTimeout is the longest time from the start of an attempt to the header of its
	// response. Default 30 s; negative: off.
	ConnectTimeout time.Duration

	// ReconnectionTime is the wait before reconnecting, until the server sets one with a retry
	// field (section 9.2.3). Default 1 s.
	ReconnectionTime time.Duration

	// MaxReconnectionTime limits the waits that a server can ask for with retry or Retry-After.
	// Default 1 h.
	MaxReconnectionTime time.Duration

	// MaxBackoff limits how far consecutive failures increase the wait. Each failure after the
	// first doubles it. A wait is never shorter than the server asked for. A random part of up to
	// half is added to every wait. Default 30 s.
	MaxBackoff time.Duration

	// StableAfter is how long a connection must live to reset the count of consecutive failures. A
	// connection that ends earlier is a failure, unless it ended cleanly after an event that is not
	// the kit's own, or with sse.reconnect. After the second short connection in a row the wait is
	// at least 100 ms, or MaxBackoff if that is less, even if the server asks for less. Default 10
	// s.
	StableAfter time.Duration

	// RetryStatus reports which statuses other than 200 and 204 count as failed attempts instead of
	// ending the iteration; see [RetryTransient]. Default: none, as in the standard.
	RetryStatus func(status int) bool

	// RetryContentType reports which content types count as failed attempts instead of ending the
	// iteration. It is called for a response with status 200 that is not an event stream; see
	// [RetryPage]. contentType is in lower case without parameters, and "" if the response has
	// none. Default: none, as in the standard.
	RetryContentType func(contentType string) bool

	// MaxFailures is how many consecutive failures end the iteration; StableAfter says what counts.
	// The error wraps that of the last failure: io.EOF if its stream ended cleanly. 0: no limit.
	MaxFailures int

	// NoReconnect limits an iteration to one connection. A clean end of the stream and the kit's
	// sse.reconnect end the iteration without an error; everything else ends it with one. Use it
	// for streams that answer a request. To read the response of a request that you send yourself,
	// such as a POST to a model, use [Decode].
	NoReconnect bool

	// Heartbeats makes Events yield the kit's sse.heartbeat like any other event. By default the
	// client does not yield it; it only moves the last event ID and restarts IdleTimeout.
	Heartbeats bool

	// OnOpen is called when a stream has been accepted, with the status and header of the response.
	// The body is empty.
	OnOpen func(response *http.Response)

	// OnDisconnect is called when a connection or an attempt has ended and the next one follows
	// after wait. err is io.EOF for a clean end, and a *[ReconnectError] if the server sent
	// sse.reconnect.
	OnDisconnect func(err error, wait time.Duration)

	// OnComment is called with the text of each comment, without the colon and one space.
	OnComment func(text string)
}

// resolve returns cfg with zeros replaced by defaults.
func (cfg Config) resolve() (Config, error) {
	for _, field := range []struct {
		name      string
		value     *time.Duration
		otherwise time.Duration
		optional  bool
	}{
		{"IdleTimeout", &cfg.IdleTimeout, time.Minute, true},
		{"ConnectTimeout", &cfg.ConnectTimeout, 30 * time.Second, true},
		{"ReconnectionTime", &cfg.ReconnectionTime, time.Second, false},
		{"MaxReconnectionTime", &cfg.MaxReconnectionTime, time.Hour, false},
		{"MaxBackoff", &cfg.MaxBackoff, 30 * time.Second, false},
		{"StableAfter", &cfg.StableAfter, 10 * time.Second, false},
	} {
		switch d := *field.value; {
		case d == 0:
			*field.value = field.otherwise
		case d < 0 && field.optional:
		case d < time.Millisecond:
			return cfg, fmt.Errorf("%s is %v; the minimum is 1ms", field.name, d)
		}
	}
	switch {
	case cfg.MaxFailures < 0:
		return cfg, fmt.Errorf("MaxFailures is %d; it cannot be negative", cfg.MaxFailures)
	case cfg.HTTPClient != nil && cfg.HTTPClient.Timeout != 0:
		return cfg, fmt.Errorf("HTTPClient.Timeout is %v, which would end streams; it must be 0", cfg.HTTPClient.Timeout)
	case !validFieldValue(cfg.LastEventID):
		return cfg, errors.New("LastEventID contains a control character, which a header cannot carry")
	}
	return cfg, cfg.checkRequest()
}

// checkRequest validates URL, Header and NewRequest. Its errors contain no secrets.
func (cfg Config) checkRequest() error {
	if cfg.NewRequest != nil {
		if cfg.URL != "" || len(cfg.Header) > 0 {
			return errors.New("NewRequest is set; URL and Header cannot be set as well")
		}
		return nil
	}
	if cfg.URL == "" {
		return errors.New("either URL or NewRequest must be set")
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != schemeTLS {
		return errors.New("URL is not an absolute http or https URL")
	}
	for name, values := range cfg.Header {
		if name == "" || strings.ContainsFunc(name, notInToken) {
			return fmt.Errorf("the name %q in Header is invalid", name)
		}
		switch http.CanonicalHeaderKey(name) {
		case http.CanonicalHeaderKey(lastEventIDHeader):
			return fmt.Errorf("%s is in Header; use LastEventID", name)
		case "Content-Length", "Transfer-Encoding", "Trailer": // net/http would ignore them
			return fmt.Errorf("%s is in Header, where it has no effect", name)
		}
		for _, value := range values {
			if !validFieldValue(value) {
				return fmt.Errorf("the value of %s in Header contains a control character", name)
			}
		}
	}
	return nil
}

// notInToken reports whether a header's name cannot hold r (RFC 9110, section 5.6.2).
func notInToken(r rune) bool {
	return r <= ' ' || r >= 0x7F || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// Client reads one event stream across connections. It keeps the last event ID and the wait before
// the next attempt.
//
// A Client has no Close method: it holds no goroutine, and no connection while no loop runs.
//
// Concurrency: [Client.LastEventID] may be called from any goroutine. Only one loop at a time may
// range over the events; a [Dispatcher] hands them to several consumers.
type Client struct {
	cfg        Config
	http       *http.Client
	newRequest func(context.Context) (*http.Request, error)
	transport  *http.Transport // owned by this client; nil if the caller gave an HTTPClient
	adaptIdle  bool            // the server's heartbeat interval sets the idle timeout

	busy    atomic.Bool // a loop is running; it alone uses the next field
	backoff backoff

	mu          sync.Mutex // guards the field below
	lastEventID string
}

// New returns a client. It does not connect. Its error names the invalid field.
func New(cfg Config) (*Client, error) {
	adaptIdle := cfg.IdleTimeout == 0
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, fmt.Errorf("ginsse: client.Config: %w", err)
	}
	c := &Client{
		cfg:         cfg,
		newRequest:  cfg.NewRequest,
		lastEventID: cfg.LastEventID,
		adaptIdle:   adaptIdle,
		backoff: backoff{
			reconnectionTime: cfg.ReconnectionTime,
			maxAsked:         cfg.MaxReconnectionTime,
			maxGrown:         cfg.MaxBackoff,
			random:           rand.Float64,
		},
	}
	if c.newRequest == nil {
		header := make(http.Header)
		for name, values := range cfg.Header {
			for _, value := range values {
				header.Add(name, value)
			}
		}
		c.newRequest = func(ctx context.Context) (*http.Request, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.URL, http.NoBody)
			if err == nil {
				request.Header = header // copied for each attempt
				request.Host = header.Get("Host")
			}
			return request, err
		}
	}
	c.http, c.transport = newHTTPClient(cfg.HTTPClient)
	return c, nil
}

// newHTTPClient returns a copy of given, or a new client if given is nil. The transport is nil
// unless this package created it.
func newHTTPClient(given *http.Client) (*http.Client, *http.Transport) {
	var client http.Client
	var transport *http.Transport
	if given != nil {
		client = *given
	} else if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
		// Without pings, the next attempt would reuse the connection that has just timed out.
		if transport.HTTP2 == nil {
			transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
		}
		client.Transport = transport
	}
	client.CheckRedirect = checkRedirect(client.CheckRedirect)
	return &client, transport
}

// checkRedirect wraps the caller's redirect policy, which may be nil.
func checkRedirect(given func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(request *http.Request, via []*http.Request) error {
		if via[0].Header.Get("Referer") == "" {
			request.Header.Del("Referer") // net/http has added it, with the query of the previous URL
		}
		if given == nil {
			switch {
			case len(via) > 10:
				return finalError{ErrTooManyRedirects}
			case via[len(via)-1].URL.Scheme == schemeTLS && request.URL.Scheme != schemeTLS:
				return finalError{errRedirectToPlain} // it would send the credentials in clear
			}
			return nil
		}
		err := given(request, via)
		if err == nil || err == http.ErrUseLastResponse { //nolint:errorlint // net/http compares it in the same way
			return err
		}
		return finalError{err}
	}
}

// Events returns the events of the stream, in order and across connections.
//
// Ranging over it connects. Leaving the loop closes the connection. A later loop connects at once
// and resumes after the last yielded event; an event whose loop body has begun counts as seen.
// While one loop runs, another gets [ErrBusy].
//
// Errors: an error comes with the zero [Event] and is the last value. If ctx has ended while
// connecting, reading or waiting, it is context.Cause(ctx). Otherwise it is one of:
//
//   - a [StatusError], [ContentTypeError], [EventTooLargeError] or [ClosedError]
//   - [ErrTooManyRedirects], or the error of a CheckRedirect
//   - an error for a last event ID that a header cannot carry
//   - the error that [Config.MaxFailures] or [Config.NoReconnect] made final
//
// After any other failure the client reconnects.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if !c.busy.CompareAndSwap(false, true) {
			yield(Event{}, ErrBusy)
			return
		}
		if err := c.runAlone(ctx, yield); err != nil {
			yield(Event{}, err)
		}
	}
}

// runAlone calls run and then marks the client as no longer busy. The caller has set busy.
func (c *Client) runAlone(ctx context.Context, yield func(Event, error) bool) error {
	defer c.busy.Store(false)
	return c.run(ctx, yield)
}

// LastEventID returns the ID from which the next request resumes: that of the last event, or of a
// later block that had only an id.
func (c *Client) LastEventID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastEventID
}

func (c *Client) setLastEventID(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastEventID = id
}

// run connects until the iteration ends. It returns the error to yield, or nil if the loop was left
// or the stream ended without an error.
func (c *Client) run(ctx context.Context, yield func(Event, error) bool) error {
	if c.transport != nil {
		defer c.transport.CloseIdleConnections()
	}
	for row := (streak{}); ctx.Err() == nil; {
		end := c.connect(ctx, yield)
		final := finalError{}
		switch {
		case end.err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(end.err, &final):
			return final.error
		case c.cfg.NoReconnect && end.isClean():
			return nil
		case c.cfg.NoReconnect:
			return end.err
		}
		row.add(end, c.cfg.StableAfter)
		if row.failures > 0 && row.failures == c.cfg.MaxFailures {
			return fmt.Errorf("ginsse: giving up after %d consecutive attempts that failed or lived less than %v: %w", row.failures, c.cfg.StableAfter, end.err)
		}
		if !end.isClean() {
			// Over HTTP/2 the next attempt would use the same connection, which may be dead. An
			// idle connection has no other user.
			c.http.CloseIdleConnections()
		}
		wait := c.backoff.wait(row, end.err)
		if c.cfg.OnDisconnect != nil {
			c.cfg.OnDisconnect(end.err, wait)
		}
		sleep(ctx, wait)
	}
	return context.Cause(ctx)
}
