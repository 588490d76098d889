package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ginsse/ginsse/internal/loadtest"
)

const loadUsage = `usage: ssecat load [flags] URL

Opens many event streams at URL, checks what arrives, and prints a report. Streams
reconnect like a page. With -send-url it sends numbered events through your own interface,
finds them in the streams, and says how long they took and which are missing. The time of an
event counts from when it was due by -send-rate: a server that stalls delays them all.

  ssecat load -streams 1000 -for 1m localhost:8080/events
  ssecat load -streams 1000 -send-url http://localhost:8080/announce -send-rate 20 \
    -body '{"text":"{{.Mark}}"}' localhost:8080/events
  ssecat load -streams 1000 -token-file users -send-url 'http://localhost:8080/users/{{.User}}/notify' \
    localhost:8080/events

In -send-url and -body, these stand for what differs between events:

  {{.Mark}}  by which the event is found: 56 letters, digits and -. Whatever the server makes
             of the body, one line of the event's data must contain it.
  {{.User}}  the name of a user in -token-file. The events then go to the users in turn,
             and the streams of each must get those of their user, and no others.
  {{.N}}     the number of the event, from 0
  {{.Time}}  the time, as in 2006-01-02T15:04:05Z

-token-file has a line for each user: the token of the streams and, after a space, the name
for {{.User}}. The streams belong to the users in turn. $SSECAT_TOKEN is the token of all
streams, and $SSECAT_SEND_TOKEN that of the requests to -send-url.

It connects to the host of the URL and of -send-url only. It follows no redirect, and uses no
proxy. Each stream is a connection of its own, with HTTP/1.1.

Exit status: 0 all is well; 1 events were lost, repeated, out of order, or came to another
user's stream, the server announced a gap, or no event could be sent; 2 usage; 3 no stream
could be opened; 130 interrupted, with a report if the streams were open.

`

// loadSettings are the values of the flags and arguments of ssecat load.
type loadSettings struct {
	cfg  loadtest.Config
	json bool
}

// loadParser holds the state of parsing them.
type loadParser struct {
	loadSettings

	flags      *flag.FlagSet
	common     parser // has the header, and what decides about TLS
	send       loadtest.Send
	sendHeader http.Header
	tokenFile  string
	set        map[string]bool
}

func parseLoad(args []string, getenv func(string) string, stdout io.Writer) (loadSettings, error) {
	p := &loadParser{
		flags:      flag.NewFlagSet("ssecat load", flag.ContinueOnError),
		common:     parser{header: make(http.Header)},
		sendHeader: make(http.Header),
		set:        make(map[string]bool),
	}
	p.define()
	urls, err := (&parser{flags: p.flags}).read(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, loadUsage)
		p.flags.SetOutput(stdout)
		p.flags.PrintDefaults()
		return loadSettings{}, errAnswered
	case err != nil:
		return loadSettings{}, err
	case len(urls) != 1:
		return loadSettings{}, fmt.Errorf("there are %d URLs instead of one", len(urls))
	}
	p.flags.Visit(func(f *flag.Flag) { p.set[f.Name] = true })
	if err := p.check(); err != nil {
		return loadSettings{}, err
	}
	if err := p.target(urls[0], getenv); err != nil {
		return loadSettings{}, err
	}
	return p.loadSettings, p.sending(getenv)
}

