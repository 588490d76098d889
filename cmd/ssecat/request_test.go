package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// received is a request as the server received it.
type received struct{ method, contentType, lastEventID, body string }

// newRecorder serves answer for each request, and returns the requests so far.
func newRecorder(t *testing.T, answer http.HandlerFunc) (url string, requests func() []received) {
	t.Helper()
	var mu sync.Mutex
	var all []received
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		all = append(all, received{r.Method, r.Header.Get("Content-Type"), r.Header.Get("Last-Event-ID"), string(body)})
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []received {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// refusing is an address without a listener. No test can listen on it.
const refusing = "127.0.0.1:1"

func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, text)
		http.NewResponseController(w).Flush()
	}
}

// writeFile returns the path of a new file.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSendsABody(t *testing.T) {
	t.Parallel()
	const form, object = "application/x-www-form-urlencoded", "application/json"
	file := writeFile(t, "{\n\"stream\": true\n}\n")
	for _, test := range []struct {
		name, stdin string
		args        []string
		want        received
	}{
		{"form", "", []string{"-d", "a=b"}, received{"POST", form, "", "a=b"}},
		{"json", "", []string{"-d", ` {"stream": true}`}, received{"POST", object, "", ` {"stream": true}`}},
		{"json_array", "", []string{"-d", `[1]`}, received{"POST", object, "", `[1]`}},
		{"json_but_no_object", "", []string{"-d", `1`}, received{"POST", form, "", `1`}},
		{"half_an_object", "", []string{"-d", `{"stream":`}, received{"POST", form, "", `{"stream":`}},
		{"empty", "", []string{"-d", ""}, received{"POST", form, "", ""}},
		{"file", "", []string{"-d", "@" + file}, received{"POST", object, "", "{\n\"stream\": true\n}\n"}},
		{"standard_input", "from a pipe\n", []string{"-d", "@-"}, received{"POST", form, "", "from a pipe\n"}},
		{"standard_input_for_short", "from a pipe\n", []string{"-d", "-"}, received{"POST", form, "", "from a pipe\n"}},
		{"several", "c=d", []string{"-d", "a=b", "-d", "-"}, received{"POST", form, "", "a=b&c=d"}},
		{"raw_file", "", []string{"-data-raw", "@" + file}, received{"POST", form, "", "@" + file}},
		{"raw_standard_input", "secret", []string{"-data-raw", "@-"}, received{"POST", form, "", "@-"}},
		{"raw_standard_input_for_short", "secret", []string{"--data-raw", "-"}, received{"POST", form, "", "-"}},
		{"raw_that_looks_like_a_flag", "", []string{"-data-raw", "-data"}, received{"POST", form, "", "-data"}},
		{"raw_json", "", []string{"-data-raw", "{}"}, received{"POST", object, "", "{}"}},
		{"raw_empty", "", []string{"-data-raw="}, received{"POST", form, "", ""}},
		{"raw_beside_others", "from a pipe", []string{"-d", "-", "-data-raw", "@a", "-d", "b"}, received{"POST", form, "", "from a pipe&@a&b"}},
		{"content_type", "", []string{"-d", "{}", "-H", "content-type: text/plain"}, received{"POST", "text/plain", "", "{}"}},
		{"method", "", []string{"-X", "PUT", "-d", "{}"}, received{"PUT", object, "", "{}"}},
		{"get_with_a_body", "", []string{"-X", "GET", "-d", "{}"}, received{"GET", object, "", "{}"}},
		{"method_alone", "", []string{"-X", "POST"}, received{"POST", "", "", ""}},
		{"resume", "", []string{"-d", "{}", "-resume", "41"}, received{"POST", object, "41", "{}"}},
		{"plain_get", "", []string{"-X", "GET", "-once"}, received{"GET", "", "", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, requests := newRecorder(t, answer("data: a\n\n"))
			got := ssecatWith(t.Context(), strings.NewReader(test.stdin), nil, append(test.args, url)...)
			if got != (result{stdout: "data: a\n\n"}) {
				t.Errorf("got %+v", got)
			}
			if all := requests(); len(all) != 1 || all[0] != test.want {
				t.Errorf("the server received %q, want %q", all, test.want)
			}
		})
	}
}

// A POST has effects, so it must not be repeated because its stream has ended.
func TestRequestWithABodyIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		answer     http.HandlerFunc
		code       int
		wantStderr string
	}{
		{"clean_end", answer("data: a\n\n"), 0, ""},
		{"no_events", answer(""), 0, ""},
		{"reconnect", answer("retry: 1\nevent: sse.reconnect\ndata: {\"reason\":\"shutdown\",\"retry\":1}\n\n"), 0, ""},
		{"dropped", func(w http.ResponseWriter, r *http.Request) {
			answer("data: a\n\ndata: ha")(w, r)
			panic(http.ErrAbortHandler)
		}, exitFailed, "unexpected EOF; the request is not repeated"},
		{"refused", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusServiceUnavailable) }, exitRefused, `503 Service Unavailable: "busy"`},
		{"no_event_stream", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, exitRefused, "text/html"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, requests := newRecorder(t, test.answer)
			got := ssecat(t.Context(), nil, "-d", "{}", url)
			if got.code != test.code || !strings.Contains(got.stderr, test.wantStderr) || (test.wantStderr == "") != (got.stderr == "") {
				t.Errorf("got %+v", got)
			}
			if n := len(requests()); n != 1 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}

