package ginsse

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gin-gonic/gin"
)

// writer is the gin.ResponseWriter below c.Stream while a stream runs. It differs from gin's writer
// in three ways:
//
//   - CloseNotify does not panic, as gin's does on some transports.
//
//   - A watchdog ends a stalled write, so that it frees its handler. http.Server.WriteTimeout,
//     which would end every long stream, has no effect.
//
//   - Flush errors are seen. gin's Flush hides them, so the innermost writer is flushed after it,
//     which costs nothing if the buffer is empty.
//
// Only the handler's goroutine uses it.
type writer struct {
	gin.ResponseWriter // the previous c.Writer

	flushError  func() error          // FlushError of the innermost writer; nil if it has none
	held        int                   // bytes written since the last flush
	err         error                 // the first failure
	direct      bool                  // no writer stands between gin's writer and the innermost
	interrupted bool                  // reads of the request's body were made to fail
	incomplete  bool                  // the response must not end as if it were complete
	asked       bool                  // observed is known
	observed    bool                  // the kernel says what the client has taken
	setDeadline func(time.Time) error // sets the write deadline; nil if that is impossible
	dog         watchdog
}

// heldBytes is how much net/http buffers on both HTTP/1 and HTTP/2. A smaller write cannot block
// before the flush.
const heldBytes = 2 << 10

// netBuffer is the most that net/http buffers, on HTTP/2.
const netBuffer = 4 << 10

// writePiece is the largest single write if the kernel does not report what the client has taken. The
// end of a piece is the sign of progress then.
const writePiece = 32 << 10

// sharedPiece is the largest single write on HTTP/2, where the kernel knows the progress of the
// connection, but not of one stream.
const sharedPiece = 4 << 10

// lastWriteTimeout is how long the terminating chunk may take. net/http writes it when the handler
// has returned, which may be a while after the stream has ended.
const lastWriteTimeout = 5 * time.Minute

// take prepares w to replace the writer of c. It sends nothing. It refuses a writer that cannot
// stream, with an error that names the writer and the remedy.
func (w *writer) take(c *gin.Context, s *Stream) error {
	if c.Writer.Written() {
		return fmt.Errorf("%w: the response has already begun", ErrUnsupportedWriter)
	}
	outer := c.Writer
	if guard, ok := outer.(*headerGuard); ok {
		outer = guard.ResponseWriter // this response is a stream, so it needs no guard
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
		d.abort = func() { _ = setDeadline(time.Unix(1, 0)) } // in the past
		if d.shared {
			d.closeConn = closeHTTP2(c.Request, d.abort)
		}
	}
	return nil
}

