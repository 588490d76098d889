package ginsse

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
)

// A ServeOption changes one stream of a registry; see [Registry.Serve].
type ServeOption interface{ apply(o *streamOptions) error }

type serveOption func(o *streamOptions) error

func (f serveOption) apply(o *streamOptions) error { return f(o) }

// streamOptions are what options say about a stream.
type streamOptions struct {
	topics   []string // their subjects
	preludes preludes
	metadata map[string]any
	presence func(topic string) any
	cfg      *StreamConfig // resolved
}

// WithTopics lets the stream read these topics, beside the events for its user and for all. The
// handler must check a topic from the request before it grants it. A stream may have 64 topics.
//
// A request may read what it grants just before that changes, and become a stream just after
// [Registry.Disconnect]. To catch it, put the topics into [WithMetadata], compare them again in
// [RegistryConfig.ConnectFunc], and end the stream with [ReasonReauthenticate] if they differ.
//
// A stream that resumes gets the events of a newly granted topic from its last event ID on, as if
// it had had the topic then.
func WithTopics(topics ...string) ServeOption {
	return serveOption(func(o *streamOptions) error {
		for _, topic := range topics {
			if err := checkName("topic", topic); err != nil {
				return err
			}
			if subject := topicPrefix + topic; !slices.Contains(o.topics, subject) {
				o.topics = append(o.topics, subject)
			}
			if len(o.topics) > maxTopics {
				return errTooManyTopics
			}
		}
		return nil
	})
}

// WithMetadata attaches values for [Stream.Metadata], such as a device or a locale. The map must
// not be changed afterwards, and should hold no *gin.Context.
func WithMetadata(metadata map[string]any) ServeOption {
	return serveOption(func(o *streamOptions) error {
		o.metadata = metadata
		return nil
	})
}

// WithStreamConfig uses other settings than [RegistryConfig.Stream] for the stream. A zero keeps
// the registry's setting.
func WithStreamConfig(cfg StreamConfig) ServeOption {
	return serveOption(func(o *streamOptions) error {
		resolved, err := cfg.resolve(*o.cfg)
		if err != nil {
			return fmt.Errorf("ginsse: StreamConfig.%w", err)
		}
		o.cfg = &resolved
		return nil
	})
}

// Handler returns a handler that serves one stream for the user of the request. [Middleware] or
// [Auth.RequireUser] must run before it. A handler of your own can do more with [Registry.Serve].
//
// Handler panics if an option is not valid.
func (r *Registry) Handler(options ...ServeOption) gin.HandlerFunc {
	if _, err := r.newStream(Identity{}, options); err != nil {
		panic("ginsse: Registry.Handler: " + err.Error())
	}
	return func(c *gin.Context) { _ = r.Serve(c, options...) }
}

// Serve serves one stream for the user of the request, on the calling goroutine, until it ends. It
// returns why: a [Reason], usually [ReasonClientGone]. A compact stream lives on after Serve has
// returned nil; see [StreamConfig.Compact].
//
// The stream starts after the request's last event ID, or at the head of the log without one. The
// kit's own events on it are:
//
//	sse.open       first; {"stream": ID, "user": mark, "resumed": bool, "heartbeat": milliseconds, "topics": [all]}
//	sse.gap        events are missing; {"reason": "trimmed", "epoch", "unknown", "topics" or "undelivered"}
//	sse.topics     the topics have changed; {"topics": [all], "added": [...], "removed": [...], "refused": [...]}
//	sse.present, sse.join, sse.leave: see [WithPresence]
//	sse.heartbeat  after a silence; no data, and the position as its ID
//	sse.close      last; {"reason": why}; the client should not come back
//	sse.reconnect  last; {"reason": why, "retry": milliseconds}; the client should come back
//
// In sse.open, "user" is a mark that differs between users and is the same on all nodes. It is no
// name: a page can tell by it that its connection, after a sign-in in another tab, has become one of
// another user. "heartbeat" is [StreamConfig.HeartbeatInterval]; it is missing if heartbeats are
// comments or off. After sse.gap the page should fetch its state anew: see [eventlog.GapReason].
// "undelivered" precedes sse.close if the stream ended before the client could take everything
// that was sent before its end.
//
// If the stream could not be opened, the client has been answered: with 400 for an invalid topic
// ([ErrInvalidSubject]); with 403 for a page of another site ([AuthError]); with 500 without
// [Middleware] or RequireUser ([ErrNoUser]), for an invalid value of [WithPresence]
// ([ErrInvalidPresence]), for any other invalid option, or if the response cannot stream
// ([ErrUnsupportedWriter]); with 429 for too many streams of the user, if
// [RegistryConfig.RefuseNewest] is set ([ErrTooManyStreams]). A browser takes any status but 200 as
// final, so a temporary refusal is a stream whose only event is sse.reconnect.
func (r *Registry) Serve(c *gin.Context, options ...ServeOption) error {
	begun := time.Now()
	s, err := r.open(c, options)
	if s == nil {
		r.refused(c, err)
		return err
	}
	takenOver := false
	defer func() {
		if !takenOver {
			s.end(ReasonFailed) // without effect on a stream that has ended
			r.doneServing()
		}
	}()
	takenOver, err = r.serve(c, s, begun)
	return err
}

