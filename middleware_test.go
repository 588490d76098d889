package ginsse_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

func TestMiddlewareSetsExactlyTheHeadersOfAStream(t *testing.T) {
	t.Parallel()
	want := http.Header{
		"Content-Type":           {"text/event-stream"},
		"Cache-Control":          {"private, no-cache, no-store, no-transform"},
		"X-Accel-Buffering":      {"no"},
		"X-Content-Type-Options": {"nosniff"},
	}
	tests := []struct {
		name    string
		earlier http.Header // set by an earlier middleware
	}{
		{"alone", nil},
		{"over_those_of_a_page", http.Header{
			"Content-Type":   {"text/html; charset=utf-8"},
			"Cache-Control":  {"public, max-age=3600", "immutable"},
			"Content-Length": {"7"},
			"Etag":           {`"v1"`},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := middletestServe(t, func(c *gin.Context) {
				c.Writer.WriteHeaderNow()
			}, func(c *gin.Context) {
				maps.Copy(c.Writer.Header(), test.earlier)
			})
			if got := w.Result().Header; w.Code != http.StatusOK || !reflect.DeepEqual(got, want) {
				t.Errorf("got %d and %q, want 200 and %q", w.Code, got, want)
			}
		})
	}
}

func TestMiddlewareKeepsTheHeadersOfOthers(t *testing.T) {
	t.Parallel()
	w := middletestServe(t, func(c *gin.Context) { c.Writer.WriteHeaderNow() }, func(c *gin.Context) {
		c.Header("Access-Control-Allow-Origin", "https://app.example.org")
		c.Header("Vary", "Origin")
	})
	if h := w.Result().Header; h.Get("Access-Control-Allow-Origin") != "https://app.example.org" || h.Get("Vary") != "Origin" {
		t.Errorf("got %q, want also what was set before", h)
	}
}

func TestResponsesWithoutAStreamHaveNoStreamHeaders(t *testing.T) {
	t.Parallel()
	recovery := gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) {
		c.JSON(http.StatusInternalServerError, gin.H{"error": "internal"})
	})
	const asJSON, asText = "application/json; charset=utf-8", "text/plain; charset=utf-8"
	tests := []struct {
		name        string
		handler     gin.HandlerFunc
		status      int
		contentType string
	}{
		{"json_404", func(c *gin.Context) { c.JSON(http.StatusNotFound, gin.H{}) }, 404, asJSON},
		{"json_404_aborting", func(c *gin.Context) { c.AbortWithStatusJSON(http.StatusNotFound, gin.H{}) }, 404, asJSON},
		{"text_429", func(c *gin.Context) { c.String(http.StatusTooManyRequests, "later") }, 429, asText},
		{"json_201", func(c *gin.Context) { c.JSON(http.StatusCreated, gin.H{}) }, 201, asJSON},
		{"status_404_only", func(c *gin.Context) { c.AbortWithStatus(http.StatusNotFound) }, 404, ""},
		{"status_404_not_written", func(c *gin.Context) { c.Status(http.StatusNotFound) }, 404, ""},
		{"status_204", func(c *gin.Context) { c.Status(http.StatusNoContent) }, 204, ""},
		{"net_http_error", func(c *gin.Context) { http.Error(c.Writer, "gone", http.StatusGone) }, 410, asText},
		{"redirect", func(c *gin.Context) { c.Redirect(http.StatusSeeOther, "/login") }, 303, "text/html; charset=utf-8"},
		{"nothing", func(*gin.Context) {}, 200, ""},
		{"nothing_aborting", func(c *gin.Context) { c.Abort() }, 200, ""},
		{"panic", func(*gin.Context) { panic("handler failed") }, 500, asJSON},
		{"panic_with_abort_handler", func(*gin.Context) { panic(http.ErrAbortHandler) }, 200, ""},
		{"panic_after_status", func(c *gin.Context) { c.Status(http.StatusOK); panic("handler failed") }, 500, asJSON},
		{"error_left_to_a_middleware", func(c *gin.Context) { _ = c.Error(io.ErrUnexpectedEOF) }, 502, asJSON},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := middletestServe(t, test.handler, recovery, func(c *gin.Context) {
				c.Next()
				if len(c.Errors) > 0 && !c.Writer.Written() {
					c.JSON(http.StatusBadGateway, gin.H{})
				}
			})
			if got := w.Result().Header.Get("Content-Type"); w.Code != test.status || got != test.contentType {
				t.Errorf("got %d and Content-Type %q, want %d and %q", w.Code, got, test.status, test.contentType)
			}
			if got, found := w.Result().Header["X-Accel-Buffering"]; found {
				t.Errorf("got X-Accel-Buffering %q", got)
			}
		})
	}
}