// Write implements io.Writer. It writes all of p or fails. After a failure it writes nothing.
func (w *writer) Write(p []byte) (int, error) {
	most := w.pieceFor(len(p))
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

// pieceFor returns the most that is written at once of so many bytes.
func (w *writer) pieceFor(size int) int {
	switch {
	case w.dog.shared:
		return sharedPiece
	case size <= writePiece:
		return size
	}
	if !w.asked { // whether the kernel says what the client has taken
		_, w.observed = w.dog.conn.delivery()
		w.asked = true
	}
	if w.observed {
		return size
	}
	return writePiece
}

func (w *writer) block(b []byte) { _, _ = w.Write(b) }

func (w *writer) gathered(chunk []byte) { _, _ = w.Write(chunk[frameRoom : len(chunk)-len("\r\n")]) }

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// begin replaces the writer of c, and sends the headers with the first block.
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

// first sends the headers and the first block. A failure stays in w, for the first step to see.
//
// On HTTP/1 net/http reads the rest of the request's body before it sends the headers. A client
// that withholds an announced body would block the stream there, beyond its expiry. So that read
// has a time limit. The deadline is set only when it is due: on a connection whose body has been
// read, it would end the context of this request and of later ones.
func (w *writer) first(r *http.Request, block []byte) {
	if !bodyComplete(r) {
		timeout := w.dog.timeout
		if timeout <= 0 {
			timeout = defaultWriteTimeout
		}
		// Half, because the following write must fit into the same time.
		done := interruptRead(w.ResponseWriter, timeout/2)
		defer func() { w.interrupted = done() }()
	}
	if w.setDeadline != nil {
		w.fail(w.setDeadline(time.Time{})) // clears the server's WriteTimeout, which is not meant for streams
	}
	_, _ = w.Write(block)
	w.Flush()
}

// Flush implements http.Flusher. It keeps the error for the stream, because http.Flusher returns
// none.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError sends what has been written, and returns the true error.
func (w *writer) FlushError() error {
	if w.held == 0 || w.err != nil {
		return w.err
	}
	w.dog.begin(min(w.held, netBuffer))
	w.held = 0
	// Outermost first, because a writer in between may buffer data.
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

// CloseNotify implements http.CloseNotifier, which c.Stream uses. The channel is never ready: the
// loop, which c.Stream calls, watches the request's context.
func (w *writer) CloseNotify() <-chan bool { return nil }

// Unwrap returns the wrapped writer, for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// release gives the response back and drops all references to it, because the application may keep
// the Stream. On HTTP/1 the terminating chunk, which net/http writes after the handler, still gets
// a deadline; net/http clears it before it reuses the connection. A body that did not arrive in
// time gets only bodyGrace more.
func (w *writer) release(c *gin.Context) {
	c.Writer = w.ResponseWriter
	ended := w.dog.release()
	if w.setDeadline != nil && c.Request.ProtoMajor == 1 && w.dog.timeout > 0 && !ended {
		_ = w.setDeadline(time.Now().Add(max(lastWriteTimeout, w.dog.timeout)))
	}
	// A producer that still reads the body holds its lock.
	done := interruptRead(w.ResponseWriter, bodyGrace)
	closes := willClose(c.Request, w.interrupted)
	w.interrupted = done() || w.interrupted
	if closes {
		_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now().Add(bodyGrace))
	}
	if w.setDeadline != nil && (w.incomplete || w.interrupted && !closes) {
		_ = w.setDeadline(time.Unix(1, 0)) // net/http closes a connection that it cannot write to
	}
	w.ResponseWriter, w.flushError, w.setDeadline = nil, nil, nil
}

// hijack gives the response back, and takes its connection over from net/http. net/http has sent
// everything that was written. What it has read is discarded: it would be the client's next request.
// more says that there was something, and that the connection itself may hold the rest of it.
func (w *writer) hijack(c *gin.Context) (conn net.Conn, more bool, err error) {
	inner, err := innermost(w.ResponseWriter)
	if err != nil {
		return nil, false, err
	}
	hijacker, ok := inner.(http.Hijacker)
	if !ok {
		return nil, false, http.ErrNotSupported
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		return nil, false, err
	}
	c.Writer = w.ResponseWriter
	w.dog.release()
	return conn, buffered.Reader.Buffered() > 0, nil
}

// fail keeps the first error.
func (w *writer) fail(err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
}

// failure returns the Reason for a failed write, wrapped with its cause.
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

// refuseWriter responds to a request whose writer cannot stream. The cause goes only to gin's error
// list, and so to its logger.
func refuseWriter(c *gin.Context, err error) {
	_ = c.Error(err)
	abortJSON(c, http.StatusInternalServerError, "stream_unsupported", "this route cannot serve an event stream")
}

// abortJSON responds with an error without the event-stream headers. It does not touch a response
// that has begun, because that may be a stream.
func abortJSON(c *gin.Context, status int, code, message string) {
	if c.Writer.Written() {
		c.Abort()
		return
	}
	dropStreamHeaders(c.Writer.Header())
	c.AbortWithStatusJSON(status, gin.H{"error": gin.H{"code": code, "message": message}})
}

var (
	_ gin.ResponseWriter = (*writer)(nil)
	_ sink               = (*writer)(nil)
)
