package ginsse

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
)

// writer is the gin.ResponseWriter under c.Stream for a stream's life. What
// gin's own cannot do, c.Stream needs:
//
//   - CloseNotify does not panic, as gin's does on some transports;
//   - each write and flush has a deadline, so that a reader that has stopped
//     reading frees its handler, while http.Server.WriteTimeout, which would
//     end any stream that outlives it, is put out of force;
//   - flush errors are seen: gin's Flush hides them, so the innermost writer is
//     asked after it. A second flush of an empty buffer costs nothing.
//
// Only the handler's goroutine uses it.
type writer struct {
	gin.ResponseWriter // what c.Writer was

	flushError  func() error          // of the innermost writer; nil if it has none
	held        int                   // bytes written since the last flush
	err         error                 // the first failure
	keepsArmed  bool                  // the deadline may stay armed between writes
	direct      bool                  // there is nothing between gin's writer and the innermost
	timeout     time.Duration         // of one write; not above 0 means none
	deadline    time.Time             // armed until; zero if not
	wrote       time.Time             // when it was last written to
	setDeadline func(time.Time) error // of the innermost writer; nil if it has none
}

// heldBytes is what net/http holds back until it is flushed, on HTTP/1 and HTTP/2:
// less needs no deadline before the flush.
const heldBytes = 2 << 10

// writePiece is the most that is written under one deadline, so that a large
// event on a slow line is cut for lack of progress, not for its size.
const writePiece = 32 << 10

// take looks through the writer of c, to stand in for it from begin on, and refuses
// what cannot stream, before anything has been sent. The error names the writer and
// the remedy.
func (w *writer) take(c *gin.Context, timeout time.Duration) error {
	if c.Writer.Written() {
		return fmt.Errorf("%w: the response has already begun", ErrUnsupportedWriter)
	}
	outer := c.Writer
	if guard, ok := outer.(*headerGuard); ok {
		outer = guard.ResponseWriter // the stream is what its headers were guarded for
	}
	if encoding := outer.Header().Get("Content-Encoding"); encoding != "" {
		return fmt.Errorf("%w: %T has set Content-Encoding %q; exclude this route from compression, "+
			"or register ginsse.Middleware before it", ErrUnsupportedWriter, outer, encoding)
	}
	w.ResponseWriter, w.timeout = outer, timeout
	inner := innermost(outer)
	if _, ok := inner.(gin.ResponseWriter); ok {
		return fmt.Errorf("%w: %T hides write deadlines and flush errors; keep its middleware off this route, "+
			"or give it a method Unwrap() http.ResponseWriter", ErrUnsupportedWriter, inner)
	}
	if f, ok := inner.(interface{ FlushError() error }); ok {
		w.flushError = f.FlushError
	} else if _, ok := inner.(http.Flusher); !ok {
		return fmt.Errorf("%w: %T cannot flush; keep http.TimeoutHandler and the like off this route",
			ErrUnsupportedWriter, inner)
	}
	if u, ok := outer.(interface{ Unwrap() http.ResponseWriter }); ok {
		w.direct = w.flushError != nil && u.Unwrap() == inner && c.Request.ProtoMajor < 3
	}
	if d, ok := inner.(interface{ SetWriteDeadline(time.Time) error }); ok {
		w.setDeadline = d.SetWriteDeadline
	}
	// Without an http.Server there is no connection that could stall:
	// httptest.ResponseRecorder has no deadlines and needs none.
	if w.setDeadline == nil && c.Request.Context().Value(http.ServerContextKey) != nil && c.Request.ProtoMajor < 3 {
		return fmt.Errorf("%w: %T hides write deadlines; give it a method Unwrap() http.ResponseWriter",
			ErrUnsupportedWriter, inner)
	}
	// On HTTP/1 a deadline acts on writes alone. On HTTP/2 it is a timer that
	// resets the stream, idle or not, so there it is cleared after each flush.
	w.keepsArmed = c.Request.ProtoMajor == 1
	return nil
}

// innermost follows Unwrap to the writer at the connection.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		next := u.Unwrap()
		if next == nil {
			return w
		}
		w = next
	}
}

// Write implements io.Writer. It writes all of p or fails; after a failure it
// writes no more.
func (w *writer) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) && w.err == nil {
		piece := p[written:min(written+writePiece, len(p))]
		if w.held += len(piece); w.held >= heldBytes || !w.direct {
			w.arm()
		}
		n, err := w.ResponseWriter.Write(piece)
		written += n
		w.fail(err)
	}
	return written, w.err
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// begin takes the place of c's writer, and sends the headers with the first block.
func (w *writer) begin(c *gin.Context, first []byte) {
	c.Writer = w
	setStreamHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	w.first(c.Request, first)
}