// RequireUser is meant for such routes. The response is the same as with RequireUser, and the
// developer gets one warning.
func TestABodyThatIsNotAStreamKeepsItsTypeAndIsReportedOnce(t *testing.T) {
	t.Parallel()
	const asText = "text/plain; charset=utf-8"
	tests := []struct {
		name        string
		handler     gin.HandlerFunc
		contentType string // "" if it is an event stream
	}{
		{"json", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"user": "alice"}) }, "application/json; charset=utf-8"},
		{"json_list", func(c *gin.Context) { c.JSON(http.StatusOK, []int{}) }, "application/json; charset=utf-8"},
		{"json_string", func(c *gin.Context) { c.JSON(http.StatusOK, "data") }, "application/json; charset=utf-8"},
		{"text", func(c *gin.Context) { c.String(http.StatusOK, "hello") }, asText},
		{"text_like_a_field", func(c *gin.Context) { c.String(http.StatusOK, "data: 1") }, asText},
		{"bytes", func(c *gin.Context) { c.Data(http.StatusOK, "image/png", []byte("\x89PNG")) }, "image/png"},
		{"type_of_its_own", func(c *gin.Context) {
			c.Header("Content-Type", "application/problem+json")
			c.JSON(http.StatusOK, gin.H{})
		}, "application/problem+json"},
		{"written_by_hand", func(c *gin.Context) { _, _ = io.WriteString(c.Writer, `{"user":"alice"}`) }, asText},
		{"written_by_hand_with_status", func(c *gin.Context) { c.Status(http.StatusOK); _, _ = c.Writer.Write([]byte("<html>")) }, "text/plain; charset=utf-8"},
		{"a_word", func(c *gin.Context) { _, _ = c.Writer.WriteString("datum") }, asText},
		{"flushed_before", func(c *gin.Context) { c.Writer.Flush(); c.JSON(http.StatusOK, gin.H{}) }, "text/event-stream"},

		{"event", func(c *gin.Context) { _, _ = c.Writer.WriteString("data: 1\n\n") }, ""},
		{"event_with_status", func(c *gin.Context) { c.Status(http.StatusOK); _, _ = c.Writer.WriteString("event: a\ndata\n\n") }, ""},
		{"event_in_pieces", func(c *gin.Context) {
			for _, piece := range []string{"", "da", "ta: ", "{}", "\n\n"} {
				_, _ = io.WriteString(c.Writer, piece)
			}
		}, ""},
		{"id_without_colon", func(c *gin.Context) { _, _ = c.Writer.WriteString("id\n\n") }, ""},
		{"unknown_field", func(c *gin.Context) { _, _ = c.Writer.WriteString("x-trace: 1\ndata: 2\n\n") }, ""},
		{"comment", func(c *gin.Context) { _, _ = c.Writer.WriteString(": {}\n\n") }, ""},
		{"byte_order_mark", func(c *gin.Context) { _, _ = c.Writer.WriteString("\ufeffretry: 1\n\n") }, ""},
		{"blank_line", func(c *gin.Context) { _, _ = c.Writer.WriteString("\r\ndata: 1\n\n") }, ""},
		{"headers_only", func(c *gin.Context) { c.Status(http.StatusOK); c.Writer.WriteHeaderNow() }, ""},
		{"flush_only", func(c *gin.Context) { c.Status(http.StatusOK); c.Writer.Flush() }, ""},
		{"flush_by_controller", func(c *gin.Context) { c.Status(http.StatusOK); _ = http.NewResponseController(c.Writer).Flush() }, ""},
		{"kit", middletestStream, ""},
		{"kit_after_status", func(c *gin.Context) {
			c.Status(http.StatusOK)
			middletestStream(c)
		}, ""},
		{"encoded", func(c *gin.Context) { c.Header("Content-Encoding", "gzip"); _, _ = c.Writer.WriteString("\x1f\x8b") }, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var reported []string
			engine := gin.New()
			engine.Use(func(c *gin.Context) {
				c.Next()
				reported = append(reported, c.Errors.Errors()...)
			})
			guard := ginsse.Middleware(authtestFunc(t, ginsse.Identity{UserID: "alice"}, nil))
			engine.GET("/api/:name", guard, test.handler)
			engine.GET("/again", guard, test.handler)
			// net/http sets a type for a body without one; a recorder does not.
			server := startServer(t, engine, nil, (*httptest.Server).Start)
			var header http.Header
			for _, path := range []string{"/api/me", "/again", "/again"} {
				response, err := server.Client().Get(server.URL + path)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if header = response.Header; response.StatusCode != http.StatusOK {
					t.Errorf("got status %d", response.StatusCode)
				}
			}
			server.Close() // the handlers have returned
			want, buffering := test.contentType, []string(nil)
			if want == "" || want == "text/event-stream" {
				want, buffering = "text/event-stream", []string{"no"}
			}
			if got := header.Get("Content-Type"); got != want {
				t.Errorf("got Content-Type %q, want %q", got, want)
			}
			if got := header["X-Accel-Buffering"]; !slices.Equal(got, buffering) {
				t.Errorf("got X-Accel-Buffering %q, want %q", got, buffering)
			}
			text := strings.Join(reported, "\n")
			switch {
			case test.contentType == "" && text != "":
				t.Errorf("an event stream is reported: %s", text)
			case test.contentType != "" && (len(reported) != 1 || !strings.Contains(text, "GET /api/:name") || !strings.Contains(text, "RequireUser")):
				t.Errorf("got the reports %q, want one that names the first route and the remedy", text)
			}
		})
	}
}

