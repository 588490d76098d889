package ginsse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
)

// Observer has functions that a registry calls when something has happened, to be counted, traced or
// shown. A function that is nil costs nothing. Pass it in [RegistryConfig.Observers]: [NewRegistry] copies
// the functions, so later changes have no effect.
//
// What can be asked for at any time is not here: see [Registry.Stats], [Registry.AllStreams] and
// [Stream.Stats].
//
// Concurrency: the functions are called from several goroutines: that of a sender, of a request, and of
// the registry's writers, each of which writes many streams. So they must return soon, and wait for
// nothing. No lock is held. A panic in Written or Delivered ends the stream. One in another function
// harms nothing, and the first of each function is logged.
//
// User IDs, topics and errors are for logs and pages of administrators. Metrics have none of them as
// labels: there are too many, and some are secret.
type Observer struct {
	// Opened is called when a stream has opened, before its client gets anything.
	Opened func(s *Stream, o Opening)
	// Refused is called when a client was not given a stream, or was asked to come back later. It is
	// not called for what [Middleware] and [Auth.RequireUser] refuse, such as a missing credential.
	Refused func(r Refusal)
	// Ended is called when a stream that had opened has ended, and its client gets no more.
	Ended func(s *Stream, e Ending)
	// Gap is called when a client is told that it misses events: by sse.gap.
	Gap func(s *Stream, reason eventlog.GapReason)
	// Commanded is called when a stream has carried out a command about topics or its state: "grant",
	// "revoke", or "control" for a request of its page.
	Commanded func(s *Stream, command string)

	// Sending is called at the beginning of [Registry.SendTo] and the other methods that send an
	// event, also those of a [Sender]. The context that it returns is used for the log and passed to
	// Sent. trace, if not "", goes with the event through the log, at most 128 printable ASCII
	// characters, such as the traceparent of W3C Trace Context: Delivered gets it on each node.
	Sending func(ctx context.Context, s Sending) (_ context.Context, trace string)
	// Sent is called at the end of these methods.
	Sent func(ctx context.Context, s Sent)
	// Appended is called when the log has taken, or not taken, what this node has given to it:
	// events, commands, and parts of runs. It is not called for the outbox of a transaction.
	Appended func(a Appended)
	// Written is called when a stream has written something: to its connection, which may still
	// have it in the kernel's buffers.
	Written func(s *Stream, w Written)
	// Delivered is called after Written for each event that has a trace.
	Delivered func(s *Stream, d Delivered)

	// LogReady is called when the log stops serving this node, with the reason, and with nil when it
	// serves it again. It is called for logs that have a method Ready() error, which the registry
	// asks once a second. It is called on a goroutine of its own.
	LogReady func(err error)

	// Answer is called when this node, or another, calls [Registry.AskNodes]. It returns JSON of at
	// most 48 KiB, or nil if the question is not for this observer. The first that answers counts.
	Answer func(question string) json.RawMessage
}

// Opening says how a stream opened.
type Opening struct {
	Resume  Resume             // whether it continues an earlier one
	Gap     eventlog.GapReason // why it does not, with ResumeGap
	Took    time.Duration      // since the request arrived at the registry
	Compact bool               // see StreamConfig.Compact
}

// Resume is how a stream continues an earlier one.
type Resume string

const (
	ResumeNone   Resume = "none"   // the client had no last event ID
	ResumeMemory Resume = "memory" // the log had the position in the memory of this node
	ResumeStore  Resume = "store"  // the log had to ask its store for what comes after the position
	ResumeGap    Resume = "gap"    // events are missing
)

// Refusal says why a client was not given a stream.
type Refusal struct {
	UserID string // "" with RefusedNoUser
	Cause  RefusalCause
	Err    error // what Serve returns
}

// RefusalCause is the kind of a refusal. The reasons [ReasonOverloaded], [ReasonThrottled] and others
// that end a stream while it opens are causes, too.
type RefusalCause string

