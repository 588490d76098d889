package ginsse_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// trimmedNode is a node whose log has lost what was before a position. As sqllog and natslog do,
// it reports a gap of all subjects for earlier positions.
type trimmedNode struct {
	*ssetest.Node
	floor eventlog.Cursor
}

func (n *trimmedNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if q.After.Seq < n.floor.Seq {
		return eventlog.Page{Entries: dst, Through: n.floor, Gap: eventlog.GapTrimmed}, nil
	}
	return n.Node.Read(ctx, q, dst)
}

// The ID of a run is a secret and a position. Behind an old position, a shared log cannot tell
// that there was no such run. Each made-up secret would be another subject of the log.
func TestStoppingAMadeUpRunAppendsNothing(t *testing.T) {
	t.Parallel()
	node := &trimmedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: node})
	server := ssetest.NewServer(t, newRunEngine(t, registry))
	old := send(t, registry, "mallory", 0).ID // any ID that mallory once had
	send(t, registry, "bob", 1)
	var err error
	node.floor, err = node.Head(t.Context())
	check(t, err)
	for _, letter := range []string{"A", "B", "C"} {
		status, _ := request(t, server, http.MethodDelete, "/runs/"+strings.Repeat(letter, 22)+old, "mallory")
		if status != http.StatusNotFound && status != http.StatusGone {
			t.Errorf("status %d, want 404 or 410", status)
		}
	}
	if head, err := node.Head(t.Context()); err != nil || head != node.floor {
		t.Errorf("the log grew by %d entries", head.Seq-node.floor.Seq)
	}
}

// The log keeps less than the run has sent. Another node still knows that the run goes on.
func TestRunWhoseBeginningIsGoneCanBeStoppedOnAnyNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 6})
		run := startRun(t, registries[0], func(ctx context.Context, run *ginsse.Run) error {
			for n := 1; ctx.Err() == nil; n++ {
				if err := sendNumbers(run, n, n); err != nil {
					return err
				}
				pass(3 * time.Second)
			}
			return nil
		})
		pass(5 * time.Minute)
		for _, err := range registries[1].RunEvents(t.Context(), "alice", run.ID(), "") {
			if !errors.Is(err, ginsse.ErrRunGone) {
				t.Fatalf("the beginning is not gone: %v", err)
			}
		}
		check(t, registries[1].StopRun(t.Context(), "alice", run.ID()))
		if within(t, "the run", run.Done()); !errors.Is(run.Err(), ginsse.ErrRunStopped) {
			t.Errorf("the run has ended with %v", run.Err())
		}
	})
}
