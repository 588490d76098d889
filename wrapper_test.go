package ginsse_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// onGin returns a gin middleware that wraps the response writer.
func onGin(wrap func(gin.ResponseWriter) gin.ResponseWriter) gin.HandlerFunc {
	return func(c *gin.Context) { c.Writer = wrap(c.Writer) }
}

// outsideGin returns a net/http middleware that wraps the response writer.
func outsideGin(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) })
	}
}

// A stream works behind a wrapper of the response writer that passes on writes at once. Any other
// wrapper is refused before the 200, with an error that names the writer. If only the first block
// shows what it does, the stream ends with that error.
func TestStreamWorksOrIsRefusedBehindWriters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		middleware gin.HandlerFunc
		around     func(http.Handler) http.Handler
		wantError  string // "" means it works
		late       bool   // refused with the first block
		http1      bool   // the fault is detected only on HTTP/1
	}{
		{name: "recorder_of_bodies", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &bodyRecorder{ResponseWriter: w}
		})},
		{name: "recorder_that_unwraps", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &unwrappingRecorder{bodyRecorder{ResponseWriter: w}}
		})},
		{name: "compression", middleware: func(c *gin.Context) {
			c.Header("Content-Encoding", "gzip")
			c.Writer = &unwrappingRecorder{bodyRecorder{ResponseWriter: c.Writer}}
		}, wantError: `Content-Encoding "gzip"`},
		{name: "compression_by_name", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &gzipWriter{lateEncoder{ResponseWriter: w}}
		}), wantError: "*ginsse_test.gzipWriter"},
		{name: "compression_by_name_under_another", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &unwrappingRecorder{bodyRecorder{ResponseWriter: &gzipWriter{lateEncoder{ResponseWriter: w}}}}
		}), wantError: "*ginsse_test.gzipWriter"},
		{name: "compression_with_the_first_write", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &lateEncoder{ResponseWriter: w}
		}), wantError: `Content-Encoding "gzip"`, late: true},
		{name: "compression_with_the_first_write_outside_gin", around: outsideGin(func(w http.ResponseWriter) http.ResponseWriter {
			return &lateEncoderOutside{ResponseWriter: w}
		}), wantError: `Content-Encoding "gzip"`, late: true},
		{name: "buffer", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &holder{ResponseWriter: w}
		}), wantError: "*ginsse_test.holder", late: true},
		{name: "buffer_that_unwraps", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &unwrappingHolder{holder{ResponseWriter: w}}
		}), wantError: "*ginsse_test.unwrappingHolder", late: true},
		{name: "buffer_by_name", middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &timeoutWriter{w}
		}), wantError: "*ginsse_test.timeoutWriter"},
		{name: "body_already_begun", middleware: func(c *gin.Context) {
			c.String(http.StatusOK, "hello")
		}, wantError: "already begun"},
		{name: "timeout_handler", around: func(h http.Handler) http.Handler {
			return http.TimeoutHandler(h, 5*time.Second, "too slow")
		}, wantError: "*http.timeoutWriter"},
		{name: "timeout_handler_that_is_hidden", around: func(h http.Handler) http.Handler {
			return http.TimeoutHandler(h, 5*time.Second, "too slow")
		}, middleware: onGin(func(w gin.ResponseWriter) gin.ResponseWriter {
			return &bodyRecorder{ResponseWriter: w}
		}), wantError: "*ginsse_test.bodyRecorder", late: true, http1: true},
		{name: "wrapper_outside_gin", around: outsideGin(func(w http.ResponseWriter) http.ResponseWriter {
			return flusherOnly{w, w.(http.Flusher)}
		})},
		{name: "wrapper_outside_gin_that_unwraps", around: outsideGin(func(w http.ResponseWriter) http.ResponseWriter {
			return unwrapper{w}
		})},
		{name: "wrapper_outside_gin_that_cannot_flush", around: outsideGin(func(w http.ResponseWriter) http.ResponseWriter {
			return writerOnly{w}
		}), wantError: "ginsse_test.writerOnly"},
	}
	for _, test := range tests {
		for n, tr := range transports[:3] {
			if test.http1 && (n == 2 || runtime.GOOS != "linux") {
				continue
			}
			t.Run(test.name+"/"+tr.name, func(t *testing.T) {
				t.Parallel()
				served := make(chan error, 1)
				var middleware []gin.HandlerFunc
				if test.middleware != nil {
					middleware = append(middleware, test.middleware)
				}
				r := serveAt(func(c *gin.Context) {
					served <- ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
						if test.late {
							<-ctx.Done() // the stream must end even so
							return ctx.Err()
						}
						return s.Send(ctx, ginsse.Event{Data: "x"})
					})
				}, middleware...)
				handler := http.Handler(r)
				if test.around != nil {
					handler = test.around(r)
				}
				server := tr.start(t, handler, nil)
				server.Client().Transport.(*http.Transport).DisableCompression = true
				server.Client().Timeout = 10 * time.Second // a buffered stream does not end
				response, err := server.Client().Get(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				err = within(t, "Serve", served)
				if test.wantError == "" {
					if events := ssetest.Parse(body); err != nil || len(events) != 1 || events[0].Data != "x" {
						t.Errorf("Serve returned %v, and the client got %q", err, body)
					}
					return
				}
				if !errors.Is(err, ginsse.ErrUnsupportedWriter) || !strings.Contains(err.Error(), test.wantError) {
					t.Errorf("Serve returned %v, want an error that names %q", err, test.wantError)
				}
				if late := errors.Is(err, ginsse.ReasonFailed); late != test.late {
					t.Errorf("Serve returned %v; refused late: %v, want %v", err, late, test.late)
				}
				if test.late {
					return
				}
				if strings.Contains(string(body), "ginsse_test") || strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
					t.Errorf("the client got %q of type %q", body, response.Header.Get("Content-Type"))
				}
				if test.name != "body_already_begun" && response.StatusCode != http.StatusInternalServerError {
					t.Errorf("the status is %d", response.StatusCode)
				}
			})
		}
	}
}

