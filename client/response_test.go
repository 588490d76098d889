package client_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/ssetest"
)

// packed returns text compressed with gzip.
func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

// inGzip sets Content-Encoding to gzip and runs the next handler.
func inGzip(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		next(w, r)
	}
}

// inMemory returns a client that asks for gzip, and a server in memory for bubbles of synctest.
func inMemory(t *testing.T, cfg client.Config, steps ...http.HandlerFunc) *client.Client {
	t.Helper()
	server := ssetest.NewServer(t, &script{steps: steps})
	cfg.URL, cfg.HTTPClient, cfg.Header = server.URL, server.Client, http.Header{"Accept-Encoding": {"gzip"}}
	return newClient(t, cfg)
}

func TestGzipThatWasAskedForIsDecoded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, accept, encoding, body string
		want                         int // events; -1 for a ContentTypeError
	}{
		{"gzip", "gzip", "gzip", packed("data: a\n\n"), 1},
		{"one_of_several", "br;q=1.0, GZIP ;q=0.5", "GZIP", packed("data: a\n\n"), 1},
		{"old_name", "x-gzip", "x-gzip", packed("data: a\n\n"), 1},
		{"anything", "*", "gzip", packed("data: a\n\n"), 1},
		{"not_used", "gzip", "", "data: a\n\n", 1},
		{"identity", "gzip", "identity", "data: a\n\n", 1},
		{"empty", "gzip", "gzip", "", 0},
		{"several_members", "gzip", "gzip", packed("data: a\n") + packed("") + packed("\ndata: b\n\n"), 2},
		{"not_asked_for", "", "gzip", packed("data: a\n\n"), -1},
		{"refused", "gzip;q=0", "gzip", packed("data: a\n\n"), -1},
		{"refused_with_decimals", "gzip; q=0.000", "gzip", packed("data: a\n\n"), -1},
		{"another_was_asked_for", "br", "gzip", packed("data: a\n\n"), -1},
		{"another_was_sent", "gzip, br", "br", "?", -1},
		{"twice", "gzip", "gzip, gzip", packed(packed("data: a\n\n")), -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, status(http.StatusOK, "Content-Type", "text/event-stream", "Content-Encoding", test.encoding, "body", test.body))
			cfg := client.Config{URL: s.URL, NoReconnect: true}
			if test.accept != "" {
				cfg.Header = http.Header{"Accept-Encoding": {test.accept}}
			}
			events, err := rangeOver(t.Context(), newClient(t, cfg))
			var wrong *client.ContentTypeError
			switch {
			case test.want >= 0 && (len(events) != test.want || err != nil):
				t.Errorf("got %v, %v", events, err)
			case test.want < 0 && (len(events) != 0 || !errors.As(err, &wrong) || wrong.ContentEncoding != test.encoding || !strings.Contains(err.Error(), fmt.Sprintf("%q", test.encoding))):
				t.Errorf("got %v, %v", events, err)
			}
		})
	}
}

// An event is yielded as soon as the server has flushed it, before more follows.
func TestGzipIsDecodedAsItArrives(t *testing.T) {
	t.Parallel()
	for name, flush := range map[string]func(*gzip.Writer, io.Writer){
		"flushed": func(z *gzip.Writer, _ io.Writer) { _ = z.Flush() },
		"a_member_each": func(z *gzip.Writer, w io.Writer) {
			_ = z.Close()
			z.Reset(w)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				step := inGzip(func(w http.ResponseWriter, _ *http.Request) {
					write(w, "")
					z := gzip.NewWriter(w)
					for range 5 {
						_, _ = fmt.Fprintf(z, "data: %d\n\n", time.Now().UnixNano())
						flush(z, w)
						write(w, "")
						time.Sleep(40 * time.Second)
					}
					_ = z.Close()
				})
				cfg := client.Config{NoReconnect: true}
				for event, err := range inMemory(t, cfg, step).Events(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					if want := fmt.Sprint(time.Now().UnixNano()); event.Data != want {
						t.Errorf("got %s at %s", event.Data, want)
					}
				}
			})
		})
	}
}

func TestGzipBombIsBoundByTheLimitOfAnEvent(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	s := newScript(t, inGzip(func(w http.ResponseWriter, r *http.Request) {
		write(w, "")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "data: a\nid: 1\n\ndata: ")
		for zeros := strings.Repeat("0", 1<<16); r.Context().Err() == nil; { // until the client disconnects
			_, _ = io.WriteString(z, zeros)
		}
		gone <- struct{}{}
	}))
	c := newClient(t, client.Config{URL: s.URL, Header: http.Header{"Accept-Encoding": {"gzip"}}, MaxEventBytes: 1 << 20})
	events, err := rangeOver(t.Context(), c)
	var tooLarge *client.EventTooLargeError
	if len(events) != 1 || !errors.As(err, &tooLarge) || tooLarge.Limit != 1<<20 || c.LastEventID() != "1" {
		t.Errorf("got %v, %v after %q", events, err, c.LastEventID())
	}
	<-gone
}

