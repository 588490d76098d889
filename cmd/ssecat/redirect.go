package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/ginsse/ginsse/client"
)

// isBound reports whether the request must go only to the host that the user named. That holds for
// all but a plain GET that carries nothing the user gave.
func (s settings) isBound() bool {
	u, err := url.Parse(s.client.URL)
	return !s.isPlain() || s.hasHeader || s.client.LastEventID != "" || err != nil || u.User != nil
}

// checkBoundRedirect is the redirect policy of a request that is bound to its host. net/http would
// send the body and most headers to any other host as well.
func checkBoundRedirect(request *http.Request, via []*http.Request) error {
	from, to := origin(via[0].URL), origin(request.URL)
	switch {
	case from != to:
		return fmt.Errorf("the server redirects to %s, but a body, headers and credentials are sent only to %s; if you trust %s, use the URL there", to, from, to)
	case len(via) > 10:
		return client.ErrTooManyRedirects
	}
	return nil
}

// origin returns the scheme, host and port of a URL.
func origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case schemeTLS:
		host = strings.TrimSuffix(host, ":443")
	}
	return scheme + "://" + strings.TrimSuffix(host, ":")
}
