package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// reasonSignedOut is the reason in the sse.close event when a user signs out. After sse.close
// a client must not reconnect by itself.
const reasonSignedOut ginsse.Reason = "signed out"

// signOut ends all sessions of the user on all devices, and the user's streams, in one
// transaction. A client that reconnects after its stream has ended is refused.
func (a *app) signOut(c *gin.Context) {
	if err := a.store.EndSessions(c.Request.Context(), ginsse.UserID(c), ginsse.Expiry(c), a.sessions.lifetime); err != nil {
		fail(c, err)
		return
	}
	a.sessions.clearCookie(c)
	c.Status(http.StatusNoContent)
}

// sendFailed handles an event that the log did not accept. The transaction has committed, so the
// request succeeds. Pages find what they have missed in the store. But a sign-out must reach the
// streams: those of this node end now, and those of other nodes by a retry. The client cannot try
// again, because its token is revoked.
//
// It is not called if the log is in the database, where there is no sign-out without its event.
func (a *app) sendFailed(ctx context.Context, r eventlog.Record, err error) {
	a.logger.LogAttrs(ctx, slog.LevelWarn, "cannot send an event after its transaction", slog.String("subject", r.Subject), slog.Any("error", err))
	if kind, userID, _ := eventlog.SplitSubject(r.Subject); kind == eventlog.KindCommand {
		for _, s := range a.registry.Streams(userID) {
			s.Disconnect(reasonSignedOut)
		}
		a.signOuts.retry(userID)
	}
}

// The first retry of a sign-out waits for firstRetry. Each later one waits twice as long, up to
// lastRetry.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// signOuts repeats sign-outs that the log did not accept, so that the streams at other nodes end
// too. It gives up when all tokens from before the sign-out have expired, because the streams end
// with them. Retries do not survive the process.
//
// The user may have signed in again before a retry. So a retry uses
// [ginsse.ReasonReauthenticate]: the streams of the new session reconnect and resume, and those of
// the old ones are refused.
//
// Concurrency: all methods may be called from several goroutines.
type signOuts struct {
	disconnect func(ctx context.Context, userID string) error
	lifetime   time.Duration // of a token
	stopped    context.Context
	stop       context.CancelFunc // ends all retries
	running    sync.WaitGroup

	mu    sync.Mutex
	until map[string]time.Time // when to give up, by user ID; one goroutine for each
}

func newSignOuts(lifetime time.Duration, disconnect func(ctx context.Context, userID string) error) *signOuts {
	s := &signOuts{disconnect: disconnect, lifetime: lifetime, until: make(map[string]time.Time)}
	s.stopped, s.stop = context.WithCancel(context.Background())
	return s
}

// retry repeats a sign-out until the log accepts it. It does not wait.
func (s *signOuts) retry(userID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped.Err() != nil {
		return // close may be waiting for the last goroutine
	}
	_, running := s.until[userID]
	s.until[userID] = time.Now().Add(s.lifetime)
	if !running {
		s.running.Go(func() { s.run(userID) })
	}
}

func (s *signOuts) run(userID string) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		select {
		case <-s.stopped.Done():
			return
		case <-time.After(wait):
		}
		until := s.end(userID)
		done := !time.Now().Before(until)
		if !done {
			ctx, cancel := context.WithTimeout(s.stopped, sendTimeout)
			done = s.disconnect(ctx, userID) == nil
			cancel()
		}
		if done && s.finish(userID, until) {
			return
		}
	}
}

// end returns when to give up for a user.
func (s *signOuts) end(userID string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until[userID]
}

// finish ends the retries for a user. It returns false if the user has signed out again since
// until was read, so that the last attempt may have come before that sign-out.
func (s *signOuts) finish(userID string, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until[userID] != until {
		return false
	}
	delete(s.until, userID)
	return true
}

// close ends all retries and waits until they have ended.
func (s *signOuts) close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.running.Wait()
}
