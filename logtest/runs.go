package logtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// runsAreFollowed has a node run something, which followers at all nodes get from the beginning. They
// drop and resume elsewhere. Then another node stops it.
func runsAreFollowed(t *testing.T, s Suite) {
	const events = 600
	nodes := newNodes(t, s, Bounds{})
	run, sent := startRun(t, s, nodes[0], events)
	followRun(t, s, nodes, run.ID(), events)
	within(t, s, "the run to send", sent)
	ctx, cancel := context.WithTimeout(t.Context(), s.patience)
	defer cancel()
	wantRunEnd(t, ctx, nodes[1%len(nodes)], bobID, run.ID(), ginsse.ErrRunNotFound)
	err := withContact(ctx, func() error { return nodes[1%len(nodes)].registry.StopRun(ctx, aliceID, run.ID()) })
	if err != nil {
		t.Fatal(err)
	}
	within(t, s, "the run to end", run.Done())
	for _, node := range nodes {
		wantRunEnd(t, ctx, node, aliceID, run.ID(), ginsse.ErrRunStopped)
	}
}

// wantRunEnd fails unless the events of a run end with an error for a user, before ctx ends. It asks again
// after another error: see hasLostContact.
func wantRunEnd(t *testing.T, ctx context.Context, n *node, user, id string, want error) {
	t.Helper()
	for {
		var last error
		for e, err := range n.registry.RunEvents(ctx, user, id, "") {
			if last = err; err == nil && user != aliceID {
				t.Errorf("%s got event %v of alice's run", user, e)
			}
		}
		if errors.Is(last, want) || t.Failed() {
			return
		}
		if ctx.Err() != nil {
			t.Errorf("for %s the events ended with %v, want %v", user, last, want)
			return
		}
		<-time.After(retryInterval)
	}
}

// runsOutliveARestart restarts the store while a run sends. Its followers get each event once.
func runsOutliveARestart(t *testing.T, s Suite) {
	const events = 600
	nodes := newNodes(t, s, Bounds{})
	run, sent := startRun(t, s, nodes[0], events)
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		s.Restart(t, nodes[0].log)
	}()
	followRun(t, s, nodes, run.ID(), events)
	within(t, s, "the run to send", sent)
	<-restarted
}

// startRun starts a run of alice that sends events for about 1.2 s, and then waits for its end.
func startRun(t *testing.T, s Suite, n *node, events int) (run *ginsse.Run, sent <-chan struct{}) {
	t.Helper()
	done := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), s.patience)
	defer cancel()
	produce := func(ctx context.Context, run *ginsse.Run) error {
		for i := range events {
			if err := run.Send(ginsse.Event{Data: fmt.Sprint(i)}); err != nil {
				t.Errorf("sending %d: %v", i, err)
				close(done)
				return err
			}
			if i%5 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		close(done)
		<-ctx.Done()
		return nil
	}
	err := withContact(ctx, func() (err error) {
		run, err = n.registry.Run(ctx, aliceID, produce)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return run, done
}

// followRun has four followers at each node read a run of alice. They leave it and come back at random.
func followRun(t *testing.T, s Suite, nodes []*node, id string, events int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.longPatience())
	defer cancel()
	var following sync.WaitGroup
	for i := range 4 * len(nodes) {
		following.Go(func() {
			next, after := 0, ""
			for next < events && ctx.Err() == nil {
				stop := min(next+1+rand.IntN(200), events)
				for e, err := range nodes[(i+next)%len(nodes)].registry.RunEvents(ctx, aliceID, id, after) {
					if err != nil { // of a store that restarts
						if ctx.Err() != nil || errors.Is(err, ginsse.ErrRunGone) || errors.Is(err, ginsse.ErrRunNotFound) || errors.Is(err, ginsse.ErrRunFailed) {
							t.Errorf("after %d events: %v", next, err)
							return
						}
						time.Sleep(10 * time.Millisecond)
						break
					}
					if e.Data != fmt.Sprint(next) {
						t.Errorf("got event %v, want %d", e.Data, next)
						return
					}
					next, after = next+1, e.ID
					if next == stop {
						break
					}
				}
			}
			if next < events && !t.Failed() {
				t.Errorf("got %d events", next)
			}
		})
	}
	following.Wait()
}

// within waits for something that a channel reports.
func within(t *testing.T, s Suite, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(s.longPatience()):
		t.Fatalf("waited for %s for %v", what, s.longPatience())
	}
}
