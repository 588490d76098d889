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

// Middleware puts writers of its own between a stream and the connection. Three kinds
// matter here. Most of them pass on what they are given, and let a stream see the
// connection by a method Unwrap. Some pass it on and have no Unwrap: the stream works,
// but not its write deadlines. And some compress or hold back what they are given, so
// that events come late or never: these are refused.

// innermost follows Unwrap to the writer at the connection. It refuses writers that
// are known by their type's name to compress or to hold back: a header may say so with
// the first write only.
func innermost(w http.ResponseWriter) (http.ResponseWriter, error) {
	for {
		name := strings.ToLower(reflect.TypeOf(w).String()) // with the package's name
		if containsAny(name, compressors) {
			return w, fmt.Errorf("%w: %T compresses; exclude this route from compression, "+
				"or register ginsse.Middleware before it", ErrUnsupportedWriter, w)
		}
		if strings.Contains(name, "timeout") {
			return w, fmt.Errorf("%w: %T holds a response back until it is complete; keep its middleware off this route",
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

// compressors are parts of the names of types and packages that compress.
var compressors = []string{"gzip", "gzhttp", "zlib", "flate", "brotli", "zstd", "compress"}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

// writeDeadline returns what sets the write deadline: the innermost writer, or on
// HTTP/1 the connection that ConnContext has put on the context; nil if there is
// neither.
func writeDeadline(inner http.ResponseWriter, r *http.Request) func(time.Time) error {
	if d, ok := inner.(interface{ SetWriteDeadline(time.Time) error }); ok {
		return d.SetWriteDeadline
	}
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok && r.ProtoMajor == 1 {
		return conn.SetWriteDeadline
	}
	return nil
}

// warned holds the types of writers of which streams without a registry have warned.
var warned sync.Map

// warnOfHidden tells, once for each type, that a writer hides the write deadlines of
// streams. Without a server there is no connection that could stall:
// httptest.ResponseRecorder has no deadlines and needs none.
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

// sent returns how far the bytes written to the connection have come, where the first
// block is looked for on it: on HTTP/1, as other streams write to an HTTP/2 connection,
// and if no writer can be asked whether its flush has worked.
func (w *writer) sent(r *http.Request) (d delivery, known bool) {
	if w.flushError != nil || r.ProtoMajor != 1 {
		return d, false
	}
	return w.dog.conn.delivery()
}

// checkFirst ends the stream if its first block, of some bytes, was compressed or held
// back by a writer in between. sent is what the connection had been given before it.
func (w *writer) checkFirst(c *gin.Context, size int, sent delivery, known bool) {
	if w.err != nil || w.direct {
		return
	}
	var err error
	if encoding := w.Header().Get("Content-Encoding"); encoding != "" {
		err = fmt.Errorf("%w: a writer under %T has set Content-Encoding %q with the first write; exclude this route from "+
			"compression, or register ginsse.Middleware before it", ErrUnsupportedWriter, w.ResponseWriter, encoding)
	} else if w.Size() < size || known && !w.dog.conn.sentSince(sent) {
		err = fmt.Errorf("%w: %T, or a writer under it, has held back the first block; keep its middleware off this route",
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

// sentSince reports whether bytes were written to the connection since it was at
// before.
func (c connection) sentSince(before delivery) bool {
	now, ok := c.delivery()
	return !ok || now.taken+now.waiting > before.taken+before.waiting
}
