//go:build linux

package redislog_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// newReplica starts a replica. The proxy is between it and its master.
func newReplica(t testing.TB, master *redistest.Server) (*redistest.Server, *nodetest.Proxy) {
	t.Helper()
	link := nodetest.NewProxy(t, master.Addr())
	replica := redistest.Start(t, redistest.AOF)
	replica.Follow(t, link.Address())
	return replica, link
}

// failOver kills a master, promotes its replica and has the nodes use it.
func failOver(t testing.TB, nodes []node, master, replica *redistest.Server, link *nodetest.Proxy) {
	t.Helper()
	master.Kill(t)
	link.Refuse(true)
	link.DropAll() // with what the replica did not get
	link.Stall(false)
	replica.Promote(t)
	for _, n := range nodes {
		n.network.switchTo(master.Addr(), replica.Addr())
	}
}

// inStep waits until a replica has all of its master.
func inStep(t testing.TB, master, replica *redistest.Server) {
	t.Helper()
	until(t, "the replica", func() bool {
		offset := master.Info(t, "master_repl_offset")
		return offset != "" && offset == replica.Info(t, "slave_repl_offset")
	})
}

// missing returns how many events that were acknowledged are not in a log.
func (l *load) missing(t testing.TB, log *redislog.Log) (count int) {
	t.Helper()
	at := head(t, log)
	at.Seq, at.Check = 0, 0
	there := make(map[string]bool)
	for _, n := range contents(t, log, at) {
		there[n] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, s := range l.sent {
		if s.stored && !there[n] {
			count++
		}
	}
	return count
}

// TestFailoverIsAGap promotes a replica that has lost nothing, and one that was held back while events
// were acknowledged.
func TestFailoverIsAGap(t *testing.T) {
	t.Parallel()
	for name, heldBack := range map[string]bool{"without_loss": false, "with_loss": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master := redistest.Start(t, redistest.AOF)
			replica, link := newReplica(t, master)
			nodes := openNodes(t, master, redislog.Config{}, 2)
			readers := followAll(t, nodes...)
			l := startLoad(t, nodes...)
			l.await(t, 200)
			if heldBack {
				link.Stall(true)
				l.await(t, 200)
			} else {
				l.stop()
				inStep(t, master, replica)
			}
			old := readers[0].positions(50)
			failOver(t, nodes, master, replica, link)
			awaitGaps(t, time.Now(), soon+reconnected, readers...)
			l.recovers(t, 10*time.Second, readers...)
			if heldBack {
				l.await(t, 200)
			}
			l.verify(t, readers...)
			fresh := openLog(t, replica.Client(t), redislog.Config{})
			wantOldPositionsRefused(t, old, nodes[0].log, nodes[1].log, fresh)
			if !heldBack {
				return
			}
			missing := l.missing(t, fresh)
			if t.Logf("%d acknowledged events are lost", missing); missing == 0 {
				t.Error("the failover has lost nothing: the test shows nothing")
			}
		})
	}
}

// TestFailoverWithWaitLosesNothing promotes a replica that has all events. A second replica then takes
// its place.
func TestFailoverWithWaitLosesNothing(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF)
	replica, link := newReplica(t, master)
	next := redistest.Start(t, redistest.AOF)
	nodes := openNodes(t, master, redislog.Config{Wait: 1}, 2)
	readers := followAll(t, nodes...)
	appended := appendAll(t, nodes[0].log, "recovered", "recovered", "recovered")
	for _, r := range readers {
		until(t, "three events", func() bool { return len(r.events()) == 3 })
	}
	inStep(t, master, replica)
	failOver(t, nodes, master, replica, link)
	next.Follow(t, replica.Addr())
	l := startLoad(t, nodes...)
	l.recovers(t, 10*time.Second, readers...)
	l.await(t, 200)
	l.verify(t, readers...)
	wantNoGaps(t, readers...)
	fresh := openLog(t, replica.Client(t), redislog.Config{Wait: 1})
	for _, at := range appended {
		if gap := gapAfter(t, fresh, at); gap != "" {
			t.Errorf("after %v, which the replica had, is a gap %q", at, gap)
		}
	}
}

