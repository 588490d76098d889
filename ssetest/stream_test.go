package ssetest_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/ssetest"
)

// serve opens a stream that flushes each chunk separately. The stream ends when end is closed, or
// when the client disconnects.
func serve(t testing.TB, end <-chan struct{}, chunks ...string) *ssetest.Stream {
	t.Helper()
	server := ssetest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, chunk := range chunks {
			_, _ = io.WriteString(w, chunk)
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	return server.Open(t, "/")
}

func TestStreamReturnsEventsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		large := strings.Repeat("x", 3<<20)
		stream := serve(t, end, "data: 1\n\nevent: a\nda", "ta: 2\nid: 2\n\nevent: b\ndata: 3\n\nevent: b\ndata: "+large, "\n\nevent: a\ndata: 5\n\ndata: incomplete\n")
		if got, want := stream.Next(), (ssetest.Event{Type: "message", Data: "1"}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		for i, data := range []string{"3", large} {
			if got, want := stream.NextOf("b"), (ssetest.Event{Type: "b", Data: data, LastEventID: "2"}); got != want {
				t.Errorf("%d: got %.100q, want %.100q", i, got, want)
			}
		}
		close(end)
		want := []ssetest.Event{{Type: "a", Data: "5", LastEventID: "2"}}
		if rest, err := stream.WaitEnd(); err != nil || !slices.Equal(rest, want) {
			t.Errorf("got %q, %v, want %q", rest, err, want)
		}
		if _, err := stream.TryNext(time.Second); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: got %v, want EOF", err)
		}
	})
}

// IDs, comments and reconnection times without an event can be read during and after the stream.
func TestStreamKeepsFieldsWithoutAnEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		stream := serve(t, end, "id: 8\ndata: 1\n\n", "retry: 1500\nretry: 3s\n: a\n:b\n\n", "id: 9\n\n", "id: 10\n")
		check := func() {
			t.Helper()
			if got := stream.LastEventID(); got != "9" {
				t.Errorf("last event ID is %q", got)
			}
			if got := stream.ReconnectionTime(); got != 1500*time.Millisecond {
				t.Errorf("reconnection time is %v", got)
			}
			if got := stream.Comments(); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("comments are %q", got)
			}
		}
		synctest.Wait()
		check()
		if got := stream.Next(); got.LastEventID != "8" {
			t.Errorf("got %q", got)
		}
		if got, err := stream.TryNext(time.Hour); err == nil {
			t.Errorf("got %q, want no event", got)
		}
		close(end)
		if rest, err := stream.WaitEnd(); err != nil || len(rest) > 0 {
			t.Errorf("got %q, %v", rest, err)
		}
		check()
	})
}

// An ID in the last bytes of the stream, without an event, is known at the end.
func TestStreamKeepsTheLastIDOfAStreamWithoutEvents(t *testing.T) {
	t.Parallel()
	server := ssetest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: 9\n\n")
	}))
	stream := server.Open(t, "/")
	if rest, err := stream.WaitEnd(); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
	if got := stream.LastEventID(); got != "9" {
		t.Errorf("last event ID is %q", got)
	}
}

// Waiting for the LF of a CRLF would delay a complete event.
func TestStreamDispatchesBeforeTheLFOfACRLF(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stream := serve(t, nil, "data: 1\r\n\r", "\ndata: 2\r\n\r")
		for _, want := range []string{"1", "2"} {
			if got := stream.Next(); got.Data != want {
				t.Errorf("got %q, want %s", got, want)
			}
		}
	})
}
