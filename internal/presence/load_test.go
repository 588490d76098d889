package presence_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

func TestLoadIsWhatANodeHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAllWith(t, withGrace, "a", "b")
		a, b := nodes[0], nodes[1]
		want := func(what string, n *node, want presence.Load) {
			t.Helper()
			got := n.Load()
			if (got.Bytes > 0) != (want.Bytes > 0) {
				t.Errorf("%s: node %s holds %d bytes", what, n.name, got.Bytes)
			}
			if got.Bytes = want.Bytes; got != want {
				t.Errorf("%s: node %s has %+v, want %+v", what, n.name, got, want)
			}
		}
		a.Join("alice")
		a.JoinTopic("board", "alice", `"A"`)
		a.JoinTopic("board", "alice", `"A"`) // another tab
		a.JoinTopic("feed", "alice", `"A"`)
		b.JoinTopic("board", "alice", `"A"`) // on another node
		b.JoinTopic("board", "bob", `"B"`)
		pass(gathered)
		want("three members", a, presence.Load{Topics: 2, Members: 3, Bytes: 1})
		want("three members", b, presence.Load{Topics: 2, Members: 3, Bytes: 1})
		a.Leave("alice")
		a.LeaveTopic("board", "alice")
		a.LeaveTopic("board", "alice")
		a.LeaveTopic("feed", "alice")
		pass(gathered)
		want("a user and two members leave", a, presence.Load{Topics: 2, Members: 3, Leaving: 3, Bytes: 1})
		want("another node waits for none", b, presence.Load{Topics: 2, Members: 3, Bytes: 1})
		pass(grace)
		want("they have left, and alice is still there on another node", a, presence.Load{Topics: 1, Members: 2, Bytes: 1})
		want("they have left, and alice is still there", b, presence.Load{Topics: 1, Members: 2})
		b.LeaveTopic("board", "alice")
		b.LeaveTopic("board", "bob")
		pass(grace + gathered)
		want("nobody is there", a, presence.Load{})
		want("nobody is there", b, presence.Load{})
	})
}

// Messages that come faster than they are handled are dropped, and counted.
func TestLoadCountsMessagesThatWereDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a")
		a := nodes[0]
		entered, released := make(chan struct{}), make(chan struct{})
		a.setCarry(func(string, []byte, func()) { // its tracker hangs when it sends
			close(entered)
			<-released
		})
		a.Join("alice")
		time.Sleep(gathered)
		<-entered
		const waiting = 1024 // as many may wait
		for range waiting + 7 {
			m.deliver("a", []byte("{"))
		}
		a.setCarry(nil)
		close(released)
		synctest.Wait()
		if load := a.Load(); load.Dropped != 7 {
			t.Errorf("%d messages were dropped, want 7", load.Dropped)
		}
	})
}
