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
	"time"

	"github.com/gin-gonic/gin"
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
// At the end of a run that is done or was stopped, the stream ends with [DoneID]. A client that comes
// back then is answered with 204, which ends a browser's EventSource. Any other end breaks the
// response off, so that no client takes it for complete: fetch reports a network error, and an
// EventSource comes back. It gets the rest, or if the run has failed, status 410. The stream also ends
// when [Registry.Disconnect] is called for the user, when the credential expires, and at shutdown.
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
// For an event stream, use ServeRun. [ServeSeq] answers 200 before it knows the run, and ends the
// stream with [DoneID] also after an error. A run that is unknown or has failed would look complete.
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
		defer context.AfterFunc(r.life, func() { cancel(ErrClosed) })() //nolint:contextcheck // the registry's life
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
	if full && r.cfg.RefuseNewest {
		return nil, 0, fmt.Errorf("%w: the user follows %d runs", ErrTooManyStreams, len(list))
	}
	streams, _ := r.subscribers.totals()
	if err := r.admission.checkTotal(streams+r.followers.total, full); err != nil {
		return nil, 0, err
	}
	if full {
		oldest = list[0]
		list = slices.Delete(list, 0, 1)
		r.followers.total--
	}
	r.followers.byUser[s.user] = append(list, s)
	r.followers.total++
	r.admission.served++
	r.active++
	return oldest, 0, nil
}

// followersOf returns the streams of a user that follow runs on this node.
func (r *Registry) followersOf(user string) []*Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.followers.byUser[user])
}

func (r *Registry) removeFollower(s *Stream) {
	r.mu.Lock()
	r.admission.served--
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
