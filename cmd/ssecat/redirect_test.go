package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// newRedirect returns the URL of a server that redirects to target.
func newRedirect(t *testing.T, status int, target string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", target)
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestRequestWithSecretsIsNotRedirectedToAnotherHost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		args    []string
		env     map[string]string
		follows bool
	}{
		{"plain_get", nil, nil, true},
		{"method_get", []string{"-X", "GET"}, nil, true},
		{"body", []string{"-d", "secret"}, nil, false},
		{"raw_body", []string{"-data-raw", "secret"}, nil, false},
		{"body_of_a_get", []string{"-X", "GET", "-d", "secret"}, nil, false},
		{"method_alone", []string{"-X", "DELETE"}, nil, false},
		{"header", []string{"-H", "X-Api-Key: secret"}, nil, false},
		{"header_that_net_http_leaves_out", []string{"-H", "Cookie: secret"}, nil, false},
		{"token", []string{"-token", "secret"}, nil, false},
		{"token_of_the_environment", nil, map[string]string{"SSECAT_TOKEN": "secret"}, false},
		{"resume", []string{"-resume", "secret"}, nil, false},
	} {
		for _, status := range []int{http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect} {
			t.Run(test.name+"/"+http.StatusText(status), func(t *testing.T) {
				t.Parallel()
				target, requests := newRecorder(t, answer("data: a\n\n"))
				from := newRedirect(t, status, strings.Replace(target, "://", "://u:secret@", 1)+"/events?token=secret")
				got := ssecat(t.Context(), test.env, append(test.args, "-once", from)...)
				if test.follows {
					if got != (result{stdout: "data: a\n\n"}) || len(requests()) != 1 {
						t.Errorf("got %+v", got)
					}
					return
				}
				if n := len(requests()); n != 0 {
					t.Errorf("the other host got %q", requests())
				}
				if got.code != exitFailed || !strings.Contains(got.stderr, "redirects to "+target+",") || !strings.Contains(got.stderr, "use the URL") || strings.Contains(got.stderr, "secret") {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

func TestPasswordInTheURLIsNotRedirectedToAnotherHost(t *testing.T) {
	t.Parallel()
	target, requests := newRecorder(t, answer("data: a\n\n"))
	from := newRedirect(t, http.StatusFound, target)
	got := ssecat(t.Context(), nil, "-once", strings.Replace(from, "://", "://user:secret@", 1))
	if got.code != exitFailed || len(requests()) != 0 || strings.Contains(got.stderr, "secret") {
		t.Errorf("got %+v after %d requests", got, len(requests()))
	}
}

// A redirect within the host may be followed by one to another host.
func TestBodyFollowsRedirectsWithinTheHostOnly(t *testing.T) {
	t.Parallel()
	other, requests := newRecorder(t, answer("data: a\n\n"))
	body := ""
	mux := http.NewServeMux()
	mux.Handle("/away", http.RedirectHandler("/there", http.StatusTemporaryRedirect))
	mux.Handle("/there", http.RedirectHandler(other, http.StatusTemporaryRedirect))
	mux.Handle("/old", http.RedirectHandler("/new", http.StatusTemporaryRedirect))
	mux.HandleFunc("/new", func(w http.ResponseWriter, r *http.Request) {
		read, _ := io.ReadAll(r.Body)
		body = string(read)
		answer("data: a\n\n")(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	if got := ssecat(t.Context(), nil, "-d", "text", server.URL+"/old"); got != (result{stdout: "data: a\n\n"}) || body != "text" {
		t.Errorf("got %+v, and the body is %q", got, body)
	}
	if got := ssecat(t.Context(), nil, "-d", "text", server.URL+"/away"); got.code != exitFailed || len(requests()) != 0 {
		t.Errorf("got %+v after %d requests", got, len(requests()))
	}
}

func TestBodyIsRedirectedTenTimes(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	got := ssecat(t.Context(), nil, "-d", "text", server.URL)
	if got.code != exitFailed || !strings.Contains(got.stderr, "more than ten redirects") || requests.Load() != 11 {
		t.Errorf("got %+v after %d requests", got, requests.Load())
	}
}

func TestOriginIsSchemeHostAndPort(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, a, b string
		same       bool
	}{
		{"path_and_query", "http://a/b?c", "http://a/d", true},
		{"case", "HTTP://Example.com/", "http://example.COM", true},
		{"default_port", "http://a:80/", "http://a", true},
		{"default_port_of_tls", "https://a", "https://a:443/", true},
		{"default_port_of_another_scheme", "https://a", "https://a:80", false},
		{"ipv6", "http://[::1]:80", "http://[::1]", true},
		{"user", "http://u@a", "http://a", true},
		{"scheme", "http://a", "https://a", false},
		{"port", "http://a:8080", "http://a:8081", false},
		{"host", "http://127.0.0.1", "http://127.0.0.2", false},
		{"subdomain", "http://a.b", "http://c.a.b", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, err := url.Parse(test.a)
			if err != nil {
				t.Fatal(err)
			}
			b, err := url.Parse(test.b)
			if err != nil {
				t.Fatal(err)
			}
			if got := origin(a) == origin(b); got != test.same {
				t.Errorf("%s and %s: %v", origin(a), origin(b), got)
			}
		})
	}
}
