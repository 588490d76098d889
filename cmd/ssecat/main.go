// Command ssecat reads an event stream and prints its events. It is like curl, but reconnects and
// resumes.
//
//	ssecat [flags] URL
//	ssecat [flags] -
//	ssecat doctor [flags] URL
//	ssecat load [flags] URL
//
// A URL without a scheme is an http URL. The URL - reads an event stream from standard input.
//
// It prints each event as the lines of an event stream. With -json it prints one object a line,
// {"event","data","lastEventId"}, and with -data only the data and a line end. It reports
// reconnections and errors on standard error.
//
// The kit's sse.heartbeat is printed only with -heartbeats or -type sse.heartbeat. If -type leaves
// out the kit's sse.gap, ssecat reports on standard error that events may be missing. On a
// terminal, control characters in events are shown as \u001b and the like.
//
// # Requests with a body
//
// With -d or -data-raw, ssecat sends a POST, for example to the API of a model. A script that
// passes on text from a user must use -data-raw: with -d, a text that begins with @ sends a file.
// Unless -H has a Content-Type, a body that is a JSON object or array is sent as application/json,
// and any other as application/x-www-form-urlencoded.
//
// A request with a body, or with a method other than GET in -X, is sent once, because the server
// would do its work again. The command ends with the stream: with status 0 for a clean end, 1 for
// any other. With -once=false the request is repeated like any other, with the last event ID.
//
// # Doctor
//
// ssecat doctor says what is wrong between a page and the server: buffering, compression, limits of
// proxies, headers, heartbeats, HTTP version, CORS, refusals and resuming. It prints a line for each
// check, which begins with ok, warning or fault. Indented lines below it say what to do: they name
// the settings of the proxies that the response headers Server and Via name, else of all that it
// knows. With -json it prints an object a line, {"check","verdict","seen","do"}.
//
// It sends OPTIONS and a GET without credentials, and opens the stream up to four times: to watch it
// for the time of -for; once more without compression, if nothing came; to resume; and with -origin
// as a page of that origin. -H, -token, -k, -cacert and -unix-socket are as for ssecat.
//
// # Credentials
//
// -v, -i and the doctor show no credentials. They show the values of headers that are known to contain none,
// such as Content-Type, Retry-After and Last-Event-ID. Of Location, Refresh and Referer they show
// the URL without user info, query and fragment. Of Authorization and WWW-Authenticate they show
// the scheme. They show any other value as [redacted].
//
// If the URL has no scheme, headers whose values are not shown are sent only to this machine.
//
// # Redirects
//
// What the user gives is sent only to the scheme, host and port that the user names. So a request
// does not follow a redirect elsewhere if it has a body, a method other than GET, a -H, a token,
// -resume or a password in the URL. The command then fails, and its error names the target, which
// the user can pass instead. A GET with none of these follows the redirect; after a reconnect it
// carries the last event ID of the stream. A redirect from https to http is never followed.
//
// # Load
//
// ssecat load opens many streams, and reports on what arrives. With -send-url it also sends numbered
// events, and says how long they took and which are missing. ssecat load -h describes it.
//
// # Exit status
//
//	0    COUNT events were printed; or the stream ended, with -once, with a request
//	     that is sent once, or on standard input
//	1    the command gave up: after -attempts, with -once, after too many redirects, after
//	     a refused redirect, after too large an event; or the output cannot be written
//	2    the arguments are invalid
//	3    the server refused: a status other than 200, or no event stream
//	4    the server closed the stream permanently, or it ended before COUNT events
//	130  the command was interrupted or terminated
//
// ssecat doctor exits with 0 if it found no faults, even if there are warnings, with 1 if it found
// some or cannot write them, with 2 and 130 as above.
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
	context.AfterFunc(ctx, stop) // a second signal ends the command even if the output is blocked
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// subcommands are the words that can be the first argument instead of a flag or URL.
var subcommands = map[string]func(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int{
	"doctor": runDoctor,
	"load":   runLoad,
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		if subcommand := subcommands[args[0]]; subcommand != nil {
			return subcommand(ctx, args[1:], getenv, stdout, stderr)
		}
	}
	report := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "ssecat: "+format+"\n", args...) }
	s, err := parse(args, getenv, stdout)
	if errors.Is(err, errAnswered) {
		return 0
	}
	if err != nil {
		report("%s; ssecat -h lists the flags", plain(err))
		return exitUsage
	}
	s.client.OnDisconnect = func(err error, wait time.Duration) {
		if errors.Is(err, io.EOF) {
			err = errors.New("the stream has ended")
		}
		report("%s; reconnecting in %v", plain(err), wait.Round(10*time.Millisecond))
	}
	events, closeIdle, err := s.open(ctx, stdin, stderr)
	switch {
	case err != nil && ctx.Err() != nil:
		return exitInterrupted
	case err != nil:
		report("%s", plain(err))
		return exitUsage
	}
	defer closeIdle()
	printed, err := show(events, s, stdout, report)
	switch {
	case err == nil && (s.count == 0 || printed == s.count):
		return 0
	case err == nil:
		report("the stream has ended after %d of %d events", printed, s.count)
		return exitOver
	case ctx.Err() != nil:
		return exitInterrupted
	}
	code := exitCode(err)
	if text := plain(err); code == exitFailed && s.client.NoReconnect && !s.isPlain() {
		report("%s; the request is not repeated", text)
	} else {
		report("%s", text)
	}
	return code
}

// plain returns an error's text without package names. It escapes control characters, since the
// text may come from the server and go to a terminal.
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

// show prints the wanted events. It returns how many it printed, and the error that ended the
// events.
func show(events iter.Seq2[client.Event, error], s settings, stdout io.Writer, report func(string, ...any)) (printed int, err error) {
	p := &printer{w: stdout, form: s.form, terminal: isTerminal(stdout), lastEventID: s.client.LastEventID}
	for event, err := range events {
		if err != nil {
			return printed, err
		}
		if len(s.types) > 0 && !slices.Contains(s.types, event.Type) {
			if event.Type == "sse.gap" {
				report("events may be missing: %.200q", event.Data)
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