// gin's own events set their own type, and pass no status.
func TestEventsOfGinKeepTheHeadersOfAStream(t *testing.T) {
	t.Parallel()
	w := middletestServe(t, func(c *gin.Context) {
		c.SSEvent("message", "hello")
		if len(c.Errors) != 0 {
			t.Errorf("an event stream is reported: %v", c.Errors)
		}
	})
	header := w.Result().Header
	if got := header.Get("Content-Type"); got != "text/event-stream;charset=utf-8" {
		t.Errorf("got Content-Type %q", got)
	}
	if got := header.Get("X-Accel-Buffering"); got != "no" {
		t.Errorf("got X-Accel-Buffering %q, want that of a stream", got)
	}
}

func TestRefusalRemovesStreamHeadersThatOthersSet(t *testing.T) {
	t.Parallel()
	auth := authtestAuth(t, nil)
	for name, guard := range map[string]gin.HandlerFunc{"Middleware": ginsse.Middleware(auth), "RequireUser": auth.RequireUser()} {
		engine := gin.New()
		engine.GET("/events", func(c *gin.Context) {
			c.Header("Content-Type", "text/event-stream")
			c.Header("X-Accel-Buffering", "no")
		}, guard, func(c *gin.Context) { t.Errorf("%s: the handler ran", name) })
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", http.NoBody))
		authtestCheckAnswer(t, w.Result(), authtestMissing)
	}
}

func TestRefusalRunsNoLaterHandlerAndIsRecorded(t *testing.T) {
	t.Parallel()
	var recorded []error
	engine := gin.New()
	engine.Use(func(c *gin.Context) {
		c.Next()
		for _, err := range c.Errors {
			recorded = append(recorded, err.Err)
		}
		if userID := ginsse.UserID(c); userID != "" {
			t.Errorf("user ID %q after a refusal", userID)
		}
	})
	engine.GET("/events", ginsse.Middleware(authtestAuth(t, nil)), func(*gin.Context) { t.Error("the handler ran") })
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", http.NoBody))
	if len(recorded) != 1 {
		t.Fatalf("the gin context has the errors %v, want one", recorded)
	}
	if refused, ok := recorded[0].(*ginsse.AuthError); !ok || refused.Status != w.Code {
		t.Errorf("the gin context has the error %v, want the *AuthError", recorded[0])
	}
}

func TestUserIDAndExpiryAreReadableAnywhere(t *testing.T) {
	t.Parallel()
	want := ginsse.Identity{UserID: "alice", Expiry: time.Now().Add(time.Hour)}
	auth := authtestFunc(t, want, nil)
	for name, guard := range map[string]gin.HandlerFunc{"Middleware": ginsse.Middleware(auth), "RequireUser": auth.RequireUser()} {
		check := func(where string, c *gin.Context, want ginsse.Identity) {
			if got := (ginsse.Identity{UserID: ginsse.UserID(c), Expiry: ginsse.Expiry(c)}); got != want {
				t.Errorf("%s, %s: got %+v, want %+v", name, where, got, want)
			}
		}
		engine := gin.New()
		engine.Use(func(c *gin.Context) {
			check("before", c, ginsse.Identity{})
			c.Next()
			check("after", c, want)
		})
		engine.GET("/events", guard, func(c *gin.Context) {
			check("in a middleware behind", c, want)
			c.Next()
		}, func(c *gin.Context) {
			check("in the handler", c, want)
			check("in a copy", c.Copy(), want)
		})
		engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/events", http.NoBody))
	}
}

