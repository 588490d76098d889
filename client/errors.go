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

// The conditions that a caller can act on. Test for them with [errors.Is].
var (
	// ErrIdle is why a connection was ended on which nothing, not even a comment,
	// came for [Config.IdleTimeout]. The client reconnects; [Config.OnDisconnect]
	// is told.
	ErrIdle = errors.New("ginsse: nothing received within the idle timeout")

	// ErrBusy ends a second iteration over the events of a [Client] while the first
	// goes on. The first notices nothing.
	ErrBusy = errors.New("ginsse: the events of this client are being ranged over already")

	// ErrTooManyRedirects ends an iteration: an attempt was redirected more than ten
	// times.
	ErrTooManyRedirects = errors.New("ginsse: more than ten redirects")
)

// StatusError is an answer with another status than 200. It ends the iteration,
// unless [Config.RetryStatus] has the status tried again. Status 204 is no failure:
// it says that the server wants no reconnecting.
type StatusError struct {
	// Status is the HTTP status.
	Status int
	// Body is the beginning of the answer's body, from its first 512 bytes, if it is
	// text or JSON. What cannot be printed is left out. It is the server's word: not to
	// be trusted, or shown to others, without a look.
	Body string
	// RetryAfter is what the answer's Retry-After asked for; 0 if it had none.
	RetryAfter time.Duration
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("ginsse: status %d %s", e.Status, http.StatusText(e.Status))
	switch {
	case e.Status == http.StatusNoContent:
		return text + ": the server wants no reconnecting"
	case e.Body != "":
		return fmt.Sprintf("%s: %q", text, e.Body)
	default:
		return text
	}
}

// ContentTypeError is a response with status 200 that is no event stream which the
// client can read: it has another content type, or it is compressed, and not by the gzip
// that the request asked for. It ends the iteration, unless [Config.RetryContentType]
// has the content type tried again.
type ContentTypeError struct {
	// ContentType is the response's Content-Type; "" if it had none.
	ContentType string
	// ContentEncoding is the response's Content-Encoding, if that is what was wrong.
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
		return fmt.Sprintf("ginsse: content encoding %q cannot be read, only gzip can", encoding)
	}
}

// ClosedError is the end of a stream for good. The server sent the kit's event
// sse.close, which was yielded before; or it completed a stream of one request, with
// the last event ID sse.done. It ends the iteration.
type ClosedError struct {
	// Reason is the server's, such as "signed out"; "done" for a stream that is complete.
	Reason string
}

// Error implements error.
func (e *ClosedError) Error() string {
	return fmt.Sprintf("ginsse: the server closed the stream for good: %q", clip(e.Reason, 64))
}

// ReconnectError is why a connection ended on which the server sent the kit's event
// sse.reconnect. It is no failure: the client reconnects after Retry.
// [Config.OnDisconnect] receives it.
type ReconnectError struct {
	// Reason is the server's, such as "lifetime" or "shutdown".
	Reason string
	// Retry is the wait that the server asked for.
	Retry time.Duration
}

// Error implements error.
func (e *ReconnectError) Error() string {
	return fmt.Sprintf("ginsse: the server asked the client to reconnect: %q", clip(e.Reason, 64))
}

// finalError marks an error after which trying again makes no sense. The caller
// gets what is in it.
type finalError struct{ error }

// Unwrap returns the error to yield.
func (e finalError) Unwrap() error { return e.error }

// requestError is a request that got no answer. Its text says where it went
// without what may be secret there: user info, query and the values of headers.
type requestError struct {
	target string // method, scheme, host and path
	err    error
}

// newRequestError takes the place of the *url.Error of [http.Client.Do], whose text
// has the query.
func newRequestError(request *http.Request, err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, io.EOF) { // which stands for the clean end of a stream
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
	// These two quote the header they complain about.
	if errors.As(e.err, new(textproto.ProtocolError)) || strings.HasPrefix(text, "failed to parse Location header") {
		text = "the answer's header is malformed"
	}
	// Much of it may be the server's words, or a proxy's.
	return e.target + ": " + clip(printable([]byte(text)), 256)
}

// Unwrap returns the cause.
func (e *requestError) Unwrap() error { return e.err }

// clip shortens a server's text for an error text.
func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