const (
	RefusedNoUser         RefusalCause = "no user"           // the route lacks Middleware or RequireUser
	RefusedCrossSite      RefusalCause = "cross site"        // a page of another site
	RefusedInvalid        RefusalCause = "invalid"           // the request asks for an invalid topic
	RefusedTooManyStreams RefusalCause = "too many streams"  // see RegistryConfig.RefuseNewest
	RefusedWriter         RefusalCause = "unsupported"       // the response cannot stream
	RefusedLog            RefusalCause = "log unavailable"   // the log has no position for the stream
	RefusedServer         RefusalCause = "application error" // a function or an option of the application
)

// Ending says how a stream ended.
type Ending struct {
	Reason Reason
	Err    error // what Serve returns; it has the reason, and its cause if there is one
	Lasted time.Duration
	StreamStats
}

// Sending says what is about to be sent.
type Sending struct {
	Kind  eventlog.Kind // of whom it is for: users, a topic, or all
	Users int           // how many, of KindUser
	Event Event
}

// Sent says what became of an event.
type Sent struct {
	Kind    eventlog.Kind
	Receipt Receipt // the zero Receipt for the outbox of a transaction
	Err     error
}

// Appended says what was given to the log, and what became of it.
type Appended struct {
	Kind      eventlog.Kind
	Transient bool          // it went to the nodes, and the log did not keep it
	Bytes     int           // in wire form, without the ID
	Took      time.Duration // until the log had it; for a shared log, until this node could read it
	Err       error
}

// Written says what a stream has written at one time.
type Written struct {
	Events int // of the log, transient ones and those of Stream.Send; heartbeats and the kit's own do not count
	Bytes  int // in wire form, without what HTTP adds
	// Delay is the time since the log has taken the oldest of the events, by the clocks of the log
	// and of this node. It is 0 without an event that the log dates, and while the stream catches up
	// with what was sent before it opened. After the clock of this node was set, it may be by the old
	// time for a second.
	Delay time.Duration
}

// Delivered says that a stream has written an event with a trace.
type Delivered struct {
	Kind  eventlog.Kind // of whom the event is for
	ID    string        // of the event; "" for a transient one
	Trace string        // see Observer.Sending
	Delay time.Duration
}

// StreamStats are counts of one stream.
type StreamStats struct {
	Events uint64 `json:"events"` // written: of the log, transient ones and those of Stream.Send
	Bytes  uint64 `json:"bytes"`  // written, in wire form, without what HTTP adds
	// Lag is about how many events wait to be written: because the client takes nothing, or slowly.
	// Those before the opening of a stream that resumes do not count.
	Lag int64 `json:"lag"`
	// Unsent is about how many bytes the stream holds for its client: what waits in the queue of
	// [Stream.Send], and what a compact stream has begun to write and the client has not taken.
	Unsent int64 `json:"unsent,omitempty"`
	// Writing is whether a write waits for the client, or is in progress at the moment.
	Writing bool `json:"writing,omitempty"`
}

// Stats returns counts of the stream. It costs a few memory reads, and may be called for each of many
// streams.
func (s *Stream) Stats() StreamStats {
	stats := StreamStats{
		Events: s.events.Load(),
		Bytes:  s.bytes.Load(),
		Lag:    s.unread.Load() + s.backlog.Load(),
	}
	if s.compact != nil {
		stats.Writing, stats.Unsent = s.compact.isWriting(), int64(s.compact.unsent.Load())
	} else {
		stats.Writing = s.loop.w.dog.write.Load() != 0
	}
	if s.queued.Load() {
		s.mu.Lock()
		stats.Unsent += int64(len(s.queue))
		s.mu.Unlock()
	}
	return stats
}

// Compact reports whether the registry's writers write the stream: see [StreamConfig.Compact].
func (s *Stream) Compact() bool { return s.compact != nil }

// joinObservers returns an observer that calls all of some, in order.
func joinObservers(observers []*Observer) (all Observer) {
	for _, o := range observers {
		if o == nil {
			continue
		}
		all.Opened = join2(all.Opened, o.Opened)
		all.Refused = join1(all.Refused, o.Refused)
		all.Ended = join2(all.Ended, o.Ended)
		all.Gap = join2(all.Gap, o.Gap)
		all.Commanded = join2(all.Commanded, o.Commanded)
		all.Sending = joinSending(all.Sending, o.Sending)
		all.Sent = join2(all.Sent, o.Sent)
		all.Appended = join1(all.Appended, o.Appended)
		all.Written = join2(all.Written, o.Written)
		all.Delivered = join2(all.Delivered, o.Delivered)
		all.LogReady = join1(all.LogReady, o.LogReady)
		all.Answer = joinAnswer(all.Answer, o.Answer)
	}
	return all
}

