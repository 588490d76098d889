package presence_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// alone returns a tracker of a single node.
func alone(t *testing.T, cfg presence.Config) *presence.Tracker {
	t.Helper()
	tracker := presence.New(cfg)
	t.Cleanup(tracker.Stop)
	return tracker
}

// A single node, too, keeps a user and a member for the grace, exactly.
func TestUserLeavesAfterTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tracker := alone(t, presence.Config{Grace: grace})
		want := func(online, present bool) {
			t.Helper()
			if tracker.Online("alice") != online || tracker.PresentCount("board") == 1 != present {
				t.Errorf("online: %v, present: %v", !online, !present)
			}
		}
		tracker.Join("alice")
		tracker.JoinTopic("board", "alice", "1")
		pass(time.Second)
		tracker.LeaveTopic("board", "alice")
		pass(time.Second)
		tracker.Leave("alice")
		pass(grace - time.Second - 1)
		want(true, true)
		pass(1)
		want(true, false)
		pass(time.Second - 1)
		want(true, false)
		pass(1)
		want(false, false)
		if got := tracker.Stats(); got != (presence.Stats{Nodes: 1}) {
			t.Errorf("%+v", got)
		}
	})
}

// A page that is reloaded over and over stays, and sends nothing.
func TestJoinWithinTheGraceIsNoChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int64
		_, nodes := startAllWith(t, func(cfg *presence.Config) {
			withGrace(cfg)
			cfg.HasReaders = func(string) bool { return true }
			cfg.Changed = func(presence.Change) { changes.Add(1) }
		}, "a", "b")
		a := nodes[0]
		a.Join("alice")
		a.JoinTopic("board", "alice", "1")
		pass(gathered)
		changes.Store(0)
		heartbeats := len(a.messages())
		for range 20 {
			a.Leave("alice")
			a.LeaveTopic("board", "alice")
			pass(grace - time.Millisecond)
			a.Join("alice")
			a.JoinTopic("board", "alice", "1")
			pass(time.Millisecond)
			for _, n := range nodes {
				wantOnline(t, n, "alice")
				wantPresent(t, n.Tracker, "board", "alice:1")
			}
		}
		if sent := len(a.messages()) - heartbeats; sent != 20 || changes.Load() != 0 {
			t.Errorf("20 reloads in 100 s are %d changes and %d messages, want 20 heartbeats", changes.Load(), sent)
		}
		a.Leave("alice")
		a.LeaveTopic("board", "alice")
		pass(grace + gathered)
		for _, n := range nodes {
			wantOnline(t, n)
			wantPresent(t, n.Tracker, "board")
		}
	})
}

// The people of a node that shuts down come back elsewhere. Those who do not leave after the grace.
func TestPeopleOfANodeThatEndsHaveTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAllWith(t, withGrace, "a", "b", "c")
		a, b, c := nodes[0], nodes[1], nodes[2]
		for _, user := range []string{"alice", "bob"} {
			b.Join(user)
			b.JoinTopic("board", user, "1")
		}
		c.Join("carol")
		pass(gathered)
		b.Leave("bob")
		b.LeaveTopic("board", "bob")
		pass(time.Second)
		b.stop()
		<-b.Done()
		pass(500 * time.Millisecond)
		wantOnline(t, a, "alice", "bob", "carol")
		wantPresent(t, a.Tracker, "board", "alice:1", "bob:1")
		wantStats(t, a, presence.Stats{Nodes: 2, Streams: 1, Users: 3})
		c.Join("alice")
		c.JoinTopic("board", "alice", "2")
		pass(500 * time.Millisecond)
		c.stop() // another one ends
		<-c.Done()
		pass(grace - time.Second - time.Millisecond)
		wantOnline(t, a, "alice", "bob", "carol")
		pass(time.Millisecond)
		wantOnline(t, a, "alice", "carol")
		wantPresent(t, a.Tracker, "board", "alice:2")
		wantStats(t, a, presence.Stats{Nodes: 1, Users: 2})
		pass(time.Second)
		wantOnline(t, a)
		wantPresent(t, a.Tracker, "board")
	})
}

// A message that arrives after the goodbye of its sender does not bring the node back.
func TestMessagesAfterAGoodbyeAreIgnored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAllWith(t, withGrace, "a", "b")
		a, b := nodes[0], nodes[1]
		b.Join("bob")
		pass(gathered)
		late := b.messages()[1].message
		b.stop()
		<-b.Done()
		pass(500 * time.Millisecond)
		m.deliver("", []byte(late))
		m.deliver("", []byte(`{"node":"b","goodbye":true}`)) // repeated
		pass(grace - 500*time.Millisecond)
		wantOnline(t, a)
		wantStats(t, a, presence.Stats{Nodes: 1})
	})
}

// Users whose streams end at a time leave in batches, between which the lock is released.
func TestLockIsReleasedWhileManyUsersLeave(t *testing.T) {
	t.Parallel()
	tracker := alone(t, presence.Config{Grace: time.Hour})
	for n := range 5 * presence.BatchSize {
		tracker.Join(fmt.Sprint(n))
		tracker.Leave(fmt.Sprint(n))
	}
	later := time.Now().Add(time.Hour)
	for want := 4 * presence.BatchSize; want >= 0; want -= presence.BatchSize {
		tracker.EndSomeGraces(later)
		if got := tracker.Stats().Users; got != want || !tracker.Unlocked() {
			t.Fatalf("%d users are left, want %d", got, want)
		}
	}
	if tracker.EndSomeGraces(later) {
		t.Error("more users leave")
	}
}

// Stop ends the graces: nothing runs afterwards, and those who were leaving stay.
func TestStopEndsGraces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tracker := presence.New(presence.Config{Grace: grace})
		tracker.Join("alice")
		tracker.Leave("alice")
		tracker.Stop()
		tracker.Stop()
		tracker.Join("bob")
		tracker.Leave("bob")
		pass(time.Minute)
		if !tracker.Online("alice") || !tracker.Online("bob") {
			t.Error("a user has left")
		}
	})
}
