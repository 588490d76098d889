package presence_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// Eight tabs of one user on two nodes are one member.
func TestMemberCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b", "c")
		want := func(members ...string) {
			t.Helper()
			pass(gathered)
			for _, n := range nodes {
				wantPresent(t, n.Tracker, "board", members...)
			}
		}
		for tab := range 8 {
			nodes[tab%2].JoinTopic("board", "bob", `"B"`)
		}
		nodes[1].JoinTopic("board", "alice", `"A"`)
		nodes[1].JoinTopic("feed", "carol", `"C"`)
		want(`alice:"A"`, `bob:"B"`)
		for tab := range 7 {
			nodes[tab%2].LeaveTopic("board", "bob")
		}
		want(`alice:"A"`, `bob:"B"`)
		nodes[1].LeaveTopic("board", "bob")
		want(`alice:"A"`)
		nodes[1].LeaveTopic("board", "alice")
		want()
		wantPresent(t, nodes[0].Tracker, "feed", `carol:"C"`)
	})
}

// The value is that of the latest join that has not ended at its node, on all nodes.
func TestValueIsThatOfTheLatestJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b", "c")
		for i, value := range []string{`"phone"`, `"laptop"`, `"car"`, `"phone"`, `"phone"`} {
			nodes[i%3].JoinTopic("board", "bob", value)
			wantPresent(t, nodes[i%3].Tracker, "board", "bob:"+value)
			pass(gathered)
			for _, n := range nodes {
				wantPresent(t, n.Tracker, "board", "bob:"+value)
			}
		}
		nodes[0].LeaveTopic("board", "bob")
		nodes[0].LeaveTopic("board", "bob")
		nodes[1].LeaveTopic("board", "bob")
		nodes[1].LeaveTopic("board", "bob")
		pass(gathered)
		for _, n := range nodes {
			wantPresent(t, n.Tracker, "board", `bob:"car"`)
		}
	})
}

// Two joins at the same time, of which neither node knows the other's, have one winner.
func TestNodesAgreeOnTheValueOfJoinsAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b", "c")
		nodes[0].JoinTopic("board", "bob", `"phone"`)
		nodes[1].JoinTopic("board", "bob", `"laptop"`)
		pass(gathered)
		for _, n := range nodes {
			wantPresent(t, n.Tracker, "board", `bob:"phone"`)
		}
	})
}

func TestNewNodeGetsTheMembersOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a", "b")
		const members = 3000 // of each node, a list of several messages
		for n := range members {
			nodes[0].JoinTopic(fmt.Sprint("topic", n%7), fmt.Sprint("a", n), `{"name":"A"}`)
			nodes[1].JoinTopic(fmt.Sprint("topic", n%7), fmt.Sprint("b", n), `{"name":"B"}`)
		}
		pass(time.Minute)
		c := m.start(t, "c")
		synctest.Wait()
		count := 0
		for topic := range 7 {
			count += c.PresentCount(fmt.Sprint("topic", topic))
		}
		if count != 2*members {
			t.Errorf("a new node has %d members, want %d", count, 2*members)
		}
	})
}

// The members of a node that crashed leave with its lease, and those of a node that was
// partitioned come back.
func TestMembersOfASilentNodeLeaveUntilItReconnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAllWith(t, withGrace, "a", "b")
		a, b := nodes[0], nodes[1]
		a.JoinTopic("board", "alice", "1")
		b.JoinTopic("board", "bob", "2")
		b.JoinTopic("board", "carol", "3")
		pass(gathered)
		b.setPartitioned(true)
		pass(14 * time.Second)
		wantPresent(t, a.Tracker, "board", "alice:1", "bob:2", "carol:3")
		b.LeaveTopic("board", "carol")
		pass(6 * time.Second)
		wantPresent(t, a.Tracker, "board", "alice:1")
		wantPresent(t, b.Tracker, "board", "bob:2")
		b.setPartitioned(false)
		pass(6 * time.Second)
		for _, n := range nodes {
			wantPresent(t, n.Tracker, "board", "alice:1", "bob:2")
		}
	})
}

// A topic whose last member has left takes no memory.
func TestEmptyTopicsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAllWith(t, func(cfg *presence.Config) {
			withGrace(cfg)
			cfg.HasReaders = func(string) bool { return true }
			cfg.Changed = func(presence.Change) {}
		}, "a", "b")
		for n := range 500 {
			nodes[0].JoinTopic(fmt.Sprint("topic", n), "alice", "1")
			nodes[0].Watch(fmt.Sprint("topic", n))
			nodes[1].Watch(fmt.Sprint("nothing", n))
			nodes[0].LeaveTopic(fmt.Sprint("topic", n), "alice")
			pass(7 * time.Millisecond)
		}
		pass(grace + gathered)
		for _, n := range nodes {
			if topics, leaving := n.Topics(); topics != 0 || leaving != 0 {
				t.Errorf("node %s holds %d topics, and %d who leave", n.name, topics, leaving)
			}
		}
	})
}

// The lock is released while a topic with many members is read.
func TestLockIsReleasedWhileManyMembersAreRead(t *testing.T) {
	t.Parallel()
	tracker := presence.New(presence.Config{})
	for n := range 5 * presence.BatchSize {
		tracker.JoinTopic("board", fmt.Sprintf("%05d", n), "1")
	}
	done := make(chan struct{})
	go func() { // what Present reads changes meanwhile: the race detector watches
		defer close(done)
		for n := range 5 * presence.BatchSize {
			tracker.LeaveTopic("board", fmt.Sprintf("%05d", n))
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		members := tracker.Present("board")
		for i := 1; i < len(members); i++ {
			if members[i-1].User >= members[i].User {
				t.Fatalf("%s comes before %s", members[i-1].User, members[i].User)
			}
		}
	}
	wantPresent(t, tracker, "board")
}
