package main

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// tracer is an http.RoundTripper that shows headers like curl, without values that may be
// credentials. Lines of a request begin with >, lines of a response with <.
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

// show writes a header in one write.
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