func TestUserIDAndExpiryAreZeroWithoutAuthentication(t *testing.T) {
	t.Parallel()
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	if userID, expiry := ginsse.UserID(c), ginsse.Expiry(c); userID != "" || !expiry.IsZero() {
		t.Errorf("got %q and %v, want neither", userID, expiry)
	}
}

func TestRequireUserSetsNoStreamHeaders(t *testing.T) {
	t.Parallel()
	auth := authtestFunc(t, ginsse.Identity{UserID: "alice"}, nil)
	engine := gin.New()
	engine.POST("/ordinary", auth.RequireUser(), func(c *gin.Context) {
		if len(c.Writer.Header()) != 0 {
			t.Errorf("the handler finds the headers %q", c.Writer.Header())
		}
		if c.GetHeader("Accept-Encoding") != "gzip" {
			t.Error("Accept-Encoding is gone from an ordinary route")
		}
		c.JSON(http.StatusOK, gin.H{})
	})
	request := httptest.NewRequest(http.MethodPost, "/ordinary", http.NoBody)
	request.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, request)
	want := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	if got := w.Result().Header; w.Code != http.StatusOK || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d and %q, want 200 and %q", w.Code, got, want)
	}
}

// Compression middleware decides by this header whether to wrap the writer.
func TestMiddlewareRemovesAcceptEncodingForLaterHandlers(t *testing.T) {
	t.Parallel()
	engine := gin.New()
	engine.GET("/events", ginsse.Middleware(authtestFunc(t, ginsse.Identity{UserID: "alice"}, nil)), func(c *gin.Context) {
		if values, found := c.Request.Header["Accept-Encoding"]; found {
			t.Errorf("Accept-Encoding is still %q", values)
		}
	})
	request := httptest.NewRequest(http.MethodGet, "/events", http.NoBody)
	request.Header["Accept-Encoding"] = []string{"gzip, br", "zstd"}
	engine.ServeHTTP(httptest.NewRecorder(), request)
}

func TestMiddlewareWriterUnwrapsToTheServersWriter(t *testing.T) {
	t.Parallel()
	auth := authtestFunc(t, ginsse.Identity{UserID: "alice"}, nil)
	server := startServer(t, serveAt(func(c *gin.Context) {
		controller := http.NewResponseController(c.Writer)
		if err := controller.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("setting a write deadline: %v", err)
		}
		if err := controller.Flush(); err != nil {
			t.Errorf("flushing: %v", err)
		}
	}, ginsse.Middleware(auth)), nil, (*httptest.Server).Start)
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("got Content-Type %q once flushed, want a stream's", got)
	}
}

func TestMiddlewareRestoresTheWriter(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]gin.HandlerFunc{
		"returns": func(c *gin.Context) { c.Writer.WriteHeaderNow() },
		"panics":  func(*gin.Context) { panic("handler failed") },
	} {
		middletestServe(t, handler, gin.CustomRecoveryWithWriter(io.Discard, func(*gin.Context, any) {}), func(c *gin.Context) {
			before := c.Writer
			defer func() {
				if c.Writer != before {
					t.Errorf("%s: the writer is a %T, before a %T", name, c.Writer, before)
				}
			}()
			c.Next()
		})
	}
}

func TestMiddlewareAndRequireUserPanicWithoutAuth(t *testing.T) {
	t.Parallel()
	for want, build := range map[string]func(){
		"ginsse: Middleware: auth is nil":      func() { ginsse.Middleware(nil) },
		"ginsse: RequireUser: the Auth is nil": func() { (*ginsse.Auth)(nil).RequireUser() },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); got != want {
					t.Errorf("got panic %q, want %q", got, want)
				}
			}()
			build()
		}()
	}
}

// middletestStream serves a stream of one event.
func middletestStream(c *gin.Context) {
	_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
		return s.Send(ctx, ginsse.Event{Data: 1})
	})
}

// middletestServe serves one request with handler after the earlier handlers and a Middleware that
// accepts every request.
func middletestServe(t *testing.T, handler gin.HandlerFunc, earlier ...gin.HandlerFunc) *httptest.ResponseRecorder {
	t.Helper()
	engine := gin.New()
	engine.Use(earlier...)
	engine.GET("/events", ginsse.Middleware(authtestFunc(t, ginsse.Identity{UserID: "alice"}, nil)), handler)
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", http.NoBody))
	return w
}
