package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

func TestRefusesInvalidArguments(t *testing.T) {
	t.Parallel()
	noPEM := writeFile(t, "secret")
	for _, test := range []struct {
		name       string
		args       []string
		wantStderr string
	}{
		{"last_event_id", []string{"-H", "last-event-id: secret", "http://a"}, "-resume ID"},
		{"empty_method", []string{"-X", "", "http://a"}, "-X"},
		{"bad_method", []string{"-X", "A B", "http://a"}, `-X: net/http: invalid method "A B"`},
		{"no_such_body", []string{"-d", "@/no/such/file", "http://a"}, "-d: open /no/such/file: no such file"},
		{"no_such_certificate", []string{"-cacert", "/no/such/file", "https://a"}, "-cacert: open /no/such/file: no such file"},
		{"no_certificate", []string{"-cacert", noPEM, "https://a"}, "no certificate in PEM"},
		{"two_forms", []string{"-json", "-data", "http://a"}, "-json and -data"},
		{"attempts_and_once", []string{"-attempts", "2", "-once", "http://a"}, "which turns off reconnecting"},
		{"retry_and_once", []string{"-retry", "-once", "http://a"}, "which turns off reconnecting"},
		{"attempts_of_a_post", []string{"-attempts", "2", "-d", "secret", "http://a"}, "-once=false"},
		{"retry_of_a_put", []string{"-retry", "-X", "PUT", "http://a"}, "-once=false"},
		{"negative_attempts", []string{"-attempts", "-1", "http://a"}, "-attempts is -1"},
		{"header_value", []string{"-d", "{}", "-H", "X-A: secret\x01", "http://a"}, "X-A in Header contains a control character"},
		{"content_length", []string{"-d", "{}", "-H", "Content-Length: 7", "http://a"}, "Content-Length is in Header, where it has no effect"},
		{"token_in_clear", []string{"-token", "secret", "example.com/events"}, "Authorization would be sent in clear; put https:// in front"},
		{"header_in_clear", []string{"-once", "-connect-timeout", "1ms", "-H", "X-Pin: secret", "192.0.2.1/events"}, "X-Pin would be sent in clear"},
		{"cookie_in_clear", []string{"-H", "Cookie: a=secret", "10.0.0.1:8080/events"}, "Cookie would be sent in clear"},
		{"password_in_clear", []string{"user:secret@localhost.example.com"}, "the password in the URL would be sent in clear"},
		{"resume_of_input", []string{"-resume", "secret", "-"}, "-resume applies to requests, but - reads standard input"},
		{"body_of_input", []string{"-d", "secret", "-"}, "-d applies to requests"},
		{"raw_body_of_input", []string{"-data-raw", "secret", "-"}, "-data-raw applies to requests"},
		{"data_for_body", []string{"-data", "secret", "http://a"}, "-data takes no value, and -d or -data-raw sends data"},
		{"raw_without_text", []string{"-data-raw", "http://a"}, "0 URLs"},
		{"input_and_url", []string{"-", "http://a"}, "2 URLs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ssecat(t.Context(), nil, test.args...)
			if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, test.wantStderr) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("got %+v", got)
			}
			if strings.Contains(got.stderr, "secret") {
				t.Errorf("standard error contains a secret: %s", got.stderr)
			}
		})
	}
}

func TestPrintsItsVersion(t *testing.T) {
	t.Parallel()
	got := ssecat(t.Context(), nil, "-version")
	if got != (result{stdout: "ssecat " + version() + " " + runtime.Version() + "\n"}) {
		t.Errorf("got %+v", got)
	}
	url, last := newServer(t, "")
	for args, want := range map[string]string{"": "ssecat/" + version(), "User-Agent: mine/1": "mine/1"} {
		all := []string{"-once", url}
		if args != "" {
			all = append(all, "-H", args)
		}
		ssecat(t.Context(), nil, all...)
		if got := last.Header.Get("User-Agent"); got != want {
			t.Errorf("User-Agent is %q, want %q", got, want)
		}
	}
}

func TestEndsAfterAttempts(t *testing.T) {
	t.Parallel()
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "retry: 0\n\n")
	}))
	t.Cleanup(server.Close)
	got := ssecat(t.Context(), nil, "-attempts", "3", server.URL)
	if got.code != exitFailed || requests != 3 || !strings.Contains(got.stderr, "giving up after 3 consecutive attempts") {
		t.Errorf("got %+v after %d requests", got, requests)
	}
}

func TestRetriesAPageInsteadOfAStream(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string]result{
		"-retry":      {code: 0, stdout: "back\n", stderr: "text/html"},
		"-heartbeats": {code: exitRefused, stderr: "text/html"},
	} {
		first := true
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if first {
				first = false
				io.WriteString(w, "<html>")
				return
			}
			answer("data: back\n\n")(w, r)
		}))
		t.Cleanup(server.Close)
		got := ssecat(t.Context(), nil, flag, "-data", "-n", "1", server.URL)
		if got.code != want.code || got.stdout != want.stdout || !strings.Contains(got.stderr, want.stderr) {
			t.Errorf("%s: got %+v", flag, got)
		}
	}
}

func TestErrorTextNamesNoPackage(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(server.Close)
	got := ssecat(t.Context(), nil, "-retry", "-attempts", "1", server.URL)
	if want := "ssecat: giving up after 1 consecutive attempts that failed or lived less than 10s: status 502 Bad Gateway\n"; got != (result{code: exitRefused, stderr: want}) {
		t.Errorf("got %+v", got)
	}
}

func TestPrintsHeartbeatsOnRequest(t *testing.T) {
	t.Parallel()
	url, _ := newServer(t, "data: a\nid: 1\n\nevent: sse.heartbeat\ndata:\nid: 2\n\ndata: b\nid: 3\n\n")
	const a, heartbeat, b = "data: a\nid: 1\n\n", "event: sse.heartbeat\ndata: \nid: 2\n\n", "data: b\nid: 3\n\n"
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, a + b},
		{[]string{"-heartbeats"}, a + heartbeat + b},
		{[]string{"-type", "sse.heartbeat"}, heartbeat},
	} {
		if got := ssecat(t.Context(), nil, append(test.args, "-once", url)...); got != (result{stdout: test.want}) {
			t.Errorf("%v: got %+v", test.args, got)
		}
	}
}

func TestReportsThatTheServerAsksForAReconnect(t *testing.T) {
	t.Parallel()
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 1 {
			answer("retry: 20\nevent: sse.reconnect\ndata: {\"reason\":\"lifetime\",\"retry\":20}\n\n")(w, r)
			return
		}
		answer("event: sse.close\ndata: {\"reason\":\"signed out\"}\n\n")(w, r)
	}))
	t.Cleanup(server.Close)
	got := ssecat(t.Context(), nil, "-type", "n", server.URL)
	if got.code != exitOver || got.stdout != "" || !strings.Contains(got.stderr, `the server asked the client to reconnect: "lifetime"; reconnecting in `) || !strings.Contains(got.stderr, `closed the stream permanently: "signed out"`) {
		t.Errorf("got %+v", got)
	}
}
