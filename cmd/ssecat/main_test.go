package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/ssetest"
)

// result is the outcome of one run of the command.
type result struct {
	code           int
	stdout, stderr string
}

func ssecat(ctx context.Context, env map[string]string, args ...string) result {
	return ssecatWith(ctx, strings.NewReader(""), env, args...)
}

func ssecatWith(ctx context.Context, stdin io.Reader, env map[string]string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, func(name string) string { return env[name] }, stdin, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// newServer serves one stream, and records the last request.
func newServer(t *testing.T, stream string) (url string, last *http.Request) {
	t.Helper()
	last = new(http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = *r.Clone(context.Background())
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, stream)
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

const sampleStream = "id: 1\ndata: hello\n\n" +
	": a comment\n\n" +
	"event: comment\ndata: {\"a\": \"<b>\",\ndata: \"c\": 1}\n\n" +
	"event: empty\ndata:\nid: 2\n\n" +
	"data: incomplete"

func TestPrintsEventsAsAnEventStream(t *testing.T) {
	t.Parallel()
	url, _ := newServer(t, sampleStream)
	got := ssecat(t.Context(), nil, "-once", url)
	const want = "data: hello\nid: 1\n\n" +
		"event: comment\ndata: {\"a\": \"<b>\",\ndata: \"c\": 1}\n\n" +
		"event: empty\ndata: \nid: 2\n\n"
	if got != (result{stdout: want}) {
		t.Errorf("got %+v", got)
	}
	// The output decodes to the same events as the input.
	if read, printed := ssetest.Parse([]byte(sampleStream)), ssetest.Parse([]byte(got.stdout)); fmt.Sprint(read) != fmt.Sprint(printed) {
		t.Errorf("read %v, printed %v", read, printed)
	}
}

func TestPrintsObjects(t *testing.T) {
	t.Parallel()
	url, _ := newServer(t, sampleStream)
	got := ssecat(t.Context(), nil, "-json", "-once", url)
	const want = `{"event":"message","data":"hello","lastEventId":"1"}` + "\n" +
		`{"event":"comment","data":"{\"a\": \"<b>\",\n\"c\": 1}","lastEventId":"1"}` + "\n" +
		`{"event":"empty","data":"","lastEventId":"2"}` + "\n"
	if got != (result{stdout: want}) {
		t.Errorf("got %+v", got)
	}
}

func TestFiltersAndCountsEvents(t *testing.T) {
	t.Parallel()
	url, _ := newServer(t, sampleStream)
	got := ssecat(t.Context(), nil, url, "-type", "comment", "-type", "empty", "-n", "1", "-json") // flags may come last
	if got.code != 0 || strings.Count(got.stdout, "\n") != 1 || !strings.Contains(got.stdout, `"comment"`) {
		t.Errorf("got %+v", got)
	}
	got = ssecat(t.Context(), nil, "-once", "-n", "7", url)
	if got.code != exitOver || !strings.Contains(got.stderr, "after 3 of 7 events") {
		t.Errorf("got %+v", got)
	}
}

func TestSendsTheRequestOfTheFlags(t *testing.T) {
	t.Parallel()
	url, last := newServer(t, "")
	got := ssecat(t.Context(), nil, "-once", "-token", "secret", "-resume", "41", "-H", "X-One: 1", "-H", "X-One:2", "-H", "Cookie: a=b; c=d", url)
	if got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	for name, want := range map[string][]string{
		"Authorization": {"Bearer secret"}, "Last-Event-Id": {"41"}, "X-One": {"1", "2"}, "Cookie": {"a=b; c=d"}, "Accept": {"text/event-stream"},
	} {
		if !slices.Equal(last.Header[name], want) {
			t.Errorf("%s is %q", name, last.Header[name])
		}
	}
	ssecat(t.Context(), map[string]string{"SSECAT_TOKEN": "from outside"}, "-once", url)
	if got := last.Header.Get("Authorization"); got != "Bearer from outside" {
		t.Errorf("Authorization is %q", got)
	}
	ssecat(t.Context(), map[string]string{"SSECAT_TOKEN": "from outside"}, "-once", "-H", "Authorization: Basic mine", url)
	if got := last.Header.Get("Authorization"); got != "Basic mine" {
		t.Errorf("Authorization is %q", got)
	}
}

func TestReportsWhyItEnds(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/401", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "who are you?", http.StatusUnauthorized)
	})
	mux.HandleFunc("/204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/html", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") })
	mux.HandleFunc("/close", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: sse.close\ndata: {\"reason\":\"signed out\"}\n\n")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for name, test := range map[string]struct {
		args       []string
		code       int
		wantStderr string
	}{
		"status":          {[]string{server.URL + "/401?token=secret"}, exitRefused, `401 Unauthorized: "who are you?"`},
		"no_event_stream": {[]string{server.URL + "/html?token=secret"}, exitRefused, "text/html"},
		"no_content":      {[]string{server.URL + "/204?token=secret"}, exitOver, "204"},
		"closed":          {[]string{server.URL + "/close?token=secret"}, exitOver, "signed out"},
		"unreachable":     {[]string{"-once", "http://" + refusing + "/events?token=secret"}, exitFailed, "connection refused"},
		"no_url":          {nil, exitUsage, "0 URLs"},
		"two_urls":        {[]string{"http://a", "http://b"}, exitUsage, "2 URLs"},
		"empty_url":       {[]string{""}, exitUsage, "URL is not an absolute http or https URL"},
		"path":            {[]string{"/events?token=secret"}, exitUsage, "URL is not an absolute http or https URL"},
		"not_http":        {[]string{"ftp://localhost/events?token=secret"}, exitUsage, "URL is not an absolute http or https URL"},
		"two_tokens":      {[]string{"-token", "secret", "-H", "authorization: secret", "http://a"}, exitUsage, "-token and an Authorization"},
		"unknown_flag":    {[]string{"-nonsense", "http://a"}, exitUsage, "-nonsense"},
		"bad_header":      {[]string{"-H", "Authorization secret", "http://a"}, exitUsage, "Name: value"},
		"bad_count":       {[]string{"-n", "-1", "http://a"}, exitUsage, "-n is -1"},
		"empty_type":      {[]string{"-type", "", "http://a"}, exitUsage, "message"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ssecat(t.Context(), nil, test.args...)
			if got.code != test.code || !strings.Contains(got.stderr, test.wantStderr) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("got %+v", got)
			}
			if strings.Contains(got.stderr, "secret") {
				t.Errorf("standard error contains a secret: %s", got.stderr)
			}
		})
	}
	if got := ssecat(t.Context(), nil, "-h"); got.code != 0 || got.stderr != "" || !strings.Contains(got.stdout, "usage: ssecat [flags] URL") || !strings.Contains(got.stdout, "-resume") {
		t.Errorf("-h: %+v", got)
	}
}

