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
//   - a write that a client keeps from going on is ended, so that it frees its
//     handler, while http.Server.WriteTimeout, which would end any stream that
//     outlives it, is put out of force;
//   - flush errors are seen: gin's Flush hides them, so the innermost writer is
//     asked after it. A second flush of an empty buffer costs nothing.
//
// Only the handler's goroutine uses it.
type writer struct {
	gin.ResponseWriter // what c.Writer was

	flushError  func() error          // of the innermost writer; nil if it has none
	held        int                   // bytes written since the last flush
	err         error                 // the first failure
	direct      bool                  // there is nothing between gin's writer and the innermost
	wrote       time.Time             // when it was last written to
	interrupted bool                  // reads of the request's body were made to fail
	setDeadline func(time.Time) error // sets the write deadline; nil if that is impossible
	dog         watchdog
}

// heldBytes is what net/http holds back until it is flushed, on HTTP/1 and HTTP/2:
// less cannot block before the flush.
const heldBytes = 2 << 10

// netBuffer is what net/http buffers at most, on HTTP/2.
const netBuffer = 4 << 10

// writePiece is the most that is written at once. Where the kernel does not say
// what the client has taken, the end of a piece is the sign of progress.
const writePiece = 32 << 10

// sharedPiece is the same on HTTP/2, where the kernel knows the connection, and not how
// far one of its streams has come.
const sharedPiece = 4 << 10

// lastWriteTimeout is how long the terminating chunk may take, which net/http writes
// when the handler has returned. The handler may go on for a while after the
// stream.
const lastWriteTimeout = 5 * time.Minute

// take looks through the writer of c, to stand in for it from begin on, and refuses
// what cannot stream, before anything has been sent. The error names the writer and
// the remedy.
func (w *writer) take(c *gin.Context, s *Stream) error {
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
	inner, err := innermost(outer)
	if err != nil {
		return err
	}
	if f, ok := inner.(interface{ FlushError() error }); ok {
		w.flushError = f.FlushError
	} else if _, ok := inner.(http.Flusher); !ok {
		return fmt.Errorf("%w: %T cannot flush; keep its middleware off this route, "+
			"or give it a method Unwrap() http.ResponseWriter", ErrUnsupportedWriter, inner)
	}
	if u, ok := outer.(interface{ Unwrap() http.ResponseWriter }); ok {
		w.direct = w.flushError != nil && u.Unwrap() == inner && c.Request.ProtoMajor < 3
	}
	if w.setDeadline = writeDeadline(inner, c.Request); w.setDeadline == nil {
		warnOfHidden(c, s, inner)
	}
	w.ResponseWriter = outer
	d := &w.dog
	d.s, d.timeout, d.conn, d.shared = s, s.cfg.WriteTimeout, connectionOf(c.Request), c.Request.ProtoMajor > 1
	if setDeadline := w.setDeadline; setDeadline != nil {
		d.cut = func() { _ = setDeadline(time.Unix(1, 0)) } // in the past
		if d.shared {
			d.hangUp = hangUpHTTP2(c.Request, d.cut)
		}
	}
	return nil
}