func join1[A any](f, g func(A)) func(A) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(a A) { f(a); g(a) }
}

func join2[A, B any](f, g func(A, B)) func(A, B) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(a A, b B) { f(a, b); g(a, b) }
}

// joinSending passes the context of one to the next. The first trace counts.
func joinSending(f, g func(context.Context, Sending) (context.Context, string)) func(context.Context, Sending) (context.Context, string) {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(ctx context.Context, s Sending) (context.Context, string) {
		ctx, first := f(ctx, s)
		ctx, second := g(ctx, s)
		if first == "" {
			first = second
		}
		return ctx, first
	}
}

func joinAnswer(f, g func(string) json.RawMessage) func(string) json.RawMessage {
	switch {
	case f == nil:
		return g
	case g == nil:
		return f
	}
	return func(question string) json.RawMessage {
		if data := f(question); data != nil {
			return data
		}
		return g(question)
	}
}

// refused tells that a client was not given a stream.
func (r *Registry) refused(c *gin.Context, err error) {
	f := r.observe.Refused
	if f == nil || err == nil {
		return
	}
	f(Refusal{UserID: identityOf(c).UserID, Cause: refusalCause(err), Err: err})
}

// tellOpened tells that a stream is about to open.
func (r *Registry) tellOpened(s *Stream, o Opening) {
	s.log("stream opened", slog.String("resume", string(o.Resume)), slog.Duration("took", o.Took))
	if f := r.observe.Opened; f != nil {
		f(s, o)
	}
	if o.Gap != "" {
		r.tellGap(s, o.Gap)
	}
}

// tellEnded tells that a stream has ended.
func (r *Registry) tellEnded(s *Stream, reason Reason) {
	e := Ending{reason, s.Err(), time.Since(s.opened), s.Stats()}
	s.log("stream ended", slog.String("reason", string(reason)), slog.Any("error", e.Err), slog.Duration("lasted", e.Lasted),
		slog.Uint64("events", e.Events), slog.Uint64("bytes", e.Bytes))
	if f := r.observe.Ended; f != nil {
		f(s, e)
	}
}

// tellCommanded tells that a stream has carried out a command.
func (r *Registry) tellCommanded(s *Stream, command *eventlog.Entry) {
	name, _ := parseCommand(command)
	s.log("command carried out", slog.String("command", name))
	if f := r.observe.Commanded; f != nil {
		f(s, name)
	}
}

// errNoPosition: a stream cannot open without a position in the log.
var errNoPosition = errors.New("the log has no position for the stream")

// errAllowTopics: a stream cannot open while it is not known which topics it may read.
var errAllowTopics = errors.New("AllowTopicFunc has failed")

// errNotAwaited: the client did not wait, which ended the question to the log or the application.
var errNotAwaited = errors.New("the client has left before its stream opened")

// notOpened returns why a stream cannot open: a question to the log or the application has failed.
func notOpened(c *gin.Context, question, err error) error {
	if errors.Is(c.Request.Context().Err(), context.Canceled) { // a deadline is the application's
		question = errNotAwaited
	}
	return fmt.Errorf("%w: %w: %w", ReasonOverloaded, question, err)
}

func refusalCause(err error) RefusalCause {
	var crossSite *AuthError
	var reason Reason
	switch {
	case errors.Is(err, ErrNoUser):
		return RefusedNoUser
	case errors.As(err, &crossSite):
		return RefusedCrossSite
	case errors.Is(err, ErrInvalidSubject):
		return RefusedInvalid
	case errors.Is(err, ErrTooManyStreams) && !errors.Is(err, ReasonOverloaded):
		return RefusedTooManyStreams
	case errors.Is(err, ErrUnsupportedWriter):
		return RefusedWriter
	case errors.Is(err, errNotAwaited):
		return RefusalCause(ReasonClientGone)
	case errors.Is(err, errNoPosition):
		return RefusedLog
	case errors.As(err, &reason) && !errors.Is(err, errAllowTopics):
		return RefusalCause(reason)
	default:
		return RefusedServer
	}
}

