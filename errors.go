package ginsse

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// The conditions that a caller can act on. Test for them with [errors.Is]:
// they usually arrive wrapped in a text that says what exactly was wrong.
var (
	// ErrClosed is returned by every sending method of a [Registry] after
	// [Registry.Close] or once [Registry.Shutdown] has ended.
	ErrClosed = errors.New("ginsse: registry is closed")

	// ErrInvalidEvent is returned when an [Event] cannot be put on the wire:
	// a line break in its type, data that does not marshal, nothing in it.
	// Nothing has been stored or sent.
	ErrInvalidEvent = errors.New("ginsse: invalid event")

	// ErrEventTooLarge is returned for an event over the size limit. Nothing
	// has been stored or sent.
	ErrEventTooLarge = errors.New("ginsse: event too large")

	// ErrInvalidSubject is returned for a user ID or a topic that is empty, too
	// long, not UTF-8, or holds control characters.
	ErrInvalidSubject = errors.New("ginsse: invalid user ID or topic")

	// ErrNoUser is returned by [Registry.Serve] when nothing has put a user ID
	// on the gin context: [Middleware] or [Auth.RequireUser] is missing on the route, or
	// registered behind the handler.
	ErrNoUser = errors.New("ginsse: no user ID on the gin context: " +
		"Middleware or RequireUser is missing, or registered behind the handler")

	// ErrUnsupportedWriter is returned when the response writer cannot carry an event
	// stream: it compresses, holds the response back until it is complete, cannot
	// flush, or has already been written to. The text names the writer and the remedy.
	//
	// Such a writer is known by its Content-Encoding, by its methods, and by the names of
	// its type and package, such as gzip or timeout; the client then got 500. One that
	// shows itself only with the first block, by its Content-Encoding or by holding the
	// block back, ends the stream, with [ReasonFailed] and without an event to say so.
	//
	// A writer that passes on what it is given, and only has no Unwrap method, is no
	// error: see [Middleware].
	ErrUnsupportedWriter = errors.New("ginsse: response writer cannot stream")

	// ErrInvalidPresence is returned by [Registry.Serve] when the function given to [WithPresence]
	// panicked, or returned a value that does not marshal to JSON of at most 512 bytes. The client
	// got 500.
	ErrInvalidPresence = errors.New("ginsse: invalid value of WithPresence")

	// ErrIncomplete is returned by [Registry.ListStreams], [Registry.CountStreams] and
	// [Registry.AskNodes], together with what there is, when not all nodes have answered. The text says how many have not.
	ErrIncomplete = errors.New("ginsse: nodes have not answered")

	// ErrTooManyStreams is returned by [Registry.Serve] when there is no room for the
	// stream: the registry is full, or the user's streams are busy in hooks (the client
	// was asked to come back later); or, with [RegistryConfig.RefuseNewest], the user
	// has as many streams as allowed (the client got 429).
	ErrTooManyStreams = errors.New("ginsse: too many streams")

	// ErrTooManyRuns is returned by [Registry.Run] when there is no room for the run: see [RunConfig].
	ErrTooManyRuns = errors.New("ginsse: too many runs")

	// ErrRunTooLarge is returned by [Run.Send] beyond [RunConfig.MaxBytes].
	ErrRunTooLarge = errors.New("ginsse: the run has sent too much")

	// ErrRunStopped is why a run has ended that [Registry.StopRun] has stopped: the cause of the end
	// of its ctx, and the error of [Run.Send], [Run.Err] and [Registry.RunEvents].
	ErrRunStopped = errors.New("ginsse: the run was stopped")

	// ErrRunFailed is returned by [Registry.RunEvents] and [Registry.ServeRun] for a run that will not
	// be completed: its function has failed, or its node has crashed.
	ErrRunFailed = errors.New("ginsse: the run has failed")

	// ErrRunNotFound is returned for the ID of a run that the user does not have.
	ErrRunNotFound = errors.New("ginsse: no such run")

	// ErrRunGone is returned by [Registry.RunEvents], [Registry.ServeRun] and [Registry.StopRun] when
	// the log does not have all events of a run any more, or does not know the position of the
	// client. What the run has made must come from where the application stores it.
	ErrRunGone = errors.New("ginsse: events of the run have left the log")
)

// PartialError is returned by [Registry.SendToUsers] when the log failed before all users had
// the event. Calling SendToUsers with Unsent sends it to the rest.
type PartialError struct {
	// Sent are the users who have the event.
	Sent []string
	// Unsent are the users who do not. With a log across a network, the first of them may have
	// it: Err leaves that open.
	Unsent []string
	// Err is the log's error.
	Err error
}

// Error implements error. The text names the number of users, not their IDs.
func (e *PartialError) Error() string {
	return fmt.Sprintf("ginsse: %d of %d users have the event: %v", len(e.Sent), len(e.Sent)+len(e.Unsent), e.Err)
}

// Unwrap returns the log's error.
func (e *PartialError) Unwrap() error { return e.Err }

// errNilContext is returned by every method that takes a context.
var errNilContext = errors.New("ginsse: the context is nil; pass context.Background() if there is none")

// AuthError is the refusal of a request. It holds what the client receives and, apart from that,
// the cause for logs. A function given to [NewAuthFunc] returns one to choose the response.
type AuthError struct {
	// Status is the HTTP status: 400, 401, 403 or 503 from the kit. A function of the application
	// may use any from 400 to 599; others become 401.
	Status int
	// Code is the error code of RFC 6750, section 3.1, such as "invalid_token". It is "" if the
	// request carried no credential; then no code is sent.
	Code string
	// Description is one sentence for the client's developer. It must not contain internal details
	// or any part of a credential.
	Description string
	// Err is the cause, for logs only. It never reaches the client.
	Err error
}

// Error implements error. The text contains no part of the token.
func (e *AuthError) Error() string {
	text := "ginsse: " + e.Description
	if e.Err != nil {
		text += ": " + logText(e.Err.Error())
	}
	return text
}

// logText makes a short line of text that may contain input of a client. A line break in the kid of
// a token must not become a line of the log.
func logText(text string) string {
	const most = 512
	if len(text) > most {
		text = text[:most] + "…"
	}
	text = strings.ToValidUTF8(text, "\ufffd")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// Unwrap returns the cause.
func (e *AuthError) Unwrap() error { return e.Err }

// refuse returns an AuthError of the kit.
func refuse(code, description string, cause error) *AuthError {
	status := http.StatusUnauthorized
	switch code {
	case codeInvalidRequest:
		status = http.StatusBadRequest
	case codeCrossSite:
		status = http.StatusForbidden
	case codeUnavailable:
		status = http.StatusServiceUnavailable
	}
	return &AuthError{Status: status, Code: code, Description: description, Err: cause}
}

// Error codes. The first three are those of RFC 6750, section 3.1. Without credentials, the header
// has no code.
const (
	codeInvalidRequest    = "invalid_request"
	codeInvalidToken      = "invalid_token"
	codeInsufficientScope = "insufficient_scope" // used by applications, never by the kit
	codeCrossSite         = "cross_site_request"
	codeUnavailable       = "temporarily_unavailable"
	codeNoCredentials     = ""
)
