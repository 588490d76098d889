package ginsse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
)

// RunHandler returns a handler that serves the run whose ID is a parameter of the route, to the user
// of the request. [Auth.RequireUser] or [Middleware] must run before it. See [Registry.ServeRun].
//
//	r.GET("/runs/:id/events", auth.RequireUser(), registry.RunHandler("id"))
func (r *Registry) RunHandler(param string) gin.HandlerFunc {
	return func(c *gin.Context) { _ = r.ServeRun(c, c.Param(param)) }
}

// ServeRun serves a run to the user of the request: the events that it has sent, and then those that
// it sends, on any node. It begins after the request's last event ID, or with the first event. The
// client gets nothing else, apart from heartbeats as comments. Several clients may follow a run, and
// a slow one delays no other.
//
// At the end of a run that is done or was stopped, the stream ends with [DoneID]. A client that has
// everything is answered with 204, which ends a browser's EventSource. After any other end the client
// should come back: for the rest, or if the run has failed, for status 410. The stream also ends when
// [Registry.Disconnect] is called for the user, when the credential expires, and at shutdown.
//
// ServeRun returns nil if the client got everything, or needed no stream. Otherwise it returns why the
// stream has ended, as [Serve] does. Before the stream has begun, the errors and their answers are
//
//	ErrRunNotFound     404  the user has no such run
//	ErrRunGone         410  events have left the log
//	ErrRunFailed       410  the run has failed, and the client has all of its events
//	a Reason           503, 429 if it is ReasonThrottled: for now
//	ErrTooManyStreams  429  with RefuseNewest, the user follows as many runs as allowed
//
// and those of [Registry.Serve]. For a temporary refusal, a client that accepts text/event-stream gets
// an empty stream with a reconnection time instead: any status but 200 ends an EventSource for good.
// [RegistryConfig.MaxStreams] bounds the streams of runs together with the others. A user may follow
// as many as [RegistryConfig.MaxStreamsPerUser] on this node: beyond it, the oldest one ends.
func (r *Registry) ServeRun(c *gin.Context, runID string) error {
	userID := UserID(c)
	if userID == "" {
		r.refuseWithoutUser(c)
		return ErrNoUser
	}
	if err := checkStreamOrigin(c); err != nil {
		return err
	}
	lastID := lastEventID(c, r.cfg.LastEventIDParameter)
	if lastID == DoneID {
		answerComplete(c)
		return nil
	}
	f, err := r.newFollower(userID, runID)
	if err != nil {
		return r.refuseRun(c, err)
	}
	s := newStream(nil, userID, Expiry(c), &r.cfg.Stream)
	s.follows = true
	if after, err := r.addFollower(s); err != nil {
		return r.refuseFollower(c, after, err)
	}
	defer r.removeFollower(s)
	defer f.watch(s)()
	first, end, err := f.first(c.Request.Context(), lastID)
	switch {
	case err != nil:
		return r.refuseFollower(c, 0, fmt.Errorf("%w: %w", ReasonOverloaded, err))
	case isComplete(end) && len(first) == 0 && lastID != "":
		answerComplete(c)
		return nil
	case isFailure(end) && len(first) == 0:
		return r.refuseRun(c, end)
	}
	l, err := beginRequestStream(c, s)
	if err != nil {
		return notDone(err)
	}
	return l.produce(c, func(ctx context.Context, s *Stream) error {
		var err error
		if len(first) > 0 {
			err = s.enqueue(ctx, first, Event{})
		}
		if err == nil && end == nil {
			end, err = f.follow(ctx)
		}
		switch {
		case err != nil:
			return err
		case isComplete(end):
			return nil
		case !isFailure(end):
			s.end(reasonOf(end))
		}
		return end
	})
}

// isFailure reports whether the client cannot get the rest of the run, now or later.
func isFailure(end error) bool {
	var reason Reason
	return end != nil && !isComplete(end) && !errors.As(end, &reason)
}

// isComplete reports whether everything was sent that will ever be.
func isComplete(end error) bool {
	return end != nil && (errors.Is(end, errRunOver) || errors.Is(end, ErrRunStopped))
}

