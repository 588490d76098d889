package main

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// tracer is an http.RoundTripper that shows headers as curl does, without credentials:
// a line of a request begins with >, a line of a response with <.
type tracer struct {
	next        http.RoundTripper
	w           io.Writer
	showRequest bool
}

// RoundTrip implements http.RoundTripper.
func (t *tracer) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.showRequest {
		host := request.Host
		if host == "" {
			host = request.URL.Host
		}
		t.show("> ", request.Method+" "+shownURL(&url.URL{Path: request.URL.Path, RawPath: request.URL.RawPath, RawQuery: request.URL.RawQuery}), "Host: "+host, request.Header)
	}
	response, err := t.next.RoundTrip(request)
	if err == nil {
		t.show("< ", response.Proto+" "+response.Status, "", response.Header)
	}
	return response, err
}

// show writes a header with one write.
func (t *tracer) show(prefix, first, second string, header http.Header) {
	var b strings.Builder
	line := func(text string) { b.WriteString(prefix + visible(text) + "\n") }
	line(first)
	if second != "" {
		line(second)
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			line(name + ": " + shownValue(name, value))
		}
	}
	line("")
	_, _ = io.WriteString(t.w, b.String())
}

// isChallenge reports whether a header asks for credentials, and holds none.
func isChallenge(name string) bool {
	return strings.EqualFold(name, "WWW-Authenticate") || strings.EqualFold(name, "Proxy-Authenticate")
}

const redacted = "[redacted]"

// shownValue returns what of a header's value may be shown.
func shownValue(name, value string) string {
	scheme, _, found := strings.Cut(value, " ")
	hasScheme := found && slices.Contains([]string{"basic", "bearer", "digest"}, strings.ToLower(scheme))
	switch {
	case strings.EqualFold(name, "Location"), strings.EqualFold(name, "Content-Location"), strings.EqualFold(name, "Referer"):
		u, err := url.Parse(value)
		if err != nil {
			return redacted
		}
		return shownURL(u)
	case isChallenge(name): // which says what was wrong with a token
		return value
	case hasScheme: // it shows whether it was forgotten
		return scheme + " " + redacted
	case isSecret(name):
		return redacted
	}
	if before, _, found := strings.Cut(value, "?"); found { // there may be a URL in it
		return before + "?" + redacted
	}
	return value
}

// isSecret reports whether a header's name sounds like that of a credential.
func isSecret(name string) bool {
	name = strings.ToLower(name)
	switch {
	case isChallenge(name), name == "idempotency-key", strings.HasPrefix(name, "access-control-"):
		return false
	}
	return slices.ContainsFunc([]string{"auth", "cookie", "token", "secret", "key", "passw", "credential", "session", "signature", "assertion", "jwt", "dpop", "csrf", "xsrf"},
		func(part string) bool { return strings.Contains(name, part) })
}

// shownURL returns a URL without user info, query and fragment, which may be secret.
func shownURL(u *url.URL) string {
	shown := *u
	shown.User, shown.RawQuery, shown.Fragment, shown.RawFragment = nil, "", "", ""
	text := shown.String()
	if u.RawQuery != "" {
		text += "?" + redacted
	}
	return text
}
