package nodetest

import (
	"slices"
	"testing"
)

// KillNodes kills one node after the other while senders and clients use all of them, and starts
// each again. At the end it disconnects a user at one node.
//
// In a round each node is killed once. Before and after that, the test waits for as many events as
// the events function returns. With -short there is one round.
func KillNodes(t testing.TB, f *Fleet, rounds int, events func() int) {
	if testing.Short() {
		rounds = 1
	}
	others := []*Tab{
		f.Open(t, &Tab{User: bob, Node: Roaming, News: true}),
		f.Open(t, &Tab{User: carol, Node: Roaming, News: true}),
	}
	alices := []*Tab{f.Open(t, &Tab{User: alice, Node: Roaming})}
	for i := range Nodes { // each returns to its node, with a position from before the crash
		alices = append(alices, f.Open(t, &Tab{User: alice, Node: i}))
	}
	s := f.StartSenders(t)
	for i := range rounds * Nodes {
		s.Await(t, events())
		f.Kill(t, i%Nodes)
		s.Await(t, events())
		f.Start(t, i%Nodes)
	}
	s.Await(t, 200)
	s.Verify(t, slices.Concat(alices, others)...)
	for _, tb := range alices[1:] {
		if tb.opened.Load() <= int64(rounds) {
			t.Errorf("%v has not had to reconnect", tb)
		}
	}

	f.disconnect(t, 0, "alice")
	for _, tb := range alices {
		tb.wantSignedOut(t)
	}
	s.mark(t, Roaming, others...)
}