// RunEvents returns the events of a run of a user, as [Registry.ServeRun] serves them: those after an
// event's ID, or with "" from the beginning, and then what comes. Each event has an ID; Data is a
// string, or nil. It is for handlers that answer in a form of their own.
//
// The sequence ends when the run is done. Otherwise the last pair has an error: [ErrRunStopped],
// [ErrRunFailed], [ErrRunNotFound], [ErrRunGone], [ErrClosed], the cause of ctx's end, or if the log
// cannot be read at the beginning, its error. The sequence may be used several times, and each use
// starts anew.
func (r *Registry) RunEvents(ctx context.Context, userID, runID, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if ctx == nil {
			yield(Event{}, errNilContext)
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(r.life, func() { cancel(ErrClosed) })()
		if err := r.yieldRun(ctx, userID, runID, after, yield); err != nil && !errors.Is(err, errLeft) {
			yield(Event{}, err)
		}
	}
}

// errLeft: the loop over a sequence was left.
var errLeft = errors.New("ginsse: the loop over the events of a run was left")

func (r *Registry) yieldRun(ctx context.Context, userID, runID, after string, yield func(Event, error) bool) error {
	f, err := r.newFollower(userID, runID)
	if err != nil {
		return err
	}
	defer f.watch(nil)()
	f.deliver = func(_ context.Context, events []runEvent) error {
		for _, event := range events {
			e := parseEvent(event.text)
			e.ID = event.id.String()
			if !yield(e, nil) {
				return errLeft
			}
		}
		return nil
	}
	end, err := f.begin(ctx, after)
	if end == nil && err == nil {
		end, err = f.follow(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case errors.Is(end, errRunOver):
		return nil
	default:
		return end
	}
}

// follower reads a run from the log.
//
// Its methods return two errors. end says why no more events come: errRunOver, [ErrRunStopped],
// [ErrRunFailed], [ErrRunNotFound], [ErrRunGone], or the Reason of a command to disconnect. err is an
// error of the log, or of delivering events.
type follower struct {
	r       *Registry
	run     runID
	subject string
	control string
	user    string
	stream  *Stream // nil if commands to the user do not concern it
	news    *waker
	// deliver takes the next events. It may wait.
	deliver func(ctx context.Context, events []runEvent) error

	at      eventlog.Cursor // read through
	next    int64           // number of the next event
	known   bool            // an entry of the run was read
	seen    time.Time       // when an entry was last read
	warned  bool            // the log could not be read
	overdue atomic.Bool     // the user's commands will be read beside

	mu         sync.Mutex      // guards the field below
	commandsAt eventlog.Cursor // the user's commands were read through
}

// runEvent is an event of a run, without its blank line.
type runEvent struct {
	id   runEventID
	text []byte // of the log, and must not be changed
}

func (r *Registry) newFollower(userID, id string) (*follower, error) {
	if err := checkName("user ID", userID); err != nil {
		return nil, err
	}
	run, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	f := &follower{r: r, run: run, user: userID, news: newWaker(), seen: time.Now()}
	f.subject, f.control = run.subjects(userID)
	return f, nil
}

// watch has the follower woken up for entries of the run, and commands to the user's streams, of which
// s is one. It is called before the log is read.
func (f *follower) watch(s *Stream) (stop func()) {
	stopRun := f.r.wakers.add(f.subject, f.news)
	if s == nil {
		return stopRun
	}
	f.stream = s
	f.deliver = func(ctx context.Context, events []runEvent) error {
		b := borrowBuffer()
		defer b.release()
		b.bytes = appendRunEvents(b.bytes, events)
		return s.enqueue(ctx, b.bytes, Event{})
	}
	// A client that is slow keeps the follower waiting. So the commands are also read beside.
	stopCommands := f.r.wakers.add(commandSubject(f.user), &waker{news: f.news.news, called: func() {
		if f.overdue.CompareAndSwap(false, true) {
			time.AfterFunc(drainTime, f.readOverdueCommands)
		}
	}})
	return func() {
		stopRun()
		stopCommands()
	}
}

func appendRunEvents(b []byte, events []runEvent) []byte {
	for _, event := range events {
		b = append(b, event.text...)
		b = append(appendField(b, idField, event.id.String()), '\n')
	}
	return b
}

func (f *follower) readOverdueCommands() {
	f.overdue.Store(false)
	if f.stream.ended.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(f.r.life, lookAheadTimeout)
	defer cancel()
	if _, reason, err := f.readCommands(ctx); err == nil && reason != "" {
		f.stream.end(reason)
	}
}

// first begins to follow, and returns the first events in wire form instead of delivering them.
func (f *follower) first(ctx context.Context, lastID string) (events []byte, end, err error) {
	deliver := f.deliver
	defer func() { f.deliver = deliver }()
	f.deliver = func(_ context.Context, list []runEvent) error {
		events = appendRunEvents(events, list)
		return nil
	}
	end, err = f.begin(ctx, lastID)
	return events, end, err
}

// begin finds the run and the position in it, and reads the first events.
func (f *follower) begin(ctx context.Context, lastID string) (end, err error) {
	f.at = f.run.begin
	if lastID != "" {
		id, ok := parseRunEventID(lastID)
		if !ok {
			return errRunPosition, nil
		}
		f.at, f.next = id.after, id.next
	}
	head, err := f.r.currentHead(ctx)
	if err != nil {
		return nil, err
	}
	f.commandsAt = head
	if f.at.Epoch == head.Epoch && f.at.Seq > head.Seq {
		if lastID != "" {
			return errRunPosition, nil
		}
		return ErrRunNotFound, nil
	}
	from := f.next
	for more := true; more && f.next == from; {
		if more, end, err = f.turn(ctx); end != nil || err != nil {
			return end, err
		}
	}
	if f.known {
		return nil, nil
	}
	if lastID == "" {
		return ErrRunNotFound, nil
	}
	switch err := f.find(ctx, head); {
	case errors.Is(err, ErrRunNotFound), errors.Is(err, ErrRunGone):
		return err, nil
	default:
		return nil, err
	}
}

// errRunPosition: the client has made its position up, or it is of another run.
var errRunPosition = fmt.Errorf("%w: the last event ID is not one of the run's", ErrRunGone)

// find returns an error unless the user has the run, or may have had it for so long that the log has
// lost its beginning.
func (f *follower) find(ctx context.Context, head eventlog.Cursor) error {
	if f.run.begin.Epoch == head.Epoch && f.run.begin.Seq > head.Seq {
		return ErrRunNotFound
	}
	page, err := f.r.log.Read(ctx, eventlog.Query{Subjects: []string{f.subject}, After: f.run.begin, MaxEntries: 1, MaxBytes: 1}, nil)
	switch {
	case err != nil:
		return err
	case page.Gap == eventlog.GapTrimmed, len(page.Entries) > 0:
		return nil
	case page.Gap == eventlog.GapEpoch:
		return fmt.Errorf("%w: %s", ErrRunGone, page.Gap)
	default:
		return ErrRunNotFound
	}
}

// follow delivers events until the run, or the right to follow it, has ended.
func (f *follower) follow(ctx context.Context) (end, err error) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		more, end, err := f.turn(ctx)
		if err == nil && end == nil && !more && f.isSilent() {
			end, err = f.checkLost(ctx)
			more = err == nil && !f.isSilent() // it was not lost
		}
		var failed deliveryError
		switch {
		case end != nil:
			return end, nil
		case errors.As(err, &failed):
			return nil, failed.error
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case more:
			continue
		}
		wait := never
		if f.r.presence != nil {
			wait = runSilence - time.Since(f.seen)
		}
		if err != nil || wait <= 0 {
			wait = retryRead
		}
		if err != nil && !f.warned {
			f.warned = true
			f.r.logger.LogAttrs(ctx, slog.LevelWarn, "reading a run", slog.String("user", f.user), slog.Any("error", err))
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.news.news:
		case <-ctx.Done():
		}
	}
}

