package ginsse

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// Middleware puts its own writers between a stream and the connection. There are three kinds. Most
// pass on the response at once and have a method Unwrap, through which a stream reaches the
// connection. Some pass on the response but have no Unwrap: streams work, but without write
// deadlines. Others compress or buffer, so that events arrive late or never: these are refused.

// innermost follows Unwrap to the writer at the connection. It refuses writers whose type name
// shows that they compress or buffer, because a header may show that only with the first write.
func innermost(w http.ResponseWriter) (http.ResponseWriter, error) {
	for {
		name := strings.ToLower(reflect.TypeOf(w).String()) // includes the package name
		if containsAny(name, compressors) {
			return w, fmt.Errorf("%w: %T compresses; exclude this route from compression, "+
				"or register ginsse.Middleware before it", ErrUnsupportedWriter, w)
		}
		if strings.Contains(name, "timeout") {
			return w, fmt.Errorf("%w: %T buffers a response until it is complete; keep its middleware off this route",
				ErrUnsupportedWriter, w)
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w, nil
		}
		next := u.Unwrap()
		if next == nil {
			return w, nil
		}
		w = next
	}
}

// compressors are parts of the names of compressing types and packages.
var compressors = []string{"gzip", "gzhttp", "zlib", "flate", "brotli", "zstd", "compress"}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

// writeDeadline returns a function that sets the write deadline, or nil. It uses the innermost
// writer, or on HTTP/1 the connection from ConnContext.
func writeDeadline(inner http.ResponseWriter, r *http.Request) func(time.Time) error {
	if d, ok := inner.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return d.SetWriteDeadline
	}
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok && r.ProtoMajor == 1 {
		return conn.SetWriteDeadline
	}
	return nil
}

// warned holds the types of writers that streams without a registry have warned about.
var warned sync.Map

// warnOfHidden warns, once for each type, that a writer hides the write deadlines of streams. It
// does not warn without a server, because then no connection can stall: httptest.ResponseRecorder
// needs no deadlines.
func warnOfHidden(c *gin.Context, s *Stream, w http.ResponseWriter) {
	if c.Request.Context().Value(http.LocalAddrContextKey) == nil {
		return
	}
	types := &warned
	if s.registry != nil {
		types = &s.registry.warned
	}
	if _, again := types.LoadOrStore(reflect.TypeOf(w), nil); again {
		return
	}
	err := fmt.Errorf("ginsse: %T has no method Unwrap() http.ResponseWriter: a client that takes no byte keeps its handler "+
		"until TCP gives up, and http.Server.WriteTimeout ends the stream; give the writer that method, "+
		"keep its middleware off this route, or, which helps on HTTP/1, set http.Server.ConnContext to ginsse.ConnContext", w)
	if s.registry == nil {
		_ = c.Error(err)
		return
	}
	s.registry.logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "serving streams without write deadlines", slog.Any("error", err))
}

// sent returns the delivery of the connection, if it can show whether the first block was sent. It
// can on HTTP/1, if no writer reports flush errors. Other streams write to an HTTP/2 connection.
func (w *writer) sent(r *http.Request) (d delivery, known bool) {
	if w.flushError != nil || r.ProtoMajor != 1 {
		return d, false
	}
	return w.dog.conn.delivery()
}

// checkFirst ends the stream if a writer has compressed or buffered its first block. size is the
// size of the block, and sent is the delivery before it.
func (w *writer) checkFirst(c *gin.Context, size int, sent delivery, known bool) {
	if w.err != nil || w.direct {
		return
	}
	var err error
	if encoding := w.Header().Get("Content-Encoding"); encoding != "" {
		err = fmt.Errorf("%w: a writer below %T has set Content-Encoding %q with the first write; exclude this route from "+
			"compression, or register ginsse.Middleware before it", ErrUnsupportedWriter, w.ResponseWriter, encoding)
	} else if w.Size() < size || known && !w.dog.conn.sentSince(sent) {
		err = fmt.Errorf("%w: %T, or a writer below it, has buffered the first block; keep its middleware off this route",
			ErrUnsupportedWriter, w.ResponseWriter)
	} else {
		return
	}
	w.fail(err)
	_ = c.Error(err)
	if r := w.dog.s.registry; r != nil {
		r.logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "ending a stream", slog.Any("error", err))
	}
}

// sentSince reports whether bytes were written to the connection after before.
func (c connection) sentSince(before delivery) bool {
	now, ok := c.delivery()
	return !ok || now.taken+now.waiting > before.taken+before.waiting
}