// open returns an attached stream, or nil if the request was answered without one. It is a function
// of its own so that its part of the goroutine's stack does not last as long as the stream.
func (r *Registry) open(c *gin.Context, options []ServeOption) (*Stream, error) {
	identity := identityOf(c)
	if identity.UserID == "" {
		r.refuseWithoutUser(c)
		return nil, ErrNoUser
	}
	if err := checkStreamOrigin(c); err != nil {
		return nil, err
	}
	s, err := r.newStream(identity, options)
	if err != nil {
		r.warn(c, "refusing a stream", err)
		if errors.Is(err, ErrInvalidSubject) { // the topic may come from the request
			_ = c.Error(err)
			abortJSON(c, http.StatusBadRequest, codeInvalidRequest, "the stream asked for is not valid")
			return nil, err
		}
		refuseWriter(c, err)
		return nil, err
	}
	if err := s.loop.w.take(c, s); err != nil {
		r.warn(c, "refusing a stream", err)
		refuseWriter(c, err)
		return nil, err
	}
	if c.Request.Method == http.MethodHead {
		answerHead(c)
		return nil, nil //nolint:nilnil // the request needs no stream
	}
	if s.compact != nil {
		if err := checkCompact(c, s); err != nil {
			s.compact = nil
			r.logger.LogAttrs(c.Request.Context(), slog.LevelDebug, "leaving a stream to its handler",
				slog.String("route", c.FullPath()), slog.Any("error", err))
		}
	}
	if after, err := r.mayOpen(s); err != nil {
		return nil, r.turnAway(c, s, after, err)
	}
	// The head is asked for first: a command that the log takes from here on is for this stream.
	if s.opening, err = r.currentHead(c.Request.Context()); err != nil {
		r.warn(c, "opening a stream", err)
		return nil, r.turnAway(c, s, 0, notOpened(c, errNoPosition, err))
	}
	s.at = s.opening
	if err := r.allowTopics(c, s); err != nil {
		r.warn(c, "asking for the topics of a stream", err)
		if errors.Is(err, ErrInvalidSubject) {
			_ = c.Error(err)
			abortJSON(c, http.StatusBadRequest, codeInvalidRequest, "the topics asked for are not valid")
			return nil, err
		}
		return nil, r.turnAway(c, s, 0, notOpened(c, errAllowTopics, err))
	}
	if err := s.preparePresence(); err != nil {
		r.warn(c, "refusing a stream", err)
		refuseWriter(c, err)
		return nil, err
	}
	// Before the headers: an event that is sent once the client sees its stream open must reach it.
	if err := r.attach(s); err != nil {
		return nil, r.turnAway(c, s, 0, err)
	}
	return s, nil
}

// refuseWithoutUser answers a request to a route without Middleware and RequireUser.
func (r *Registry) refuseWithoutUser(c *gin.Context) {
	r.warn(c, "refusing a stream", ErrNoUser)
	_ = c.Error(ErrNoUser)
	abortJSON(c, http.StatusInternalServerError, "stream_unsupported", "this route cannot serve an event stream")
}

// warn logs trouble with a request.
func (r *Registry) warn(c *gin.Context, message string, err error) {
	r.logger.LogAttrs(c.Request.Context(), slog.LevelWarn, message, slog.String("route", c.FullPath()), slog.Any("error", err))
}

// warnNotWatched warns once that a compact stream has no socket in the readiness set.
func (r *Registry) warnNotWatched(c *gin.Context, cause error) {
	if _, warned := r.warned.LoadOrStore(errNotWatched, true); !warned {
		r.warn(c, "serving compact streams with goroutines", fmt.Errorf("%w: %w", errNotWatched, cause))
	}
}

var errNotWatched = errors.New("ginsse: a stream has no descriptor or no place in epoll; raise the limit of open files, " +
	"or the sysctl fs.epoll.max_user_watches")

// logPanic logs a panic in code of the application's. A logger that panics does not end the
// process.
func (r *Registry) logPanic(where string, p any, stack []byte) {
	defer func() { _ = recover() }()
	r.logger.Error("panic in "+where, "panic", p, "stack", string(stack))
}