func TestOnceFalseRepeatsARequestWithABody(t *testing.T) {
	t.Parallel()
	n := 0
	url, requests := newRecorder(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		answer(fmt.Sprintf("retry: 1\ndata: %d\nid: %[1]d\n\n", n))(w, r)
	})
	got := ssecat(t.Context(), nil, "-once=false", "-attempts", "9", "-data", "-n", "3", "-d", "{}", url)
	if got.code != 0 || got.stdout != "1\n2\n3\n" {
		t.Errorf("got %+v", got)
	}
	want := []received{{"POST", "application/json", "", "{}"}, {"POST", "application/json", "1", "{}"}, {"POST", "application/json", "2", "{}"}}
	if all := requests(); !slices.Equal(all, want) {
		t.Errorf("the server received %q", all)
	}
}

// The stream has the form of OpenAI's API.
func TestReadsTheResponseOfAModel(t *testing.T) {
	t.Parallel()
	url, requests := newRecorder(t, answer("data: {\"delta\":\"Forty\"}\n\ndata: {\"delta\":\"-two\"}\n\ndata: [DONE]\n\n"))
	got := ssecat(t.Context(), map[string]string{"SSECAT_TOKEN": "k"}, "-data", url+"/v1/chat/completions", "-d", `{"model":"m","stream":true}`)
	if got != (result{stdout: "{\"delta\":\"Forty\"}\n{\"delta\":\"-two\"}\n[DONE]\n"}) || len(requests()) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestURLWithoutASchemeIsHTTP(t *testing.T) {
	t.Parallel()
	url, last := newServer(t, sampleStream)
	_, address, _ := strings.Cut(url, "://")
	got := ssecat(t.Context(), nil, "-once", "-token", "secret", "-n", "1", address+"/events?from=http://example.com")
	if got.code != 0 || got.stdout == "" || last.URL.Path != "/events" || last.Header.Get("Authorization") == "" {
		t.Errorf("got %+v", got)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(answer("data: a\n\n"))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	own := writeFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	for _, test := range []struct {
		name       string
		args       []string
		code       int
		wantStderr string
	}{
		{"unknown_authority", nil, exitFailed, "certificate"},
		{"insecure", []string{"-k"}, 0, "< HTTP/2.0 200 OK"},
		{"own_authority", []string{"-cacert", own}, 0, "< HTTP/2.0 200 OK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ssecat(t.Context(), nil, append(test.args, "-once", "-i", server.URL)...)
			if got.code != test.code || !strings.Contains(got.stderr, test.wantStderr) || (got.stdout == "data: a\n\n") != (test.code == 0) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Skip("no Unix sockets here:", err)
	}
	host := ""
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host = r.Host + r.URL.Path
		answer("data: a\n\n")(w, r)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	// A token may be sent without a scheme, because it does not leave the machine.
	got := ssecat(t.Context(), map[string]string{"SSECAT_TOKEN": "secret"}, "-once", "-unix-socket", path, "example.com/events")
	if got != (result{stdout: "data: a\n\n"}) || host != "example.com/events" {
		t.Errorf("got %+v at %s", got, host)
	}
	if got := ssecat(t.Context(), nil, "-once", "-unix-socket", path+"s", "localhost"); got.code != exitFailed || !strings.Contains(got.stderr, "no such file") {
		t.Errorf("got %+v", got)
	}
}

func TestReadsStandardInput(t *testing.T) {
	t.Parallel()
	const stream = sampleStream + "\n\nevent: sse.heartbeat\ndata:\nid: 3\n\nevent: sse.gap\ndata: {\"reason\":\"trimmed\"}\n\ndata: last\n\n"
	for _, test := range []struct {
		name string
		args []string
		want result
	}{
		{"all", []string{"-data"}, result{stdout: "hello\n{\"a\": \"<b>\",\n\"c\": 1}\n\nincomplete\n{\"reason\":\"trimmed\"}\nlast\n"}},
		{"some", []string{"-type", "message", "-json", "-n", "1"}, result{stdout: `{"event":"message","data":"hello","lastEventId":"1"}` + "\n"}},
		{"heartbeats", []string{"-type", "sse.heartbeat"}, result{stdout: "event: sse.heartbeat\ndata: \nid: 3\n\n", stderr: "ssecat: events may be missing: \"{\\\"reason\\\":\\\"trimmed\\\"}\"\n"}},
		{"too_few", []string{"-type", "empty", "-n", "2", "-data"}, result{exitOver, "\n", "ssecat: events may be missing: \"{\\\"reason\\\":\\\"trimmed\\\"}\"\nssecat: the stream has ended after 1 of 2 events\n"}},
		{"too_large", []string{"-max", "3"}, result{code: exitFailed, stderr: "ssecat: event is larger than 3 bytes\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ssecatWith(t.Context(), strings.NewReader(stream), map[string]string{"SSECAT_TOKEN": "secret"}, append(test.args, "-")...)
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// A read of a pipe does not end with the context.
func TestInterruptEndsTheReadingOfStandardInput(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"stream": {"-"},
		"body":   {"-d", "-", "http://" + refusing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			read, write := io.Pipe()
			defer write.Close()
			go func() {
				io.WriteString(write, "data: a\n\n")
				io.WriteString(write, "data: half") // the first event has been read when this returns
				interrupt()
			}()
			if got := ssecatWith(ctx, read, nil, args...); got.code != exitInterrupted || got.stderr != "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}
