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

// Config holds the settings of a [Client]. Zero means default. Negative means off
// for the fields that say so, and is an error for others. Durations that are set are
// at least 1 ms.
//
// The functions are called on the goroutine that ranges over [Client.Events]; while
// they run, nothing is read. They must not range over the same client.
type Config struct {
	// URL is where the stream is, http or https. Either URL or NewRequest is set.
	// Each attempt starts from it, wherever the one before was redirected to.
	URL string

	// Header is added to the requests for URL. It is copied. Its Host, if any, is the
	// request's.
	//
	// A redirect takes the header along, to whatever host the server names. If that host is
	// neither the same nor a subdomain of it, net/http leaves out Authorization, Cookie and
	// Proxy-Authorization. It sends all other fields there, such as X-Api-Key and
	// Last-Event-ID, and after a 307 or 308 the body of a request of NewRequest. Another
	// port counts as the same host. A CheckRedirect in HTTPClient can refuse that: it
	// compares the new URL with the one of via[0].
	//
	// The client adds Accept, Cache-Control: no-cache and Accept-Encoding: identity where
	// they are not set, since a compressor may delay events. With Accept-Encoding: gzip,
	// a response in gzip is decoded as it arrives; MaxEventBytes limits what is decoded.
	// The same holds for the header of NewRequest.
	Header http.Header

	// NewRequest makes the request of each attempt, so that it can carry a fresh token.
	// It must make it with ctx, which ends with the attempt and after ConnectTimeout.
	// The header Last-Event-ID is set by the client. An error is a failed attempt and is
	// yielded, if it is the last, with its text as it is; to end for good, cancel the
	// context of Events with a cause. Where a token may be refused that looked good, have
	// RetryStatus accept 401 as well, and make a new one then.
	NewRequest func(ctx context.Context) (*http.Request, error)

	// HTTPClient sends the requests. Its settings are copied; its Timeout must be 0, as
	// it would end streams. An error of its CheckRedirect ends the iteration; without
	// one, so do more than ten redirects, and one from https to http. Referer
	// is not sent on redirects unless the request had it: it would tell the query.
	//
	// The default has a transport of its own with the settings of
	// [http.DefaultTransport], and over HTTP/2 pings that find out when a connection is
	// dead. It keeps no connection open when nobody ranges.
	HTTPClient *http.Client

	// LastEventID is where the first request resumes. Default: it does not say.
	LastEventID string

	// MaxEventBytes is the most bytes of one event; see [DecoderConfig]. A larger one
	// is final, since it would come again. Keep it above the limit of the server: for a
	// registry of the kit, RegistryConfig.MaxEventBytes, whose default is 1 MiB. Default
	// 2 MiB; negative: no limit.
	MaxEventBytes int

	// IdleTimeout is the longest time without a byte, after which the client closes the
	// connection with [ErrIdle] and reconnects. It runs only while the client waits for
	// the server, not while the loop's body runs. Negative: off. Default 1 min; or, if the
	// kit's sse.open names the server's heartbeat interval, three intervals, but at least
	// 1 s and at most 1 h. A timeout that is set should be longer than some heartbeats.
	IdleTimeout time.Duration

	// ConnectTimeout is the longest time from the start of an attempt to its
	// answer's header. Default 30 s; negative: off.
	ConnectTimeout time.Duration

	// ReconnectionTime is the wait before reconnecting until the server sends one, in
	// a retry field (section 9.2.3). Default 1 s.
	ReconnectionTime time.Duration

	// MaxReconnectionTime is the most that a server's retry or Retry-After is obeyed.
	// Default 1 h.
	MaxReconnectionTime time.Duration

	// MaxBackoff is the most that waits grow to by failures in a row: each from the
	// second on doubles it. They are never less than what the server asked for. Every
	// wait is made longer by a random part of up to a half. Default 30 s.
	MaxBackoff time.Duration

	// StableAfter is how long a connection must live to end a row of failures. A connection
	// that ends earlier is a failure, unless it ended cleanly after an event that is not
	// the kit's own, or with sse.reconnect. The wait after the second such connection in a
	// row is at least 100 ms, or MaxBackoff, whatever the server asks for. Default 10 s.
	StableAfter time.Duration

	// RetryStatus says which statuses other than 200 and 204 are failed attempts
	// instead of final; see [RetryTransient]. Default: none, as in the standard.
	RetryStatus func(status int) bool

	// RetryContentType says which content types are failed attempts instead of final, in
	// a response with status 200 that is no event stream; see [RetryPage]. The content
	// type has lower case and no parameters; it is "" if the response has none. Default:
	// none, as in the standard.
	RetryContentType func(contentType string) bool

	// MaxFailures is how many failures in a row, as StableAfter counts them, end the
	// iteration, with an error that wraps the last one's; io.EOF if its stream ended
	// cleanly. 0: no limit.
	MaxFailures int

	// NoReconnect makes an iteration be one connection. A clean end of the stream, and the
	// kit's sse.reconnect, end it without an error, everything else with one. It is for
	// streams that are an answer; for the answer to a request of your own, such as a POST
	// to a model, there is [Decode].
	NoReconnect bool

	// Heartbeats yields the kit's sse.heartbeat like any other event. By default the
	// client handles it by itself: it moves the last event ID, and is a sign of life for
	// IdleTimeout.
	Heartbeats bool

	// OnOpen is called when a stream has been accepted, with the answer's status and
	// header. The body is not there.
	OnOpen func(response *http.Response)

	// OnDisconnect is called when a connection or an attempt has ended and another
	// follows after wait. err is io.EOF for a clean end, and a *[ReconnectError] if the
	// server sent sse.reconnect.
	OnDisconnect func(err error, wait time.Duration)

	// OnComment is called for each comment, without the colon and one space.
	OnComment func(text string)
}