// define declares the flags.
func (p *loadParser) define() {
	flags := p.flags
	flags.SetOutput(io.Discard) // runLoad reports errors
	flags.Usage = func() {}
	addHeader := func(header http.Header) func(string) error {
		return func(line string) error {
			name, value, found := strings.Cut(line, ":")
			name = strings.TrimSpace(name)
			p.common.badHeader = p.common.badHeader || !found || !isHeader(name, value)
			header.Add(name, strings.TrimSpace(value))
			return nil
		}
	}
	flags.IntVar(&p.cfg.Streams, "streams", 100, "open this `number` of streams")
	flags.Float64Var(&p.cfg.Rate, "rate", 500, "open this `number` of streams per second")
	flags.DurationVar(&p.cfg.For, "for", 0, "end after this `time` with all streams open; the default is 30s, or no limit with -events")
	flags.IntVar(&p.cfg.Events, "events", 0, "end after this `number` of events: sent with -send-url, otherwise received by each stream")
	flags.DurationVar(&p.cfg.Settle, "settle", 10*time.Second, "at the end, wait until no event has arrived for this `time` before events count as missing")
	flags.Func("H", "send this `header` with the requests of the streams, as in 'Name: value'; may be repeated", addHeader(p.common.header))
	flags.StringVar(&p.tokenFile, "token-file", "", "send 'Authorization: Bearer TOKEN' with a token of this `file`")
	flags.StringVar(&p.send.URL, "send-url", "", "send events by a POST to this `URL`")
	flags.StringVar(&p.send.Body, "body", `{"text":"{{.Mark}}"}`, "the `text` of the POST")
	flags.Float64Var(&p.send.Rate, "send-rate", 10, "send this `number` of events per second")
	flags.IntVar(&p.send.Parallel, "send-parallel", 1, "send this `number` of events at the same time; they may then arrive in any order")
	flags.StringVar(&p.send.Type, "send-type", "", "look for {{.Mark}} only in events of this `type`, if a POST makes several events that contain it; the default is any type")
	flags.Func("send-H", "send this `header` with each POST; may be repeated; the default Content-Type is application/json if the body is JSON", addHeader(p.sendHeader))
	flags.BoolVar(&p.json, "json", false, "print the report as a JSON object")
	flags.BoolVar(&p.common.insecure, "k", false, "accept any certificate of the server; others on the network can then read what is sent")
	flags.StringVar(&p.common.caFile, "cacert", "", "accept only certificates that are signed by those in this PEM `file`")
	flags.StringVar(&p.common.unixSocket, "unix-socket", "", "connect to the Unix socket at this `path` instead of the hosts of the URLs")
}

// isHeader reports whether a header is one that can be sent (RFC 9110, section 5).
func isHeader(name, value string) bool {
	isControl := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F }
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7F || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) && !strings.ContainsFunc(value, isControl)
}

// spareFiles is how many descriptors are for other things than streams.
const spareFiles = 50

// check validates the flags.
func (p *loadParser) check() error {
	cfg, send := &p.cfg, &p.send
	switch {
	case p.common.badHeader:
		return errors.New("a -H or -send-H is not of the form 'Name: value'")
	case p.common.header.Get("Last-Event-ID") != "":
		return errors.New("-H cannot set Last-Event-ID, which the streams keep themselves")
	case cfg.Streams < 1:
		return fmt.Errorf("-streams is %d; it must be at least 1", cfg.Streams)
	case !(cfg.Rate > 0): // also not a number
		return fmt.Errorf("-rate is %v; it must be more than 0", cfg.Rate)
	case cfg.For < 0 || cfg.Events < 0 || cfg.Settle < 0:
		return errors.New("-for, -events and -settle cannot be negative")
	case !(send.Rate > 0) || send.Parallel < 1 || send.Parallel > 1000:
		return errors.New("-send-rate must be more than 0, and -send-parallel from 1 to 1000")
	}
	if limit, ok := loadtest.OpenFiles(); ok && uint64(cfg.Streams)+uint64(send.Parallel)+spareFiles > limit {
		return fmt.Errorf("-streams is %d, but this process may have %d files open, %d of them for other things; raise the limit: ulimit -n %d, or LimitNOFILE or --ulimit of its service or container; or use several machines",
			cfg.Streams, limit, spareFiles+send.Parallel, cfg.Streams+send.Parallel+spareFiles)
	}
	if cfg.For == 0 && cfg.Events == 0 {
		cfg.For = 30 * time.Second
	}
	return nil
}