func TestReconnectsAndResumesUntilInterrupted(t *testing.T) {
	t.Parallel()
	var asked []string
	ctx, interrupt := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		if len(asked) == 3 {
			interrupt()
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "retry: 1\ndata: %d\nid: %[1]d\n\n", len(asked))
	}))
	t.Cleanup(server.Close)
	got := ssecat(ctx, nil, server.URL)
	if got.code != exitInterrupted || got.stdout != "data: 1\nid: 1\n\ndata: 2\nid: 2\n\n" {
		t.Errorf("got %+v", got)
	}
	if want := []string{"", "1", "2"}; !slices.Equal(asked, want) {
		t.Errorf("asked after %q", asked)
	}
	if !strings.Contains(got.stderr, "ssecat: the stream has ended; reconnecting in ") {
		t.Errorf("it said %s", got.stderr)
	}
}

func TestRetriesTemporaryStatuses(t *testing.T) {
	t.Parallel()
	first := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if first {
			first = false
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, sampleStream)
	}))
	t.Cleanup(server.Close)
	if got := ssecat(t.Context(), nil, "-retry", "-n", "1", server.URL); got.code != 0 || got.stdout == "" || !strings.Contains(got.stderr, "503") {
		t.Errorf("got %+v", got)
	}
}

// With -type, sse.gap is not printed but reported.
func TestReportsThatEventsMayBeMissing(t *testing.T) {
	t.Parallel()
	url, _ := newServer(t, "event: sse.gap\ndata: {\"reason\":\"trimmed\"}\n\nevent: comment\ndata: a\n\n")
	got := ssecat(t.Context(), nil, "-once", "-type", "comment", url)
	if got.stdout != "event: comment\ndata: a\n\n" || !strings.Contains(got.stderr, "events may be missing") || !strings.Contains(got.stderr, "trimmed") {
		t.Errorf("got %+v", got)
	}
}

