package ginsse

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
)

// A ServeOption changes one stream of a registry; see [Registry.Serve].
type ServeOption interface{ apply(s *Stream) error }

type serveOption func(s *Stream) error

func (o serveOption) apply(s *Stream) error { return o(s) }

// WithTopics lets the stream read these topics, beside what is sent to its user
// and to all. The handler decides: a topic from the request must be checked
// before it is granted. A stream may have 64.
//
// A stream that resumes gets a newly granted topic's events from its last event
// ID on, as if it had had the topic then.
func WithTopics(topics ...string) ServeOption {
	return serveOption(func(s *Stream) error {
		for _, topic := range topics {
			if err := checkName("topic", topic); err != nil {
				return err
			}
			if subject := subjectTopic + topic; !slices.Contains(s.subjects, subject) {
				s.subjects = append(s.subjects, subject)
			}
			if len(s.subjects)-2 > maxTopics { // beside the user's and all
				return fmt.Errorf("%w: more than %d topics", ErrInvalidSubject, maxTopics)
			}
		}
		return nil
	})
}

// WithMetadata attaches values for [Stream.Metadata]: a device, a locale. The map
// must not be changed afterwards, and should hold no *gin.Context.
func WithMetadata(metadata map[string]any) ServeOption {
	return serveOption(func(s *Stream) error {
		s.metadata = metadata
		return nil
	})
}

// WithStreamConfig uses other settings than [RegistryConfig.Stream] for the
// stream. A zero leaves the registry's as it is.
func WithStreamConfig(cfg StreamConfig) ServeOption {
	return serveOption(func(s *Stream) (err error) {
		if s.cfg, err = cfg.resolve(s.cfg); err != nil {
			err = fmt.Errorf("ginsse: StreamConfig.%w", err)
		}
		return err
	})
}

// Handler returns a handler that serves one stream for the user of the request;
// it stands behind [Middleware]. A handler of your own can do more with
// [Registry.Serve].
func (r *Registry) Handler(options ...ServeOption) gin.HandlerFunc {
	return func(c *gin.Context) { _ = r.Serve(c, options...) }
}

// Serve serves one stream for the user of the request, on the calling goroutine,
// until it ends, and returns why: a [Reason], usually [ReasonClientGone].
//
// The stream starts behind the request's last event ID if it has one, else at
// the head. Its first event is sse.open, with {"stream": session ID, "resumed":
// bool, "heartbeat": milliseconds}; "heartbeat" is [StreamConfig.HeartbeatInterval], and
// is missing if heartbeats are comments or off. Where events are missing the client gets sse.gap with
// {"reason": [GapReason]}, upon which the page should fetch its state anew. The last
// event, if the client can be reached, is sse.close or sse.reconnect: see [Reason].
//
// When the stream could not be opened, the client has been answered: with 400 for an
// invalid topic ([ErrInvalidSubject]); with 500 without [Middleware] ([ErrNoUser]) or
// when the response cannot stream ([ErrUnsupportedWriter]); with 429 for too many
// streams of the user, if [RegistryConfig.RefuseNewest] is set ([ErrTooManyStreams]). A
// browser takes any status but 200 as final, so whatever is temporary is answered with
// a stream whose only event is sse.reconnect.
func (r *Registry) Serve(c *gin.Context, options ...ServeOption) error {
	identity := identityOf(c)
	if identity.UserID == "" {
		r.logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "refusing a stream", slog.Any("error", ErrNoUser))
		_ = c.Error(ErrNoUser)
		abortJSON(c, http.StatusInternalServerError, "stream_unsupported", "this route cannot serve an event stream")
		return ErrNoUser
	}
	s := newStream(identity.UserID, identity.Expiry, r.cfg.Stream)
	s.registry = r
	s.subjects = append(s.room[:0], subjectUser+s.user, subjectAll)
	for _, option := range options {
		if err := option.apply(s); err != nil {
			_ = c.Error(err)
			abortJSON(c, http.StatusBadRequest, codeInvalidRequest, "the stream asked for is not valid")
			return err
		}
	}
	if err := s.loop.w.take(c, s); err != nil {
		r.logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "refusing a stream", slog.Any("error", err))
		refuseWriter(c, err)
		return err
	}
	if c.Request.Method == http.MethodHead {
		answerHead(c)
		return nil
	}
	// Before the headers: a client that saw its stream open can be reached.
	if after, err := r.attach(s); err != nil {
		return r.turnAway(c, s, after, err)
	}
	defer r.handlerReturned()
	defer func() { s.end(ReasonFailed) }() // without effect on a stream that has ended
	return r.serve(c, s)
}

// serve writes an attached stream.
func (r *Registry) serve(c *gin.Context, s *Stream) error {
	opened := false
	defer func() {
		if !opened {
			r.release(s)
		}
	}()
	first, err := r.join(c, s)
	if err != nil {
		r.logger.LogAttrs(c.Request.Context(), slog.LevelWarn, "opening a stream", slog.Any("error", err))
		s.end(fmt.Errorf("%w: %w", ReasonOverloaded, err))
		return r.turnAway(c, s, 0, s.Err())
	}
	l := begin(c, s, first)
	hooked := r.connected(s)
	r.release(s)
	opened = true
	defer func() { r.disconnected(s, hooked) }()
	return l.run(c)
}

