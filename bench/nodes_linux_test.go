package main

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/broker"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// nodes is the kit on two nodes, each a process of its own, as the broker and the clients
// are: senders at one, streams at the other. With a log in memory one node is both.
type nodes struct {
	bout // its server is the node that sends, its addr where streams are opened

	reader *child.Child // the node that has the streams
	addrs  [2]string    // of both
	broker *child.Child // nil with a log in memory
	urls   []string     // of its servers
}

// startNodes starts a broker of so many servers, 0 for a log in memory, and two nodes on it.
func startNodes(tb testing.TB, brokers int) *nodes {
	tb.Helper()
	n := &nodes{bout: bout{contestant: servers.All[0], quiet: 10 * time.Second}}
	n.load = startChild(tb, "load")
	if brokers == 0 {
		// At its bound the log takes all events of whoever was quiet for longest, which
		// at full speed with thousands of users is a moment.
		n.server, n.addr = n.startNode(tb, 1<<30)
		n.reader, n.addrs = n.server, [2]string{n.addr, n.addr}
		return n
	}
	dir := tb.TempDir() // outlives the servers
	n.broker = startChild(tb, "broker")
	n.must(tb, n.broker.Call("Start", broker.StartArgs{Servers: brokers, Dir: dir}, &n.urls))
	n.server, n.addrs[0] = n.startNode(tb, 0)
	n.reader, n.addrs[1] = n.startNode(tb, 0)
	n.addr = n.addrs[1]
	return n
}

// startNode starts one more node. Each is connected to another of the broker's servers, in
// turn.
func (n *nodes) startNode(tb testing.TB, logBytes int) (node *child.Child, addr string) {
	tb.Helper()
	settings := servers.Settings{Replicas: len(n.urls), LogBytes: logBytes}
	if n.broker != nil {
		settings.Broker = n.urls[0]
		n.urls = append(n.urls[1:], n.urls[0])
	}
	node = startChild(tb, "server")
	n.must(tb, node.Call("Start", servers.StartArgs{Contestant: n.contestant.Name, Settings: settings, Streams: 10_000}, &addr))
	return node, addr
}

func startChild(tb testing.TB, role string) *child.Child {
	tb.Helper()
	c, err := child.Start("-child", role)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Stop)
	return c
}

func (n *nodes) must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// used is what has been used since the processes were started, or between two such times.
type used struct {
	sender, reader time.Duration // of CPU; the reader's is 0 if the sender is both
	traffic        broker.Traffic
}

func (u used) sub(other used) used {
	return used{u.sender - other.sender, u.reader - other.reader, u.traffic.Sub(other.traffic)}
}

func (u used) add(other used) used { return u.sub(used{}.sub(other)) }

func (n *nodes) used(tb testing.TB) (u used) {
	tb.Helper()
	var stat servers.Stat
	n.must(tb, n.server.Call("Stat", false, &stat))
	u.sender = stat.CPU
	if n.broker != nil {
		n.must(tb, n.reader.Call("Stat", false, &stat))
		u.reader = stat.CPU
		n.must(tb, n.broker.Call("Traffic", struct{}{}, &u.traffic))
	}
	return u
}

// openStreams opens streams, of user after user, and has each receive something: what the
// first event costs is not measured. The caller closes them.
func (n *nodes) openStreams(tb testing.TB, count int, keepIDs bool) {
	tb.Helper()
	n.must(tb, n.open(load.OpenArgs{Streams: count, KeepIDs: keepIDs}))
	n.deliver(tb, servers.SendArgs{Events: count, Bytes: eventBytes, Users: count, Senders: min(count, 64)})
}

// deliver sends, and returns when all has come, with what that took.
func (n *nodes) deliver(tb testing.TB, args servers.SendArgs) (measured, used) {
	tb.Helper()
	before := n.used(tb)
	m, err := n.send(args)
	n.must(tb, err)
	if failed := onlyOnce(m); failed != "" {
		tb.Fatal(failed)
	}
	return m, n.used(tb).sub(before)
}

// leave closes the streams.
func (n *nodes) leave(tb testing.TB) {
	tb.Helper()
	n.must(tb, n.load.Call("Close", struct{}{}, new(struct{})))
	_, err := n.rest(100 * time.Millisecond) // for the node to notice
	n.must(tb, err)
}

// comeBackTo has the streams leave, sends each some events, and has them come back to a node;
// first is the number of the first event of each.
func (n *nodes) comeBackTo(tb testing.TB, addr string, streams, first, events int) (measured, used, map[string]int) {
	tb.Helper()
	n.leave(tb)
	n.must(tb, n.sendUnheard(servers.SendArgs{
		First: first * streams, Events: events * streams, Bytes: eventBytes, Users: streams, Senders: min(streams, 64),
	}))
	n.addr = addr
	requests := make(map[string]int)
	if n.broker != nil {
		n.must(tb, n.broker.Call("Tap", true, new(map[string]int)))
	}
	before := n.used(tb)
	m, err := n.comeBack(load.OpenArgs{Streams: streams, KeepIDs: true}, first+events)
	n.must(tb, err)
	spent := n.used(tb).sub(before)
	if n.broker != nil {
		n.must(tb, n.broker.Call("Tap", false, &requests))
	}
	if failed := onlyOnce(m); failed != "" {
		tb.Fatal(failed)
	}
	return m, spent, requests
}

// TestNodesDeliverAndResume is the benchmarks' work, tiny: what they measure has been done.
func TestNodesDeliverAndResume(t *testing.T) {
	t.Parallel()
	const streams = 10
	for name, brokers := range map[string]int{"memory": 0, "one_server": 1, "cluster": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := startNodes(t, brokers)
			n.openStreams(t, streams, true)
			m, spent := n.deliver(t, servers.SendArgs{First: streams, Events: 2 * streams, Bytes: eventBytes, Users: streams, Senders: 3})
			if m.outcome.Delivered != 2*streams {
				t.Errorf("%d events came, and %d were sent", m.outcome.Delivered, 2*streams)
			}
			// An event comes in once, its acknowledgement goes out, and each node gets it.
			in, out := spent.traffic.In.Msgs, spent.traffic.Out.Msgs
			if least := int64(2 * streams); brokers > 0 && (in < least || out < 3*least) {
				t.Errorf("%d messages came in and %d went out for %d events on two nodes", in, out, least)
			}
			for round := range 2 {
				m, _, requests := n.comeBackTo(t, n.addrs[round], streams, 3+2*round, 2)
				if m.outcome.Delivered != 2*streams {
					t.Errorf("%d events came, and %d were missed", m.outcome.Delivered, 2*streams)
				}
				if requests[getRequests] != 0 {
					t.Errorf("the broker was asked for what is in memory: %v", requests)
				}
			}
			if brokers == 0 {
				return
			}
			_, forgetful := n.startNode(t, 1)
			if _, _, requests := n.comeBackTo(t, forgetful, streams, 7, 2); requests[getRequests] < 2*streams {
				t.Errorf("%d events were read from the broker by %v", 2*streams, requests)
			}
		})
	}
}
