// Command ssecat reads an event stream and prints its events: a curl for Server-Sent
// Events that reconnects and resumes.
//
//	ssecat [flags] URL
//	ssecat [flags] -
//
// A URL without a scheme is one of http. The URL - stands for an event stream on standard
// input.
//
// It prints each event as the lines of an event stream; with -json as one object a
// line, {"event","data","lastEventId"}; with -data as its data and a line end. What
// happens to the connection it says on standard error.
//
// The kit's sse.heartbeat is not printed, unless -heartbeats or -type asks for it. With
// -type, ssecat says on standard error that events may be missing (the kit's sse.gap). On
// a terminal, control characters in events are shown as \u001b and the like.
//
// # Requests with a body
//
// With -d or -data-raw, ssecat sends a POST, as to the API of a model. A script that
// passes on the text of a user takes -data-raw: -d sends a file if the text begins with
// @. The body is application/json if it is an object or an array of JSON, and
// otherwise application/x-www-form-urlencoded, unless -H has a Content-Type.
//
// A request with a body, or with a method other than GET in -X, is sent once: when its
// stream ends, so does the command, with status 0 for a clean end and 1 for any other. It is
// not repeated, since the server would do its work again. With -once=false the request is
// repeated like any other, with the last event ID.
//
// # Credentials
//
// -v and -i show no credentials. They show the values of headers that are known to hold
// none, such as Content-Type, Retry-After and Last-Event-ID. Of Location, Refresh and
// Referer they show the URL without user info, query and fragment; of Authorization and
// WWW-Authenticate the scheme. Any other value is [redacted].
//
// Without a scheme in the URL, headers whose values are not shown are sent to this machine
// only.
//
// # Redirects
//
// What the user gives is sent only to the scheme, host and port that the user names. A
// request with a body, another method than GET, a -H, a token, -resume or a password in
// the URL does not follow a redirect to any other: the command fails, and its error names
// the target, whose URL can be used instead. A GET with none of these follows; after
// a reconnect it carries the last event ID of the stream. No redirect is followed from https
// to http.
//
// # Exit status
//
//	0    COUNT events were printed; or the stream has ended, with -once, with a request
//	     that is sent once, or on standard input
//	1    the connection failed for good: after -attempts, with -once, by too many redirects, by
//	     a redirect that is refused, by too large an event; or the output cannot be written
//	2    there are arguments that it does not understand
//	3    the server refused: another status than 200, or no event stream
//	4    the server said that the stream is over, or it ended before COUNT events
//	130  it was interrupted or terminated
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ginsse/ginsse/client"
)

const (
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitOver        = 4
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the command where the output is blocked
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "ssecat: "+format+"\n", args...) }
	s, err := parse(args, getenv, stdout)
	if errors.Is(err, errAnswered) {
		return 0
	}
	if err != nil {
		say("%s; ssecat -h lists the flags", plain(err))
		return exitUsage
	}
	s.client.OnDisconnect = func(err error, wait time.Duration) {
		if errors.Is(err, io.EOF) {
			err = errors.New("the stream has ended")
		}
		say("%s; reconnecting in %v", plain(err), wait.Round(10*time.Millisecond))
	}
	events, closeIdle, err := s.open(ctx, stdin, stderr)
	switch {
	case err != nil && ctx.Err() != nil:
		return exitInterrupted
	case err != nil:
		say("%s", plain(err))
		return exitUsage
	}
	defer closeIdle()
	printed, err := show(events, s, stdout, say)
	switch {
	case err == nil && (s.count == 0 || printed == s.count):
		return 0
	case err == nil:
		say("the stream has ended after %d of %d events", printed, s.count)
		return exitOver
	case ctx.Err() != nil:
		return exitInterrupted
	}
	code := exitCode(err)
	if text := plain(err); code == exitFailed && s.client.NoReconnect && !s.isPlain() {
		say("%s; the request is not repeated", text)
	} else {
		say("%s", text)
	}
	return code
}

// plain returns an error's text without the names of packages. It may have words of the
// server, which must not reach a terminal as they are.
func plain(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "ginsse: "), "client.Config: ")
	return visible(strings.ReplaceAll(text, ": ginsse: ", ": "))
}

func exitCode(err error) int {
	var status *client.StatusError
	var contentType *client.ContentTypeError
	var closed *client.ClosedError
	switch {
	case errors.As(err, &closed), errors.As(err, &status) && status.Status == http.StatusNoContent:
		return exitOver
	case errors.As(err, &status), errors.As(err, &contentType):
		return exitRefused
	default:
		return exitFailed
	}
}

// show prints the events that were asked for, and returns how many, and why there are
// no more.
func show(events iter.Seq2[client.Event, error], s settings, stdout io.Writer, say func(string, ...any)) (printed int, err error) {
	p := &printer{w: stdout, form: s.form, terminal: isTerminal(stdout), lastEventID: s.client.LastEventID}
	for event, err := range events {
		if err != nil {
			return printed, err
		}
		if len(s.types) > 0 && !slices.Contains(s.types, event.Type) {
			if event.Type == "sse.gap" {
				say("events may be missing: %.200q", event.Data)
			}
			continue
		}
		if err := p.print(event); err != nil {
			return printed, err
		}
		if printed++; printed == s.count {
			return printed, nil
		}
	}
	return printed, nil
}