// Write implements io.Writer. It writes all of p or fails; after a failure it
// writes no more.
func (w *writer) Write(p []byte) (int, error) {
	w.wrote = time.Now()
	most := writePiece
	if w.dog.shared {
		most = sharedPiece
	}
	written := 0
	for written < len(p) && w.err == nil {
		piece := p[written:min(written+most, len(p))]
		w.held += len(piece)
		mayBlock := w.held >= heldBytes || !w.direct
		if mayBlock {
			w.dog.begin(len(piece) + netBuffer)
		}
		n, err := w.ResponseWriter.Write(piece)
		if mayBlock {
			w.dog.end()
		}
		written += n
		w.fail(err)
	}
	return written, w.err
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// begin takes the place of c's writer, and sends the headers with the first block.
func (w *writer) begin(c *gin.Context, first []byte) {
	begun := false
	defer func() {
		if !begun { // a writer below has panicked
			w.release(c)
		}
	}()
	c.Writer = w
	setStreamHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	sent, known := w.sent(c.Request)
	w.first(c.Request, first)
	w.checkFirst(c, len(first), sent, known)
	begun = true
}

// first writes the first block and puts it on the wire, with the headers. A
// failure stays in w, for the first step to see.
//
// On HTTP/1 net/http reads what is left of the request's body before it sends the
// headers. A client that withholds what it announced would hold the stream there,
// beyond its expiry and everything else, so that read is bounded. The bound is set
// only when it is due: a read deadline on a connection whose body has been read
// would end the request's context, and those of later requests.
func (w *writer) first(r *http.Request, block []byte) {
	if !bodyComplete(r) {
		timeout := w.dog.timeout
		if timeout <= 0 {
			timeout = defaultWriteTimeout
		}
		// Half, as the write that follows has to fit into the same time.
		done := interruptRead(w.ResponseWriter, timeout/2)
		defer func() { w.interrupted = done() }()
	}
	if w.setDeadline != nil {
		w.fail(w.setDeadline(time.Time{})) // the server's WriteTimeout is for answers, not streams
	}
	_, _ = w.Write(block)
	w.Flush()
}

// Flush implements http.Flusher. Its error is kept for the stream, as
// http.Flusher has no room for one.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError puts on the wire what has been written, and reports the true error.
func (w *writer) FlushError() error {
	if w.held == 0 || w.err != nil {
		return w.err
	}
	w.dog.begin(min(w.held, netBuffer))
	w.held = 0
	// Outermost first: a writer in between may hold data of its own.
	if !w.direct {
		w.ResponseWriter.Flush()
	}
	if w.flushError != nil {
		w.fail(w.flushError())
	} else if w.dog.fired.Load() {
		w.fail(os.ErrDeadlineExceeded)
	}
	w.dog.end()
	return w.err
}

// CloseNotify implements http.CloseNotifier, which c.Stream asks for. The end of
// the request's context is seen by the loop, which c.Stream calls; this channel is
// never ready.
func (w *writer) CloseNotify() <-chan bool { return nil }

// Unwrap lets http.ResponseController find the writer below.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// release ends the writer's use, and drops the response: code that keeps a Stream
// must not keep that. The terminating chunk, which net/http writes after the handler,
// still gets a deadline on HTTP/1; net/http clears it before the connection is used
// again. A body that did not come in time is hardly waited for again.
func (w *writer) release(c *gin.Context) {
	c.Writer = w.ResponseWriter
	ended := w.dog.release()
	if w.setDeadline != nil && c.Request.ProtoMajor == 1 && w.dog.timeout > 0 && !ended {
		_ = w.setDeadline(time.Now().Add(max(lastWriteTimeout, w.dog.timeout)))
	}
	// A producer that still reads the body holds a lock of it.
	done := interruptRead(w.ResponseWriter, bodyGrace)
	closes := willClose(c.Request, w.interrupted)
	w.interrupted = done() || w.interrupted
	switch {
	case closes:
		_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now().Add(bodyGrace))
	case w.interrupted && w.setDeadline != nil:
		_ = w.setDeadline(time.Unix(1, 0)) // net/http closes a connection that it cannot write to
	}
	w.ResponseWriter, w.flushError, w.setDeadline = nil, nil, nil
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
	switch {
	case errors.Is(w.err, ErrUnsupportedWriter):
		reason = ReasonFailed
	case w.dog.fired.Load() || errors.Is(w.err, os.ErrDeadlineExceeded):
		reason = ReasonSlow
	}
	return fmt.Errorf("%w: %w", reason, w.err)
}

// refuseWriter answers a request whose writer cannot stream. The cause goes to
// gin's error list, and so to its logger; the client learns nothing of it.
func refuseWriter(c *gin.Context, err error) {
	_ = c.Error(err)
	abortJSON(c, http.StatusInternalServerError, "stream_unsupported", "this route cannot serve an event stream")
}

// abortJSON answers with an error and keeps the event-stream headers off it. A response
// that has begun is left as it is: it may be a stream.
func abortJSON(c *gin.Context, status int, code, message string) {
	if c.Writer.Written() {
		c.Abort()
		return
	}
	dropStreamHeaders(c.Writer.Header())
	c.AbortWithStatusJSON(status, gin.H{"error": gin.H{"code": code, "message": message}})
}

var _ gin.ResponseWriter = (*writer)(nil)
