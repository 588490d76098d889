package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/ginsse/ginsse/client"
)

const heartbeatEvent = "sse.heartbeat"

// open returns the events of the stream, without connecting. The caller must call closeIdle after
// the last event. An error means that the arguments are invalid or ctx has ended.
func (s settings) open(ctx context.Context, stdin io.Reader, stderr io.Writer) (events iter.Seq2[client.Event, error], closeIdle func(), err error) {
	if s.stdin {
		return s.decode(interruptible(ctx, stdin)), func() {}, nil
	}
	transport, err := s.transport()
	if err != nil {
		return nil, nil, err
	}
	s.client.HTTPClient = &http.Client{Transport: transport}
	if s.isBound() {
		s.client.HTTPClient.CheckRedirect = checkBoundRedirect
	}
	if s.showResponse {
		s.client.HTTPClient.Transport = &tracer{next: transport, w: stderr, showRequest: s.showRequest}
	}
	c, err := client.New(s.client) // checks the URL and the header
	if err == nil && !s.isPlain() {
		c, err = s.newClient(ctx, stdin)
	}
	if err != nil {
		return nil, nil, err
	}
	return c.Events(ctx), transport.CloseIdleConnections, nil
}

// newClient returns the client for a request with a body, or with a method other than GET.
func (s settings) newClient(ctx context.Context, stdin io.Reader) (*client.Client, error) {
	body, err := s.body(ctx, stdin)
	if err != nil {
		return nil, err
	}
	target, header := s.client.URL, s.client.Header
	if len(s.data) > 0 && header.Get("Content-Type") == "" {
		header.Set("Content-Type", contentType(body))
	}
	newRequest := func(ctx context.Context) (*http.Request, error) {
		request, err := http.NewRequestWithContext(ctx, s.method, target, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header = header // the client copies it
		request.Host = header.Get("Host")
		return request, nil
	}
	if _, err := newRequest(ctx); err != nil {
		return nil, fmt.Errorf("-X: %w", err) // the URL has been checked
	}
	s.client.URL, s.client.Header, s.client.NewRequest = "", nil, newRequest
	return client.New(s.client)
}

// body returns the data of -d and -data-raw, joined by &.
func (s settings) body(ctx context.Context, stdin io.Reader) ([]byte, error) {
	parts := make([][]byte, len(s.data))
	for i, data := range s.data {
		name, isFile := strings.CutPrefix(data.text, "@")
		var err error
		switch {
		case data.raw:
			parts[i] = []byte(data.text)
		case data.text == "-", data.text == "@-":
			parts[i], err = io.ReadAll(interruptible(ctx, stdin))
		case isFile:
			parts[i], err = os.ReadFile(name) //nolint:gosec // the user names the file
		default:
			parts[i] = []byte(data.text)
		}
		if err != nil {
			return nil, fmt.Errorf("-d: %w", err)
		}
	}
	return bytes.Join(parts, []byte("&")), nil
}

// contentType returns the default media type of a body. Most interfaces that answer with an event
// stream take JSON; for anything else curl's default is used.
func contentType(body []byte) string {
	if text := bytes.TrimSpace(body); json.Valid(text) && (text[0] == '{' || text[0] == '[') {
		return "application/json"
	}
	return "application/x-www-form-urlencoded"
}

// transport returns the transport for the requests.
func (s settings) transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // this program does not replace it
	// HTTP/2 pings detect dead connections.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: s.insecure} //nolint:gosec // -k asks for it
	if s.caFile != "" {
		text, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, fmt.Errorf("-cacert: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("-cacert: %s has no certificate in PEM", s.caFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if s.unixSocket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.unixSocket)
		}
	}
	return transport, nil
}

// decode returns the events of the stream r.
func (s settings) decode(r io.Reader) iter.Seq2[client.Event, error] {
	return func(yield func(client.Event, error) bool) {
		decoder := client.NewDecoder(r, client.DecoderConfig{MaxEventBytes: s.client.MaxEventBytes})
		for {
			event, err := decoder.Next()
			switch {
			case errors.Is(err, io.EOF):
				return
			case err == nil && event.Type == heartbeatEvent && event.Data == "" && !s.client.Heartbeats:
				continue
			}
			if !yield(event, err) || err != nil {
				return
			}
		}
	}
}

// interruptible returns a reader of r whose reads end with ctx. Reads of a terminal or a pipe do
// not end with ctx.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	read, write := io.Pipe()
	context.AfterFunc(ctx, func() { _ = read.CloseWithError(context.Cause(ctx)) })
	go func() {
		_, err := io.Copy(write, r)
		_ = write.CloseWithError(err) // nil becomes io.EOF
	}()
	return read
}