func TestTerminalOutputHasNoControlCharacters(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &printer{w: &out, terminal: true}
	if err := p.print(client.Event{Type: "message", Data: "tab\tand \x1b]0;owned\a\u009b1m\u202e\nline"}); err != nil {
		t.Fatal(err)
	}
	if want := "data: tab\tand \\u001b]0;owned\\u0007\\u009b1m\\u202e\ndata: line\n\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	p.form = formJSON
	if err := p.print(client.Event{Data: "\x7f"}); err != nil || !strings.Contains(out.String(), `"\u007f"`) {
		t.Errorf("%v, %s", err, out.String())
	}
	if isTerminal(&out) {
		t.Error("a buffer is a terminal")
	}
}

// The bytes 0x80 to 0x9f are controls to a terminal without UTF-8. The characters U+0080 to U+009F
// are controls to one with UTF-8.
func TestC1ControlsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"byte", "a\x9b31mb", "a\ufffd31mb"},
		{"byte_at_the_end", "\x9b", "\ufffd"},
		{"byte_after_a_control", "\x1b\x9bb", `\u001b` + "\ufffdb"},
		{"half_a_character", "a\xc2", "a\ufffd"},
		{"overlong", "\xc1\x9bb", "\ufffdb"},
		{"first_character", "a\u0080b", `a\u0080b`},
		{"last_character", "a\u009fb", `a\u009fb`},
		{"letter_with_such_a_byte", "\u00db\u4e9b", "\u00db\u4e9b"}, // its UTF-8 contains 0x9b
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := visible(test.text); got != test.want {
				t.Errorf("visible(%q) is %q, want %q", test.text, got, test.want)
			}
			// Events, headers and errors can reach a terminal.
			var out bytes.Buffer
			p := &printer{w: &out, form: formData, terminal: true}
			if err := p.print(client.Event{Data: test.text}); err != nil || out.String() != test.want+"\n" {
				t.Errorf("%v; it prints %q", err, out.String())
			}
			out.Reset()
			(&tracer{w: &out}).show("< ", "HTTP/1.1 200 "+test.text, "", http.Header{"Server": {test.text}})
			if want := "< HTTP/1.1 200 " + test.want + "\n< Server: " + test.want + "\n< \n"; out.String() != want {
				t.Errorf("it shows %q, want %q", out.String(), want)
			}
			if got := plain(errors.New(test.text)); got != test.want {
				t.Errorf("it wantStderr %q", got)
			}
		})
	}
}

func TestReportsThatItCannotWrite(t *testing.T) {
	t.Parallel()
	url, _ := newServer(t, sampleStream)
	read, write := io.Pipe()
	read.Close()
	var stderr bytes.Buffer
	code := run(t.Context(), []string{url}, func(string) string { return "" }, strings.NewReader(""), write, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "closed pipe") {
		t.Errorf("%d: %s", code, stderr.String())
	}
}

// A server of the kit ends the stream when the token expires, and resumes a later one.
func TestReadsTheKitsStreams(t *testing.T) {
	t.Parallel()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(auth), registry.Handler())
	server := httptest.NewServer(engine)
	t.Cleanup(server.Close)
	t.Cleanup(registry.Close)

	first := ssecat(t.Context(), nil, "-H", "X-User: alice", "-n", "1", "-json", server.URL+"/events")
	if first.code != 0 || !strings.Contains(first.stdout, `"event":"sse.open"`) {
		t.Fatalf("got %+v", first)
	}
	_, id, _ := strings.Cut(first.stdout, `"lastEventId":"`)
	id, _, _ = strings.Cut(id, `"`)
	for _, text := range []string{"one", "two"} {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "comment", Data: text}); err != nil {
			t.Fatal(err)
		}
	}
	got := ssecat(t.Context(), nil, "-H", "X-User: alice", "-resume", id, "-type", "comment", "-n", "2", server.URL+"/events")
	if got.code != 0 || !strings.Contains(got.stdout, "event: comment\ndata: one\n") || !strings.Contains(got.stdout, "event: comment\ndata: two\n") {
		t.Errorf("got %+v", got)
	}
}
