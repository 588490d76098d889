package presence_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// A user with streams at several nodes is counted once, and is online until the last ends.
func TestAllNodesAgreeWhoIsOnline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b", "c")
		a, b := nodes[0], nodes[1]
		want := func(stats presence.Stats, users ...string) {
			t.Helper()
			pass(gathered)
			for _, n := range nodes {
				wantOnline(t, n, users...)
				wantStats(t, n, stats)
			}
		}
		want(presence.Stats{Nodes: 3})
		a.Join("alice")
		b.Join("bob")
		want(presence.Stats{Nodes: 3, Streams: 2, Users: 2}, "alice", "bob")
		a.Join("alice")
		b.Join("alice")
		pass(5 * time.Second) // the number of streams alone is sent with the next heartbeat
		want(presence.Stats{Nodes: 3, Streams: 4, Users: 2}, "alice", "bob")
		a.Leave("alice")
		a.Leave("alice")
		want(presence.Stats{Nodes: 3, Streams: 2, Users: 2}, "alice", "bob")
		b.Leave("alice")
		want(presence.Stats{Nodes: 3, Streams: 1, Users: 1}, "bob")
		b.Leave("bob")
		want(presence.Stats{Nodes: 3})
	})
}

// A local user is counted at once, whether or not the user is also at another node.
func TestLocalUsersCountAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b")
		a, b := nodes[0], nodes[1]
		b.Join("alice")
		pass(gathered)
		a.Join("alice")
		a.Join("bob")
		wantOnline(t, a, "alice", "bob")
		wantStats(t, a, presence.Stats{Nodes: 2, Streams: 3, Users: 2})
		a.Leave("alice")
		a.Leave("bob")
		wantOnline(t, a, "alice")
		wantStats(t, a, presence.Stats{Nodes: 2, Streams: 1, Users: 1})
	})
}

func TestChangesAreGatheredFor100Milliseconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b")
		a, b := nodes[0], nodes[1]
		before := len(a.messages())
		for n := range 90 {
			a.Join(fmt.Sprint("user", n))
			pass(time.Millisecond)
		}
		a.Join("alice")
		pass(9 * time.Millisecond)
		wantOnline(t, b)
		pass(time.Millisecond)
		wantOnline(t, b, "alice")
		wantStats(t, b, presence.Stats{Nodes: 2, Streams: 91, Users: 91})
		if n := len(a.messages()) - before; n != 1 {
			t.Errorf("the node sent %d messages for 91 users, want 1", n)
		}
	})
}

// A page that is reloaded closes its stream and opens another.
func TestReloadSendsNoMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a")
		a := nodes[0]
		a.Join("alice")
		pass(gathered)
		before := len(a.messages())
		a.Leave("alice")
		pass(50 * time.Millisecond)
		a.Join("alice")
		a.Join("alice") // in a second tab
		a.Join("bob")
		a.Leave("bob")
		pass(gathered)
		if sent := a.messages()[before:]; len(sent) != 0 {
			t.Errorf("the node sent %q", sent)
		}
	})
}

func TestIdleNodeSendsAHeartbeatEvery5Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b")
		before := len(nodes[0].messages())
		pass(time.Minute)
		if n := len(nodes[0].messages()) - before; n != 12 {
			t.Errorf("the node sent %d messages in a minute, want 12", n)
		}
	})
}

func TestNewNodeGetsTheUsersOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a", "b")
		nodes[0].Join("alice")
		nodes[1].Join("bob")
		pass(time.Minute)
		c := m.start(t, "c")
		synctest.Wait()
		wantOnline(t, c, "alice", "bob")
		wantStats(t, c, presence.Stats{Nodes: 3, Streams: 2, Users: 2})
	})
}

// A list is sent as of the changes sent so far. A user whose stream opens shortly before a
// node requests the list, and ends shortly after it, leaves no trace.
func TestListAgreesWithTheChangesAroundIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a")
		a := nodes[0]
		a.Join("carol")
		pass(gathered)
		a.Join("alice") // not sent yet
		a.Leave("carol")
		b := m.start(t, "b")
		synctest.Wait()
		a.Leave("alice")
		a.Join("bob")
		pass(gathered)
		wantOnline(t, b, "bob")
		wantStats(t, b, presence.Stats{Nodes: 2, Streams: 1, Users: 1})
	})
}

func TestNodeThatEndsIsForgottenAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b")
		a, b := nodes[0], nodes[1]
		a.Join("alice")
		b.Join("alice")
		b.Join("bob")
		pass(gathered)
		b.stop()
		<-b.Done()
		synctest.Wait()
		wantOnline(t, a, "alice")
		wantStats(t, a, presence.Stats{Nodes: 1, Streams: 1, Users: 1})
		if b.receive != nil {
			t.Error("the node still listens")
		}
	})
}

// The lease of 15 s is checked with each heartbeat.
func TestSilentNodeIsForgottenAfter15To20Seconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b")
		a, b := nodes[0], nodes[1]
		pass(time.Second)
		a.Join("alice")
		b.Join("bob")
		pass(gathered)
		b.setPartitioned(true)
		pass(14900 * time.Millisecond)
		wantOnline(t, a, "alice", "bob")
		pass(5100 * time.Millisecond)
		wantOnline(t, a, "alice")
		wantOnline(t, b, "bob")
		wantStats(t, a, presence.Stats{Nodes: 1, Streams: 1, Users: 1})
		b.Leave("bob")
		b.Join("carol")
		pass(time.Minute)
		b.setPartitioned(false)
		pass(6 * time.Second)
		for _, n := range nodes {
			wantOnline(t, n, "alice", "carol")
			wantStats(t, n, presence.Stats{Nodes: 2, Streams: 2, Users: 2})
		}
	})
}

// A partition that is shorter than the lease loses changes too.
func TestLostChangesAreNoticed(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(b *node){
		"with_the_next_change":    func(b *node) { b.Join("dave"); pass(gathered) },
		"with_the_next_heartbeat": func(*node) { pass(5 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, nodes := startAll(t, "a", "b")
				a, b := nodes[0], nodes[1]
				b.Join("bob")
				pass(gathered)
				a.setPartitioned(true)
				b.Leave("bob")
				b.Join("carol")
				pass(gathered)
				a.setPartitioned(false)
				wantOnline(t, a, "bob")
				next(b)
				wantOnline(t, a, "carol")
				before := len(a.messages())
				pass(time.Minute)
				if n := len(a.messages()) - before; n != 12 {
					t.Errorf("a node that has the list sent %d messages in a minute, want 12 heartbeats", n)
				}
			})
		})
	}
}

// A node that is behind requests the list once a second, however many messages arrive.
func TestRequestsForAListAreRateLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a")
		requests := func() (n int) {
			for _, s := range nodes[0].messages() {
				if s.to == "z" {
					n++
				}
			}
			return n
		}
		for want := range 3 {
			for n := range 20 {
				m.deliver("", fmt.Appendf(nil, `{"node":"z","number":%d,"joined":["bob"]}`, 5+2*n))
				pass(49 * time.Millisecond)
			}
			if n := requests(); n != want+1 {
				t.Errorf("%d requests after %d s, want %d", n, want, want+1)
			}
			pass(21 * time.Millisecond)
		}
		wantOnline(t, nodes[0])
	})
}