// deliveryError is an error of deliver: nothing can be delivered any more.
type deliveryError struct{ error }

func (e deliveryError) Unwrap() error { return e.error }

// turn delivers the next events. more says that there are more than it has read.
func (f *follower) turn(ctx context.Context) (more bool, end, err error) {
	page, err := f.r.log.Read(ctx, eventlog.Query{
		Subjects: []string{f.subject}, After: f.at, MaxEntries: maxTurnEvents, MaxBytes: maxTurnBytes,
	}, nil)
	if err == nil && page.More && page.Through == f.at {
		err = errNoProgress
	}
	if err != nil {
		return false, nil, err
	}
	// What is read after the events has every command before them.
	var command uint64
	var reason Reason
	if f.stream != nil {
		if command, reason, err = f.readCommands(ctx); err != nil {
			return false, nil, err
		}
	}
	if page.Gap != "" {
		return false, f.gone(page.Gap), nil
	}
	for _, e := range page.Entries {
		if reason != "" && e.At.Seq > command {
			return false, reason, nil
		}
		if end, err = f.entry(ctx, e); end != nil || err != nil {
			return false, end, err
		}
	}
	f.at = page.Through
	if reason != "" {
		return false, reason, nil
	}
	return page.More, nil, nil
}

// gone returns the end for a gap.
func (f *follower) gone(gap eventlog.GapReason) error {
	if gap == eventlog.GapUnknown && !f.known && f.next == 0 {
		return ErrRunNotFound // the ID of the run was made up
	}
	return fmt.Errorf("%w: %s", ErrRunGone, gap)
}

