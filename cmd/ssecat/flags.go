package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/ginsse/ginsse/client"
)

const usage = `usage: ssecat [flags] URL
       ssecat [flags] -
       ssecat doctor [flags] URL
       ssecat load [flags] URL

Reads an event stream and prints its events. Reconnects and resumes. A URL without a
scheme is an http URL. The URL - reads an event stream from standard input.

  ssecat -json -type comment -n 1 localhost:8080/events
  ssecat -resume ID https://example.com/events
  ssecat -data -d @question.json https://example.com/v1/chat/completions
  ssecat -data-raw "$QUESTION" https://example.com/ask
  curl -sN https://example.com/events | ssecat -json -

ssecat doctor says what is wrong between a page and the server: see ssecat doctor -h.
ssecat load opens many streams and measures: ssecat load -h.

A request with a body (-d, -data-raw) or a method other than GET (-X) is sent once.

A redirect to another host, port or scheme is followed only for a GET without a body, -H,
-resume, a token or a password in the URL. Any other request fails with the target's URL.

Exit status: 0 COUNT events printed, or the stream of a single request ended; 1 failed;
2 usage; 3 refused, or no event stream; 4 closed permanently; 130 interrupted.

`

// errAnswered means that parse has handled -h or -version, so there is no stream to read.
var errAnswered = errors.New("answered")

// settings are the values of the flags and arguments.
type settings struct {
	client     client.Config // includes the URL and the header of each request
	method     string
	data       []datum // from -d and -data-raw
	hasHeader  bool    // -H or a token is given
	insecure   bool
	caFile     string
	unixSocket string
	stdin      bool // read an event stream from standard input instead of making a request

	types []string
	count int
	form  form

	showRequest, showResponse bool
}

// datum is one part of the request body.
type datum struct {
	text string
	raw  bool // send text as it is, even if it looks like @FILE or -
}

// isPlain reports whether the request is a GET without a body, so that repeating it is safe.
func (s settings) isPlain() bool { return s.method == http.MethodGet && len(s.data) == 0 }

// parser holds the state of parsing the flags.
type parser struct {
	settings

	flags                 *flag.FlagSet
	header                http.Header
	badHeader             bool // reported after parsing, in a text that does not quote the header
	token                 string
	json, dataOnly        bool
	once, retry           bool
	showsVersion, verbose bool
	set                   map[string]bool // the flags on the command line
}

func parse(args []string, getenv func(string) string, stdout io.Writer) (settings, error) {
	p := &parser{flags: flag.NewFlagSet("ssecat", flag.ContinueOnError), header: make(http.Header), set: make(map[string]bool)}
	p.define()
	urls, err := p.read(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, usage)
		p.flags.SetOutput(stdout)
		p.flags.PrintDefaults()
		return settings{}, errAnswered
	case err != nil:
		return settings{}, err
	case p.showsVersion:
		_, _ = fmt.Fprintf(stdout, "ssecat %s %s\n", version(), runtime.Version())
		return settings{}, errAnswered
	}
	p.flags.Visit(func(f *flag.Flag) { p.set[f.Name] = true })
	if err := p.check(urls); err != nil {
		return settings{}, err
	}
	if p.stdin = urls[0] == "-"; p.stdin {
		return p.settings, p.checkInput()
	}
	return p.settings, p.request(urls[0], getenv)
}