// newStream returns a stream with options applied, which is not attached yet.
func (r *Registry) newStream(identity Identity, options []ServeOption) (*Stream, error) {
	o := streamOptions{cfg: &r.cfg.Stream}
	for _, option := range options {
		if err := option.apply(&o); err != nil {
			return nil, err
		}
	}
	s := newStream(r, identity.UserID, identity.Expiry, o.cfg)
	s.metadata = o.metadata
	s.fixed = [fixedSubjects]string{commandSubject(s.user), userSubject(s.user), eventlog.SubjectAll}
	s.subjects = s.fixed[:]
	s.setTopics(o.topics)
	if p := o.preludes; p.state != nil || p.latest || p.history != nil {
		s.preludes = &p
	}
	if o.presence != nil {
		s.presence = &streamPresence{value: o.presence}
	}
	return s, nil
}

// serve writes an attached stream. It reports whether the connection was taken over: the registry's
// writers write the stream then.
func (r *Registry) serve(c *gin.Context, s *Stream, begun time.Time) (takenOver bool, err error) {
	told, opened := false, false
	defer func() {
		if !opened {
			r.release(s)
		}
		if told && !opened { // a writer has panicked
			s.end(ReasonFailed)
			r.tellEnded(s, ReasonFailed)
		}
	}()
	first, opening, err := r.join(c, s)
	if err != nil {
		r.warn(c, "opening a stream", err)
		s.end(notOpened(c, errNoPosition, err))
		err = r.turnAway(c, s, 0, s.Err())
		r.refused(c, err)
		return false, err
	}
	if s.compact != nil {
		c.Writer.Header()["Connection"] = []string{"close"}
	}
	opening.Took, opening.Compact = time.Since(begun), s.compact != nil
	told = true
	r.tellOpened(s, opening)
	l := begin(c, s, first)
	hooked := r.connected(s)
	r.release(s)
	opened = true
	if s.compact != nil && l.w.err == nil {
		if err = s.compact.takeOver(c, hooked); err == nil {
			return true, nil
		}
		r.warn(c, "taking a connection over", err)
		s.end(fmt.Errorf("%w: %w", ReasonOverloaded, err))
	}
	defer func() { r.disconnected(s, hooked) }()
	return false, l.run(c)
}

// join finds the stream's position in the log and returns its first block. The stream is a
// subscriber already, so whatever is appended from here on wakes it.
func (r *Registry) join(c *gin.Context, s *Stream) (first []byte, opening Opening, err error) {
	opening, err = r.findPosition(c.Request.Context(), s, lastEventID(c, r.cfg.LastEventIDParameter))
	if err != nil {
		return nil, opening, err
	}
	s.sent = s.at.Seq
	if s.transient, err = r.transients.log.Head(c.Request.Context()); err != nil {
		return nil, opening, err
	}
	return s.appendPresent(r.firstBlock(s, opening), false), opening, nil
}

// firstBlock returns what a stream gets first: its reconnection time, sse.open, and a gap if there is
// one.
func (r *Registry) firstBlock(s *Stream, opening Opening) (first []byte) {
	gap := opening.Gap
	resumed := opening.Resume == ResumeMemory || opening.Resume == ResumeStore
	s.unread.Store(1) // the first turn looks for what there is to resume

	if s.cfg.ReconnectionTime > 0 {
		first = appendRetry(first, jitter(s.cfg.ReconnectionTime, 0.5, 1.5))
	}
	open := openData{Stream: s.id, User: markOf(s.user), Resumed: resumed, Topics: s.topicNames()}
	if s.cfg.HeartbeatInterval > 0 && !s.cfg.HeartbeatComments {
		open.Heartbeat = milliseconds(s.cfg.HeartbeatInterval)
	}
	switch {
	case !resumed && s.hasPrelude(false): // the client gets its position when it has the prelude
		first = appendOwn(first, typeOpen, "", open)
		if gap != "" {
			first = appendOwn(first, typeGap, "", gapData{Reason: gap})
		}
		s.beginStart(true)
		return first
	case gap == "":
		return appendOwn(first, typeOpen, s.at.String(), open)
	}
	// Only the gap carries the new position: a client that loses its connection between the two
	// blocks must come back with its old position and get the gap again.
	first = appendOwn(first, typeOpen, "", open)
	return appendOwn(first, typeGap, s.at.String(), gapData{Reason: gap})
}

