// Command ssecat reads an event stream and prints its events: a curl for Server-Sent
// Events that reconnects and resumes.
//
//	ssecat [flags] URL
//
// It prints each event as the lines of an event stream, or with -json as one object a
// line: {"event","data","lastEventId"}. What happens to the connection it says on
// standard error.
//
// With -type, that events may be missing (the kit's sse.gap) is said there too. On a
// terminal, control characters in events are shown as \u001b and the like.
//
// It ends with status
//
//	0    when COUNT events were printed, or with -once the stream has ended
//	1    when the connection failed for good: with -once, by too many redirects, by too
//	     large an event; or when the output cannot be written
//	2    for arguments it does not understand
//	3    when the server refused: another status than 200, or no event stream
//	4    when the server said that the stream is over, or it ended before COUNT events
//	130  when it was interrupted or terminated
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
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
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `usage: ssecat [flags] URL

Reads an event stream and prints its events; reconnects and resumes.

  ssecat -json -type comment -n 1 http://127.0.0.1:8080/events
  ssecat -resume ID https://example.com/events

Exit status: 0 COUNT events printed, or -once and the stream has ended; 1 failed; 2 usage;
3 refused, or no event stream; 4 the stream is over; 130 interrupted.
Certificates of your own: SSL_CERT_FILE names them.

`

// settings are what the flags say.
type settings struct {
	client client.Config
	types  []string
	count  int
	json   bool
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "ssecat: "+format+"\n", args...) }
	s, err := parse(args, getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		say("%v; ssecat -h lists the flags", err)
		return exitUsage
	}
	s.client.OnDisconnect = func(err error, wait time.Duration) {
		if errors.Is(err, io.EOF) {
			err = errors.New("the stream has ended")
		}
		say("%s; reconnecting in %v", plain(err), wait.Round(10*time.Millisecond))
	}
	c, err := client.New(s.client)
	if err != nil {
		say("%s", plain(err))
		return exitUsage
	}
	printed, err := show(ctx, c, s, stdout, say)
	switch {
	case err == nil && (s.count == 0 || printed == s.count):
		return 0
	case err == nil:
		say("the stream has ended after %d of %d events", printed, s.count)
		return exitOver
	case ctx.Err() != nil:
		return exitInterrupted
	}
	say("%s", plain(err))
	return exitCode(err)
}

// plain is an error's text for somebody who knows this command and not its packages. It
// may have words of the server, which must not reach a terminal as they are.
func plain(err error) string {
	return visible(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "ginsse: "), "client.Config: "))
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
func show(ctx context.Context, c *client.Client, s settings, stdout io.Writer, say func(string, ...any)) (printed int, err error) {
	p := &printer{w: stdout, json: s.json, terminal: isTerminal(stdout), lastEventID: s.client.LastEventID}
	for event, err := range c.Events(ctx) {
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

func parse(args []string, getenv func(string) string, stdout io.Writer) (s settings, err error) {
	header := make(http.Header)
	var retry bool
	flags := flag.NewFlagSet("ssecat", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run says what is wrong
	flags.Usage = func() {}
	badHeader := false // said later, and not by the package flag, which would quote it
	flags.Func("H", "send this `header`, as in 'Name: value'; may be repeated", func(line string) error {
		name, value, found := strings.Cut(line, ":")
		badHeader = badHeader || !found || strings.TrimSpace(name) == ""
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	token := flags.String("token", "", "send 'Authorization: Bearer TOKEN'; other users of the machine may see arguments, and not the environment: $SSECAT_TOKEN does the same for whatever URL is named, unless -H has an Authorization (a `token`)")
	flags.StringVar(&s.client.LastEventID, "resume", "", "begin after the event with this `ID`")
	flags.Func("type", "print events of this `type` only; may be repeated", func(name string) error {
		if name == "" {
			return errors.New("an event without a type is a 'message'")
		}
		s.types = append(s.types, name)
		return nil
	})
	flags.IntVar(&s.count, "n", 0, "end after this `count` of events that are printed, which with the kit's servers begin with sse.open: combine it with -type; 0 is no end")
	flags.BoolVar(&s.client.NoReconnect, "once", false, "do not reconnect")
	flags.BoolVar(&retry, "retry", false, "reconnect after statuses that may pass too: 429, 502, 503 and their like")
	flags.DurationVar(&s.client.IdleTimeout, "idle", 0, "reconnect when nothing has come for this `time`, 0 being the default of a minute and -1s none")
	flags.IntVar(&s.client.MaxEventBytes, "max", 0, "the most `bytes` of an event, 0 being the default of 2 MiB and -1 no limit")
	flags.BoolVar(&s.json, "json", false, "print one JSON object a line")
	// Flags may come after the URL as well.
	var urls []string
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(stdout, usage)
			flags.SetOutput(stdout)
			flags.PrintDefaults()
		}
		if err != nil {
			return s, err
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		urls, args = append(urls, args[0]), args[1:]
	}
	switch {
	case len(urls) != 1:
		return s, fmt.Errorf("there are %d URLs and not one", len(urls))
	case badHeader:
		return s, errors.New("a -H is not of the form 'Name: value'")
	case s.count < 0:
		return s, fmt.Errorf("-n is %d; it counts from 1, and 0 is no end", s.count)
	case !strings.Contains(urls[0], "://"):
		return s, errors.New("the URL needs http:// or https:// in front")
	}
	_, authorized := header["Authorization"]
	switch {
	case authorized && *token != "":
		return s, errors.New("there is a -token and an Authorization in -H")
	case *token == "" && !authorized:
		*token = getenv("SSECAT_TOKEN")
	}
	if *token != "" {
		header.Set("Authorization", "Bearer "+*token)
	}
	if retry {
		s.client.RetryStatus = client.RetryTransient
	}
	s.client.URL, s.client.Header = urls[0], header
	return s, nil
}