// manyUsers is more than three messages take. JSON makes half of the names twice as long.
func manyUsers() []string {
	users := make([]string, 2500)
	for n := range users {
		users[n] = fmt.Sprint(n)
		if n%2 == 0 {
			users[n] += strings.Repeat(`"\`, 120)
		}
	}
	return users
}

// wantAll fails unless all users are online at a node.
func wantAll(t *testing.T, n *node, users []string) {
	t.Helper()
	for _, user := range users {
		if !n.Online(user) {
			t.Fatalf("%.10s is not online at node %s", user, n.name)
		}
	}
}

func TestManyUsersTakeSeveralMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a", "b")
		a, b := nodes[0], nodes[1]
		users := manyUsers()
		for _, user := range users {
			a.Join(user)
		}
		pass(gathered)
		wantAll(t, b, users)
		c := m.start(t, "c")
		synctest.Wait()
		wantAll(t, c, users)
		wantStats(t, c, presence.Stats{Nodes: 3, Streams: len(users), Users: len(users)})
		for _, s := range a.messages() {
			if len(s.message) > 64<<10 {
				t.Errorf("a message of %d bytes", len(s.message))
			}
		}
		for _, user := range users {
			a.Leave(user)
		}
		pass(gathered)
		wantStats(t, b, presence.Stats{Nodes: 3})
		wantStats(t, c, presence.Stats{Nodes: 3})
	})
}

// A list of which a part is lost or late is not applied, and is requested again.
func TestListWithAMissingPartIsRequestedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a")
		a := nodes[0]
		users := manyUsers()
		for _, user := range users {
			a.Join(user)
		}
		pass(gathered)
		a.setCarry(func(_ string, message []byte, deliver func()) {
			if !strings.Contains(string(message), `"part":2,`) {
				deliver()
			}
		})
		b := m.start(t, "b")
		synctest.Wait()
		wantStats(t, b, presence.Stats{Nodes: 2, Streams: len(users)})
		a.setCarry(nil)
		pass(5 * time.Second)
		wantAll(t, b, users)
		wantStats(t, b, presence.Stats{Nodes: 2, Streams: len(users), Users: len(users)})
	})
}

// A late list does not undo changes that were sent after it.
func TestLateListIsNotApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a")
		a := nodes[0]
		a.Join("alice")
		pass(gathered)
		var late []byte
		a.setCarry(func(to string, message []byte, deliver func()) {
			if to == "b" {
				late = message
			}
			deliver()
		})
		b := m.start(t, "b")
		synctest.Wait()
		wantOnline(t, b, "alice")
		a.Leave("alice")
		pass(gathered)
		wantOnline(t, b)
		m.deliver("b", late)
		synctest.Wait()
		wantOnline(t, b)
	})
}

// Join, Leave and Online answer while the transport hangs, and no goroutine of the transport
// waits for the tracker.
func TestHangingTransportDelaysNoCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a", "b")
		a, b := nodes[0], nodes[1]
		resume := make(chan struct{})
		a.setCarry(func(_ string, _ []byte, deliver func()) {
			<-resume
			deliver()
		})
		a.Join("alice")
		pass(gathered) // the node hangs from here on
		if !a.Unlocked() {
			t.Fatal("the node holds its lock while it posts")
		}
		for n := range 5000 {
			m.deliver("", fmt.Appendf(nil, `{"node":"z%d"}`, n))
		}
		a.Join("bob")
		a.Leave("alice")
		b.Join("carol")
		wantOnline(t, a, "bob")
		pass(gathered)
		close(resume)
		pass(6 * time.Second)
		for _, n := range nodes {
			wantOnline(t, n, "bob", "carol")
		}
	})
}

// The tracker gives its lock back after each batch of a peer's users: 100,000 users that
// come or go with a node do not delay a stream that opens.
func TestLockIsReleasedWhileManyUsersMove(t *testing.T) {
	t.Parallel()
	tracker := presence.New(presence.Config{Node: "a", Transport: new(link), ValidName: validName})
	tracker.AddPeerUsers(func(yield func(string) bool) {
		for n := range 5 * presence.BatchSize {
			if !tracker.Unlocked() {
				t.Fatalf("the lock is held before user %d", n)
			}
			if n >= presence.BatchSize && !tracker.Online(fmt.Sprint(n-presence.BatchSize)) {
				t.Fatalf("user %d is not counted before user %d", n-presence.BatchSize, n)
			}
			if !yield(fmt.Sprint(n)) {
				return
			}
		}
	})
	if got := tracker.Stats().Users; got != 5*presence.BatchSize {
		t.Errorf("%d users", got)
	}
}

// The race detector watches this one.
func TestCallersMayComeFromManyGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, nodes := startAll(t, "a", "b")
		var streams sync.WaitGroup
		for i := range 40 {
			streams.Go(func() {
				n, user := nodes[i%2], fmt.Sprint("user", i%7)
				for range 50 {
					n.Join(user)
					if !n.Online(user) || n.Stats().Users == 0 {
						t.Errorf("%s has joined and is not online", user)
					}
					time.Sleep(time.Duration(i) * time.Millisecond)
					n.Leave(user)
				}
			})
		}
		streams.Wait()
		pass(6 * time.Second)
		for _, n := range nodes {
			wantStats(t, n, presence.Stats{Nodes: 2})
		}
	})
}
