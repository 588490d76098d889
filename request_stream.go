package ginsse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
)

// Serve opens a stream for this request alone, without a registry, and runs produce beside
// it. The stream ends when produce returns, the client leaves, or the stream's time is up.
// Use it for what one request produces: the progress of a report, the tokens of a model.
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
// produce runs on its own goroutine and must not use c. Its ctx ends with the stream, and Serve waits
// for produce to return. Goroutines that produce starts may send to the stream too. Serve raises a
// panic of produce again on the handler's goroutine, as an error with the stack.
//
// The client gets only the events that produce sends, and heartbeats as comments. If the client is to
// know that the work failed, send an event that says so. When produce returns, the stream ends with
// [DoneID]: a browser that comes back gets status 204. After any other end, such as a lost
// connection, the browser comes back for the work to be done again, with the ID of the last event
// that it got.
//
// A producer that may run for long ends its stream at shutdown, with a context of the application's:
//
//	defer context.AfterFunc(stopping, func() { s.Disconnect(ginsse.ReasonShutdown) })()
//
// Serve returns nil if produce returned nil, and if the request needed no stream: a HEAD request, or
// one that was answered with 204. Otherwise it returns why the stream ended, a [Reason] with its
// cause. [ErrUnsupportedWriter] means that the client got status 500, and an [AuthError] that it got
// 403, for a page of another site. Serve does not log the error of a producer.
func Serve(c *gin.Context, cfg StreamConfig, produce func(ctx context.Context, s *Stream) error) error {
	l, err := openRequestStream(c, cfg)
	if err != nil {
		return notDone(err)
	}
	return l.produce(c, produce)
}

// produce runs a producer beside the stream, and writes the stream until it ends.
func (l *loop) produce(c *gin.Context, produce func(ctx context.Context, s *Stream) error) error {
	ctx, cancel := context.WithCancelCause(l.ctx)
	defer cancel(nil)
	p := producer{s: l.s, finished: make(chan struct{})}
	go p.run(ctx, produce)
	defer p.wait(c, cancel)
	return notDone(l.run(c))
}

// notDone returns err, or nil if err says that everything was sent.
func notDone(err error) error {
	if errors.Is(err, ReasonDone) {
		return nil
	}
	return err
}

// ServeSeq is [Serve] for a sequence of events. An error in the sequence ends the stream as
// failed. The context given to seq ends with the stream.
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
		// The producer stopped because the client is gone or a write failed. The
		// loop knows which, and ends the stream with that reason.
		p.gaveUp = true
	}
}

// wait ends the producer's context and waits for the producer. The producer may be reading
// the request's body, which no context interrupts. After bodyGrace, wait makes that read
// fail, and net/http then must not use the connection again.
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

// producerPanic carries a producer's panic to the handler's goroutine, together with its
// stack: the handler's own stack does not show where the panic came from.
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

// openRequestStream opens a stream without a registry. If it returns an error, the client
// has its answer. The error is ReasonDone if the request needs no stream.
func openRequestStream(c *gin.Context, cfg StreamConfig) (*loop, error) {
	cfg, err := cfg.resolve(defaultStreamConfig)
	if err != nil {
		err = fmt.Errorf("ginsse: StreamConfig.%w", err)
		refuseWriter(c, err)
		return nil, err
	}
	if err := checkStreamOrigin(c); err != nil {
		return nil, err
	}
	if answerFinished(c) {
		return nil, ReasonDone
	}
	s := newStream(nil, "", Expiry(c), &cfg)
	s.job = newJob(c.Request)
	return beginRequestStream(c, s)
}

// beginRequestStream takes the response over for a stream without a registry, as openRequestStream
// does.
func beginRequestStream(c *gin.Context, s *Stream) (*loop, error) {
	if err := s.loop.w.take(c, s); err != nil {
		refuseWriter(c, err)
		return nil, err
	}
	if c.Request.Method == http.MethodHead {
		answerHead(c)
		return nil, ReasonDone
	}
	first := []byte(": open\n\n")
	if s.cfg.ReconnectionTime > 0 {
		first = append(appendRetry(nil, jitter(s.cfg.ReconnectionTime, 0.5, 1.5)), '\n')
	}
	return begin(c, s, first), nil
}

// answerHead sends only the headers. net/http discards the body of an answer to HEAD, so
// that a stream would have no reader.
func answerHead(c *gin.Context) {
	setStreamHeaders(c.Writer.Header())
	c.Status(http.StatusOK)
	c.Writer.WriteHeaderNow()
}
