package ginsse_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
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
		earlier http.Header // set by a middleware before
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

func TestAnswersThatAreNoStreamHaveNoStreamHeaders(t *testing.T) {
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
		})
	}
}

func TestRefusalTakesOffStreamHeadersThatOthersSet(t *testing.T) {
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

// Compression decides by this header whether to wrap the writer.
func TestMiddlewareHidesAcceptEncodingFromWhatFollows(t *testing.T) {
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

func TestMiddlewareWriterUnwrapsToTheServers(t *testing.T) {
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

func TestMiddlewareGivesTheWriterBack(t *testing.T) {
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

func TestMiddlewarePanicsWithoutAuth(t *testing.T) {
	t.Parallel()
	defer func() {
		if got := fmt.Sprint(recover()); got != "ginsse: Middleware: auth is nil" {
			t.Errorf("got panic %q", got)
		}
	}()
	ginsse.Middleware(nil)
}

// middletestServe serves one request with handler behind the earlier handlers and
// a Middleware that lets everybody in.
func middletestServe(t *testing.T, handler gin.HandlerFunc, earlier ...gin.HandlerFunc) *httptest.ResponseRecorder {
	t.Helper()
	engine := gin.New()
	engine.Use(earlier...)
	engine.GET("/events", ginsse.Middleware(authtestFunc(t, ginsse.Identity{UserID: "alice"}, nil)), handler)
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/events", http.NoBody))
	return w
}