// tellGap counts a gap that a client is told of.
func (r *Registry) tellGap(s *Stream, reason eventlog.GapReason) {
	r.gaps.Add(1)
	s.log("events are missing", slog.String("reason", string(reason)))
	if f := r.observe.Gap; f != nil {
		f(s, reason)
	}
}

// sending tells of an event that is about to be sent. It returns the trace that goes with it.
func (r *Registry) sending(ctx context.Context, kind eventlog.Kind, users int, e Event) (context.Context, string) {
	f := r.observe.Sending
	if f == nil || ctx == nil {
		return ctx, ""
	}
	ctx, trace := f(ctx, Sending{kind, users, e})
	if !isTrace(trace) {
		trace = ""
	}
	return ctx, trace
}

const maxTraceBytes = 128

func isTrace(trace string) bool {
	for _, c := range []byte(trace) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(trace) <= maxTraceBytes
}

func (r *Registry) sent(ctx context.Context, kind eventlog.Kind, receipt Receipt, err error) {
	if f := r.observe.Sent; f != nil && ctx != nil {
		f(ctx, Sent{kind, receipt, err})
	}
}

// appending returns when an append begins, by the age of the clock; 0 if no observer asks for it.
func (r *Registry) appending() (begun time.Duration) {
	if r.observe.Appended != nil {
		begun = r.clock.Age()
	}
	return begun
}

func (r *Registry) appended(record eventlog.Record, transient bool, begun time.Duration, err error) {
	if f := r.observe.Appended; f != nil {
		kind, _, _ := eventlog.SplitSubject(record.Subject)
		f(Appended{kind, transient, len(record.Frame), r.clock.Age() - begun, err})
	}
}

// watchLog calls LogReady until the registry is closed.
func (r *Registry) watchLog() {
	log, ok := r.log.(interface{ Ready() error })
	tell := r.observe.LogReady
	if !ok || tell == nil {
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for ready := true; ; {
		select {
		case <-ticker.C:
		case <-r.life.Done():
			return
		}
		err := log.Ready()
		if r.life.Err() != nil {
			return // the application may have closed the log meanwhile
		}
		if (err == nil) != ready {
			ready = err == nil
			tell(err)
		}
	}
}

// hasWritten counts a turn, notes when it was written, and tells of it.
func (s *Stream) hasWritten(t *turn) {
	events, bytes := len(t.entries)+t.counted, t.size()
	s.events.Store(s.events.Load() + uint64(events))
	s.bytes.Store(s.bytes.Load() + uint64(bytes))
	age := time.Since(s.opened)
	s.wroteAt(age)
	if s.registry == nil {
		return
	}
	o, c := &s.registry.observe, s.registry.clock
	if o.Written == nil && o.Delivered == nil {
		return
	}
	now := c.UnixNano(c.AgeAt(s.opened) + age) // the clock that was read for the heartbeats serves here, too
	if o.Written != nil {
		oldest := t.oldest
		if len(t.entries) > 0 && !t.resumes {
			oldest = t.entries[0].Stored
		}
		o.Written(s, Written{events, bytes, delay(oldest, now)})
	}
	if o.Delivered == nil {
		return
	}
	for _, e := range t.entries {
		o.delivered(s, e, e.At.String(), now)
	}
	for _, e := range t.traced {
		o.delivered(s, e, "", now)
	}
}

// delivered tells of an event with a trace.
func (o *Observer) delivered(s *Stream, e *eventlog.Entry, id string, now int64) {
	if a := e.Attributes; a != nil && isTrace(a.Trace) && a.Trace != "" {
		kind, _, _ := eventlog.SplitSubject(e.Subject)
		o.Delivered(s, Delivered{kind, id, a.Trace, delay(e.Stored, now)})
	}
}

// delay returns the time since an entry was stored; 0 if that is not known.
func delay(stored, now int64) time.Duration {
	if stored == 0 {
		return 0
	}
	return time.Duration(max(1, now-stored))
}
