package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"
)

// connection is an event stream that a server has accepted to send. It is the
// decoder's reader, in order to see when the decoder waits.
type connection struct {
	client  *Client
	body    io.Reader
	decoder *Decoder
	idle    *time.Timer // ends the connection; runs while Read waits; nil if off
}

// connect makes one attempt and yields the events of its stream. It returns how
// long the stream was open and why it ended; nil if the loop was left.
func (c *Client) connect(iteration context.Context, yield func(Event, error) bool) (lived time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(iteration)
	defer cancel(nil)
	response, err := c.open(ctx, cancel)
	if err != nil {
		return 0, err
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
	k := &connection{client: c, body: response.Body}
	if c.cfg.IdleTimeout > 0 {
		k.idle = time.AfterFunc(c.cfg.IdleTimeout, func() { cancel(ErrIdle) })
	}
	k.decoder = NewDecoder(k, DecoderConfig{
		LastEventID:   c.LastEventID(),
		MaxEventBytes: c.cfg.MaxEventBytes,
		Comment:       c.cfg.OnComment,
		Retry:         c.backoff.retry,
	})
	err = k.read(iteration, ctx, yield)
	return time.Since(opened), err
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
			return err
		case errors.As(err, new(*EventTooLargeError)):
			return finalError{err} // it would come again
		case err != nil:
			return causeOr(attempt, err)
		case !yield(event, nil):
			return nil
		}
		if err := closedBy(event); err != nil {
			return finalError{err}
		}
	}
}

// Read reads from the body. What the decoder has taken up so far is then known,
// also when it was a block without an event.
func (k *connection) Read(p []byte) (int, error) {
	k.client.setLastEventID(k.decoder.LastEventID())
	if k.idle != nil {
		k.idle.Reset(k.client.cfg.IdleTimeout)
		defer k.idle.Stop()
	}
	return k.body.Read(p)
}

// closedBy returns a *ClosedError if the event is the kit's sse.close and asks for
// no reconnecting.
func closedBy(event Event) error {
	if event.Type != "sse.close" {
		return nil
	}
	var data struct {
		Reason    string `json:"reason"`
		Reconnect *bool  `json:"reconnect"`
	}
	err := json.Unmarshal([]byte(event.Data), &data)
	if closed := err == nil && data.Reconnect != nil && !*data.Reconnect; !closed {
		return nil // another server may mean something else by this type
	}
	return &ClosedError{Reason: data.Reason}
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
	if err := c.check(response); err != nil {
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

const (
	mediaType         = "text/event-stream"
	lastEventIDHeader = "Last-Event-ID"
)

// validFieldValue reports whether a header can carry the value (RFC 9110, section 5.5).
func validFieldValue(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F })
}

// check returns nil if the answer is an event stream. Of another it reads the
// beginning; closing it is the caller's.
func (c *Client) check(response *http.Response) error {
	encoding := response.Header.Get("Content-Encoding")
	if strings.EqualFold(encoding, "identity") {
		encoding = ""
	}
	contentType := response.Header.Get("Content-Type")
	// What parameters there are, and whether they parse, makes no difference.
	essence, _, _ := strings.Cut(contentType, ";")
	essence = strings.ToLower(strings.Trim(essence, " \t"))
	if status := response.StatusCode; status != http.StatusOK {
		err := &StatusError{Status: status, RetryAfter: retryAfter(response.Header.Get("Retry-After"))}
		beginning, _ := io.ReadAll(io.LimitReader(response.Body, maxExcerptBytes)) // what came of it
		if encoding == "" && (strings.HasPrefix(essence, "text/") || strings.HasSuffix(essence, "json")) {
			err.Body = printable(beginning)
		}
		if status != http.StatusNoContent && c.cfg.RetryStatus != nil && c.cfg.RetryStatus(status) {
			return err
		}
		return finalError{err}
	}
	if essence != mediaType {
		return finalError{&ContentTypeError{ContentType: contentType}}
	}
	if encoding != "" {
		return finalError{&ContentTypeError{ContentType: contentType, ContentEncoding: encoding}}
	}
	return nil
}

// maxExcerptBytes is how much of a refusal is read, and maxExcerptTime for how long.
const (
	maxExcerptBytes = 512
	maxExcerptTime  = 5 * time.Second
)

// printable returns text on one line, without what cannot be printed.
func printable(text []byte) string {
	line := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r): // the cut may have split a character
			return -1
		default:
			return r
		}
	}, string(text))
	return strings.Join(strings.Fields(line), " ")
}