// join finds the stream's place in the log and returns its first block. The
// stream is attached already, so whatever is appended from here on wakes it.
func (r *Registry) join(c *gin.Context, s *Stream) (first []byte, err error) {
	var gap GapReason
	id := lastEventID(c, r.cfg.LastEventIDParameter)
	if id != "" {
		if s.at, err = ParseCursor(id); err != nil {
			gap = GapUnknown
		}
	}
	if r.shared != nil {
		if head, err := r.log.Read(c.Request.Context(), Query{}, nil); err == nil {
			s.came.Store(&head.Through)
		}
	}
	// Asks for no event: they are read as the client takes them, page by page.
	page, err := r.log.Read(c.Request.Context(), Query{Subjects: s.subjects, After: s.at, Before: 1}, nil)
	if err != nil {
		return nil, err
	}
	if page.Through.IsZero() {
		return nil, errNoPosition
	}
	if gap == "" {
		gap = page.Gap
	}
	resumed := id != "" && gap == ""
	s.at = page.Through
	s.told = s.at.Seq
	s.since.Store(s.at.Seq + 1)
	s.unread.Store(1) // the first turn looks for what there is to resume

	if s.cfg.ReconnectionTime > 0 {
		first = appendRetry(first, jitter(s.cfg.ReconnectionTime, 0.5, 1.5))
	}
	open := openData{Stream: s.id, Resumed: resumed}
	if s.cfg.HeartbeatInterval > 0 && !s.cfg.HeartbeatComments {
		open.Heartbeat = milliseconds(s.cfg.HeartbeatInterval)
	}
	if gap == "" {
		return appendOwn(first, typeOpen, s.at.String(), open), nil
	}
	// Only the gap carries the new position: a client cut between the two blocks
	// must come back with its old one and hear of the gap again.
	r.gaps.Add(1)
	first = appendOwn(first, typeOpen, "", open)
	return appendOwn(first, typeGap, s.at.String(), gapData{gap}), nil
}

// lastEventID returns the last event ID of a request: from the Last-Event-ID
// header (section 9.2.4), or else the named query parameter. It is what the
// client says, of any form.
func lastEventID(c *gin.Context, parameter string) string {
	if id := c.GetHeader("Last-Event-ID"); id != "" {
		return id
	}
	if c.Request.URL.RawQuery == "" {
		return ""
	}
	return c.Request.URL.Query().Get(parameter) // c.Query would keep it all for the stream's life
}

// turnAway answers a request whose stream was not attached. What is temporary is
// said in-band, on a stream, because any other status ends a browser's
// EventSource for good. The client is asked to come back after a time, or if that is 0
// after a few times its reconnection time.
func (r *Registry) turnAway(c *gin.Context, s *Stream, after time.Duration, cause error) error {
	r.logger.LogAttrs(c.Request.Context(), slog.LevelDebug, "turning a stream away", slog.Any("error", cause))
	var reason Reason
	if !errors.As(cause, &reason) {
		_ = c.Error(cause)
		abortJSON(c, http.StatusTooManyRequests, "too_many_streams", "you have too many event streams open")
		return cause
	}
	if after == 0 {
		after = 4 * s.cfg.reconnectionTime()
	}
	after = max(after, s.cfg.reconnectionTime())
	s.end(cause) // so that what follows is bounded, as the end of any stream
	first := appendReconnect(nil, reason, jitter(after, 1, 1.5))
	if !reason.reconnects() { // it was ended for good while it opened
		first = appendOwn(nil, typeClose, "", closeData{reason})
	}
	defer s.loop.w.release(c)
	s.loop.w.begin(c, first)
	return cause
}

// connected runs ConnectFunc and returns a channel that is closed when it has
// returned; nil without one.
func (r *Registry) connected(s *Stream) <-chan struct{} {
	r.logger.Debug("stream opened", "stream", s.id, "user", s.user)
	if r.cfg.ConnectFunc == nil {
		return nil
	}
	hooked := make(chan struct{})
	r.hook(s, "ConnectFunc", func() {
		defer close(hooked)
		r.cfg.ConnectFunc(s)
	})
	return hooked
}

// disconnected runs DisconnectFunc, after ConnectFunc has returned.
func (r *Registry) disconnected(s *Stream, hooked <-chan struct{}) {
	reason := reasonOf(s.Err())
	if reason == ReasonSlow {
		r.slow.Add(1)
	}
	r.logger.Debug("stream ended", "stream", s.id, "user", s.user, "reason", string(reason), "lasted", time.Since(s.opened))
	if r.cfg.DisconnectFunc == nil {
		return
	}
	r.hook(s, "DisconnectFunc", func() {
		if hooked != nil {
			<-hooked
		}
		r.cfg.DisconnectFunc(s, reason)
	})
}

// hook runs an application's function off the stream's path. A panic in it is
// logged: it must not take the process down. The user's place stays taken until it
// has returned.
func (r *Registry) hook(s *Stream, name string, call func()) {
	r.mu.Lock()
	r.active++
	r.holdLocked(s, 1)
	r.mu.Unlock()
	go func() {
		defer r.leave()
		defer func() {
			if p := recover(); p != nil {
				r.logger.Error("panic in "+name, "panic", p, "stack", string(debug.Stack()))
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.holdLocked(s, -1)
		}()
		call()
	}()
}
