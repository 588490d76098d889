package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// diagnosis is what the doctor printed, by check.
type diagnosis map[string]diagnosed

type diagnosed struct {
	Verdict string   `json:"verdict"`
	Seen    string   `json:"seen"`
	Do      []string `json:"do"`
}

// diagnose runs the doctor, and checks its exit status. The doctor watches a stream until the server ends
// it, or for a time in args.
func diagnose(t *testing.T, args ...string) diagnosis {
	t.Helper()
	got := ssecat(t.Context(), nil, append([]string{"doctor", "-json", "-for", "30s"}, args...)...)
	if got.stderr != "" {
		t.Errorf("standard error: %s", got.stderr)
	}
	found, want := make(diagnosis), 0
	for line := range strings.Lines(got.stdout) {
		var d struct {
			Check string `json:"check"`
			diagnosed
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		found[d.Check] = d.diagnosed
		if d.Verdict == "fault" {
			want = exitFailed
		}
	}
	if got.code != want {
		t.Errorf("the exit status is %d, want %d", got.code, want)
	}
	if strings.Contains(got.stdout+got.stderr, "secret") {
		t.Errorf("the output has a secret: %s", got.stdout)
	}
	return found
}

// expect is what a check must have found. Seen and Do contain texts.
type expect struct{ check, verdict, seen, do string }

func (found diagnosis) verify(t *testing.T, wanted ...expect) {
	t.Helper()
	for _, want := range wanted {
		got, is := found[want.check]
		if !is || got.Verdict != want.verdict || !strings.Contains(got.Seen, want.seen) || !strings.Contains(strings.Join(got.Do, "\n"), want.do) {
			t.Errorf("%s: got %+v, want %+v", want.check, got, want)
		}
	}
	if t.Failed() {
		for check, got := range found {
			t.Logf("%s %s: %s %q", got.Verdict, check, got.Seen, got.Do)
		}
	}
}

const page = "https://app.example"

const openBlock = "id: 1\nevent: sse.open\ndata: {\"stream\":\"a\",\"resumed\":false,\"heartbeat\":50}\n\n"

// untilItGivesUp is the -for of tests that wait until the doctor gives up. It is long enough for a busy
// machine to send what comes before that.
const untilItGivesUp = "3s"

// newPatient serves a handler, and returns the URL of a stream. OPTIONS is answered with 404.
func newPatient(t *testing.T, serve http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(withoutOptions(serve))
	t.Cleanup(server.Close)
	return server.URL + "/events"
}

func withoutOptions(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			http.NotFound(w, r)
			return
		}
		serve(w, r)
	}
}

// send sends the beginning of a stream. The headers may have been set.
func send(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, text)
	http.NewResponseController(w).Flush()
}

// hold keeps a stream open until its client has left.
func hold(r *http.Request) { <-r.Context().Done() }

// abort ends the connection within the response.
func abort() { panic(http.ErrAbortHandler) }

