package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"
)

// Errors that a caller can act on. Test for them with [errors.Is].
var (
	// ErrIdle means that a connection was closed because no byte, not even a comment, arrived
	// within [Config.IdleTimeout]. The client reconnects, and [Config.OnDisconnect] receives it.
	ErrIdle = errors.New("ginsse: nothing received within the idle timeout")

	// ErrBusy ends a second iteration over the events of a [Client] while another is running. The
	// running one is not affected.
	ErrBusy = errors.New("ginsse: another loop is ranging over the events of this client")

	// ErrTooManyRedirects ends an iteration whose attempt was redirected more than ten times.
	ErrTooManyRedirects = errors.New("ginsse: more than ten redirects")
)

// StatusError is a response with a status other than 200. It ends the iteration, unless
// [Config.RetryStatus] accepts the status. Status 204 is no failure: with it the server asks the
// client not to reconnect.
type StatusError struct {
	// Status is the HTTP status.
	Status int
	// Body is the beginning of the body, from its first 512 bytes, if the response is text or JSON.
	// Unprintable characters are left out. It comes from the server: do not trust it, or show it to
	// others, unchecked.
	Body string
	// RetryAfter is the wait that the header Retry-After asked for; 0 if there was none.
	RetryAfter time.Duration
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("ginsse: status %d %s", e.Status, http.StatusText(e.Status))
	switch {
	case e.Status == http.StatusNoContent:
		return text + ": the server asks the client not to reconnect"
	case e.Body != "":
		return fmt.Sprintf("%s: %q", text, e.Body)
	default:
		return text
	}
}

// ContentTypeError is a response with status 200 that the client cannot read as an event stream. It
// has another content type, or a compression other than the gzip that the request asked for. It
// ends the iteration, unless [Config.RetryContentType] accepts the content type.
type ContentTypeError struct {
	// ContentType is the response's Content-Type; "" if it had none.
	ContentType string
	// ContentEncoding is the response's Content-Encoding if the compression was the problem.
	ContentEncoding string
}

// Error implements error.
func (e *ContentTypeError) Error() string {
	switch encoding := clip(e.ContentEncoding, 64); {
	case encoding == "":
		return fmt.Sprintf("ginsse: content type %q is not %s", clip(e.ContentType, 64), mediaType)
	case strings.HasSuffix(strings.ToLower(encoding), gzipEncoding):
		return fmt.Sprintf("ginsse: content encoding %q was not asked for", encoding)
	default:
		return fmt.Sprintf("ginsse: content encoding %q is not supported, only gzip is", encoding)
	}
}

// ClosedError ends an iteration because the server closed the stream permanently. The server sent
// the kit's event sse.close, which was yielded before, or completed a stream of one request, with
// the last event ID sse.done.
type ClosedError struct {
	// Reason is the reason that the server gave, such as "signed out"; "done" for a completed
	// stream.
	Reason string
}

// Error implements error.
func (e *ClosedError) Error() string {
	return fmt.Sprintf("ginsse: the server closed the stream permanently: %q", clip(e.Reason, 64))
}

// ReconnectError ends a connection on which the server sent the kit's event sse.reconnect. It is no
// failure: the client reconnects after Retry. [Config.OnDisconnect] receives it.
type ReconnectError struct {
	// Reason is the reason that the server gave, such as "lifetime" or "shutdown".
	Reason string
	// Retry is the wait that the server asked for.
	Retry time.Duration
}

// Error implements error.
func (e *ReconnectError) Error() string {
	return fmt.Sprintf("ginsse: the server asked the client to reconnect: %q", clip(e.Reason, 64))
}

// finalError marks an error after which the client must not retry. The caller gets the error
// inside.
type finalError struct{ error }

// Unwrap returns the error to yield.
func (e finalError) Unwrap() error { return e.error }

// requestError is a request that got no response. Its text names the target without user info,
// query and header values, which may be secret.
type requestError struct {
	target string // method, scheme, host, path
	err    error
}

// newRequestError replaces the *url.Error of [http.Client.Do], whose text contains the query.
func newRequestError(request *http.Request, err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, io.EOF) { // io.EOF means the clean end of a stream
		err = io.ErrUnexpectedEOF
	}
	target := request.Method
	if target == "" {
		target = http.MethodGet
	}
	if u := request.URL; u != nil {
		target += " " + u.Scheme + "://" + u.Host + u.EscapedPath()
	}
	return &requestError{target, err}
}

// Error implements error.
func (e *requestError) Error() string {
	text := e.err.Error()
	// These two errors quote the malformed header.
	if errors.As(e.err, new(textproto.ProtocolError)) || strings.HasPrefix(text, "failed to parse Location header") {
		text = "the response's header is malformed"
	}
	// The text may come from the server or a proxy.
	return e.target + ": " + clip(printable([]byte(text)), 256)
}

// Unwrap returns the cause.
func (e *requestError) Unwrap() error { return e.err }

// clip shortens s to at most most bytes, for an error text.
func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
