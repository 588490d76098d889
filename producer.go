package ginsse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// Serve opens a stream that belongs to no registry, runs produce beside it, and
// writes what produce sends until the stream ends: because produce returned, the
// client left, or the stream's time was up. It is for what one request brings
// forth: a report's progress, a model's tokens.
//
//	err := ginsse.Serve(c, ginsse.StreamConfig{}, func(ctx context.Context, s *ginsse.Stream) error {
//		for token := range model.Tokens(ctx) {
//			if err := s.Send(ctx, ginsse.Event{Data: token}); err != nil {
//				return err
//			}
//		}
//		return nil
//	})
//
// produce runs on a goroutine of its own and must not use c. Its ctx ends with
// the stream; Serve waits for produce to return. A panic in produce is raised
// again on the handler's goroutine, as an error that wraps the value if that is an
// error, and whose text ends with the stack of the panic.
//
// The client gets no event but what produce sends: none that says how it began or
// ended, so that every reader of such a protocol is at home. Heartbeats are comments.
// A producer that fails says so in an event of its own. When produce has returned, the
// stream ends with [DoneID], and a browser that comes back gets 204 without another call
// of produce. After any other end, such as a lost connection, the credential's expiry or
// a panic, it comes back for the work to be done again, with the last ID that it got.
//
// No registry ends the stream when the server shuts down. A producer that may run for
// long does so itself, with a context of the application's that ends then; the browser
// comes back, to the next process:
//
//	defer context.AfterFunc(stopping, func() { s.Disconnect(ginsse.ReasonShutdown) })()
//
// Serve returns nil when produce has returned nil, or when the request was answered
// with 204; otherwise why the stream ended: a [Reason] with its cause, or
// [ErrUnsupportedWriter], in which case the client has been answered with status 500.
// Nothing else reports the error of a producer: log it.
func Serve(c *gin.Context, cfg StreamConfig, produce func(ctx context.Context, s *Stream) error) error {
	l, err := openLoop(c, cfg)
	if err != nil {
		return notDone(err)
	}
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	p := producer{s: l.s, finished: make(chan struct{})}
	go p.run(ctx, produce)
	defer p.wait(c, cancel)
	return notDone(l.run(c))
}

// notDone is err unless the stream ended because all was sent.
func notDone(err error) error {
	if errors.Is(err, ReasonDone) {
		return nil
	}
	return err
}

