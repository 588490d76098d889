package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// Replaced streams still write to their clients for a while. Their number is bounded, like that of
// live streams.
func TestHandlersOfReplacedStreamsAreBounded(t *testing.T) {
	t.Parallel()
	const most = 8
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreams: most, MaxStreamsPerUser: 2, MaxOpensPerMinute: -1})
	var handlers, peak atomic.Int64
	engine := newEngine(t, registry)
	server := transports[0].start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := handlers.Add(1); n > peak.Load() {
			peak.Store(n)
		}
		defer handlers.Add(-1)
		engine.ServeHTTP(w, r)
	}), smallBuffers)
	first := send(t, registry, "alice", 0)
	for range 20 {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: strings.Repeat("x", 500_000)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 * most {
		stalledGet(t, server, "/events", http.Header{"X-User": {"alice"}, "Last-Event-Id": {first.ID}})
	}
	// The handlers of refused ones may return a moment after the client has its answer.
	if n := peak.Load(); n > 3*most {
		t.Errorf("%d handlers at a time, with MaxStreams %d", n, most)
	}
}

// A stream that only asks the client to reconnect later is bounded like any stream. It must not ask
// for an immediate reconnect.
func TestThrottledClientIsAskedToReconnectLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{MaxOpensPerMinute: 1000})
		openAndLeave(t, registry, 1000)
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		wantReconnect(t, stream, "throttled")
		if d := stream.ReconnectionTime(); d < 1500*time.Millisecond {
			t.Errorf("asked back after %v", d)
		}
	})
}

// openAndLeave opens n streams of alice, whose clients disconnect at once.
func openAndLeave(t *testing.T, registry *ginsse.Registry, n int) {
	t.Helper()
	engine := newEngine(t, registry)
	for range n {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", http.NoBody)
		request.Header.Set("X-User", "alice")
		engine.ServeHTTP(httptest.NewRecorder(), request)
	}
}

// The work was interrupted, so a request with a new credential may do it again.
func TestExpiredStreamOfOneRequestDoesNotEndAsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := gin.New()
		engine.GET("/", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
				_ = s.Send(ctx, numbered(1))
				<-ctx.Done()
				return ctx.Err()
			})
		})
		stream := ssetest.NewServer(t, engine).Open(t, "/", as("alice"), ssetest.Header("X-Lifetime", "10s"))
		if rest, err := stream.WaitEnd(); err != nil || len(rest) != 1 || stream.LastEventID() == ginsse.DoneID {
			t.Errorf("ended with %+v, %v and the ID %q", rest, err, stream.LastEventID())
		}
	})
}

// Text that a handler relays behind Middleware must not become a page of the application.
func TestBodyThatIsNotAStreamIsPlainText(t *testing.T) {
	t.Parallel()
	engine := gin.New()
	engine.GET("/", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
		_, _ = io.Copy(c.Writer, strings.NewReader("<script>alert(document.domain)</script>"))
	})
	request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	request.Header.Set("X-User", "alice")
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, request)
	if got := w.Result().Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("the type is %q", got)
	}
}

// A cause may contain input of a client. It must stay a short line in a log.
func TestErrorsOfAuthenticationAreOneLine(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"a\nb", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\u0085b", strings.Repeat("x", 10_000)} {
		err := &ginsse.AuthError{Status: 401, Description: "no", Err: errors.New(bad)}
		text := err.Error()
		if strings.ContainsAny(text, "\r\n\x1b\u2028\u0085") || len(text) > 600 {
			t.Errorf("%q is logged as %q", fmt.Sprintf("%.20s", bad), text)
		}
	}
}
