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

Reads an event stream and prints its events; reconnects and resumes. The URL is one of
http if it has no scheme; - is an event stream on standard input.

  ssecat -json -type comment -n 1 localhost:8080/events
  ssecat -resume ID https://example.com/events
  ssecat -data -d @question.json https://example.com/v1/chat/completions
  ssecat -data-raw "$QUESTION" https://example.com/ask
  curl -sN https://example.com/events | ssecat -json -

A request with -d or -data-raw, or with another method than GET in -X, is sent once.

A redirect to another host, port or scheme is followed only for a GET without a body,
-H, -resume, a token or a password in the URL. Any other request fails, and names the target.

Exit status: 0 COUNT events printed, or the stream of a single request has ended; 1 failed;
2 usage; 3 refused, or no event stream; 4 the stream is over; 130 interrupted.

`

// errAnswered is the error of parse for -h and -version, which it has answered.
var errAnswered = errors.New("answered")

// settings are what the flags say.
type settings struct {
	client     client.Config // with the URL and the header of each request
	method     string
	data       []datum // of -d and -data-raw
	hasHeader  bool    // by -H or a token
	insecure   bool
	caFile     string
	unixSocket string
	stdin      bool // reads an event stream from standard input, and makes no request

	types []string
	count int
	form  form

	showRequest, showResponse bool
}

// datum is a part of the body.
type datum struct {
	text string
	raw  bool // text is what is sent, and does not name a file or standard input
}

// isPlain reports whether the request is a GET without a body, which may be repeated.
func (s settings) isPlain() bool { return s.method == http.MethodGet && len(s.data) == 0 }

// parser holds what only the parsing of the flags needs.
type parser struct {
	settings

	flags                 *flag.FlagSet
	header                http.Header
	badHeader             bool // reported after the parsing, by a text that does not quote it
	token                 string
	json, dataOnly        bool
	once, retry           bool
	showsVersion, verbose bool
	set                   map[string]bool // flags that were given
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
	flags := p.flags
	flags.SetOutput(io.Discard) // run says what is wrong
	flags.Usage = func() {}
	flags.Func("H", "send this `header`, as in 'Name: value'; may be repeated", func(line string) error {
		name, value, found := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		p.badHeader = p.badHeader || !found || name == ""
		p.header.Add(name, strings.TrimSpace(value))
		return nil
	})
	flags.StringVar(&p.token, "token", "", "send 'Authorization: Bearer TOKEN'; other users of the machine may see arguments, and not the environment: $SSECAT_TOKEN does the same for whatever URL is named, unless -H has an Authorization (a `token`)")
	flags.StringVar(&p.client.LastEventID, "resume", "", "begin after the event with this `ID`")
	flags.StringVar(&p.method, "X", "", "send a request of this `method`; the default is GET, and POST with -d or -data-raw")
	flags.Func("d", "send this `data` as the body, @FILE being the content of a file and @- or - standard input; may be repeated, and is joined by &; for text that is not yours, use -data-raw, since a text that begins with @ would send a file", func(data string) error {
		p.data = append(p.data, datum{text: data})
		return nil
	})
	flags.Func("data-raw", "send this `text` as the body as it is, also if it begins with @ or is -; otherwise like -d", func(text string) error {
		p.data = append(p.data, datum{text: text, raw: true})
		return nil
	})
	flags.BoolVar(&p.insecure, "k", false, "accept any certificate of the server: what is sent may be read on the way")
	flags.StringVar(&p.caFile, "cacert", "", "accept certificates that are signed by those in this `file`, in PEM, and no others")
	flags.StringVar(&p.unixSocket, "unix-socket", "", "connect to the Unix socket at this `path`, whatever the URL names")
	flags.Func("type", "print events of this `type` only; may be repeated", func(name string) error {
		if name == "" {
			return errors.New("an event without a type is a 'message'")
		}
		p.types = append(p.types, name)
		return nil
	})
	flags.BoolVar(&p.client.Heartbeats, "heartbeats", false, "print the kit's heartbeats, of type sse.heartbeat, as well")
	flags.IntVar(&p.count, "n", 0, "end after this `count` of events that are printed, which with the kit's servers begin with sse.open: combine it with -type; 0 is no end")
	flags.BoolVar(&p.once, "once", false, "do not reconnect; the default for requests with a body or another method than GET, which -once=false repeats")
	flags.BoolVar(&p.retry, "retry", false, "reconnect also after statuses that may pass, such as 429, 502 and 503, and after a page of HTML in the stream's place")
	flags.IntVar(&p.client.MaxFailures, "attempts", 0, "end after this `number` of attempts in a row that failed, or lived for less than 10s without an event; 0 is no end")
	flags.DurationVar(&p.client.ConnectTimeout, "connect-timeout", 0, "end an attempt when its response has not begun after this `time`, 0 being the default of 30s and -1s none")
	flags.DurationVar(&p.client.IdleTimeout, "idle", 0, "reconnect when nothing has come for this `time`, 0 being the default of three heartbeats of a server that names its interval, and of a minute for others, and -1s none")
	flags.IntVar(&p.client.MaxEventBytes, "max", 0, "the most `bytes` of an event, 0 being the default of 2 MiB and -1 no limit")
	flags.BoolVar(&p.json, "json", false, "print one JSON object a line")
	flags.BoolVar(&p.dataOnly, "data", false, "print the data of events and nothing else; it takes no value and sends nothing, which -d and -data-raw do")
	flags.BoolVar(&p.showResponse, "i", false, "show the header of each response, on standard error; values that may be credentials are [redacted]")
	flags.BoolVar(&p.verbose, "v", false, "show the headers of each request and response, on standard error; values that may be credentials are [redacted]")
	flags.BoolVar(&p.showsVersion, "version", false, "print the version")
}

// read parses the arguments and returns the URLs. Flags may come after a URL as well.
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

// check looks at what holds for requests and for standard input.
func (p *parser) check(urls []string) error {
	switch {
	case len(urls) != 1 && p.dataOnly: // curl's --data sends
		return fmt.Errorf("there are %d URLs and not one; -data takes no value, and -d or -data-raw sends data", len(urls))
	case len(urls) != 1:
		return fmt.Errorf("there are %d URLs and not one", len(urls))
	case p.badHeader:
		return errors.New("a -H is not of the form 'Name: value'")
	case p.count < 0:
		return fmt.Errorf("-n is %d; it counts from 1, and 0 is no end", p.count)
	case p.client.MaxFailures < 0:
		return fmt.Errorf("-attempts is %d; it counts from 1, and 0 is no end", p.client.MaxFailures)
	case p.json && p.dataOnly:
		return errors.New("-json and -data are two forms of the output")
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

// checkInput refuses flags that are for requests.
func (p *parser) checkInput() error {
	forInput := []string{"type", "n", "max", "json", "data", "heartbeats", "once"}
	for name := range p.set {
		if !slices.Contains(forInput, name) {
			return fmt.Errorf("-%s is for a request, and - reads standard input", name)
		}
	}
	return nil
}

// request takes up what is for requests.
func (p *parser) request(rawURL string, getenv func(string) string) error {
	if p.method == "" {
		if p.set["X"] {
			return errors.New("-X names no method")
		}
		p.method = http.MethodGet
		if len(p.data) > 0 {
			p.method = http.MethodPost
		}
	}
	if _, ok := p.header["Last-Event-Id"]; ok {
		return errors.New("Last-Event-ID is sent by -resume ID, and not by -H")
	}
	p.client.NoReconnect = p.once || !p.set["once"] && !p.isPlain()
	if p.client.NoReconnect && (p.retry || p.client.MaxFailures > 0) {
		if p.once {
			return errors.New("-retry and -attempts are for reconnecting, which -once turns off")
		}
		return errors.New("-retry and -attempts would repeat a request that is sent once; -once=false allows that")
	}
	if p.retry {
		p.client.RetryStatus, p.client.RetryContentType = client.RetryTransient, client.RetryPage
	}
	_, authorized := p.header["Authorization"]
	switch {
	case authorized && p.token != "":
		return errors.New("there is a -token and an Authorization in -H")
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

// checkDefaultScheme refuses to send credentials over a network in clear because the URL
// has no scheme: https was probably meant.
func (p *parser) checkDefaultScheme(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil || p.unixSocket != "" || isLoopback(u.Hostname()) {
		return nil //nolint:nilerr // client.New says what is wrong with a URL
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
		return fmt.Errorf("%s would be sent in clear; put https:// in front of the URL, or http:// if that is meant", secret)
	}
	return nil
}

func isLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// version returns the version of the command, without a v; devel if it was built from a
// checkout without one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || !strings.HasPrefix(info.Main.Version, "v") {
		return "devel"
	}
	return info.Main.Version[1:]
}