// target applies what is about the streams.
func (p *loadParser) target(rawURL string, getenv func(string) string) (err error) {
	header := p.common.header
	_, authorized := header["Authorization"]
	if p.tokenFile != "" {
		if authorized {
			return errors.New("there are both -token-file and an Authorization in -H")
		}
		if p.cfg.Users, err = readUsers(p.tokenFile); err != nil {
			return err
		}
	} else if token := getenv("SSECAT_TOKEN"); token != "" && !authorized {
		header.Set("Authorization", "Bearer "+token)
	}
	if p.cfg.URL, err = p.parseURL(rawURL, len(p.cfg.Users) > 0); err != nil {
		return err
	}
	if user := p.cfg.URL.User; user != nil {
		if password, _ := user.Password(); header.Get("Authorization") == "" {
			request := http.Request{Header: header}
			request.SetBasicAuth(user.Username(), password)
		}
		p.cfg.URL.User = nil
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "ssecat/"+version())
	}
	p.cfg.Header = header
	transport, err := p.common.transport()
	if err != nil {
		return err
	}
	transport.Proxy = nil // the load is for the named hosts only
	p.cfg.TLS, p.cfg.Dial = transport.TLSClientConfig, (&net.Dialer{}).DialContext
	if p.common.unixSocket != "" {
		p.cfg.Dial = transport.DialContext
	}
	transport.MaxIdleConnsPerHost = p.send.Parallel
	p.send.Client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return nil
}

// parseURL returns a URL, whose errors do not quote it. A URL without a scheme is an http URL.
func (p *loadParser) parseURL(rawURL string, hasTokens bool) (*url.URL, error) {
	if !hasScheme.MatchString(rawURL) {
		rawURL = "http://" + rawURL
		if u, err := url.Parse(rawURL); err == nil && hasTokens && p.common.unixSocket == "" && !isLoopback(u.Hostname()) {
			return nil, errors.New("the tokens would be sent in clear; put https:// in front of the URL, or http:// if you mean that")
		}
		if err := p.common.checkDefaultScheme(rawURL); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || !webScheme.MatchString(u.Scheme) {
		return nil, errors.New("the URL is not an absolute http or https URL")
	}
	return u, nil
}

var webScheme = regexp.MustCompile(`^https?$`)

// sending applies what is about the events to send.
func (p *loadParser) sending(getenv func(string) string) error {
	send := &p.send
	if send.URL == "" {
		for _, name := range []string{"body", "send-rate", "send-parallel", "send-type", "send-H"} {
			if p.set[name] {
				return fmt.Errorf("-%s has no effect without -send-url", name)
			}
		}
		return nil
	}
	if token := getenv("SSECAT_SEND_TOKEN"); token != "" && p.sendHeader.Get("Authorization") == "" {
		p.sendHeader.Set("Authorization", "Bearer "+token)
	}
	// The placeholders are no valid URL.
	example := strings.NewReplacer(loadtest.PlaceholderUser, "user", loadtest.PlaceholderNumber, "0", loadtest.PlaceholderMark, "0", loadtest.PlaceholderTime, "0")
	common := p.common
	common.header = p.sendHeader
	if _, err := (&loadParser{common: common}).parseURL(example.Replace(send.URL), false); err != nil {
		return fmt.Errorf("-send-url: %w", err)
	}
	if !hasScheme.MatchString(send.URL) {
		send.URL = "http://" + send.URL
	}
	switch {
	case !strings.Contains(send.Body, loadtest.PlaceholderMark) && !strings.Contains(send.URL, loadtest.PlaceholderMark):
		return fmt.Errorf("neither -body nor -send-url contains %s, by which events are found", loadtest.PlaceholderMark)
	case send.NamesUsers() && !slices.ContainsFunc(p.cfg.Users, func(u loadtest.User) bool { return u.Name != "" }):
		return fmt.Errorf("%s needs a -token-file with names", loadtest.PlaceholderUser)
	case p.sendHeader.Get("Content-Type") == "":
		p.sendHeader.Set("Content-Type", contentType([]byte(example.Replace(send.Body))))
	}
	send.Header = p.sendHeader
	p.cfg.Send = send
	return nil
}

// readUsers reads a file with a token on each line and, after a space, the user's name.
func readUsers(name string) (users []loadtest.User, err error) {
	text, err := os.ReadFile(name) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("-token-file: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		token, user, _ := strings.Cut(strings.TrimSpace(line), " ")
		if token == "" {
			continue
		}
		if !isHeader("Authorization", token) {
			return nil, errors.New("-token-file: a token contains a control character")
		}
		users = append(users, loadtest.User{Token: token, Name: strings.TrimSpace(user)})
	}
	if len(users) == 0 {
		return nil, errors.New("-token-file: there is no token in the file")
	}
	return users, nil
}