// bodyRecorder keeps a copy of all writes, like the middleware of many applications.
type bodyRecorder struct {
	gin.ResponseWriter
	body []byte
}

func (w *bodyRecorder) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return w.ResponseWriter.Write(p)
}

type unwrappingRecorder struct{ bodyRecorder }

func (w *unwrappingRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// lateEncoder compresses, and sets Content-Encoding with the first write. Its type name does not
// show that.
type lateEncoder struct {
	gin.ResponseWriter
	encoder *gzip.Writer
}

func (w *lateEncoder) Write(p []byte) (int, error) {
	if w.encoder == nil {
		w.Header().Set("Content-Encoding", "gzip")
		w.encoder = gzip.NewWriter(w.ResponseWriter)
	}
	return w.encoder.Write(p)
}

func (w *lateEncoder) Flush() {
	if w.encoder != nil {
		_ = w.encoder.Flush()
	}
	w.ResponseWriter.Flush()
}

// gzipWriter is a lateEncoder whose type name shows what it does.
type gzipWriter struct{ lateEncoder }

func (w *gzipWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// lateEncoderOutside is lateEncoder for net/http. It does not buffer.
type lateEncoderOutside struct {
	http.ResponseWriter
	encoder *gzip.Writer
}

func (w *lateEncoderOutside) WriteHeader(int) {} // the first write writes it

func (w *lateEncoderOutside) Write(p []byte) (int, error) {
	if w.encoder == nil {
		w.Header().Set("Content-Encoding", "gzip")
		w.encoder = gzip.NewWriter(w.ResponseWriter)
	}
	return w.encoder.Write(p)
}

func (w *lateEncoderOutside) Flush() {
	if w.encoder != nil {
		_ = w.encoder.Flush()
	}
	w.ResponseWriter.(http.Flusher).Flush()
}

func (w *lateEncoderOutside) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// holder buffers the whole response, for example to hash it.
type holder struct {
	gin.ResponseWriter
	held bytes.Buffer
}

func (w *holder) Write(p []byte) (int, error)       { return w.held.Write(p) }
func (w *holder) WriteString(s string) (int, error) { return w.held.WriteString(s) }

type unwrappingHolder struct{ holder }

func (w *unwrappingHolder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// timeoutWriter has the name of writers that buffer the response.
type timeoutWriter struct{ gin.ResponseWriter }

// flusherOnly hides everything but Flush.
type flusherOnly struct {
	http.ResponseWriter
	http.Flusher
}

// writerOnly hides Flush too.
type writerOnly struct{ http.ResponseWriter }

type unwrapper struct{ http.ResponseWriter }

func (w unwrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestWriterThatBuffersTheFirstBlockIsLogged(t *testing.T) {
	t.Parallel()
	var logged safeBuffer
	ended := make(chan ginsse.Reason, 1)
	registry := newRegistry(t, ginsse.RegistryConfig{
		Logger:         slog.New(slog.NewTextHandler(&logged, nil)),
		DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason },
	})
	w := httptest.NewRecorder()
	engine := gin.New()
	engine.Use(onGin(func(w gin.ResponseWriter) gin.ResponseWriter { return &holder{ResponseWriter: w} }))
	engine.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/events", http.NoBody)
	request.Header.Set("X-User", "alice")
	engine.ServeHTTP(w, request)
	if reason := within(t, "the end", ended); reason != ginsse.ReasonFailed {
		t.Errorf("the stream ended as %q, want %q", reason, ginsse.ReasonFailed)
	}
	if text := logged.String(); !strings.Contains(text, "*ginsse_test.holder") {
		t.Errorf("logged %q, want the writer's name", text)
	}
}

// streamsBehind opens a stream of alice behind each of the writers, one after another, and returns
// the registry's log.
func streamsBehind(t *testing.T, configure func(*http.Server), wraps ...func(gin.ResponseWriter) gin.ResponseWriter) string {
	t.Helper()
	var logged safeBuffer
	registry := newRegistry(t, ginsse.RegistryConfig{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	for _, wrap := range wraps {
		engine := gin.New()
		engine.Use(onGin(wrap))
		engine.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler())
		server := transports[0].start(t, engine, configure)
		stream := connect(t, server, "/events", as("alice"))
		stream.NextOf("sse.open")
		send(t, registry, "alice", 1)
		wantNumbers(t, stream, 1, 1)
		if _, err := registry.Disconnect(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		wantClose(t, stream, "disconnected")
	}
	return logged.String()
}

func record(w gin.ResponseWriter) gin.ResponseWriter { return &bodyRecorder{ResponseWriter: w} }

func recordToo(w gin.ResponseWriter) gin.ResponseWriter {
	return &struct{ gin.ResponseWriter }{w}
}

func recordAndUnwrap(w gin.ResponseWriter) gin.ResponseWriter {
	return &unwrappingRecorder{bodyRecorder{ResponseWriter: w}}
}

func TestHiddenWriteDeadlinesAreWarnedAboutOncePerType(t *testing.T) {
	t.Parallel()
	for range 2 { // and for each registry
		logged := streamsBehind(t, nil, record, recordToo, record, recordAndUnwrap, record)
		if n := strings.Count(logged, "level=WARN"); n != 2 {
			t.Errorf("%d warnings, want 2: %s", n, logged)
		}
		for _, part := range []string{"*ginsse_test.bodyRecorder", "*struct { gin.ResponseWriter }", "Unwrap()", "ginsse.ConnContext"} {
			if !strings.Contains(logged, part) {
				t.Errorf("the warnings do not name %s: %s", part, logged)
			}
		}
	}
}

func TestConnContextPreventsTheWarning(t *testing.T) {
	t.Parallel()
	configure := func(s *http.Server) { s.ConnContext = ginsse.ConnContext }
	if logged := streamsBehind(t, configure, record, recordToo); logged != "" {
		t.Errorf("logged %s", logged)
	}
}

// warnedOnce is a writer type that only one test uses; warnings counts its warnings in this
// process.
type warnedOnce struct{ gin.ResponseWriter }

var warnings []string

func TestHiddenWriteDeadlinesAreWarnedAboutWithoutARegistry(t *testing.T) {
	handlers := map[string]func(c *gin.Context){
		"Serve": func(c *gin.Context) {
			_ = ginsse.Serve(c, ginsse.StreamConfig{}, func(context.Context, *ginsse.Stream) error { return nil })
		},
		"ServeSeq": func(c *gin.Context) {
			_ = ginsse.ServeSeq(c, ginsse.StreamConfig{}, func(context.Context) iter.Seq2[ginsse.Event, error] {
				return func(func(ginsse.Event, error) bool) {}
			})
		},
	}
	for _, handler := range handlers {
		server := transports[0].start(t, serveAt(handler, func(c *gin.Context) {
			c.Writer = &warnedOnce{c.Writer}
			c.Next()
			warnings = append(warnings, c.Errors.Errors()...)
		}), nil)
		for range 2 {
			wantDone(t, connect(t, server, "/"))
		}
		server.Close()
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "*ginsse_test.warnedOnce") {
		t.Errorf("got the warnings %q, want one", warnings)
	}
}

// hiddenTimeout is the server's write timeout. Within it the connection must be made, too.
const hiddenTimeout = 3 * time.Second

// withConnContext sets ConnContext, small kernel buffers, and a server timeout that ends streams
// without their own deadline.
func withConnContext(s *http.Server) {
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		tcp := conn
		if c, ok := conn.(*tls.Conn); ok {
			tcp = c.NetConn()
		}
		_ = tcp.(*net.TCPConn).SetWriteBuffer(32 << 10)
		return ginsse.ConnContext(ctx, conn)
	}
	s.WriteTimeout = hiddenTimeout
}

func TestConnContextOverridesWriteTimeoutBehindHidingWriters(t *testing.T) {
	t.Parallel()
	for _, tr := range transports[:2] {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{})
			engine := gin.New()
			engine.Use(onGin(recordToo))
			engine.GET("/events", ginsse.Middleware(headerAuth(t)), registry.Handler())
			stream := connect(t, tr.start(t, engine, withConnContext), "/events", as("alice"))
			pass(hiddenTimeout + time.Second/2)
			send(t, registry, "alice", 1)
			wantNumbers(t, stream, 1, 1)
			registry.Close()
			wantReconnect(t, stream, "shutdown")
		})
	}
}

// Large events block in a write, small ones in a flush.
func TestConnContextClosesStalledReadersBehindHidingWriters(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 100_000} {
		for _, tr := range transports[:2] {
			t.Run(fmt.Sprintf("%d_bytes/%s", size, tr.name), func(t *testing.T) {
				t.Parallel()
				ended := make(chan error, 1)
				server := tr.start(t, serveAt(func(c *gin.Context) {
					ended <- ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: time.Second}, func(ctx context.Context, s *ginsse.Stream) error {
						for {
							if err := sendSingly(ctx, s, ginsse.Event{Data: strings.Repeat("x", size)}); err != nil {
								return err
							}
						}
					})
				}, onGin(recordToo)), withConnContext)
				stalledGet(t, server, "/", nil)
				if err := within(t, "the end of the stream", ended); !errors.Is(err, ginsse.ReasonSlow) {
					t.Errorf("the stream ended with %v", err)
				}
			})
		}
	}
}
