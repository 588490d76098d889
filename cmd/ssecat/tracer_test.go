package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestShowsHeadersWithoutCredentials(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=secret; HttpOnly")
		w.Header().Set("X-Refreshed-Token", "secret")
		w.Header().Set("Server", "a\u202eb")
		w.Header().Set("Link", "<https://example.com/next?cursor=secret>; rel=next")
		if r.URL.Path == "/old" {
			w.Header().Set("Location", "http://user:secret@"+r.Host+"/new?token=secret#secret")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="secret"`)
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: a\n\n")
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	args := []string{
		"-d", "secret", "-H", "Cookie: session=secret", "-H", "X-Api-Key: secret", "-H", "Authorization: Bearer secret", "-H", "Proxy-Authorization: Basic secret",
		"-H", "X-Session: secret", "-H", "X-Forwarded-Auth: Bearer secret", "-H", "X-Other: bearer secret", "-H", "Referer: http://example.com/?token=secret", "-H", "Accept-Language: en",
		"http://user:secret@" + host + "/old?token=secret",
	}
	got := ssecat(t.Context(), nil, append([]string{"-v"}, args...)...)
	if got.code != 0 || got.stdout != "data: a\n\n" {
		t.Errorf("got %+v", got)
	}
	if strings.Contains(got.stderr, "secret") || strings.Contains(got.stderr, "\u202e") {
		t.Errorf("it shows:\n%s", got.stderr)
	}
	for _, want := range []string{
		"> POST /old?[redacted]\n> Host: " + host + "\n> Accept: text/event-stream\n", "> POST /new?[redacted]\n",
		"> Authorization: Bearer [redacted]\n", "> Proxy-Authorization: Basic [redacted]\n", "> Cookie: [redacted]\n", "> X-Api-Key: [redacted]\n", "> X-Other: [redacted]\n", "> Accept-Language: en\n", "> User-Agent: ssecat/",
		"> Cache-Control: no-cache\n", "> Content-Type: application/x-www-form-urlencoded\n",
		"< HTTP/1.1 307 Temporary Redirect\n", "< Location: http://" + host + "/new?[redacted]\n", "< HTTP/1.1 200 OK\n",
		"< Set-Cookie: [redacted]\n", "< Link: [redacted]\n", "< Www-Authenticate: Bearer [redacted]\n", `< Server: a\u202eb` + "\n", "\n< \n",
	} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("%q is missing in\n%s", want, got.stderr)
		}
	}
	// -i shows only responses.
	got = ssecat(t.Context(), nil, append([]string{"-i"}, args...)...)
	if strings.Contains(got.stderr, "> POST") || strings.Contains(got.stderr, "secret") || !strings.Contains(got.stderr, "< HTTP/1.1 200 OK\n") {
		t.Errorf("it shows:\n%s", got.stderr)
	}
}