// resolve returns cfg with defaults for zeros.
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
			return cfg, fmt.Errorf("%s is %v; the least is 1ms", field.name, d)
		}
	}
	switch {
	case cfg.MaxFailures < 0:
		return cfg, fmt.Errorf("MaxFailures is %d; it cannot be negative", cfg.MaxFailures)
	case cfg.HTTPClient != nil && cfg.HTTPClient.Timeout != 0:
		return cfg, fmt.Errorf("HTTPClient has the Timeout %v, which would end streams", cfg.HTTPClient.Timeout)
	case !validFieldValue(cfg.LastEventID):
		return cfg, errors.New("LastEventID holds a control character, which no header can carry")
	}
	return cfg, cfg.checkRequest()
}

// checkRequest looks at what requests are made of. Its errors tell no secret.
func (cfg Config) checkRequest() error {
	if cfg.NewRequest != nil {
		if cfg.URL != "" || len(cfg.Header) > 0 {
			return errors.New("URL and Header are for requests without NewRequest")
		}
		return nil
	}
	if cfg.URL == "" {
		return errors.New("either URL or NewRequest must be set")
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != schemeTLS {
		return errors.New("URL is not an absolute one of http or https")
	}
	for name, values := range cfg.Header {
		if name == "" || strings.ContainsFunc(name, notInToken) {
			return fmt.Errorf("the name %q in Header is invalid", name)
		}
		switch http.CanonicalHeaderKey(name) {
		case http.CanonicalHeaderKey(lastEventIDHeader):
			return fmt.Errorf("%s is in Header; use LastEventID", name)
		case "Content-Length", "Transfer-Encoding", "Trailer": // which net/http would pass over
			return fmt.Errorf("%s is in Header; it cannot be set", name)
		}
		for _, value := range values {
			if !validFieldValue(value) {
				return fmt.Errorf("the value of %s in Header has a control character", name)
			}
		}
	}
	return nil
}

// notInToken reports whether a header's name cannot hold r (RFC 9110, section 5.6.2).
func notInToken(r rune) bool {
	return r <= ' ' || r >= 0x7F || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// Client is the client of one event stream, across connections: it knows where the
// stream was left, and how long to keep away.
//
// A Client needs no closing. It has no goroutine, and while nobody ranges over its
// events, no connection.
//
// Concurrency: [Client.LastEventID] may be called from any goroutine. Events are for
// one loop at a time; [Dispatcher] hands them to several.
type Client struct {
	cfg        Config
	http       *http.Client
	newRequest func(context.Context) (*http.Request, error)
	transport  *http.Transport // the client's own; nil if it is the caller's
	adaptIdle  bool            // the server's heartbeat interval sets the idle timeout

	busy    atomic.Bool // somebody ranges, and owns what follows
	backoff backoff

	mu          sync.Mutex // guards the field below
	lastEventID string
}

// New returns a client. It does not connect. The error names the field that is wrong.
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

// newHTTPClient returns a copy of the caller's client or, without one, a new one, and
// its transport.
func newHTTPClient(given *http.Client) (*http.Client, *http.Transport) {
	var client http.Client
	var transport *http.Transport
	if given != nil {
		client = *given
	} else if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
		// A new attempt would go over the same connection as the one that was given up.
		if transport.HTTP2 == nil {
			transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
		}
		client.Transport = transport
	}
	client.CheckRedirect = checkRedirect(client.CheckRedirect)
	return &client, transport
}

// checkRedirect returns the redirect policy around the caller's, which may be nil.
func checkRedirect(given func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(request *http.Request, via []*http.Request) error {
		if via[0].Header.Get("Referer") == "" {
			request.Header.Del("Referer") // net/http's, with the query of the URL before
		}
		if given == nil {
			switch {
			case len(via) > 10:
				return finalError{ErrTooManyRedirects}
			case via[len(via)-1].URL.Scheme == schemeTLS && request.URL.Scheme != schemeTLS:
				return finalError{errRedirectToPlain} // the credentials would go along
			}
			return nil
		}
		err := given(request, via)
		if err == nil || err == http.ErrUseLastResponse { //nolint:errorlint // net/http does not unwrap it either
			return err
		}
		return finalError{err}
	}
}

// Events returns the events of the stream, one after another, across connections.
//
// Ranging over it connects; leaving the loop, in whatever way, closes the connection.
// It may be ranged over again, and then connects at once and goes on after the last
// event that was yielded; an event whose loop body has begun counts as seen. While one
// loop runs, another gets [ErrBusy].
//
// Errors: a value with an error has the zero [Event], and is the last. It is
// context.Cause(ctx) once ctx has ended, be it while connecting, reading or
// waiting; else what ends an iteration for good: a [StatusError],
// [ContentTypeError], [EventTooLargeError] or [ClosedError],
// [ErrTooManyRedirects], a refusal of HTTPClient's CheckRedirect, a last event ID
// that no header can carry, or what [Config.MaxFailures] and [Config.NoReconnect]
// make final. Everything else makes the client reconnect.
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

// runAlone is run for who has made the client busy.
func (c *Client) runAlone(ctx context.Context, yield func(Event, error) bool) error {
	defer c.busy.Store(false)
	return c.run(ctx, yield)
}

// LastEventID returns where the next request resumes: the ID of the last event, or
// of a later block that had only an id.
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

// run connects again and again. It returns the error to yield, and nil if there is
// none: then the loop was left, or the stream has ended and that was all.
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
			return fmt.Errorf("ginsse: giving up after %d attempts in a row that failed or lived less than %v: %w", row.failures, c.cfg.StableAfter, end.err)
		}
		if !end.isClean() {
			// Over HTTP/2 the next attempt would use the same connection, which may be dead.
			// A connection that is idle now has no other user.
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