// entry delivers the events of an entry, without those that the reader has.
func (f *follower) entry(ctx context.Context, e *eventlog.Entry) (end, err error) {
	h, texts := parseRunEntry(e)
	f.known, f.seen = true, time.Now()
	if h.kind == runEvents || h.kind == runEnd {
		if h.first > f.next {
			return fmt.Errorf("%w: events %d to %d are missing", ErrRunGone, f.next, h.first), nil
		}
		var events []runEvent
		for _, text := range texts[min(f.next-h.first, int64(len(texts))):] {
			f.next++
			// Such a position is from before the entry. A client that comes back with it gets the
			// entry again, and knows by the number what it has.
			id := runEventID{f.at, f.next}
			if h.kind == runEvents && f.next == h.first+int64(len(texts)) {
				id.after = e.At
			}
			events = append(events, runEvent{id, text})
		}
		if len(events) > 0 {
			if err := f.deliver(ctx, events); err != nil {
				return nil, deliveryError{err}
			}
		}
	}
	if h.kind != runEnd {
		f.at = e.At
		return nil, nil
	}
	switch h.state {
	case runDone:
		return errRunOver, nil
	case runStopped:
		return ErrRunStopped, nil
	case runLost:
		return errRunLost, nil
	default:
		return ErrRunFailed, nil
	}
}

