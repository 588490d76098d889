package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/client"
)

// reply is the beginning of a response, or why there is none.
type reply struct {
	err       error // no response
	status    int
	proto     string
	major     int // of the HTTP version
	header    http.Header
	closes    bool          // the connection is closed after the response
	took      time.Duration // from the request to the header of the response, without connecting
	redirects []string      // where redirects have led, as far as it may be shown
}

// contentType returns the media type of the response without parameters.
func (a *reply) contentType() string {
	essence, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(essence))
}

// isStream reports whether the response is an event stream.
func (a *reply) isStream() bool {
	return a.err == nil && a.status == http.StatusOK && a.contentType() == mediaType
}

// describe says what the response is, for a finding.
func (a *reply) describe() string {
	text := fmt.Sprintf("status %d", a.status)
	if a.contentType() != "" {
		text += " " + shortQuote(a.contentType())
	}
	return text
}

const (
	mediaType = "text/event-stream"
	schemeTLS = "https"
)

// shortQuote quotes a text of the server.
func shortQuote(text string) string { return fmt.Sprintf("%.80q", text) }

// question is a request to the URL.
type question struct {
	method    string
	header    http.Header
	anonymous bool // without the user info of the URL
	follow    bool // follow redirects as far as ssecat does
}

// newQuestion returns a GET as an EventSource sends it. With anonymous it leaves out all headers that
// may carry a credential.
func (d *doctor) newQuestion(anonymous bool) question {
	header := d.client.Header.Clone()
	for name := range header {
		if anonymous && mayBeSecret(name) {
			header.Del(name)
		}
	}
	header.Set("Accept", mediaType)
	header.Set("Cache-Control", "no-cache")
	switch {
	case d.uncompressed:
		header.Set("Accept-Encoding", "identity")
	case d.url.Scheme == schemeTLS:
		header.Set("Accept-Encoding", "gzip, deflate, br, zstd") // as browsers do
	default:
		header.Set("Accept-Encoding", "gzip, deflate") // likewise
	}
	return question{method: http.MethodGet, header: header, anonymous: anonymous}
}

// send sends a request. The caller closes the body, which is nil after an error.
func (d *doctor) send(ctx context.Context, q question) (*reply, io.ReadCloser) {
	a := new(reply)
	start := time.Now()
	var sent, answered atomic.Int64 // since start; the hooks run on goroutines of the transport
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { sent.Store(int64(time.Since(start))) },
		GotFirstResponseByte: func() { answered.Store(int64(time.Since(start))) },
	})
	target := *d.url
	if q.anonymous {
		target.User = nil
	}
	request, err := http.NewRequestWithContext(ctx, q.method, target.String(), http.NoBody) //nolint:gosec // the user names the URL
	if err != nil {
		a.err = errors.New("the URL is invalid")
		return a, nil
	}
	request.Header, request.Host = q.header, q.header.Get("Host")
	bound := d.isBound() || q.header.Get("Last-Event-ID") != ""
	agent := &http.Client{Transport: d.transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		next.Header.Del("Referer") // net/http has added it, with the query of the previous URL
		switch {
		case !q.follow:
			return http.ErrUseLastResponse
		case bound:
			if err := checkBoundRedirect(next, via); err != nil {
				return err
			}
		case len(via) > 10:
			return client.ErrTooManyRedirects
		case via[len(via)-1].URL.Scheme == schemeTLS && next.URL.Scheme != schemeTLS:
			return errors.New("the server redirects from https to http")
		}
		a.redirects = append(a.redirects, shownReference(next.URL.String()))
		return nil
	}}
	response, err := agent.Do(request) //nolint:gosec // likewise
	if err != nil {
		if response != nil { // of a redirect that was refused
			_ = response.Body.Close()
		}
		a.err = shownError(err)
		return a, nil
	}
	a.status, a.header, a.closes = response.StatusCode, response.Header, response.Close
	a.proto, a.major = response.Proto, response.ProtoMajor
	a.took = max(time.Duration(answered.Load()-sent.Load()), 1) // a response may come before all is sent
	d.notice(response.Header)
	took := &d.otherTook
	if a.isStream() {
		took = &d.streamTook
	}
	if *took == 0 || a.took < *took {
		*took = a.took
	}
	return a, response.Body
}

// ask sends a request and discards the body of the response. It waits
// for the header no longer than maxPatience.
func (d *doctor) ask(ctx context.Context, q question) *reply {
	ctx, cancel := context.WithTimeout(ctx, maxPatience)
	defer cancel() // ends a stream
	a, body := d.send(ctx, q)
	if errors.Is(a.err, context.DeadlineExceeded) {
		a.err = fmt.Errorf("nothing came within %v", maxPatience)
	}
	if body != nil {
		if !a.isStream() {
			_, _ = io.CopyN(io.Discard, body, 64<<10)
		} else {
			cancel()
		}
		_ = body.Close()
	}
	return a
}

// shownError returns an error of net/http without what may be secret: the query of the URL, and the
// header of a response.
func shownError(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, new(textproto.ProtocolError)), strings.HasPrefix(err.Error(), "failed to parse Location header"):
		return errors.New("the header of the response is malformed")
	}
	text := []rune(plain(err))
	return errors.New(string(text[:min(len(text), 200)]))
}