// TestFailoverWithWaitUnderLoad has each event that Append has acknowledged come, or be covered by a gap,
// and be there after the failover.
func TestFailoverWithWaitUnderLoad(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF)
	replica, link := newReplica(t, master)
	next := redistest.Start(t, redistest.AOF)
	nodes := openNodes(t, master, redislog.Config{Wait: 1}, 2)
	readers := followAll(t, nodes...)
	l := startLoad(t, nodes...)
	l.await(t, 200)
	failOver(t, nodes, master, replica, link)
	next.Follow(t, replica.Addr())
	l.recovers(t, 10*time.Second, readers...)
	l.await(t, 200)
	l.stop()
	for n, s := range l.sent { // Config.Wait does not hold for transactions
		s.stored = s.stored && n[0] == 'a'
		l.sent[n] = s
	}
	l.verify(t, readers...)
	at := head(t, nodes[0].log)
	at.Seq, at.Check = 0, 0
	there := contents(t, nodes[0].log, at)
	for n, s := range l.sent {
		if n[0] == 'a' && s.stored && !slices.Contains(there, n) {
			t.Errorf("event %s is lost, although a replica had it", n)
		}
	}
}

// TestEventThatTheReplicaLacksIsAGap has an event come to the master alone, with Config.Wait. Its append
// fails. A reader that has got it gets a gap when the replica is promoted.
func TestEventThatTheReplicaLacksIsAGap(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF)
	replica, link := newReplica(t, master)
	next := redistest.Start(t, redistest.AOF)
	nodes := openNodes(t, master, redislog.Config{Wait: 1, AppendTimeout: time.Second}, 2)
	readers := followAll(t, nodes...)
	appendAll(t, nodes[0].log, "1")
	for _, r := range readers {
		until(t, "the first event", func() bool { return len(r.events()) == 1 })
	}
	link.Stall(true)
	began := time.Now()
	if _, err := nodes[0].log.Append(t.Context(), record("all", "2")); err == nil {
		t.Fatal("an append was acknowledged that no replica has")
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("Append returned after %v, with an AppendTimeout of 1 s", took)
	}
	failOver(t, nodes, master, replica, link)
	next.Follow(t, replica.Addr())
	for _, data := range []string{"3", "4", "5"} {
		at := appendPatiently(t, nodes[1].log, data)
		for i, r := range readers {
			until(t, "the event at a reader", func() bool { return r.reached(at) })
			got := r.events()
			if slices.Contains(got, "2") && len(r.allGaps()) == 0 {
				t.Errorf("reader %d has read %v without a gap", i, got)
			}
		}
	}
	for i, r := range readers {
		t.Logf("reader %d has read %v with gaps %v", i, r.events(), r.allGaps())
		events := slices.Compact(r.events()) // one that had to be appended again may be there twice
		if len(r.allGaps()) == 0 && !slices.Equal(events, []string{"1", "3", "4", "5"}) {
			t.Errorf("reader %d has read %v without a gap", i, r.events())
		}
	}
}

// TestReplicaIsRefused opens a log on a server that takes no writes.
func TestReplicaIsRefused(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	log := openLog(t, master.Client(t), redislog.Config{})
	appendAll(t, log, "1")
	replica, _ := newReplica(t, master)
	for _, prefix := range []string{"", "{other}:"} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // it may be promoted
		_, err := redislog.Open(ctx, replica.Client(t), redislog.Config{Prefix: prefix})
		cancel()
		if err == nil {
			t.Errorf("a log with the prefix %q was opened on a replica", prefix)
		}
		t.Log(err)
	}
}

// sentinelNodes opens logs with clients that ask Sentinels for the master.
func sentinelNodes(t testing.TB, w *redistest.Sentinels, cfg redislog.Config, count int) (nodes []node) {
	t.Helper()
	for range count {
		client := w.Client(t)
		nodes = append(nodes, node{log: openLog(t, client, cfg), client: client})
	}
	return nodes
}