// readCommands reads the commands to the user's streams. If one of them disconnects the stream, it
// returns the command's sequence and its reason.
func (f *follower) readCommands(ctx context.Context) (command uint64, reason Reason, err error) {
	f.mu.Lock()
	at := f.commandsAt
	f.mu.Unlock()
	for more := true; more; {
		page, err := f.r.log.Read(ctx, eventlog.Query{
			Subjects: []string{commandSubject(f.user)}, After: at, MaxEntries: maxTurnEvents, MaxBytes: maxTurnBytes,
		}, nil)
		if err == nil && page.More && page.Through == at {
			err = errNoProgress
		}
		if err != nil {
			return 0, "", err
		}
		if page.Gap != "" {
			return 0, ReasonReauthenticate, nil // it may have been a command to disconnect
		}
		for _, e := range page.Entries {
			if reason, ok := disconnectReason(e); ok {
				return e.At.Seq, reason, nil // and it is read again
			}
		}
		at, more = page.Through, page.More
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.Epoch != f.commandsAt.Epoch || at.Seq > f.commandsAt.Seq {
		f.commandsAt = at
	}
	return 0, "", nil
}

// isSilent reports whether the run's node may have crashed. Only a shared log outlives a node.
func (f *follower) isSilent() bool {
	return f.r.presence != nil && time.Since(f.seen) >= runSilence
}

// checkLost finds out whether the run's node has crashed. This node must be connected to the log, and
// must have read up to its head. If it has, checkLost says so to all who follow the run, and to its
// node, which may have been frozen.
func (f *follower) checkLost(ctx context.Context) (end, err error) {
	head, err := f.r.currentHead(ctx)
	if err != nil {
		return nil, err
	}
	for more := true; more; {
		if more, end, err = f.turn(ctx); end != nil || err != nil {
			return end, err
		}
	}
	if !f.isSilent() || f.at.Seq < head.Seq {
		return nil, nil
	}
	if f.known {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		lost := appendRunHeader(nil, runHeader{kind: runEnd, first: f.next, state: runLost})
		_, _ = f.r.append(ctx, f.subject, append(lost, '\n')) // others find out themselves
		_, _ = f.r.append(ctx, f.control, append(appendRunHeader(nil, runHeader{kind: runLost}), '\n'))
	}
	return errRunLost, nil
}

// followers are the streams that follow runs on this node. Registry.mu guards it.
type followers struct {
	byUser map[string][]*Stream // the oldest first; none is empty
	total  int
}

// addFollower takes a place for a stream that follows a run, or reports why there is none, and if it
// knows, when to come back.
func (r *Registry) addFollower(s *Stream) (after time.Duration, err error) {
	oldest, after, err := r.tryAddFollower(s)
	if oldest != nil {
		oldest.end(ReasonOverloaded)
	}
	return after, err
}

// tryAddFollower is addFollower, except that the caller ends the stream that was replaced.
func (r *Registry) tryAddFollower(s *Stream) (oldest *Stream, after time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != stateOpen {
		return nil, 0, ReasonShutdown
	}
	if after := r.admission.opens.take(s.user, s.opened); after > 0 {
		return nil, after, fmt.Errorf("%w: the user opens streams too often", ReasonThrottled)
	}
	list := r.followers.byUser[s.user]
	full := r.cfg.MaxStreamsPerUser > 0 && len(list) >= r.cfg.MaxStreamsPerUser
	switch streams, _ := r.subscribers.totals(); {
	case full && r.cfg.RefuseNewest:
		return nil, 0, fmt.Errorf("%w: the user follows %d runs", ErrTooManyStreams, len(list))
	case full:
		oldest = list[0]
		list = slices.Delete(list, 0, 1)
		r.followers.total--
	case r.cfg.MaxStreams > 0 && streams+r.followers.total >= r.cfg.MaxStreams:
		return nil, 0, fmt.Errorf("%w: %w: RegistryConfig.MaxStreams allows no more than %d", ReasonOverloaded, ErrTooManyStreams, r.cfg.MaxStreams)
	}
	r.followers.byUser[s.user] = append(list, s)
	r.followers.total++
	r.active++
	return oldest, 0, nil
}

func (r *Registry) removeFollower(s *Stream) {
	r.mu.Lock()
	list := r.followers.byUser[s.user]
	if i := slices.Index(list, s); i >= 0 {
		r.followers.total--
		if list = slices.Delete(list, i, i+1); len(list) > 0 {
			r.followers.byUser[s.user] = list
		} else {
			delete(r.followers.byUser, s.user)
		}
	}
	r.mu.Unlock()
	r.leave()
}

// refuseRun answers a request for a run that cannot be had.
func (r *Registry) refuseRun(c *gin.Context, err error) error {
	_ = c.Error(err)
	switch {
	case errors.Is(err, ErrRunNotFound), errors.Is(err, ErrInvalidSubject):
		abortJSON(c, http.StatusNotFound, "run_not_found", "there is no such run")
	case errors.Is(err, ErrRunGone):
		abortJSON(c, http.StatusGone, "run_gone", "the events of this run are not kept any more; load what it has made, or start it again")
	case errors.Is(err, ErrRunFailed):
		abortJSON(c, http.StatusGone, "run_failed", "the run has failed; no more events come; start it again")
	default:
		r.warn(c, "a request for a run", err)
		abortJSON(c, http.StatusServiceUnavailable, codeUnavailable, "the run cannot be reached now; try again later")
	}
	return err
}

// refuseFollower answers a request for a run that cannot be served now.
func (r *Registry) refuseFollower(c *gin.Context, after time.Duration, cause error) error {
	r.logger.LogAttrs(c.Request.Context(), slog.LevelDebug, "refusing a stream for now", slog.Any("error", cause))
	var reason Reason
	temporary := errors.As(cause, &reason)
	after = jitter(max(after, r.cfg.Stream.reconnectionTime()), 1, 1.5)
	if temporary && strings.Contains(c.GetHeader("Accept"), contentType) {
		setStreamHeaders(c.Writer.Header())
		c.Status(http.StatusOK)
		_, _ = c.Writer.Write(append(appendRetry(nil, after), '\n'))
		return cause
	}
	_ = c.Error(cause)
	if temporary {
		c.Header("Retry-After", strconv.FormatInt((milliseconds(after)+999)/1000, 10))
	}
	if temporary && reason != ReasonThrottled {
		abortJSON(c, http.StatusServiceUnavailable, codeUnavailable, "the run cannot be served now; try again later")
	} else {
		abortJSON(c, http.StatusTooManyRequests, "too_many_streams", "you have too many event streams open")
	}
	return cause
}