func TestDoctorVerdicts(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { send(w, openBlock) }))
	t.Cleanup(elsewhere.Close)
	status := func(status int, contentType string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
		}
	}
	// with sends a stream with headers.
	with := func(headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Add(headers[i], headers[i+1])
			}
			send(w, "id: 1\ndata: a\n\n")
		}
	}
	// again sends one stream to a request without last event ID, and another to one with.
	again := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Last-Event-ID") == "1" {
				send(w, text)
			} else {
				send(w, openBlock)
			}
		}
	}
	gaveUp := []string{"-for", untilItGivesUp}
	const (
		resumed    = "event: sse.open\ndata: {\"resumed\":true}\n\n"
		notResumed = "event: sse.open\ndata: {\"resumed\":false}\n\n"
	)
	for _, test := range []struct {
		name  string
		args  []string
		serve http.HandlerFunc
		want  expect
	}{
		{"not_found", nil, status(404, "text/html"), expect{"response", "fault", `status 404 "text/html"`, "check the path"}},
		{"unauthorized", nil, status(401, ""), expect{"response", "fault", "status 401", "check the credential"}},
		{"no_content", nil, status(204, ""), expect{"response", "fault", "status 204", "not to reconnect"}},
		{"too_many", nil, status(429, "text/plain"), expect{"response", "fault", "status 429", "a limit"}},
		{"bad_gateway", nil, status(502, "text/html"), expect{"response", "fault", "status 502", "does not reach the server"}},
		{"server_error", nil, status(500, "text/html"), expect{"response", "fault", "status 500", "the log of the server"}},
		{"teapot", nil, status(418, "text/html"), expect{"response", "fault", "status 418", "check the URL"}},
		{"page", nil, status(200, "text/html; charset=utf-8"), expect{"response", "fault", "text/html", "a page to sign in"}},
		{"json", nil, status(200, "application/json"), expect{"response", "fault", "application/json", "Content-Type: text/event-stream"}},
		{"redirect", nil, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/events" {
				http.Redirect(w, r, "/new?token=secret", http.StatusTemporaryRedirect)
				return
			}
			send(w, openBlock)
		}, expect{"response", "warning", "/new?[redacted]", "use the URL where the redirect leads"}},
		{"redirect_to_another_host", []string{"-token", "secret"}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?token=secret", http.StatusFound)
		}, expect{"response", "fault", "the server redirects to " + elsewhere.URL, ""}},
		{"dropped", nil, func(http.ResponseWriter, *http.Request) { abort() }, expect{"response", "fault", "none: ", "the log of the proxy"}},

		{"no_header", gaveUp, func(_ http.ResponseWriter, r *http.Request) { hold(r) }, expect{"response", "fault", "but OPTIONS was answered", "HAProxy: "}},
		{"no_byte", gaveUp, func(w http.ResponseWriter, r *http.Request) {
			send(w, "")
			hold(r)
		}, expect{"buffering", "fault", "no byte of the stream within", "nginx: proxy_http_version 1.1; and proxy_buffering off;"}},
		{"bursts", nil, func(w http.ResponseWriter, r *http.Request) {
			send(w, openBlock)
			for range 2 {
				select {
				case <-r.Context().Done():
				case <-time.After(500 * time.Millisecond):
				}
				send(w, strings.Repeat("event: sse.heartbeat\ndata:\n\n", 3))
			}
		}, expect{"buffering", "fault", "heartbeats came in bursts", "Caddy: flush_interval -1"}},
		{"stalled", gaveUp, func(w http.ResponseWriter, r *http.Request) {
			send(w, openBlock)
			hold(r)
		}, expect{"buffering", "fault", "nothing came for the last", "Apache: "}},
		{"not_of_the_kit", nil, with(), expect{"buffering", "ok", "does not name its heartbeat interval", ""}},

		{"compressed_differently", nil, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				w.Header().Set("Content-Encoding", "br")
				send(w, "not readable")
			} else {
				send(w, openBlock)
			}
		}, expect{"compression", "warning", `"br"`, "exclude the route"}},
		{"held_by_compression", gaveUp, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				w.Header().Set("Content-Encoding", "gzip")
				send(w, "")
				hold(r)
			} else {
				send(w, openBlock)
			}
		}, expect{"compression", "fault", "with gzip nothing came within", "exclude the route"}},

		{"content_length", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			send(w, "data: a\n\n")
		}, expect{"headers", "fault", `Content-Length is "9"`, ""}},
		{"cached", nil, with("Age", "12", "Via", "1.1 a (Varnish/7.1)"), expect{"headers", "fault", `Age is "12"`, "Varnish: return (pipe)"}},
		{"no_cache_control", nil, with(), expect{"headers", "warning", "does not keep shared caches from storing", "private, no-store, no-transform"}},
		{"may_be_transformed", nil, with("Cache-Control", "no-store"), expect{"headers", "warning", "has no no-transform", "no-transform"}},
		{"no_accel_buffering", nil, with("Cache-Control", "no-store, no-transform"), expect{"headers", "warning", "X-Accel-Buffering is missing", "X-Accel-Buffering: no"}},
		{"accel_buffering_behind_nginx", nil, with("Cache-Control", "no-store, no-transform", "Server", "nginx/1.22.1"), expect{"headers", "ok", "", ""}},
		{"accel_buffering_yes", nil, with("X-Accel-Buffering", "yes"), expect{"headers", "warning", `X-Accel-Buffering is "yes"`, ""}},
		{"etag", nil, with("Etag", `"a"`), expect{"headers", "warning", "Etag is set", ""}},
		{"good_headers", nil, with("Cache-Control", "no-cache, no-transform", "X-Accel-Buffering", "no"), expect{"headers", "ok", "no-transform", ""}},

		{"no_heartbeats", gaveUp, func(w http.ResponseWriter, r *http.Request) {
			send(w, "id: 1\ndata: a\n\n")
			hold(r)
		}, expect{"heartbeats", "warning", "0 heartbeats, 0 comments, 1 events", "send a comment or an event every 15 s"}},
		{"comments", gaveUp, func(w http.ResponseWriter, r *http.Request) {
			send(w, "data: a\n\n: still here\n")
			hold(r)
		}, expect{"heartbeats", "ok", "1 comments", ""}},
		{"rare_heartbeats", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, strings.Replace(openBlock, ":50}", ":60000}", 1))
		}, expect{"heartbeats", "warning", "at least every 1m0s", "HeartbeatInterval"}},

		{"cut", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, openBlock)
			time.Sleep(2 * time.Second) // the limit of a proxy
			abort()
		}, expect{"end", "fault", "a limit on silence, though the heartbeat interval is 50ms", "proxy_read_timeout"}},
		{"cut_before_a_heartbeat", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, strings.Replace(openBlock, ":50}", ":60000}", 1))
			time.Sleep(100 * time.Millisecond) // http.Server.WriteTimeout, or a limit of a proxy
			abort()
		}, expect{"end", "fault", "by a limit on silence that is shorter than the heartbeat interval of 1m0s, or by one on the whole response", "no http.Server.WriteTimeout"}},
		{"ended_without_a_reason", nil, func(w http.ResponseWriter, _ *http.Request) { send(w, openBlock) }, expect{"end", "fault", "cut off", ""}},
		{"ended_by_another_server", nil, func(w http.ResponseWriter, _ *http.Request) { send(w, "data: a\n\n") }, expect{"end", "warning", "complete after", ""}},
		{"closed", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, openBlock+"event: sse.close\ndata: {\"reason\":\"replaced\"}\n\n")
		}, expect{"end", "ok", `sse.close, reason "replaced"`, ""}},
		{"reconnect", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, openBlock+"event: sse.reconnect\ndata: {\"reason\":\"lifetime\"}\n\n")
		}, expect{"end", "ok", `sse.reconnect, reason "lifetime"`, ""}},
		{"overloaded", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, "event: sse.reconnect\ndata: {\"reason\":\"overloaded\"}\n\n")
		}, expect{"end", "warning", `reason "overloaded"`, "or the event log does not answer"}},
		{"throttled", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, "event: sse.reconnect\ndata: {\"reason\":\"throttled\"}\n\n")
		}, expect{"end", "warning", `reason "throttled"`, "MaxOpensPerMinute"}},
		{"done", nil, func(w http.ResponseWriter, _ *http.Request) { send(w, "data: a\n\nid: sse.done\n\n") }, expect{"end", "ok", "complete", ""}},

		{"resumed", nil, again(resumed), expect{"resuming", "ok", "resumed", ""}},
		{"gap_of_another_log", nil, again(notResumed + "event: sse.gap\ndata: {\"reason\":\"epoch\"}\n\n"), expect{"resuming", "warning", `reason "epoch"`, "nodes need a shared log"}},
		{"gap_of_a_short_log", nil, again(notResumed + "event: sse.gap\ndata: {\"reason\":\"trimmed\"}\n\n"), expect{"resuming", "warning", `reason "trimmed"`, "raise the bounds"}},
		{"gap_of_another_kind", nil, again(notResumed + "event: sse.gap\ndata: {\"reason\":\"topics\"}\n\n"), expect{"resuming", "warning", `reason "topics"`, "docs/guide.md"}},
		{"last_event_id_dropped", nil, again(notResumed), expect{"resuming", "fault", "did not get Last-Event-ID", "no proxy_set_header Last-Event-ID"}},
		{"last_event_id_refused", nil, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Last-Event-ID") != "" {
				http.Error(w, "", http.StatusBadRequest)
				return
			}
			send(w, openBlock)
		}, expect{"resuming", "fault", "a request with Last-Event-ID gets status 400", ""}},
		{"nothing_after_a_resume", gaveUp, func(w http.ResponseWriter, r *http.Request) {
			again("")(w, r)
			if r.Header.Get("Last-Event-ID") != "" {
				hold(r)
			}
		}, expect{"resuming", "fault", "nothing came within " + untilItGivesUp, "log of the server"}},
		{"no_ids", nil, func(w http.ResponseWriter, _ *http.Request) {
			send(w, "data: a\n\n")
		}, expect{"resuming", "warning", "no event had an ID", "send an id"}},
		{"ids_of_another_server", nil, with(), expect{"resuming", "ok", "does not say whether it resumes", ""}},

		{"public", []string{"-token", "secret"}, with(), expect{"without the credential", "warning", "opens without the credential", ""}},
		{"refusal", []string{"-token", "secret"}, refuseWith(status(403, "")), expect{"without the credential", "ok", "status 403", ""}},
		{"password_dialog", []string{"-token", "secret"}, refuseWith(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="secret"`)
			w.WriteHeader(http.StatusUnauthorized)
		}), expect{"without the credential", "warning", "has the browser ask for a password", "Bearer"}},
		{"page_to_sign_in", []string{"-H", "Cookie: a=secret"}, refuseWith(status(200, "text/html")), expect{"without the credential", "fault", `status 200 "text/html"`, "not with a page to sign in"}},
		{"redirect_to_sign_in", []string{"-token", "secret"}, refuseWith(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/login?back=secret", http.StatusFound)
		}), expect{"without the credential", "fault", "to /login?[redacted]", ""}},
		{"error_instead_of_a_refusal", []string{"-token", "secret"}, refuseWith(status(500, "")), expect{"without the credential", "warning", "another error than a refusal", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := newPatient(t, test.serve)
			diagnose(t, slices.Concat(test.args, []string{url + "?query=secret"})...).verify(t, test.want)
		})
	}
}

// refuseWith answers requests without a credential, and opens a stream for others.
func refuseWith(refuse http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" && r.Header.Get("Cookie") == "" {
			refuse(w, r)
			return
		}
		send(w, openBlock)
	}
}

func TestDoctorChecksCORS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		args    []string
		options int      // the status of a preflight
		headers []string // of all responses
		want    expect
	}{
		{"none", nil, 404, nil, expect{"CORS", "fault", "Access-Control-Allow-Origin is missing", "Access-Control-Allow-Origin: " + page}},
		{"other_origin", nil, 204, []string{"Access-Control-Allow-Origin", "https://b.example"}, expect{"CORS", "fault", `"https://b.example", not ` + page, ""}},
		{"twice", nil, 204, []string{"Access-Control-Allow-Origin", page, "Access-Control-Allow-Origin", page}, expect{"CORS", "fault", "more than once", ""}},
		{"star", nil, 204, []string{"Access-Control-Allow-Origin", "*"}, expect{"CORS", "ok", "but not with a cookie", ""}},
		{"star_with_cookie", []string{"-H", "Cookie: a=secret"}, 204, []string{"Access-Control-Allow-Origin", "*"}, expect{"CORS", "fault", "browsers refuse", ""}},
		{"no_credentials_with_cookie", []string{"-H", "Cookie: a=secret"}, 204, []string{"Access-Control-Allow-Origin", page}, expect{"CORS", "fault", "Access-Control-Allow-Credentials: true is missing", ""}},
		{"no_vary", nil, 204, []string{"Access-Control-Allow-Origin", page, "Vary", "Accept-Encoding"}, expect{"CORS", "warning", "Vary does not name Origin", "Vary: Origin"}},
		{"good", nil, 204, []string{"Access-Control-Allow-Origin", page, "Access-Control-Allow-Credentials", "true", "Vary", "Accept, Origin"}, expect{"CORS", "ok", "also with a cookie", ""}},
		{"good_with_cookie", []string{"-H", "Cookie: a=secret"}, 204, []string{"Access-Control-Allow-Origin", page, "Access-Control-Allow-Credentials", "true", "Vary", "Origin"}, expect{"CORS", "ok", "with its cookie", ""}},
		{"preflight_unauthorized", nil, 401, []string{"Access-Control-Allow-Origin", page}, expect{"CORS preflight", "fault", "OPTIONS gets status 401", "before the authentication"}},
		{"preflight_without_origin", nil, 204, nil, expect{"CORS preflight", "fault", "Access-Control-Allow-Origin is missing", ""}},
		{"preflight_without_headers", nil, 204, []string{"Access-Control-Allow-Origin", "*"}, expect{"CORS preflight", "fault", "does not name Authorization", "Authorization, Last-Event-ID"}},
		{"preflight_with_star", nil, 204, []string{"Access-Control-Allow-Origin", "*", "Access-Control-Allow-Headers", "*"}, expect{"CORS preflight", "fault", "does not name Authorization", ""}},
		{"preflight_without_last_event_id", nil, 204, []string{"Access-Control-Allow-Origin", "*", "Access-Control-Allow-Headers", "Authorization"}, expect{"CORS preflight", "fault", "cannot resume", ""}},
		{"preflight_good", nil, 200, []string{"Access-Control-Allow-Origin", "*", "Access-Control-Allow-Headers", "authorization, last-event-id"}, expect{"CORS preflight", "ok", "may send", ""}},
		{"refusal_without_cors", []string{"-token", "secret"}, 204, nil, expect{"without the credential", "warning", "an error of the network instead of the status", "before the authentication"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Origin"); got != page && got != "" {
					t.Errorf("Origin is %q", got)
				}
				for i := 0; i < len(test.headers); i += 2 {
					w.Header().Add(test.headers[i], test.headers[i+1])
				}
				switch {
				case r.Method == http.MethodOptions:
					if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Access-Control-Request-Headers") != "authorization,last-event-id" {
						t.Errorf("a browser sends no such preflight: %v", r.Header)
					}
					w.WriteHeader(test.options)
				case len(test.args) > 0 && r.Header.Get("Authorization") == "" && r.Header.Get("Cookie") == "":
					w.WriteHeader(http.StatusUnauthorized)
				default:
					send(w, openBlock)
				}
			}))
			t.Cleanup(server.Close)
			diagnose(t, slices.Concat(test.args, []string{"-origin", page, server.URL})...).verify(t, test.want)
		})
	}
}

func TestDoctorChecksTheHTTPVersion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		start func(*httptest.Server)
		args  []string
		want  expect
	}{
		{"http2", func(s *httptest.Server) {
			s.EnableHTTP2 = true
			s.StartTLS()
		}, []string{"-k"}, expect{"HTTP version", "ok", "HTTP/2.0; HTTP/3 is offered", ""}},
		{"http1_over_tls", (*httptest.Server).StartTLS, []string{"-k"}, expect{"HTTP version", "warning", "at most six connections", "nginx: listen 443 ssl http2"}},
		{"http1", (*httptest.Server).Start, nil, expect{"HTTP version", "warning", "over TLS only", "over https"}},
		{"bad_certificate", func(s *httptest.Server) {
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.StartTLS()
		}, nil, expect{"response", "fault", "certificate", "check the host"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(withoutOptions(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Alt-Svc", `h3=":443"; ma=86400`)
				send(w, openBlock)
			}))
			test.start(server)
			t.Cleanup(server.Close)
			diagnose(t, slices.Concat(test.args, []string{server.URL})...).verify(t, test.want)
		})
	}
}

func TestDoctorReportsThatItCannotConnect(t *testing.T) {
	t.Parallel()
	diagnose(t, "http://user:secret@"+refusing+"?token=secret").verify(t, expect{"response", "fault", "connection refused", "check the host"})
}

// What a server sends reaches the terminal escaped, and no check takes more than one line.
func TestDoctorEscapesTextOfTheServer(t *testing.T) {
	t.Parallel()
	const bad = "owned\u202e\u009b31m\x9b" // net/http refuses other controls in a header
	url := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Age", "X-Accel-Buffering", "Cache-Control", "Access-Control-Allow-Origin", "WWW-Authenticate", "Server", "Via"} {
			w.Header().Set(name, bad)
		}
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("Content-Type", "text/html"+bad)
			w.Header().Set("Location", "/"+bad)
			w.WriteHeader(http.StatusFound)
			return
		}
		if r.Header.Get("Last-Event-ID") != "" {
			send(w, "event: sse.open\ndata: {}\n\nevent: sse.gap\ndata: {\"reason\":\"\\u001b[31m\\nline\"}\n\n")
			return
		}
		send(w, "id: 1\nevent: sse.open\ndata: {}\n\n")
	})
	for _, form := range []string{"-json=false", "-json"} {
		got := ssecat(t.Context(), nil, "doctor", form, "-token", "secret", "-origin", "https://a", url)
		if got.code != exitFailed || strings.ContainsAny(got.stdout, "\x1b\u202e\u009b") || !utf8.ValidString(got.stdout) || !strings.Contains(got.stdout, "a gap, reason") || !strings.Contains(got.stdout, "owned") {
			t.Errorf("got %+v", got)
		}
		for line := range strings.Lines(got.stdout) {
			if !hasLineForm.MatchString(line) {
				t.Errorf("a line is %q", line)
			}
		}
	}
}

// A server may send very long texts. What it says is short all the same.
func TestDoctorShortensTextOfTheServer(t *testing.T) {
	t.Parallel()
	url := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			http.Redirect(w, r, "/"+strings.Repeat("a", 50_000), http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", strings.Repeat("x", 50_000))
	})
	got := ssecat(t.Context(), nil, "doctor", url)
	if got.code != exitFailed || len(got.stdout) > 5000 || !strings.Contains(got.stdout, "/aaaaa") {
		t.Errorf("it ends with %d and has written %d bytes: %.2000s", got.code, len(got.stdout), got.stdout)
	}
}

var hasLineForm = regexp.MustCompile(`^((ok     |warning|fault  )  [A-Za-z -]+: |         - |\{"check":)`)

// Once compression has held the stream back, all requests are without, so that the other checks work.
func TestDoctorAsksForNoCompressionThatHoldsTheStreamBack(t *testing.T) {
	t.Parallel()
	url := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" {
			hold(r)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", "*")
		send(w, strings.Replace(openBlock, "false", fmt.Sprint(r.Header.Get("Last-Event-ID") == "1"), 1))
	})
	diagnose(t, "-for", untilItGivesUp, "-origin", page, "-token", "secret", url).verify(t,
		expect{"compression", "fault", "with compression nothing came within " + untilItGivesUp, ""},
		expect{"resuming", "ok", "resumed", ""},
		expect{"without the credential", "warning", "opens without", ""},
		expect{"CORS", "ok", "", ""})
}

func TestDoctorPrintsTheSettingsOfTheNamedProxy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ header, value, want, never string }{
		{"Server", "nginx/1.22.1", "- nginx: proxy_http_version 1.1", "Apache: "},
		{"Server", "openresty", "- nginx: ", "Apache: "},
		{"Via", "1.1 host (Varnish/7.1)", "- Varnish: ", "nginx: "},
		{"X-Varnish", "32770", "- Varnish: ", "nginx: "},
		{"Server", "Apache/2.4.71 (Debian)", "- Apache: ", "nginx: "},
		{"Server", "Caddy", "- Caddy: ", "nginx: "},
		{"Server", "unknown", "- HAProxy: ", "an impossible text"},
	} {
		t.Run(test.value, func(t *testing.T) {
			t.Parallel()
			url := newPatient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(test.header, test.value)
				send(w, "")
			})
			got := ssecat(t.Context(), nil, "doctor", url)
			if got.code != exitFailed || !strings.Contains(got.stdout, "fault    buffering: ") || !strings.Contains(got.stdout, test.want) || strings.Contains(got.stdout, test.never) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestDoctorRefusesInvalidArguments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		args       []string
		wantStderr string
	}{
		{"no_url", nil, "0 URLs"},
		{"short_time", []string{"-for", "1ms", "http://a"}, "-for is 1ms"},
		{"origin_with_path", []string{"-origin", "https://a/", "http://a"}, "-origin is not an origin"},
		{"origin_with_default_port", []string{"-origin", "https://a:443", "http://a"}, "-origin is not an origin"},
		{"origin_without_scheme", []string{"-origin", "a.example", "http://a"}, "-origin is not an origin"},
		{"input", []string{"-"}, "a URL, not standard input"},
		{"not_http", []string{"ftp://user:secret@a?token=secret"}, "URL is not an absolute http or https URL"},
		{"malformed", []string{"http://a:secret/"}, "URL is not an absolute http or https URL"},
		{"flag_of_ssecat", []string{"-once", "http://a"}, "-once"},
		{"token_in_clear", []string{"-token", "secret", "example.com/events"}, "Authorization would be sent in clear"},
		{"no_such_certificate", []string{"-cacert", "/no/such/file", "https://a"}, "-cacert"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := ssecat(t.Context(), nil, append([]string{"doctor"}, test.args...)...)
			if got.code != exitUsage || got.stdout != "" || !strings.Contains(got.stderr, test.wantStderr) || strings.Contains(got.stderr, "secret") {
				t.Errorf("got %+v", got)
			}
		})
	}
	if got := ssecat(t.Context(), nil, "doctor", "-h"); got.code != 0 || !strings.Contains(got.stdout, "usage: ssecat doctor") || !strings.Contains(got.stdout, "-origin") {
		t.Errorf("got %+v", got)
	}
}

func TestDoctorCanBeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	url := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		send(w, openBlock)
		interrupt()
		hold(r)
	})
	if got := ssecat(ctx, nil, "doctor", url); got != (result{code: exitInterrupted}) {
		t.Errorf("got %+v", got)
	}
}

// A stream that sends much is read with little memory. Its server names long intervals, because the
// doctor may not get a CPU for a while.
func TestDoctorReadsABusyStream(t *testing.T) {
	t.Parallel()
	url := newPatient(t, func(w http.ResponseWriter, r *http.Request) {
		send(w, strings.Replace(openBlock, ":50}", ":60000}", 1))
		for i := 2; r.Context().Err() == nil; i++ {
			send(w, fmt.Sprintf("id: %d\ndata: a\n\n", i))
		}
	})
	diagnose(t, "-for", "2s", url).verify(t, expect{"buffering", "ok", "", ""}, expect{"end", "ok", "was open for", ""})
}
