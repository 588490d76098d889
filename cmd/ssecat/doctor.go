package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ginsse/ginsse/client"
)

const doctorUsage = `usage: ssecat doctor [flags] URL

Says what is wrong between a page and the server of the event stream at URL: buffering, compression,
timeouts of proxies, headers, heartbeats, HTTP version, CORS, refusals, resuming. It prints a line
for each check: ok, warning or fault, and what was seen. Below it are the settings that help.

  ssecat doctor https://example.com/events
  ssecat doctor -for 2m -origin https://app.example.com https://example.com/events

It opens the stream up to four times, as the user of the credential. For a server that limits the
streams of a user, they count.

Exit status: 0 no faults; 1 faults; 2 usage; 130 interrupted.

`

// verdict is the outcome of a check.
type verdict int

const (
	fine verdict = iota
	warning
	fault
)

func (v verdict) String() string { return [...]string{"ok", "warning", "fault"}[v] }

// finding is what one check found.
type finding struct {
	check   string
	verdict verdict
	seen    string   // on one line; text from the server is quoted
	do      []advice // empty if fine
}

// add appends another observation to a finding. The worst verdict counts.
func (f *finding) add(v verdict, seen string, do ...advice) {
	if f.seen != "" {
		f.seen += "; "
	}
	f.seen += seen
	f.verdict = max(f.verdict, v)
	f.do = append(f.do, do...)
}

// doctor examines the stream of one URL.
type doctor struct {
	settings

	watchTime time.Duration
	patience  time.Duration // for the first byte of a stream
	origin    string        // of -origin; "" if CORS is not checked
	url       *url.URL
	secret    bool // the requests carry a credential in a header or in the URL's user info

	uncompressed bool // requests ask for no compression, because the stream cannot be read with it

	transport  *http.Transport
	proxies    map[proxy]bool // those that responses have named
	streamTook time.Duration  // the shortest time to the header of a stream; 0 if there was none
	otherTook  time.Duration  // the same for other responses
	findings   []finding
}

// maxPatience is how long the doctor waits for a response, and for the first byte of a stream unless
// -for is less.
const maxPatience = 10 * time.Second

// runDoctor runs ssecat doctor.
func runDoctor(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	report := func(text string) { _, _ = fmt.Fprintf(stderr, "ssecat: %s\n", text) }
	d, err := parseDoctor(args, getenv, stdout)
	if errors.Is(err, errAnswered) {
		return 0
	}
	if err == nil {
		d.transport, err = d.settings.transport()
	}
	if err != nil {
		report(plain(err) + "; ssecat doctor -h lists the flags")
		return exitUsage
	}
	if isTerminal(stderr) {
		report(fmt.Sprintf("watching the stream for %v", d.watchTime))
	}
	d.examine(ctx)
	d.transport.CloseIdleConnections()
	if ctx.Err() != nil {
		return exitInterrupted
	}
	worst, err := d.print(stdout)
	switch {
	case err != nil:
		report(plain(err))
		return exitFailed
	case worst == fault:
		return exitFailed
	}
	return 0
}

func parseDoctor(args []string, getenv func(string) string, stdout io.Writer) (*doctor, error) {
	p := &parser{flags: flag.NewFlagSet("ssecat doctor", flag.ContinueOnError), header: make(http.Header)}
	d := new(doctor)
	p.defineConnection()
	p.flags.DurationVar(&d.watchTime, "for", 30*time.Second, "watch the stream for this `time`; a limit of a proxy shows only within it")
	p.flags.StringVar(&d.origin, "origin", "", "also check whether pages of this `origin`, such as https://app.example.com, may read the stream (CORS)")
	p.flags.BoolVar(&p.json, "json", false, "print each check as a JSON object on one line")
	urls, err := p.read(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, doctorUsage)
		p.flags.SetOutput(stdout)
		p.flags.PrintDefaults()
		return nil, errAnswered
	case err != nil:
		return nil, err
	case d.watchTime < 100*time.Millisecond:
		return nil, fmt.Errorf("-for is %v; it must be at least 100ms", d.watchTime)
	}
	if err := checkOrigin(d.origin); err != nil {
		return nil, err
	}
	if err := p.check(urls); err != nil {
		return nil, err
	}
	if urls[0] == "-" {
		return nil, errors.New("the doctor needs a URL, not standard input")
	}
	if err := p.request(urls[0], getenv); err != nil {
		return nil, err
	}
	if _, err := client.New(p.client); err != nil { // checks the URL and the header
		return nil, err
	}
	d.settings = p.settings
	if d.url, err = url.Parse(d.client.URL); err != nil {
		return nil, errors.New("the URL is invalid") // the error would quote it
	}
	d.patience = min(d.watchTime, maxPatience)
	d.secret = d.url.User != nil
	for name := range d.client.Header {
		d.secret = d.secret || mayBeSecret(name)
	}
	return d, nil
}

// checkOrigin validates -origin.
func checkOrigin(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || origin(u) != text {
		return errors.New("-origin is not an origin as browsers send it, such as https://app.example.com: without a path, and without the default port")
	}
	return nil
}

// examine makes all checks.
func (d *doctor) examine(ctx context.Context) {
	d.proxies = make(map[proxy]bool)
	probe := d.probe(ctx)
	w := d.watch(ctx)
	if d.checkResponse(w, probe) {
		d.checkBuffering(w)
		d.checkCompression(w)
		d.checkHeaders(w)
		d.checkHeartbeats(w)
		d.checkEnd(w)
		d.checkResuming(ctx, w)
	}
	d.checkHTTP(w, probe)
	d.checkRefusal(ctx)
	if d.origin != "" {
		d.checkOriginOf(ctx, w)
		d.checkPreflight(probe)
	}
	if w.isStream() {
		d.checkDelay()
	}
}

// report records what a check found.
func (d *doctor) report(f finding) { d.findings = append(d.findings, f) }

// print prints the findings, and returns the worst verdict. It has a proxy named by a response name
// only the settings of that proxy.
func (d *doctor) print(w io.Writer) (worst verdict, err error) {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, f := range d.findings {
		worst = max(worst, f.verdict)
		seen, do := shortened(strings.ReplaceAll(visible(f.seen), "\n", " ")), d.choose(f.do)
		if d.json() {
			err = errors.Join(err, encoder.Encode(struct {
				Check   string   `json:"check"`
				Verdict string   `json:"verdict"`
				Seen    string   `json:"seen"`
				Do      []string `json:"do,omitempty"`
			}{f.check, f.verdict.String(), seen, do}))
			continue
		}
		var text strings.Builder
		fmt.Fprintf(&text, "%-7s  %s: %s\n", f.verdict, f.check, seen)
		for _, line := range do {
			text.WriteString("         - " + line + "\n")
		}
		_, printError := io.WriteString(w, text.String())
		err = errors.Join(err, printError)
	}
	return worst, err
}

// shortened bounds the text of a finding: a server may redirect to an address of megabytes.
func shortened(seen string) string {
	const most = 1000
	if len(seen) <= most {
		return seen
	}
	return strings.ToValidUTF8(seen[:most], "") + "…"
}

func (d *doctor) json() bool { return d.form == formJSON }
