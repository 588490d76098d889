package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// shownHeaders are the headers whose values are shown, because they contain no credentials. Any
// other header may contain some, since servers choose the names.
var shownHeaders = map[string]bool{
	"Accept":                           true,
	"Accept-Charset":                   true,
	"Accept-Encoding":                  true,
	"Accept-Language":                  true,
	"Accept-Ranges":                    true,
	"Access-Control-Allow-Credentials": true,
	"Access-Control-Allow-Headers":     true,
	"Access-Control-Allow-Methods":     true,
	"Access-Control-Allow-Origin":      true,
	"Access-Control-Expose-Headers":    true,
	"Access-Control-Max-Age":           true,
	"Age":                              true,
	"Allow":                            true,
	"Alt-Svc":                          true,
	"Cache-Control":                    true,
	"Connection":                       true,
	"Content-Encoding":                 true,
	"Content-Language":                 true,
	"Content-Length":                   true,
	"Content-Type":                     true,
	"Date":                             true,
	"Expires":                          true,
	"Host":                             true,
	"Keep-Alive":                       true,
	"Last-Event-Id":                    true, // the output contains it, too
	"Last-Modified":                    true,
	"Origin":                           true,
	"Pragma":                           true,
	"Ratelimit":                        true,
	"Ratelimit-Limit":                  true,
	"Ratelimit-Policy":                 true,
	"Ratelimit-Remaining":              true,
	"Ratelimit-Reset":                  true,
	"Retry-After":                      true,
	"Server":                           true,
	"Strict-Transport-Security":        true,
	"Transfer-Encoding":                true,
	"User-Agent":                       true,
	"Vary":                             true,
	"Via":                              true,
	"X-Accel-Buffering":                true,
	"X-Content-Type-Options":           true,
	"X-Frame-Options":                  true,
	"X-Ratelimit-Limit":                true,
	"X-Ratelimit-Remaining":            true,
	"X-Ratelimit-Reset":                true,
	"X-Request-Id":                     true, // support teams ask for it
}

// authSchemes are the authentication schemes that are shown.
var authSchemes = []string{"basic", "bearer", "digest", "dpop", "negotiate", "ntlm"}

// mayBeSecret reports whether the value of a header must not be shown.
func mayBeSecret(name string) bool { return !shownHeaders[http.CanonicalHeaderKey(name)] }

// shownValue returns the part of a header's value that may be shown.
func shownValue(name, value string) string {
	switch http.CanonicalHeaderKey(name) {
	case "Location", "Content-Location", "Referer":
		return shownReference(value)
	case "Refresh": // seconds, and often ;url= and a URL
		seconds, target, found := strings.Cut(value, "=")
		if found && isRefreshPrefix(seconds) {
			return seconds + "=" + shownReference(target)
		}
	case "Authorization", "Proxy-Authorization", "Www-Authenticate", "Proxy-Authenticate":
		// The scheme helps to find a missing scheme, and shows which one the server wants.
		scheme, _, found := strings.Cut(value, " ")
		if found && slices.Contains(authSchemes, strings.ToLower(scheme)) {
			return scheme + " " + redacted
		}
	}
	if mayBeSecret(name) {
		return redacted
	}
	return value
}

// isRefreshPrefix reports whether text is a number of seconds and the word url, as before the = of
// a Refresh header.
func isRefreshPrefix(text string) bool {
	seconds, word, found := strings.Cut(text, ";")
	return found && strings.EqualFold(strings.TrimSpace(word), "url") && strings.Trim(seconds, "0123456789. ") == ""
}

// shownReference returns the part of a URL in a header that may be shown.
func shownReference(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Opaque != "" || u.Scheme != "" && u.Scheme != "http" && u.Scheme != schemeTLS {
		return redacted
	}
	shown := shownURL(u)
	if strings.ContainsAny(shown, "@;") { // user info of a malformed URL, or a session ID
		return redacted
	}
	return shown
}

// shownURL returns a URL without user info, query and fragment, which may contain secrets.
func shownURL(u *url.URL) string {
	shown := *u
	shown.User, shown.RawQuery, shown.Fragment, shown.RawFragment = nil, "", "", ""
	text := shown.String()
	if u.RawQuery != "" {
		text += "?" + redacted
	}
	return text
}
