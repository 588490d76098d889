package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/ssetest"
)

// The kit's own events as its servers write them, with the id last in each block.
const (
	kitOpen      = "retry: 3000\nevent: sse.open\ndata: {\"stream\":\"s\",\"resumed\":false,\"heartbeat\":15000}\nid: 0\n\n"
	kitReconnect = "retry: 4500\nevent: sse.reconnect\ndata: {\"reason\":\"lifetime\",\"retry\":4500}\n\n"
	kitClose     = "event: sse.close\ndata: {\"reason\":\"signed out\"}\n\n"
)

func kitHeartbeat(id int) string { return fmt.Sprintf("event: sse.heartbeat\ndata:\nid: %d\n\n", id) }

func types(events []client.Event) string {
	var b strings.Builder
	for _, event := range events {
		b.WriteString(event.Type + " ")
	}
	return strings.TrimSpace(b.String())
}

func TestHeartbeatsAreNotYielded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text      string
		cfg       client.Config
		want      string
		resumesAt string
	}{
		"default":     {kitOpen + kitHeartbeat(1) + "data: a\nid: 2\n\n" + kitHeartbeat(3), client.Config{}, "sse.open message", "3"},
		"asked_for":   {kitOpen + kitHeartbeat(1) + "data: a\nid: 2\n\n" + kitHeartbeat(3), client.Config{Heartbeats: true}, "sse.open sse.heartbeat message sse.heartbeat", "3"},
		"without_id":  {"data: a\nid: 2\n\nevent: sse.heartbeat\ndata\n\n", client.Config{}, "message", "2"},
		"with_data":   {"event: sse.heartbeat\ndata: x\n\n", client.Config{}, "sse.heartbeat", ""},
		"half_of_one": {"data: a\nid: 2\n\nevent: sse.heartbeat\ndata:\nid: 3\n", client.Config{}, "message", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, stream(test.text), status(http.StatusNoContent))
			test.cfg.URL = s.URL
			test.cfg.MaxReconnectionTime = time.Millisecond // sse.open asks for 3 s
			events, err := rangeOver(t.Context(), newClient(t, test.cfg))
			if got := types(events); got != test.want || !isStatus(err, http.StatusNoContent) {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
			if got := s.header(1).Get("Last-Event-ID"); got != test.resumesAt {
				t.Errorf("resumed from %q, want %q", got, test.resumesAt)
			}
		})
	}
}

// Any goroutine may read the position while the loop waits.
func TestHeartbeatsMoveTheLastEventIDWhileNothingElseArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := ssetest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			write(w, kitOpen)
			for id := 1; ; id++ {
				select {
				case <-time.After(15 * time.Second):
					write(w, kitHeartbeat(id))
				case <-r.Context().Done():
					return
				}
			}
		}))
		c := newClient(t, client.Config{URL: server.URL, HTTPClient: server.Client})
		var ids []string
		var reading sync.WaitGroup
		reading.Go(func() {
			for range 3 {
				time.Sleep(16 * time.Second)
				ids = append(ids, c.LastEventID())
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		events, err := rangeOver(ctx, c)
		if len(events) != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", events, err)
		}
		reading.Wait()
		if got := fmt.Sprint(ids); got != "[1 2 3]" {
			t.Errorf("the last event IDs were %s", got)
		}
	})
}

func TestHeartbeatIntervalOfTheServerSetsTheIdleTimeout(t *testing.T) {
	t.Parallel()
	open := func(data string) string { return "event: sse.open\ndata: " + data + "\n\n" }
	for _, test := range []struct {
		name string
		text string
		cfg  client.Config
		want time.Duration
	}{
		{"three_intervals", kitOpen, client.Config{}, 45 * time.Second},
		{"of_minutes", open(`{"heartbeat":240000}`), client.Config{}, 12 * time.Minute},
		{"very_short", open(`{"heartbeat":100}`), client.Config{}, time.Second},
		{"very_long", open(`{"heartbeat":9223372036854775807}`), client.Config{}, time.Hour},
		{"explicit", kitOpen, client.Config{IdleTimeout: 20 * time.Second}, 20 * time.Second},
		{"explicit_as_the_default", kitOpen, client.Config{IdleTimeout: time.Minute}, time.Minute},
		{"absent", open(`{"stream":"s","resumed":false}`), client.Config{}, time.Minute},
		{"zero", open(`{"heartbeat":0}`), client.Config{}, time.Minute},
		{"negative", open(`{"heartbeat":-1}`), client.Config{}, time.Minute},
		{"too_large", open(`{"heartbeat":9223372036854775808}`), client.Config{}, time.Minute},
		{"not_a_number", open(`{"heartbeat":"soon"}`), client.Config{}, time.Minute},
		{"not_json", open(`heartbeat`), client.Config{}, time.Minute},
		{"of_another_event", "event: open\ndata: {\"heartbeat\":15000}\n\n", client.Config{}, time.Minute},
		{"no_event", ": hi\n\n", client.Config{}, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var silence time.Duration
				once := func(w http.ResponseWriter, r *http.Request) {
					hold(test.text)(w, r)
					silence = time.Since(start)
				}
				_, ends, _, err := inBubble(t, test.cfg, once, status(http.StatusNoContent))
				if len(ends) != 1 || !errors.Is(ends[0], client.ErrIdle) || !isStatus(err, http.StatusNoContent) {
					t.Errorf("the attempts ended with %v, %v", ends, err)
				}
				if silence != test.want {
					t.Errorf("the client left after %v, want %v", silence, test.want)
				}
			})
		})
	}
}

