package ginsse

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

// loop writes one stream. It is the step under c.Stream, on the handler's
// goroutine, and the only thing that touches the response. The [Stream] says
// what to write; the loop waits, writes, beats, and notices the end.
//
// It waits for one thing: the stream's wake. The timer and the end of the
// request's context wake it like everything else, which for each event costs a
// good deal less than a select over three channels.
type loop struct {
	s   *Stream
	w   *writer
	ctx context.Context // the request's

	timer   *time.Timer   // for whatever is due first: the heartbeat or the end
	beat    time.Duration // the heartbeat's interval; 0 is none
	endAt   time.Time     // when the right to exist ends; zero is never
	endsFor Reason        // and why
	due     atomic.Bool   // set by the timer
	gone    atomic.Bool   // set when the request's context has ended

	more    bool      // the stream has more to write than one batch, or must look again
	last    bool      // an ended stream has looked once more
	failing bool      // the log could not be read
	drainBy time.Time // when an ended stream stops delivering; zero while open
}

// retryRead is how long a stream waits before it asks a failing log again.
const retryRead = time.Second

// begin takes the response over and sends the headers with the first block, so
// that the client's open event comes at once. After it the response is a stream,
// and errors can only be told in-band.
func begin(c *gin.Context, s *Stream, w *writer, first []byte) *loop {
	l := &loop{s: s, w: w, ctx: c.Request.Context()}
	c.Writer = w
	setStreamHeaders(w.Header())
	w.WriteHeader(http.StatusOK)
	w.first(c.Request, first)

	if s.cfg.HeartbeatInterval > 0 {
		l.beat = jitter(s.cfg.HeartbeatInterval, 0.75, 1)
	}
	l.endAt, l.endsFor = s.expires, ReasonExpired
	if s.cfg.MaxLifetime > 0 {
		end := s.opened.Add(jitter(s.cfg.MaxLifetime, 0.9, 1))
		if l.endAt.IsZero() || end.Before(l.endAt) {
			l.endAt, l.endsFor = end, ReasonLifetime
		}
	}
	l.timer = time.AfterFunc(time.Hour, l.onTimer)
	l.timer.Reset(l.untilDue(time.Now())) // not before onTimer can see the timer
	return l
}

// onTimer runs on a goroutine of its own. The end it sets itself, so that a
// stream whose writer is busy, or is a producer that sends rarely, ends in time.
func (l *loop) onTimer() {
	now := time.Now()
	if !l.endAt.IsZero() && !now.Before(l.endAt) {
		l.s.end(l.endsFor)
		return
	}
	l.due.Store(true)
	if !l.endAt.IsZero() {
		l.timer.Reset(l.endAt.Sub(now)) // until the writer sets it to something nearer
		if l.s.ended.Load() {
			l.timer.Stop()
		}
	}
	l.s.notify()
}

// run writes the stream until it ends, and returns why it did.
func (l *loop) run(c *gin.Context) error {
	defer l.close(c)
	// Not the end of the stream itself: a write that failed ends the context too,
	// and is then the better reason.
	defer context.AfterFunc(l.ctx, func() {
		l.gone.Store(true)
		l.s.notify()
	})()
	c.Stream(l.step)
	return l.s.Err()
}

// close gives the response back. It also runs when a step panicked: the stream
// must not outlive its handler.
func (l *loop) close(c *gin.Context) {
	l.s.end(ReasonFailed) // without effect on a stream that has ended
	l.timer.Stop()
	l.w.release(c)
}

// step is one turn: write what there is, or else wait. c.Stream flushes after it
// and calls it again until it returns false or the writer says that the client
// is gone.
func (l *loop) step(io.Writer) bool {
	for {
		switch {
		case l.w.err != nil:
			l.s.end(l.w.failure())
		case l.gone.Load():
			l.s.end(ReasonClientGone)
		case l.due.Load():
			l.due.Store(false)
			if l.onTime(time.Now()) {
				return true
			}
		}
		ended := l.s.ended.Load()
		if ended && !l.drains() {
			return l.finish()
		}
		if ended && !l.last {
			l.last, l.more = true, true
		}
		if l.more || l.s.unread.Load() > 0 {
			if l.write() {
				return true
			}
			continue // what came in between left no token: look at all of it again
		}
		if ended {
			return l.finish()
		}
		<-l.s.wake
		gather(&l.s.unread)
	}
}

