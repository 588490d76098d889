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

// connection is an event stream that a server has agreed to send. It is the decoder's
// reader, so that the position is known whenever the decoder waits.
type connection struct {
	client    *Client
	wire      *wire
	body      io.Reader // of the wire, without compression
	decoder   *Decoder
	delivered bool // an event that is not the kit's own was yielded
}

// ending is how an attempt ended.
type ending struct {
	err       error         // nil if the loop was left
	lived     time.Duration // how long the stream was open
	delivered bool          // an event that is not the kit's own was yielded
}

// isClean reports whether the stream ended as its server wanted: it was complete, or the
// server has asked the client to reconnect.
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

// read yields events until the attempt has ended, and returns why; nil if the loop
// was left.
func (k *connection) read(iteration, attempt context.Context, yield func(Event, error) bool) error {
	for {
		event, err := k.decoder.Next()
		if err == nil && iteration.Err() != nil {
			return context.Cause(iteration) // this event is not seen, nor counted as seen
		}
		k.client.setLastEventID(k.decoder.LastEventID())
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped one is no clean end
			return k.ended()
		case errors.As(err, new(*EventTooLargeError)):
			return finalError{err} // it would come again
		case err != nil:
			return causeOr(attempt, err)
		case isHeartbeat(event) && !k.client.cfg.Heartbeats:
			continue
		}
		k.delivered = k.delivered || !isOwn(event)
		if limit := idleTimeoutBy(event); limit > 0 && k.client.adaptIdle {
			k.wire.limit = limit
		}
		if !yield(event, nil) {
			return nil
		}
		if err := endBy(event, k.client.backoff.reconnectionTime); err != nil {
			return err
		}
	}
}

// ended returns with what a stream ends whose body is complete.
func (k *connection) ended() error {
	if k.decoder.LastEventID() == doneID && !k.client.cfg.NoReconnect {
		return finalError{&ClosedError{Reason: "done"}} // another request would be answered with 204
	}
	return io.EOF
}

// Read reads from the body. What the decoder has taken up so far is then known,
// also when it was a block without an event.
func (k *connection) Read(p []byte) (int, error) {
	k.client.setLastEventID(k.decoder.LastEventID())
	return k.body.Read(p)
}

// wire reads a response's body as it is received, and ends the connection when nothing
// is received for limit.
type wire struct {
	body  io.Reader
	limit time.Duration
	idle  *time.Timer // ends the connection; runs while Read waits; nil if off
}

// Read implements io.Reader.
func (w *wire) Read(p []byte) (int, error) {
	if w.idle != nil {
		w.idle.Reset(w.limit)
		defer w.idle.Stop()
	}
	return w.body.Read(p)
}

// open sends a request and returns the answer if it is an event stream. cancel ends
// ctx, which the answer's body depends on.
func (c *Client) open(ctx context.Context, cancel context.CancelCauseFunc) (*http.Response, error) {
	if limit := c.cfg.ConnectTimeout; limit > 0 {
		timer := time.AfterFunc(limit, func() {
			cancel(fmt.Errorf("ginsse: no answer within %v: %w", limit, os.ErrDeadlineExceeded))
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
	// Why it was refused is worth a moment, and no more.
	timer := time.AfterFunc(maxExcerptTime, func() { cancel(errors.New("ginsse: the refusal does not end")) })
	defer timer.Stop()
	if err := c.check(request, response); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

// causeOr returns why ctx has ended, or err if it has not.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// attemptKey is the key under which an attempt's context holds itself.
type attemptKey struct{}

// request makes the request of an attempt (section 9.2.4).
func (c *Client) request(ctx context.Context) (*http.Request, error) {
	ctx = context.WithValue(ctx, attemptKey{}, ctx)
	request, err := c.newRequest(ctx)
	if err != nil {
		if wrapped, ok := err.(*url.Error); ok { //nolint:errorlint // what the caller has wrapped is the caller's text
			err = wrapped.Err // without the URL
		}
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if request == nil || request.Context().Value(attemptKey{}) != ctx.Value(attemptKey{}) {
		return nil, finalError{errForeignRequest}
	}
	request.Header = request.Header.Clone() // it may be shared between attempts
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
		request.Header.Set(lastEventIDHeader, strings.Trim(id, " \t")) // a header's value has none around it
	}
	return request, nil
}

var (
	errForeignRequest  = errors.New("ginsse: the request of Config.NewRequest does not use the context it was given")
	errRedirectToPlain = errors.New("ginsse: redirected from https to http, which would send credentials in clear")
	errUnsendableID    = errors.New("ginsse: the last event ID holds a control character, which no header can carry")
)

const lastEventIDHeader = "Last-Event-ID"

// validFieldValue reports whether a header can carry the value (RFC 9110, section 5.5).
func validFieldValue(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F })
}
