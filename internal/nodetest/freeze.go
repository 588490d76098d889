//go:build unix

package nodetest

import (
	"syscall"
	"testing"
	"time"
)

// disconnectPatience is how long streams wait until the log has the command that disconnects them.
const disconnectPatience = time.Second

// FreezeNode stops a node, for some time at least and for a number of events, while senders and
// clients use the others.
//
// Some of the node's clients wait for it. Others leave, and one returns with a position that the
// node has not reached. The log of a node that was stopped briefly never lost contact, and lags all
// the same. With -short the test is skipped.
func FreezeNode(t testing.TB, f *Fleet, least time.Duration, events int) {
	if testing.Short() {
		t.Skip("takes long")
	}
	const frozen, live = 0, 1
	waiting := f.Open(t, &Tab{User: alice, Node: frozen})
	leaving := f.Open(t, &Tab{User: alice, Node: frozen, Idle: time.Second})
	leaving.next(Roaming)
	returning := f.Open(t, &Tab{User: bob, Node: frozen, News: true})
	var daves []*Tab
	for i := range Nodes {
		daves = append(daves, f.Open(t, &Tab{User: dave, Node: i, News: true}))
	}
	streams := map[*Tab]int64{waiting: 1, daves[frozen]: 1, returning: 3}
	s := f.StartSenders(t)
	s.Await(t, 200)

	f.Signal(t, frozen, syscall.SIGSTOP)
	stopped := time.Now()
	f.SetOut(frozen, true)
	returning.move(Roaming)
	// The live node delivers all events up to this one before it disconnects the user.
	before := s.mark(t, live)
	took := f.disconnect(t, live, dave)
	daves[live].wantSignedOut(t)
	if took > disconnectPatience {
		daves[live].allow(typeGap, `{"reason":"undelivered"}`)
	}
	s.Await(t, events)
	s.mark(t, Roaming, returning)
	if least > leaving.Idle {
		Until(t, "the time", func() bool { return time.Since(stopped) > least })
		s.mark(t, Roaming, leaving)
		streams[leaving] = 2
	}
	if daves[frozen].over() {
		t.Errorf("%v has ended", daves[frozen])
	}
	returning.move(frozen)
	Until(t, "a request to the frozen node", func() bool { return returning.asked() == f.URL(frozen) })

	f.Signal(t, frozen, syscall.SIGCONT)
	t.Logf("frozen for %v", time.Since(stopped).Round(time.Millisecond))
	f.SetOut(frozen, false)
	s.Await(t, 200)
	s.mark(t, frozen)
	s.Verify(t, waiting, leaving, returning)
	for _, tb := range daves {
		tb.wantSignedOut(t)
		tb.verify(t, s.acknowledged(), before)
	}
	for tb, want := range streams {
		if got := tb.opened.Load(); got < want || want == 1 && got > 1 {
			t.Errorf("%v has had %d streams, want %d", tb, got, want)
		}
	}
}

// Freeze returns the [Fault] of a node that is stopped, for some time at least.
func Freeze(least time.Duration) Fault {
	return func(t testing.TB, f *Fleet, node int, await func()) {
		f.Signal(t, node, syscall.SIGSTOP)
		began := time.Now()
		time.Sleep(noticed)
		f.SetOut(node, true)
		await()
		time.Sleep(least - time.Since(began))
		f.Signal(t, node, syscall.SIGCONT)
		f.SetOut(node, false)
	}
}