// The server of the next connection may have another interval, or send no heartbeats.
func TestHeartbeatIntervalHoldsForItsConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, ends, waits, err := inBubble(t, client.Config{}, hold(kitOpen), hold(": hi\n\n"), status(http.StatusNoContent))
		if len(ends) != 2 || !isStatus(err, http.StatusNoContent) {
			t.Fatalf("the attempts ended with %v, %v", ends, err)
		}
		if took := time.Since(start) - waits[0] - waits[1]; took != 45*time.Second+time.Minute {
			t.Errorf("the connections lived for %v", took)
		}
	})
}

func TestHeartbeatsRestartTheIdleTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slowHeartbeats := func(w http.ResponseWriter, _ *http.Request) {
			write(w, kitOpen)
			for id := range 100 {
				time.Sleep(44 * time.Second)
				write(w, kitHeartbeat(id))
			}
		}
		events, ends, _, err := inBubble(t, client.Config{}, slowHeartbeats, status(http.StatusNoContent))
		if len(events) != 1 || len(ends) != 1 || ends[0] != io.EOF || !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v, %v", events, ends, err)
		}
	})
}

// A reconnect that the server asks for is never a failure.
func TestSSEReconnectWaitsAsLongAsTheServerAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reconnect := func(data string) http.HandlerFunc { return stream("event: sse.reconnect\ndata: " + data + "\n\n") }
		events, ends, waits, err := inBubble(t, client.Config{MaxFailures: 2, ReconnectionTime: 2 * time.Second},
			reconnect(`{"reason":"lifetime"}`), reconnect(`{"reason":"overloaded","retry":60000}`), reconnect(`{"reason":"shutdown","retry":-1}`),
			stream(kitReconnect), reconnect(`{}`), reconnect(`{"reason":"throttled","retry":9223372036854775807}`), reconnect(`soon`),
			stream(": a failure\n\n"), status(http.StatusNoContent))
		if len(events) != 7 || !isStatus(err, http.StatusNoContent) {
			t.Errorf("got %v, %v", events, err)
		}
		// kitReconnect also has a retry field, which sets all later waits.
		expectWaits(t, waits, 2, 60, 2, 4.5, 4.5, 3600, 4.5, 4.5)
		want := []client.ReconnectError{{"lifetime", 2 * time.Second}, {"overloaded", time.Minute}, {"shutdown", 2 * time.Second}, {"lifetime", 4500 * time.Millisecond}}
		for i, want := range want {
			var asked *client.ReconnectError
			if !errors.As(ends[i], &asked) || *asked != want {
				t.Errorf("connection %d ended with %#v, want %#v", i, ends[i], want)
			}
		}
		if got, want := ends[0].Error(), `ginsse: the server asked the client to reconnect: "lifetime"`; got != want {
			t.Errorf("the text is %s, want %s", got, want)
		}
	})
}

// A proxy may leave the connection open after sse.reconnect.
func TestSSEReconnectEndsTheConnectionAtOnce(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{}, 1)
	s := newScript(t, holdUntil(gone, "data: a\nid: 1\n\nretry: 1\nevent: sse.reconnect\ndata: {\"reason\":\"shutdown\",\"retry\":1}\n\ndata: late\nid: 2\n\n"), status(http.StatusNoContent))
	events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
	if got := types(events); got != "message sse.reconnect" || !isStatus(err, http.StatusNoContent) {
		t.Errorf("got %s, %v", got, err)
	}
	<-gone
	if got := s.header(1).Get("Last-Event-ID"); got != "1" {
		t.Errorf("resumed from %q, want 1", got)
	}
}