// ServeSeq is [Serve] for a sequence: each event is sent, and an error ends the
// stream as failed. seq is called with a context that ends with the stream.
func ServeSeq(c *gin.Context, cfg StreamConfig, seq func(ctx context.Context) iter.Seq2[Event, error]) error {
	return Serve(c, cfg, func(ctx context.Context, s *Stream) error {
		for e, err := range seq(ctx) {
			if err == nil {
				err = s.Send(ctx, e)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// producer runs the function given to Serve.
type producer struct {
	s        *Stream
	finished chan struct{} // closed by run
	panicked any           // read after finished
	stack    []byte        // of the panic
	gaveUp   bool          // of run
}

func (p *producer) run(ctx context.Context, produce func(context.Context, *Stream) error) {
	defer close(p.finished)
	defer func() {
		if p.panicked = recover(); p.panicked != nil {
			p.stack = debug.Stack()
		}
		if !p.gaveUp {
			p.s.end(ReasonFailed) // without effect unless produce did not return
		}
	}()
	err := produce(ctx, p.s)
	switch {
	case err == nil:
		p.s.end(ReasonDone)
	case ctx.Err() == nil:
		p.s.end(fmt.Errorf("%w: %w", ReasonFailed, err))
	default:
		// The producer gave up because the client is gone or a write failed, and
		// the loop is about to say which.
		p.gaveUp = true
	}
}

// wait ends the producer's context and waits for the producer. It may be in a read of
// the request's body, which no context ends: that read is made to fail, and then the
// connection must not be used again.
func (p *producer) wait(c *gin.Context, cancel context.CancelCauseFunc) {
	cancel(p.s.Err())
	if r := c.Request; r.ProtoMajor == 1 && r.ContentLength != 0 {
		timer := time.NewTimer(bodyGrace)
		defer timer.Stop()
		select {
		case <-p.finished:
		case <-timer.C:
			control := http.NewResponseController(c.Writer)
			_ = control.SetReadDeadline(time.Unix(1, 0))
			_ = control.SetWriteDeadline(time.Unix(1, 0)) // net/http closes a connection that it cannot write to
		}
	}
	<-p.finished
	switch p.panicked {
	case nil:
	case http.ErrAbortHandler: // net/http compares it like this
		panic(p.panicked)
	default:
		panic(&producerPanic{p.panicked, p.stack})
	}
}

// producerPanic is what a panic of a producer becomes on the handler's goroutine: the
// stack there does not show where it came from.
type producerPanic struct {
	value any
	stack []byte
}

func (p *producerPanic) Error() string {
	return fmt.Sprintf("ginsse: panic in a producer: %v\n\n%s", p.value, p.stack)
}

func (p *producerPanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// Open opens a stream that belongs to no registry, for a handler that sends by
// itself:
//
//	s, err := ginsse.Open(c, ginsse.StreamConfig{})
//	if err != nil {
//		return // the client has been answered
//	}
//	defer s.Close()
//	for step := range steps {
//		if err := s.Send(c.Request.Context(), ginsse.Event{Data: step}); err != nil {
//			return
//		}
//	}
//
// Each Send then writes before it returns, so a slow client slows its producer.
// Nobody writes between calls: a handler that may be silent for longer than the
// proxies on the way tolerate, or that is fed by other goroutines, calls
// [Stream.Wait], which beats the heart, or uses [Serve].
//
// When Open returns a stream, the headers and a first block are on their way.
// The stream must be closed before the handler returns, or it does not end with
// [DoneID] and a browser asks again; and nothing may be sent to it after that:
// as with any http.ResponseWriter, a goroutine that goes on sending would write
// into what the response's memory is then used for. The error is
// [ErrUnsupportedWriter], and the client has been answered with status 500; or
// [ReasonDone], for a HEAD request, which is answered with the headers alone, and for
// one of a client that has got everything, which is answered with 204: see [DoneID].
func Open(c *gin.Context, cfg StreamConfig) (*Stream, error) {
	l, err := openLoop(c, cfg)
	if err != nil {
		return nil, err
	}
	s := l.s
	s.open = &opened{c: c, loop: l}
	s.open.unwatch = context.AfterFunc(l.ctx, func() { s.open.hangUp(s) })
	return s, nil
}

// Wait writes the stream on the handler's goroutine, with heartbeats, while other
// goroutines send to it, until it ends: by [Stream.Close], [Stream.Disconnect],
// or the client. It returns nil after Close and otherwise why the stream ended.
//
// On a stream of a registry or of [Serve], which has a writer already, it only
// waits.
func (s *Stream) Wait() error {
	if s.open != nil {
		s.open.finish()
	}
	<-s.Done()
	return notDone(s.Err())
}

// opened is the handler's hold on a stream from Open.
type opened struct {
	pen     sync.Mutex   // held by whoever writes, through the write; guards the fields below
	c       *gin.Context // nil once the response was given back
	loop    *loop
	unwatch func() bool
}

// write writes what is queued, unless somebody holds the pen: they look again
// before, or are woken after, they put it down.
func (o *opened) write(s *Stream) {
	for s.unread.Load() > 0 && o.pen.TryLock() {
		if !o.writeOnce(s) {
			return
		}
	}
}

// writeOnce writes with the pen in hand, and puts it down. It reports whether
// the stream is still open.
func (o *opened) writeOnce(s *Stream) bool {
	defer o.pen.Unlock() // also if a writer below panics
	defer func() {
		if o.loop != nil {
			o.loop.w.dog.end()
		}
	}()
	if o.c == nil || s.ended.Load() || o.loop.ctx.Err() != nil {
		return false
	}
	o.c.Stream(o.loop.once)
	if o.loop.w.err != nil {
		s.end(o.loop.w.failure())
	}
	return true
}

// hangUp ends the stream when the request's context has ended, as it also does
// when a write failed: the writer, who has the pen, knows better then.
func (o *opened) hangUp(s *Stream) {
	o.pen.Lock()
	defer o.pen.Unlock()
	if o.c != nil && o.loop.w.err != nil {
		s.end(o.loop.w.failure())
	}
	s.end(ReasonClientGone)
}

// finish writes the stream until it ends, and gives the response back.
func (o *opened) finish() {
	o.pen.Lock()
	defer o.pen.Unlock()
	if o.c == nil {
		return
	}
	c, l := o.c, o.loop
	o.c, o.loop = nil, nil
	defer func() { o.unwatch(); o.unwatch = nil }() // it holds the request's context
	_ = l.run(c)
}

// openLoop opens a stream without a registry. With an error the client has been
// answered.
func openLoop(c *gin.Context, cfg StreamConfig) (*loop, error) {
	cfg, err := cfg.resolve(defaultStreamConfig)
	if err != nil {
		err = fmt.Errorf("ginsse: StreamConfig.%w", err)
		refuseWriter(c, err)
		return nil, err
	}
	if answerFinished(c) {
		return nil, ReasonDone
	}
	s := newStream("", Expiry(c), cfg)
	s.job = newJob(c.Request)
	if err := s.loop.w.take(c, s); err != nil {
		refuseWriter(c, err)
		return nil, err
	}
	if c.Request.Method == http.MethodHead {
		answerHead(c)
		return nil, ReasonDone
	}
	first := []byte(": open\n\n")
	if cfg.ReconnectionTime > 0 {
		first = append(appendRetry(nil, jitter(cfg.ReconnectionTime, 0.5, 1.5)), '\n')
	}
	return begin(c, s, first), nil
}

// answerHead sends the headers alone: net/http swallows the body of an answer to
// HEAD, and the handler would stream to nobody.
func answerHead(c *gin.Context) {
	setStreamHeaders(c.Writer.Header())
	c.Status(http.StatusOK)
	c.Writer.WriteHeaderNow()
}