func TestBrokenGzipReconnects(t *testing.T) {
	t.Parallel()
	first := packed("data: a\nid: 1\n\n")
	whole := first + packed("data: b\nid: 2\n\n")
	half := whole[:len(first)+12] // the second member's header has 10 bytes
	damaged := []byte(whole)
	damaged[len(damaged)-8] ^= 1
	for name, test := range map[string]struct {
		step   http.HandlerFunc
		events int
		want   error
	}{
		"truncated":       {stream(half), 1, io.ErrUnexpectedEOF},
		"dropped":         {abort(half), 1, io.ErrUnexpectedEOF},
		"truncated_head":  {stream(whole[:5]), 0, io.ErrUnexpectedEOF},
		"wrong_checksum":  {stream(string(damaged)), 2, gzip.ErrChecksum},
		"not_gzip_at_all": {stream("data: a\n\ndata: b\n\n"), 0, gzip.ErrHeader},
		"garbage_behind":  {stream(first + "data: b\nid: 2\n\n"), 1, gzip.ErrHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, inGzip(test.step), status(http.StatusNoContent))
			var ends []error
			events, err := rangeOver(t.Context(), newClient(t, client.Config{
				URL:          s.URL,
				Header:       http.Header{"Accept-Encoding": {"gzip"}},
				OnDisconnect: func(err error, _ time.Duration) { ends = append(ends, err) },
			}))
			if len(events) != test.events || !isStatus(err, http.StatusNoContent) {
				t.Errorf("got %v, %v", events, err)
			}
			if len(ends) != 1 || !errors.Is(ends[0], test.want) {
				t.Errorf("the connections ended with %v, want %v", ends, test.want)
			}
		})
	}
}

func TestSilenceBeforeTheGzipHeaderEndsTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := rangeOver(t.Context(), inMemory(t, client.Config{NoReconnect: true}, inGzip(hold(packed("")[:4]))))
		if took := time.Since(start); !errors.Is(err, client.ErrIdle) || took != time.Minute {
			t.Errorf("after %v the iteration ended with %v", took, err)
		}
	})
}

func TestExcerptOfACompressedRefusal(t *testing.T) {
	t.Parallel()
	const text = "who are you?"
	for _, test := range []struct{ name, accept, encoding, body, want string }{
		{"asked_for", "gzip", "gzip", packed(text), text},
		{"truncated", "gzip", "gzip", packed(text)[:20], ""},
		{"not_gzip", "gzip", "gzip", text, ""},
		{"not_asked_for", "", "gzip", packed(text), ""},
		{"another", "br", "br", text, ""},
		{"bomb", "gzip", "gzip", packed(strings.Repeat("0", 10<<20)), strings.Repeat("0", 512)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, status(http.StatusForbidden, "Content-Type", "text/plain", "Content-Encoding", test.encoding, "body", test.body))
			cfg := client.Config{URL: s.URL}
			if test.accept != "" {
				cfg.Header = http.Header{"Accept-Encoding": {test.accept}}
			}
			_, err := rangeOver(t.Context(), newClient(t, cfg))
			var refused *client.StatusError
			if !errors.As(err, &refused) || test.name != "truncated" && refused.Body != test.want {
				t.Errorf("the iteration ended with %v", err)
			}
		})
	}
}

// The client retries until the page of a captive portal or of maintenance has gone.
func TestRetryContentTypeTriesAgain(t *testing.T) {
	t.Parallel()
	page := status(http.StatusOK, "Content-Type", "Text/HTML; charset=utf-8", "body", "<h1>Sign in to the Wi-Fi</h1>")
	portal := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/portal" {
			http.Redirect(w, r, "/portal", http.StatusFound)
			return
		}
		page(w, r)
	}
	s := newScript(t, page, portal, portal, stream("data: a\n\n"), status(http.StatusNoContent))
	var ends []error
	events, err := rangeOver(t.Context(), newClient(t, client.Config{
		URL:              s.URL,
		RetryContentType: client.RetryPage,
		OnDisconnect:     func(err error, _ time.Duration) { ends = append(ends, err) },
	}))
	if len(events) != 1 || !isStatus(err, http.StatusNoContent) {
		t.Errorf("got %v, %v", events, err)
	}
	var wrong *client.ContentTypeError
	if len(ends) != 3 || !errors.As(ends[1], &wrong) || wrong.ContentType != "Text/HTML; charset=utf-8" {
		t.Errorf("the attempts ended with %v", ends)
	}
}

func TestRetryContentTypeIsCalledOnlyForStatus200(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		asked   string // for what RetryContentType was called
		retried bool
	}{
		{"page", status(http.StatusOK, "Content-Type", " Text/HTML ;charset=utf-8"), "[text/html]", true},
		{"none", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Content-Type"] = nil }, "[]", true},
		{"declined", status(http.StatusOK, "Content-Type", "application/json"), "[application/json]", false},
		{"another_status", status(http.StatusForbidden, "Content-Type", "text/html"), "", false},
		{"no_content", status(http.StatusNoContent, "Content-Type", "text/html"), "", false},
		{"compressed_stream", status(http.StatusOK, "Content-Type", "text/event-stream", "Content-Encoding", "br"), "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, test.answer, status(http.StatusNoContent))
			asked := ""
			_, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL, RetryContentType: func(contentType string) bool {
				asked += "[" + contentType + "]"
				return contentType != "application/json"
			}}))
			if err == nil || asked != test.asked || (s.requests() == 2) != test.retried {
				t.Errorf("after %d requests and calls for %q: %v", s.requests(), asked, err)
			}
		})
	}
}

func TestPageInsteadOfAStreamIsAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		page := status(http.StatusOK, "Content-Type", "text/html")
		_, _, waits, err := inBubble(t, client.Config{RetryContentType: client.RetryPage, MaxFailures: 4}, page)
		if !errors.As(err, new(*client.ContentTypeError)) {
			t.Errorf("the iteration ended with %v", err)
		}
		expectWaits(t, waits, 1, 2, 4)
	})
}