// markOf returns a mark of a user for sse.open: the first bytes of a hash.
func markOf(userID string) string {
	sum := sha256.Sum256([]byte("ginsse user " + userID))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// currentHead returns the head of the log, on all nodes.
func (r *Registry) currentHead(ctx context.Context) (eventlog.Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	head, err := r.log.Head(ctx)
	if err == nil {
		r.atEpoch(head)
	}
	return head, err
}

// findPosition sets the position from which a stream reads, and returns whether it resumes. The
// position is the last event ID. If there is none, or the stream cannot resume from it, the position
// is the head at the stream's opening; if the application was asked for topics, the head after that,
// where s.at is.
func (r *Registry) findPosition(ctx context.Context, s *Stream, id string) (Opening, error) {
	head := s.at
	s.at = s.opening
	if id == "" {
		return Opening{Resume: ResumeNone}, s.skipTo(ctx, new(turn), head)
	}
	gap := func(reason eventlog.GapReason, to eventlog.Cursor) (Opening, error) {
		return Opening{Resume: ResumeGap, Gap: reason}, s.skipTo(ctx, new(turn), to)
	}
	at, ok := parsePosition(id, s.opening)
	if !ok {
		return gap(eventlog.GapUnknown, head)
	}
	// Entries are read later, as the client takes them.
	resume := ResumeMemory
	q := eventlog.Query{Subjects: s.eventSubjects(), After: at, MaxEntries: 1, NoWait: true}
	page, err := r.log.Read(ctx, q, nil)
	if errors.Is(err, eventlog.ErrWouldWait) {
		resume, q.NoWait = ResumeStore, false
		page, err = r.log.Read(ctx, q, nil)
	}
	if err != nil {
		return Opening{}, err
	}
	if page.Gap != "" {
		return gap(page.Gap, page.Through)
	}
	switch changed, err := s.hasChangedTopics(ctx, at, head); {
	case err != nil:
		return Opening{}, err
	case changed:
		return gap(gapTopics, head)
	}
	s.at = at
	if at.Seq < head.Seq { // the stream may be far from a command that came since its opening
		s.commanded.Store(1)
	}
	return Opening{Resume: resume}, nil
}

// parsePosition returns the position that a last event ID stands for. It reports false for one that
// the client has made up: it is malformed, or in the future.
func parsePosition(id string, head eventlog.Cursor) (at eventlog.Cursor, ok bool) {
	at, err := eventlog.ParseCursor(id)
	return at, err == nil && (at.Epoch != head.Epoch || at.Seq <= head.Seq)
}

// lastEventID returns the last event ID of a request: from the Last-Event-ID header (section
// 9.2.4), or else from the query parameter. The client may have made it up.
func lastEventID(c *gin.Context, parameter string) string {
	if id := c.GetHeader("Last-Event-ID"); id != "" {
		return id
	}
	if c.Request.URL.RawQuery == "" {
		return ""
	}
	return c.Request.URL.Query().Get(parameter) // c.Query would keep it all for the stream's life
}

// turnAway answers a request whose stream was not let in. A temporary refusal is sent in-band, on a
// stream: any status but 200 ends a browser's EventSource for good. The client is asked to come
// back after a time; 0 means four times its reconnection time.
func (r *Registry) turnAway(c *gin.Context, s *Stream, after time.Duration, cause error) error {
	r.logger.LogAttrs(c.Request.Context(), slog.LevelDebug, "refusing a stream for now",
		slog.String("stream", s.id), slog.String("user", s.user), slog.Any("error", cause))
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
	if !reason.reconnects() { // it was ended for good while it opened, and has delivered nothing
		r.tellGap(s, gapUndelivered)
		first = appendOwn(nil, typeGap, "", gapData{Reason: gapUndelivered})
		first = appendOwn(first, typeClose, "", closeData{reason})
	}
	defer s.loop.w.release(c)
	s.loop.w.begin(c, first)
	return cause
}

// connected runs ConnectFunc and returns a channel that is closed when it has
// returned; nil without one.
func (r *Registry) connected(s *Stream) <-chan struct{} {
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
	r.tellEnded(s, reason)
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

// log logs what has happened to a stream. It does so on a goroutine of its own, as a logger may wait.
func (s *Stream) log(message string, attributes ...slog.Attr) {
	r := s.registry
	if !r.logger.Enabled(r.life, slog.LevelDebug) {
		return
	}
	now := time.Now()
	r.hook(s, "the Logger", func() {
		record := slog.NewRecord(now, slog.LevelDebug, message, 0)
		record.AddAttrs(slog.String("stream", s.id), slog.String("user", s.user))
		record.AddAttrs(attributes...)
		_ = r.logger.Handler().Handle(r.life, record)
	})
}

// hook runs an application's function on a goroutine of its own. A panic in it is logged, and does
// not end the process. The stream keeps its place until the function has returned.
func (r *Registry) hook(s *Stream, name string, call func()) {
	r.mu.Lock()
	r.active++
	r.admission.hold(s, 1)
	r.mu.Unlock()
	go func() {
		defer r.leave()
		defer func() {
			if p := recover(); p != nil {
				r.logPanic(name, p, debug.Stack())
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.admission.hold(s, -1)
		}()
		call()
	}()
}