// TestSentinelFailoverUnderLoad kills the master, and starts it again when it is one no more.
func TestSentinelFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF)
	replica := redistest.Start(t, redistest.AOF)
	replica.Follow(t, master.Addr())
	w := redistest.StartSentinels(t, master, 1)
	nodes := sentinelNodes(t, w, redislog.Config{}, 2)
	readers := followAll(t, nodes...)
	l := startLoad(t, nodes...)
	l.await(t, 200)
	master.Kill(t)
	w.AwaitMaster(t, replica)
	awaitGaps(t, time.Now(), soon+reconnected, readers...)
	l.recovers(t, 10*time.Second, readers...)
	l.await(t, 200)
	var before []int
	for _, r := range readers {
		before = append(before, len(r.allGaps()))
	}
	master.Restart(t)
	master.AwaitReplica(t)
	l.await(t, 200)
	l.verify(t, readers...)
	for i, r := range readers {
		if gaps := r.allGaps(); len(gaps) > before[i] {
			t.Errorf("reader %d has the gaps %v: %d of them since the old master is back", i, gaps, len(gaps)-before[i])
		}
	}
}

// TestSentinelFailoverFromFrozenMaster stops the master's process, and has it go on when another one is
// the master. It still believes to be one then, and its connections are still open.
func TestSentinelFailoverFromFrozenMaster(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF)
	replica := redistest.Start(t, redistest.AOF)
	replica.Follow(t, master.Addr())
	w := redistest.StartSentinels(t, master, 1)
	nodes := sentinelNodes(t, w, redislog.Config{}, 2)
	readers := followAll(t, nodes...)
	l := startLoad(t, nodes...)
	l.await(t, 200)
	master.Freeze(t)
	w.AwaitMaster(t, replica)
	l.recovers(t, 15*time.Second, readers...)
	l.await(t, 200)
	master.Thaw(t)
	master.AwaitReplica(t)
	l.await(t, 200)
	l.verify(t, readers...)
	for i, r := range readers {
		if len(r.allGaps()) == 0 {
			t.Errorf("reader %d has no gap", i)
		}
	}
}

// TestDemotedMasterIsAGap has a master become a replica of one with other contents, as after a
// partition of the servers. The nodes stay connected to it, and it is promoted again.
func TestDemotedMasterIsAGap(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF)
	replica, link := newReplica(t, master)
	nodes := openNodes(t, master, redislog.Config{}, 2)
	readers := followAll(t, nodes...)
	appendAll(t, nodes[0].log, "1")
	inStep(t, master, replica)
	link.Stall(true)
	at := appendAll(t, nodes[0].log, "2", "3") // the replica never gets them
	for _, r := range readers {
		until(t, "the events", func() bool { return r.reached(at[1]) })
	}
	link.Refuse(true)
	link.DropAll()
	link.Stall(false)
	replica.Promote(t)
	other := openLog(t, replica.Client(t), redislog.Config{})
	appendAll(t, other, "4", "5", "6")
	master.Follow(t, replica.Addr())
	master.Promote(t)
	last := appendPatiently(t, nodes[1].log, "7")
	for i, r := range readers {
		until(t, "the last event", func() bool { return r.reached(last) })
		if t.Logf("reader %d has read %v with gaps %v", i, r.events(), r.allGaps()); len(r.allGaps()) == 0 {
			t.Errorf("reader %d has no gap", i)
		}
	}
	for _, from := range []eventlog.Cursor{at[0], at[1]} {
		if gap := gapAfter(t, nodes[0].log, from); gap == "" {
			t.Errorf("no gap after %v, which is lost", from)
		}
	}
}

// TestClusterFailoverUnderLoad kills the master that has the log.
func TestClusterFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, true, redistest.AOF)
	prefix := "{ginsse}:"
	var nodes []node
	for range 2 {
		client := c.Client(t)
		nodes = append(nodes, node{log: openLog(t, client, redislog.Config{}), client: client})
	}
	readers := followAll(t, nodes...)
	l := startLoad(t, nodes...)
	l.await(t, 200)
	owner := c.Owner(t, prefix)
	c.Masters[owner].Kill(t)
	c.AwaitFailover(t, owner)
	awaitGaps(t, time.Now(), 10*time.Second, readers...) // the client has to learn of it
	l.recovers(t, 10*time.Second, readers...)
	l.await(t, 200)
	c.Masters[owner].Restart(t)
	c.Masters[owner].AwaitReplica(t)
	l.await(t, 200)
	l.verify(t, readers...)
}