// once is the step of a stream whose producer writes for itself: it writes what
// there is and does not wait.
func (l *loop) once(io.Writer) bool {
	if l.w.err == nil && !l.s.ended.Load() {
		l.write()
	}
	return false
}

// write puts one batch into the writer and reports whether there was anything.
func (l *loop) write() bool {
	b := borrowBatch()
	more, err := l.s.next(l.ctx, b)
	l.more = more
	if err != nil {
		l.readFailed(err)
	} else {
		l.failing = false
	}
	wrote := len(b.bytes) > 0
	if wrote {
		_, _ = l.w.Write(b.bytes) // its error is looked at by the next step
	}
	b.release()
	return wrote
}

// readFailed has the log asked again in a while. The stream stays open: its
// heartbeats go on and do not move the position.
func (l *loop) readFailed(err error) {
	if !l.failing {
		l.failing = true
		l.s.registry.logger.LogAttrs(l.ctx, slog.LevelWarn, "reading the log", slog.String("stream", l.s.id), slog.Any("error", err))
	}
	l.timer.Reset(l.untilDue(time.Now()))
}

// onTime does what the timer was set for, and reports whether it wrote.
func (l *loop) onTime(now time.Time) (wrote bool) {
	if l.failing {
		l.more = true
	}
	if l.beat > 0 && now.Sub(l.w.wrote) >= l.beat {
		l.heartbeat()
		wrote = true
	}
	l.timer.Reset(l.untilDue(now))
	return wrote
}

// heartbeat shows the client and the proxies on the way that the stream lives,
// and the server whether the client does. When the position has moved past
// events that are not this stream's, the client is told it, by a block with an
// id alone (9.2.6 sets the last event ID and dispatches nothing): a user idle
// for hours resumes from a fresh position.
func (l *loop) heartbeat() {
	if l.write() {
		return
	}
	if s := l.s; s.at.Seq != s.told {
		s.told = s.at.Seq
		_, _ = l.w.Write(append(appendField(nil, "id: ", s.at.String()), '\n'))
		return
	}
	_, _ = l.w.Write([]byte(": heartbeat\n\n"))
}

// untilDue is not reset by writes: a timer that finds the stream was written to
// in the meantime sets itself anew, which costs less than a reset for each write.
func (l *loop) untilDue(now time.Time) time.Duration {
	due := 24 * time.Hour
	if l.beat > 0 {
		due = l.beat - now.Sub(l.w.wrote)
	}
	if !l.endAt.IsZero() {
		due = min(due, l.endAt.Sub(now))
	}
	if l.failing {
		due = min(due, retryRead)
	}
	return max(due, 0)
}

// drains reports whether an ended stream may still deliver what was sent before
// its end. It may take as long as one write.
func (l *loop) drains() bool {
	if !reasonOf(l.s.Err()).drains() || l.failing {
		return false
	}
	now := time.Now()
	if l.drainBy.IsZero() {
		l.drainBy = now.Add(max(l.s.cfg.WriteTimeout, time.Second))
	}
	return now.Before(l.drainBy)
}

// finish says the end in-band, if there is anybody to hear it.
func (l *loop) finish() (keepOpen bool) {
	switch reason := reasonOf(l.s.Err()); reason {
	case ReasonClientGone:
		l.w.hangUp()
		return true // for c.Stream to see that the client is gone
	case ReasonSlow:
	default:
		_, _ = l.w.Write(appendControl(nil, typeClose, "", closeData{reason, l.s.registry != nil && reason.reconnect()}))
	}
	return false
}
