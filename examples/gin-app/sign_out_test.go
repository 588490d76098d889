package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// bubbleNode is the application in a bubble of synctest, on a node whose log can fail.
type bubbleNode struct {
	*app
	log    *ssetest.Node
	server *ssetest.Server
}

// testLog is a node's log that the application can close.
type testLog struct{ *ssetest.Node }

func (testLog) Ready() error { return nil }
func (testLog) Close() error { return nil }

// silentLog is a log whose store does not answer: an append ends with its context.
type silentLog struct{ testLog }

func (silentLog) Append(ctx context.Context, _ eventlog.Record) (eventlog.Cursor, error) {
	<-ctx.Done()
	return eventlog.Cursor{}, context.Cause(ctx)
}

// newBubbleNodes returns two nodes that share a database and their events.
func newBubbleNodes(t *testing.T) (first, second *bubbleNode) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "feed.db")
	nodes := make([]*bubbleNode, 2)
	for i, log := range ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, len(nodes)) {
		a := newTestApp(t, appConfig{Demo: true, Database: file, Log: testLog{log}})
		nodes[i] = &bubbleNode{a, log, ssetest.NewServer(t, a)}
		t.Cleanup(a.registry.Close)
	}
	return nodes[0], nodes[1]
}

// visitor returns a client of the node with a session of its own.
func (n *bubbleNode) visitor(t *testing.T, name string) *visitor {
	t.Helper()
	v := &visitor{t: t, url: n.server.URL, client: n.server.Client}
	v.signIn(name, demoPassword)
	return v
}

// All events of a request together wait for sendTimeout.
func TestRequestDoesNotWaitLongForTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newBubbleNodes(t)
		alice, bob := first.visitor(t, "alice"), second.visitor(t, "bob")
		stream := alice.open("/events")
		stream.NextOf("sse.heartbeat") // it has its position
		for _, n := range []*bubbleNode{first, second} {
			n.store.sending.log = silentLog{testLog{n.log}}
		}
		begun := time.Now()
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"Is anybody there?"})
		if took := time.Since(begun); took != sendTimeout {
			t.Errorf("a comment took %v, want %v", took, sendTimeout)
		}
		begun = time.Now()
		alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
		if took := time.Since(begun); took != sendTimeout {
			t.Errorf("a sign-out took %v, want %v", took, sendTimeout)
		}
		stream.NextOf("sse.close")
	})
}

// The client cannot repeat a sign-out, because its token is revoked. So the server does.
func TestSignOutIsRepeatedUntilTheLogAcceptsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newBubbleNodes(t)
		alice, there := first.visitor(t, "alice"), second.visitor(t, "alice")
		here, old := alice.open("/events"), there.open("/events")

		first.log.SetPartitioned(true)
		answer := alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
		if cookie := answer.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "session=;") {
			t.Errorf("cookie is %q", cookie)
		}
		here.NextOf("sse.close")
		wantError(t, alice.want(http.StatusUnauthorized, "DELETE", "/api/session", nil), "invalid_token")

		// Alice signs in again, before the log accepts the sign-out.
		again := second.visitor(t, "alice")
		later := again.open("/events")
		time.Sleep(5 * time.Minute)
		if n := len(second.registry.Streams(alice.user.ID)); n != 2 {
			t.Fatalf("%d streams are open at the other node, want 2", n)
		}

		first.log.SetPartitioned(false)
		wantReconnect(t, old, "reauthenticate")
		wantError(t, there.want(http.StatusUnauthorized, "GET", "/events", nil), "invalid_token")
		// The stream of the new session resumes, and the sign-out is not repeated again.
		wantReconnect(t, later, "reauthenticate")
		resumed := again.open("/events", ssetest.LastEventID(later.LastEventID()))
		if got := resumed.NextOf("sse.open").Data; !parse[struct{ Resumed bool }](t, []byte(got)).Resumed {
			t.Errorf("sse.open is %s", got)
		}
		time.Sleep(5 * time.Minute)
		if n := len(second.registry.Streams(alice.user.ID)); n != 1 {
			t.Errorf("%d streams are open at the other node, want 1", n)
		}
	})
}

var errLogFails = errors.New("the log fails")

func TestSignOutIsRepeatedWhileATokenCanBeValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last time.Duration
		began, attempts := time.Now(), 0
		s := newSignOuts(time.Hour, func(context.Context, string) error {
			last, attempts = time.Since(began), attempts+1
			return errLogFails
		})
		s.retry("alice")
		s.running.Wait()
		if took := time.Since(began); took < time.Hour || took > time.Hour+lastRetry {
			t.Errorf("the retries ended after %v", took)
		}
		if last < time.Hour-lastRetry || last >= time.Hour || attempts > 70 {
			t.Errorf("%d attempts, the last after %v", attempts, last)
		}
		s.close()
	})
}

func TestRetriesOfSignOutsEndWithTheApplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, _ := newBubbleNodes(t)
		alice := first.visitor(t, "alice")
		first.log.SetPartitioned(true)
		alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
		began := time.Now()
		first.stop()
		first.signOuts.running.Wait()
		if took := time.Since(began); took != 0 {
			t.Errorf("the retries ended after %v", took)
		}
		// A request that is still in progress starts no retries.
		first.signOuts.retry("bob")
		if !first.signOuts.end("bob").IsZero() {
			t.Error("a retry has started")
		}
	})
}

// An attempt that came before a second sign-out does not count for it.
func TestSecondSignOutIsRepeatedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		var s *signOuts
		s = newSignOuts(time.Hour, func(_ context.Context, userID string) error {
			if attempts++; attempts == 1 {
				time.Sleep(time.Millisecond)
				s.retry(userID) // while this attempt is in progress
			}
			return nil
		})
		s.retry("alice")
		s.running.Wait()
		if attempts != 2 {
			t.Errorf("%d attempts, want 2", attempts)
		}
		s.close()
	})
}