// first writes the first block and puts it on the wire, with the headers. A
// failure stays in w, for the first step to see.
//
// On HTTP/1 net/http reads what is left of the request's body before it sends the
// headers. A client that withholds what it announced would hold the stream there,
// beyond its expiry and everything else: that read has a deadline as well.
func (w *writer) first(r *http.Request, block []byte) {
	if withholds(r) {
		timeout := w.timeout
		if timeout <= 0 {
			timeout = defaultWriteTimeout
		}
		control := http.NewResponseController(w.ResponseWriter)
		// Half, as the write that follows has to fit into the same time. A recorder
		// has no deadline to set.
		_ = control.SetReadDeadline(time.Now().Add(timeout / 2))
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	}
	if w.setDeadline != nil {
		w.fail(w.setDeadline(time.Time{})) // the server's WriteTimeout is for answers, not streams
	}
	if w.timeout <= 0 {
		w.setDeadline = nil
	}
	_, _ = w.Write(block)
	w.Flush()
}

// withholds reports whether there may be a body that net/http waits for: on HTTP/1,
// before it sends the headers, and when the handler has returned.
func withholds(r *http.Request) bool { return r.ContentLength != 0 && r.ProtoMajor == 1 }

// Flush implements http.Flusher. Its error is kept for the stream, as
// http.Flusher has no room for one.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError puts on the wire what has been written, and reports the true error.
func (w *writer) FlushError() error {
	if w.held == 0 || w.err != nil {
		return w.err
	}
	w.held = 0
	w.arm()
	// Outermost first: a writer in between may hold data of its own.
	if !w.direct {
		w.ResponseWriter.Flush()
	}
	if w.flushError != nil {
		w.fail(w.flushError())
	}
	if !w.keepsArmed {
		w.disarm()
	}
	return w.err
}

// CloseNotify implements http.CloseNotifier, which c.Stream asks for. The end of
// the request's context is seen by the loop, which c.Stream calls; this channel is
// never ready.
func (w *writer) CloseNotify() <-chan bool { return nil }

// Unwrap lets http.ResponseController find the writer below.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// release ends the writer's use, and lets go of the response: whoever keeps a
// Stream must not keep that. The terminating chunk, which net/http writes after the
// handler, still gets a deadline on HTTP/1, where net/http itself clears it before
// the connection is used again. A body that has not come by now is not waited for.
func (w *writer) release(c *gin.Context) {
	c.Writer = w.ResponseWriter
	if withholds(c.Request) {
		_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now())
	}
	switch {
	case w.setDeadline == nil:
	case w.keepsArmed:
		_ = w.setDeadline(time.Now().Add(w.timeout))
	default:
		w.disarm()
	}
	w.ResponseWriter, w.flushError, w.setDeadline = nil, nil, nil
}

// arm sets the write deadline. Where it may stay armed it is set with an eighth
// to spare and left alone while the whole timeout remains, so that a busy stream
// pays for it once in a while and no write gets less than its timeout.
func (w *writer) arm() {
	now := time.Now()
	w.wrote = now
	if w.setDeadline == nil || w.deadline.Sub(now) >= w.timeout {
		return
	}
	w.deadline = now.Add(w.timeout)
	if w.keepsArmed {
		w.deadline = w.deadline.Add(w.timeout / 8)
	}
	// The transport took the first deadline; should it refuse this one, the
	// write that follows shows what is wrong with it.
	_ = w.setDeadline(w.deadline)
}

func (w *writer) disarm() {
	if w.setDeadline != nil {
		w.deadline = time.Time{}
		_ = w.setDeadline(time.Time{})
	}
}

// fail keeps the first error.
func (w *writer) fail(err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
}

// failure says in the kit's words what a failed write means.
func (w *writer) failure() error {
	reason := ReasonClientGone
	if errors.Is(w.err, os.ErrDeadlineExceeded) {
		reason = ReasonSlow
	}
	return fmt.Errorf("%w: %w", reason, w.err)
}

// refuseWriter answers a request whose writer cannot stream. The cause goes to
// gin's error list, and so to its logger; the client learns nothing of it.
func refuseWriter(c *gin.Context, err error) {
	_ = c.Error(err)
	if c.Writer.Written() {
		c.Abort()
		return
	}
	abortJSON(c, http.StatusInternalServerError, "stream_unsupported", "this route cannot serve an event stream")
}

// abortJSON answers with an error and keeps the event-stream headers off it.
func abortJSON(c *gin.Context, status int, code, message string) {
	dropStreamHeaders(c.Writer.Header())
	c.AbortWithStatusJSON(status, gin.H{"error": gin.H{"code": code, "message": message}})
}

var _ gin.ResponseWriter = (*writer)(nil)
