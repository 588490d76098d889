//go:build linux

package sqllog_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/nodetest"
)

// TestKilledNodesLoseNothing kills each node twice, at random moments.
func TestKilledNodesLoseNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind        kind
		recentBytes int
	}{
		"postgres":                       {inPostgres, 0},
		"postgres_with_little_in_memory": {inPostgres, 16 << 10},
		"sqlite":                         {inSQLite, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodetest.KillNodes(t, newFleet(t, test.kind, test.recentBytes), 2, func() int { return 50 + rand.IntN(50) })
		})
	}
}

// TestFrozenNodesHoldUpNobody stops nodes at random moments. The others go on meanwhile.
func TestFrozenNodesHoldUpNobody(t *testing.T) {
	t.Parallel()
	const bound, some = 10 * time.Second, 40
	f := newFleet(t, inPostgres, 0)
	tabs := []*nodetest.Tab{f.Open(t, &nodetest.Tab{User: "bob", Node: nodetest.Roaming, News: true})}
	for i := range nodetest.Nodes {
		tabs = append(tabs, f.Open(t, &nodetest.Tab{User: "alice", Node: i}))
	}
	s := f.StartSenders(t)
	var usual, longest time.Duration // for some events, with all nodes and while one is frozen
	await := func(longest *time.Duration) {
		began := time.Now()
		s.Await(t, some)
		*longest = max(*longest, time.Since(began))
	}
	var freezes []nodetest.Failure
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for i := range rounds {
		await(&usual)
		s.Await(t, rand.IntN(20))
		i %= nodetest.Nodes
		f.SetOut(i, true) // first, as otherwise all senders may wait for it
		freeze := nodetest.Failure{URL: f.URL(i), Began: time.Now()}
		f.Signal(t, i, syscall.SIGSTOP)
		await(&longest)
		freeze.Ended = time.Now()
		freezes = append(freezes, freeze)
		f.Signal(t, i, syscall.SIGCONT)
		f.SetOut(i, false)
	}
	s.Stop()
	for _, failed := range s.Failures() {
		if timeout := net.Error(nil); errors.As(failed.Err, &timeout) && timeout.Timeout() {
			continue // the machine is busy: the bound below is for all requests
		}
		if !slices.ContainsFunc(freezes, func(freeze nodetest.Failure) bool {
			return freeze.URL == failed.URL && freeze.Began.Before(failed.Ended) && freeze.Ended.After(failed.Began)
		}) {
			t.Errorf("a request to a node that was not frozen failed after %v: %v", failed.Ended.Sub(failed.Began), failed.Err)
		}
	}
	// A node that holds up others does so until it goes on: no await would end. The bound is above what
	// a busy machine needs anyway.
	if t.Logf("%d events took %v, and %v while a node was frozen", some, usual, longest); longest > bound+2*usual {
		t.Errorf("more than %v", bound)
	}
	s.Verify(t, tabs...)
}

func TestFrozenNodeCatchesUp(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]time.Duration{"briefly": 0, "until_contact_is_lost": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodetest.FreezeNode(t, newFleet(t, inPostgres, 0), least, 200)
		})
	}
}

func TestLiveTopicsHoldWithFaultyNodes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind   kind
		fault  nodetest.Fault
		rounds int
	}{
		"postgres_killed":    {inPostgres, nodetest.Kill, 4},
		"postgres_suspended": {inPostgres, nodetest.Freeze(3 * time.Second), 2},
		"postgres_cut_off":   {inPostgres, nodetest.Cut(3 * time.Second), 2},
		"sqlite_killed":      {inSQLite, nodetest.Kill, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodetest.LiveTopics(t, newCutFleet(t, test.kind), test.fault, test.rounds, 100)
		})
	}
}