// The client ignores what follows sse.close, and does not wait for the end of the connection.
func TestSSECloseIsFinal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, reason string }{
		"of_the_kit":         {kitClose, "signed out"},
		"after_a_retry":      {"retry: 3600000\nevent: sse.close\ndata: {\"reason\":\"replaced\"}\n\n", "replaced"},
		"without_reason":     {"event: sse.close\ndata: {}\n\n", ""},
		"of_another_kit":     {"event: sse.close\ndata: bye\n\n", ""},
		"reason_is_a_number": {"event: sse.close\ndata: {\"reason\":1}\n\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan struct{}, 1)
			s := newScript(t, holdUntil(gone, test.text+"data: late\n\n"))
			events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
			var closed *client.ClosedError
			if types(events) != "sse.close" || !errors.As(err, &closed) || closed.Reason != test.reason {
				t.Fatalf("got %v, %v", events, err)
			}
			if want := fmt.Sprintf("ginsse: the server closed the stream permanently: %q", test.reason); err.Error() != want {
				t.Errorf("the text is %s, want %s", err, want)
			}
			<-gone
			if n := s.requests(); n != 1 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}

// The kit would answer a request for sse.done with 204, so the client need not send it.
func TestCompletedStreamIsFinal(t *testing.T) {
	t.Parallel()
	const text = "data: a\n\nid: sse.done\n\n"
	for name, test := range map[string]struct {
		steps    []http.HandlerFunc
		cfg      client.Config
		requests int
		want     func(error) bool
	}{
		"complete":     {[]http.HandlerFunc{stream(text)}, client.Config{}, 1, func(err error) bool { return isClosed(err, "done") }},
		"no_reconnect": {[]http.HandlerFunc{stream(text)}, client.Config{NoReconnect: true}, 1, func(err error) bool { return err == nil }},
		// The client does not know whether more was to follow. The server does.
		"dropped_after_the_id": {[]http.HandlerFunc{abort(text), status(http.StatusNoContent)}, client.Config{}, 2, func(err error) bool { return isStatus(err, http.StatusNoContent) }},
		"dropped_in_the_id":    {[]http.HandlerFunc{abort("data: a\n\nid: sse.done\n"), stream("id: sse.done\n\n")}, client.Config{}, 2, func(err error) bool { return isClosed(err, "done") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t, test.steps...)
			test.cfg.URL = s.URL
			events, err := rangeOver(t.Context(), newClient(t, test.cfg))
			if types(events) != "message" || !test.want(err) || s.requests() != test.requests {
				t.Errorf("got %v, %v after %d requests", events, err, s.requests())
			}
		})
	}
}

// With a server of the kit, the work of a completed stream is done once.
func TestStreamOfOneRequestIsReadOnce(t *testing.T) {
	t.Parallel()
	quietly()
	var produced atomic.Int64
	r := gin.New()
	r.GET("/answer", func(c *gin.Context) {
		_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
			produced.Add(1)
			return s.Send(ctx, ginsse.Event{Type: "token", Data: "Hello"})
		})
	})
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: server.URL + "/answer"}))
	if len(events) == 0 || events[0].Data != "Hello" || !isClosed(err, "done") {
		t.Errorf("got %v, %v", events, err)
	}
	if n := produced.Load(); n != 1 {
		t.Errorf("the work was done %d times", n)
	}
}

func isClosed(err error, reason string) bool {
	var closed *client.ClosedError
	return errors.As(err, &closed) && closed.Reason == reason
}

func TestNoReconnectEndsWithSSEReconnect(t *testing.T) {
	t.Parallel()
	s := newScript(t, hold("data: a\n\n"+kitReconnect))
	events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL, NoReconnect: true}))
	if got := types(events); got != "message sse.reconnect" || err != nil || s.requests() != 1 {
		t.Errorf("got %s, %v after %d requests", got, err, s.requests())
	}
}

// A connection may end after any byte, cleanly or not. No event is lost or repeated, because the
// client resumes after the last event that was yielded.
func TestEndAtAnyByteLosesNoEvent(t *testing.T) {
	t.Parallel()
	blocks := []string{
		"event: sse.open\ndata: {\"stream\":\"s\",\"resumed\":false,\"heartbeat\":15000}\nid: 1\n\n",
		"event: comment\ndata: first\ndata: line\nid: 2\n\n",
		"event: sse.heartbeat\ndata:\nid: 3\n\n",
		"data: second\nid: 4\n\n",
		"id: 5\n\n",
		"event: comment\ndata: third\nid: 16\n\n",
	}
	ids := []string{"1", "2", "3", "4", "5", "16"}
	whole := strings.Join(blocks, "")
	for name, lineEnd := range map[string]string{"lf": "\n", "crlf": "\r\n", "cr": "\r"} {
		whole := strings.ReplaceAll(whole, "\n", lineEnd)
		for how, end := range map[string]func(string) http.HandlerFunc{"dropped": abort, "clean": stream} {
			t.Run(name+"_"+how, func(t *testing.T) {
				t.Parallel()
				for at := range len(whole) + 1 {
					s := newScript(t, end(whole[:at]), func(w http.ResponseWriter, r *http.Request) {
						rest := blocks
						for i, id := range ids {
							if id == r.Header.Get("Last-Event-ID") {
								rest = blocks[i+1:]
							}
						}
						write(w, strings.ReplaceAll(strings.Join(rest, ""), "\n", lineEnd)+kitClose)
					})
					events, err := rangeOver(t.Context(), newClient(t, client.Config{URL: s.URL}))
					if !isClosed(err, "signed out") {
						t.Fatalf("connection ended after %d bytes: %v", at, err)
					}
					var got []string
					for _, event := range events {
						got = append(got, event.LastEventID+" "+strconv.Quote(event.Data))
					}
					want := []string{`1 "{\"stream\":\"s\",\"resumed\":false,\"heartbeat\":15000}"`, `2 "first\nline"`, `4 "second"`, `16 "third"`, `16 "{\"reason\":\"signed out\"}"`}
					if fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("connection ended after %d bytes, in %q: got %s", at, whole[:at], got)
					}
				}
			})
		}
	}
}