// define declares the flags.
func (p *parser) define() {
	p.defineConnection()
	flags := p.flags
	flags.StringVar(&p.client.LastEventID, "resume", "", "start after the event with this `ID`")
	flags.StringVar(&p.method, "X", "", "send a request with this `method`; the default is GET, or POST with -d or -data-raw")
	flags.Func("d", "send this `data` as the body; @FILE sends the content of a file, @- or - sends standard input; may be repeated, parts are joined by &; for text from others use -data-raw, since a text that begins with @ would send a file", func(data string) error {
		p.data = append(p.data, datum{text: data})
		return nil
	})
	flags.Func("data-raw", "send this `text` as the body, unchanged even if it begins with @ or is -; otherwise like -d", func(text string) error {
		p.data = append(p.data, datum{text: text, raw: true})
		return nil
	})
	flags.Func("type", "print only events of this `type`; may be repeated", func(name string) error {
		if name == "" {
			return errors.New("the type is empty; an event without a type is a 'message'")
		}
		p.types = append(p.types, name)
		return nil
	})
	flags.BoolVar(&p.client.Heartbeats, "heartbeats", false, "also print the kit's heartbeats, of type sse.heartbeat")
	flags.IntVar(&p.count, "n", 0, "end after printing this `count` of events; the kit's servers send sse.open first, so combine it with -type; 0 means no limit")
	flags.BoolVar(&p.once, "once", false, "do not reconnect; this is the default for requests with a body or a method other than GET, which -once=false repeats")
	flags.BoolVar(&p.retry, "retry", false, "also reconnect after temporary statuses, such as 429, 502 and 503, and after an HTML page instead of a stream")
	flags.IntVar(&p.client.MaxFailures, "attempts", 0, "end after this `number` of consecutive attempts that failed, or lived less than 10s without an event; 0 means no limit")
	flags.DurationVar(&p.client.ConnectTimeout, "connect-timeout", 0, "end an attempt that has no response after this `time`; 0 means the default of 30s, -1s means no limit")
	flags.DurationVar(&p.client.IdleTimeout, "idle", 0, "reconnect when nothing was received for this `time`; 0 means the default, which is three heartbeat intervals if the server names its interval, else one minute; -1s means never")
	flags.IntVar(&p.client.MaxEventBytes, "max", 0, "the largest size of an event in `bytes`; 0 means the default of 2 MiB, -1 means no limit")
	flags.BoolVar(&p.json, "json", false, "print each event as a JSON object on one line")
	flags.BoolVar(&p.dataOnly, "data", false, "print only the data of events; it takes no value and sends nothing: to send data, use -d or -data-raw")
	flags.BoolVar(&p.showResponse, "i", false, "show the header of each response on standard error; values that may be credentials are [redacted]")
	flags.BoolVar(&p.verbose, "v", false, "show the headers of each request and response on standard error; values that may be credentials are [redacted]")
	flags.BoolVar(&p.showsVersion, "version", false, "print the version")
}

// defineConnection declares the flags that say how to connect, and with which credentials. All
// subcommands have them.
func (p *parser) defineConnection() {
	flags := p.flags
	flags.SetOutput(io.Discard) // run reports errors
	flags.Usage = func() {}
	flags.Func("H", "send this `header`, as in 'Name: value'; may be repeated", func(line string) error {
		name, value, found := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		p.badHeader = p.badHeader || !found || name == ""
		p.header.Add(name, strings.TrimSpace(value))
		return nil
	})
	flags.StringVar(&p.token, "token", "", "send 'Authorization: Bearer `TOKEN`'; other users of the machine can see arguments, but not the environment: $SSECAT_TOKEN does the same for every URL, unless -H has an Authorization")
	flags.BoolVar(&p.insecure, "k", false, "accept any certificate of the server; others on the network can then read what is sent")
	flags.StringVar(&p.caFile, "cacert", "", "accept only certificates that are signed by those in this PEM `file`")
	flags.StringVar(&p.unixSocket, "unix-socket", "", "connect to the Unix socket at this `path` instead of the URL's host")
}

// read parses the arguments and returns the URLs. Flags may also follow a URL.
func (p *parser) read(args []string) (urls []string, err error) {
	for {
		if err := p.flags.Parse(args); err != nil {
			return nil, err
		}
		if args = p.flags.Args(); len(args) == 0 {
			return urls, nil
		}
		urls, args = append(urls, args[0]), args[1:]
	}
}

