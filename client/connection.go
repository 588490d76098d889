package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// connection is an open event stream. It is the reader of its decoder, so that it can record the
// last event ID each time the decoder waits for more.
type connection struct {
	client    *Client
	wire      *wire
	body      io.Reader // the bytes of wire, decompressed
	decoder   *Decoder
	delivered bool // an event that is not the kit's own was yielded
}

// ending describes how an attempt ended.
type ending struct {
	err       error         // nil if the loop was left
	lived     time.Duration // how long the stream was open
	delivered bool          // an event that is not the kit's own was yielded
}

// isClean reports whether the server ended the stream on purpose: its body was complete, or the
// server asked the client to reconnect.
func (e ending) isClean() bool {
	return e.err == io.EOF || e.isAsked() //nolint:errorlint // a wrapped EOF is no end of the stream
}

// isAsked reports whether the server has asked the client to reconnect.
func (e ending) isAsked() bool { return errors.As(e.err, new(*ReconnectError)) }

// connect makes one attempt and yields the events of its stream.
func (c *Client) connect(iteration context.Context, yield func(Event, error) bool) ending {
	ctx, cancel := context.WithCancelCause(iteration)
	defer cancel(nil)
	response, err := c.open(ctx, cancel)
	if err != nil {
		return ending{err: err}
	}
	defer func() {
		cancel(nil) // first: over HTTP/2, Close would wait for the stream's end
		_ = response.Body.Close()
	}()
	opened := time.Now()
	if c.cfg.OnOpen != nil {
		header := *response
		header.Body = http.NoBody
		c.cfg.OnOpen(&header)
	}
	k := &connection{client: c, wire: &wire{body: response.Body, limit: c.cfg.IdleTimeout}}
	k.body = decoded(response, k.wire)
	if k.wire.limit > 0 {
		k.wire.idle = time.AfterFunc(k.wire.limit, func() { cancel(ErrIdle) })
	}
	k.decoder = NewDecoder(k, DecoderConfig{
		LastEventID:   c.LastEventID(),
		MaxEventBytes: c.cfg.MaxEventBytes,
		Comment:       c.cfg.OnComment,
		Retry:         c.backoff.retry,
	})
	err = k.read(iteration, ctx, yield)
	return ending{err: err, lived: time.Since(opened), delivered: k.delivered}
}

// read yields events until the attempt ends, and returns the reason; nil if the loop was left.
func (k *connection) read(iteration, attempt context.Context, yield func(Event, error) bool) error {
	for {
		event, err := k.decoder.Next()
		if err == nil && iteration.Err() != nil {
			return context.Cause(iteration) // the event is not yielded, so it does not count as seen
		}
		k.client.setLastEventID(k.decoder.LastEventID())
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is no clean end
			return k.ended()
		case errors.As(err, new(*EventTooLargeError)):
			return finalError{err} // the server would send it again
		case err != nil:
			return causeOr(attempt, err)
		case isHeartbeat(event) && !k.client.cfg.Heartbeats:
			continue
		}
		k.delivered = k.delivered || !isOwn(event)
		if limit := idleTimeoutFrom(event); limit > 0 && k.client.adaptIdle {
			k.wire.limit = limit
		}
		if !yield(event, nil) {
			return nil
		}
		if err := endFrom(event, k.client.backoff.reconnectionTime); err != nil {
			return err
		}
	}
}

// ended returns the error for a stream whose body is complete.
func (k *connection) ended() error {
	if k.decoder.LastEventID() == doneID && !k.client.cfg.NoReconnect {
		return finalError{&ClosedError{Reason: "done"}} // another request would be answered with 204
	}
	return io.EOF
}

// Read records the last event ID of what has been decoded so far, and reads from the body. So a
// block without an event moves the ID, too.
func (k *connection) Read(p []byte) (int, error) {
	k.client.setLastEventID(k.decoder.LastEventID())
	return k.body.Read(p)
}

// wire reads the body of a response, and ends the connection when no byte arrives within limit.
type wire struct {
	body  io.Reader
	limit time.Duration
	idle  *time.Timer // runs while Read waits, and ends the connection; nil if off
}

// Read implements io.Reader.
func (w *wire) Read(p []byte) (int, error) {
	if w.idle != nil {
		w.idle.Reset(w.limit)
		defer w.idle.Stop()
	}
	return w.body.Read(p)
}

// open sends a request, and returns the response if it is an event stream. cancel ends ctx, which
// the body of the response depends on.
func (c *Client) open(ctx context.Context, cancel context.CancelCauseFunc) (*http.Response, error) {
	if limit := c.cfg.ConnectTimeout; limit > 0 {
		timer := time.AfterFunc(limit, func() {
			cancel(fmt.Errorf("ginsse: no response within %v: %w", limit, os.ErrDeadlineExceeded))
		})
		defer timer.Stop()
	}
	request, err := c.request(ctx)
	if err != nil {
		return nil, causeOr(ctx, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, causeOr(ctx, newRequestError(request, err))
	}
	// The body of a refusal explains it, but reading it must not take long.
	timer := time.AfterFunc(maxExcerptTime, func() { cancel(errors.New("ginsse: the body of the refusal did not end in time")) })
	defer timer.Stop()
	if err := c.check(request, response); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

// causeOr returns the cause of ctx if ctx has ended, else err.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// attemptKey is a context key. Its value identifies the context of one attempt.
type attemptKey struct{}

// request makes the request of an attempt (section 9.2.4).
func (c *Client) request(ctx context.Context) (*http.Request, error) {
	ctx = context.WithValue(ctx, attemptKey{}, ctx)
	request, err := c.newRequest(ctx)
	if err != nil {
		if wrapped, ok := err.(*url.Error); ok { //nolint:errorlint // a wrapped error has the text that the caller chose
			err = wrapped.Err // without the URL
		}
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if request == nil || request.Context().Value(attemptKey{}) != ctx.Value(attemptKey{}) {
		return nil, finalError{errForeignRequest}
	}
	request.Header = request.Header.Clone() // the caller may share it between attempts
	if request.Header == nil {
		request.Header = make(http.Header)
	}
	for _, field := range [...]struct{ name, value string }{
		{"Accept", mediaType},
		{"Cache-Control", "no-cache"},
		{"Accept-Encoding", "identity"}, // a compressor may delay events
	} {
		if _, ok := request.Header[field.name]; !ok {
			request.Header.Set(field.name, field.value)
		}
	}
	request.Header.Del(lastEventIDHeader)
	if id := c.LastEventID(); id != "" {
		if !validFieldValue(id) {
			return nil, finalError{errUnsendableID}
		}
		request.Header.Set(lastEventIDHeader, strings.Trim(id, " \t")) // a header's value cannot begin or end with them
	}
	return request, nil
}

var (
	errForeignRequest  = errors.New("ginsse: the request from Config.NewRequest does not use its ctx")
	errRedirectToPlain = errors.New("ginsse: refused a redirect from https to http, which would send credentials in clear")
	errUnsendableID    = errors.New("ginsse: the last event ID contains a control character, which a header cannot carry")
)

const lastEventIDHeader = "Last-Event-ID"

// validFieldValue reports whether a header can carry the value (RFC 9110, section 5.5).
func validFieldValue(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F })
}