// check validates the flags that apply to requests and to standard input.
func (p *parser) check(urls []string) error {
	switch {
	case len(urls) != 1 && p.dataOnly: // the user may expect -data to send, as in curl
		return fmt.Errorf("there are %d URLs instead of one; -data takes no value, and -d or -data-raw sends data", len(urls))
	case len(urls) != 1:
		return fmt.Errorf("there are %d URLs instead of one", len(urls))
	case p.badHeader:
		return errors.New("a -H is not of the form 'Name: value'")
	case p.count < 0:
		return fmt.Errorf("-n is %d; it must be at least 1, or 0 for no limit", p.count)
	case p.client.MaxFailures < 0:
		return fmt.Errorf("-attempts is %d; it must be at least 1, or 0 for no limit", p.client.MaxFailures)
	case p.json && p.dataOnly:
		return errors.New("-json and -data cannot be combined")
	case p.json:
		p.form = formJSON
	case p.dataOnly:
		p.form = formData
	}
	if slices.Contains(p.types, heartbeatEvent) {
		p.client.Heartbeats = true
	}
	p.showRequest, p.showResponse = p.verbose, p.verbose || p.showResponse
	return nil
}

// checkInput refuses flags that apply only to requests.
func (p *parser) checkInput() error {
	forInput := []string{"type", "n", "max", "json", "data", "heartbeats", "once"}
	for name := range p.set {
		if !slices.Contains(forInput, name) {
			return fmt.Errorf("-%s applies to requests, but - reads standard input", name)
		}
	}
	return nil
}

// request applies the flags for requests.
func (p *parser) request(rawURL string, getenv func(string) string) error {
	if p.method == "" {
		if p.set["X"] {
			return errors.New("-X is empty; it needs a method")
		}
		p.method = http.MethodGet
		if len(p.data) > 0 {
			p.method = http.MethodPost
		}
	}
	if _, ok := p.header["Last-Event-Id"]; ok {
		return errors.New("-H cannot set Last-Event-ID; use -resume ID")
	}
	p.client.NoReconnect = p.once || !p.set["once"] && !p.isPlain()
	if p.client.NoReconnect && (p.retry || p.client.MaxFailures > 0) {
		if p.once {
			return errors.New("-retry and -attempts have no effect with -once, which turns off reconnecting")
		}
		return errors.New("-retry and -attempts need -once=false for this request, which is otherwise sent once")
	}
	if p.retry {
		p.client.RetryStatus, p.client.RetryContentType = client.RetryTransient, client.RetryPage
	}
	_, authorized := p.header["Authorization"]
	switch {
	case authorized && p.token != "":
		return errors.New("there are both -token and an Authorization in -H")
	case p.token == "" && !authorized:
		p.token = getenv("SSECAT_TOKEN")
	}
	if p.token != "" {
		p.header.Set("Authorization", "Bearer "+p.token)
	}
	p.hasHeader = len(p.header) > 0
	if _, ok := p.header["User-Agent"]; !ok {
		p.header.Set("User-Agent", "ssecat/"+version())
	}
	if !hasScheme.MatchString(rawURL) {
		rawURL = "http://" + rawURL
		if err := p.checkDefaultScheme(rawURL); err != nil {
			return err
		}
	}
	p.client.URL, p.client.Header = rawURL, p.header
	return nil
}

var hasScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// checkDefaultScheme refuses to send credentials in clear over a network only because the URL has
// no scheme. The user probably meant https.
func (p *parser) checkDefaultScheme(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil || p.unixSocket != "" || isLoopback(u.Hostname()) {
		return nil //nolint:nilerr // client.New reports an invalid URL
	}
	secret := ""
	if u.User != nil {
		secret = "the password in the URL"
	}
	for name := range p.header {
		if mayBeSecret(name) {
			secret = name
		}
	}
	if secret != "" {
		return fmt.Errorf("%s would be sent in clear; put https:// in front of the URL, or http:// if you mean that", secret)
	}
	return nil
}

func isLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// version returns the version of the command without the leading v, or devel for a build without a
// version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || !strings.HasPrefix(info.Main.Version, "v") {
		return "devel"
	}
	return info.Main.Version[1:]
}
