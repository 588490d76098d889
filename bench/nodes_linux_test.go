package main

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/broker"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// nodes is the kit on two nodes: senders at one, streams at the other. With a log in memory
// one node has both. The nodes, the broker and the clients are separate processes.
type nodes struct {
	bout // its server is the node that sends; its addr is that of the node to open streams at

	reader *child.Child // the node with the streams
	addrs  [2]string    // of both nodes
	broker *child.Child // nil with a log in memory
	urls   []string     // of the broker's servers
}

// startNodes starts a broker with a number of servers, and two nodes on it. With 0 it starts
// one node with a log in memory.
func startNodes(tb testing.TB, brokers int) *nodes {
	tb.Helper()
	n := &nodes{bout: bout{contestant: servers.All[0], quiet: 10 * time.Second}}
	n.load = startChild(tb, "load")
	if brokers == 0 {
		// A full log discards all events of the user who was quiet for longest. At full
		// speed with thousands of users that would be a moment.
		n.server, n.addr = n.startNode(tb, 1<<30)
		n.reader, n.addrs = n.server, [2]string{n.addr, n.addr}
		return n
	}
	dir := tb.TempDir() // before the servers, so that they are stopped first
	n.broker = startChild(tb, "broker")
	n.must(tb, n.broker.Call("Start", broker.StartArgs{Servers: brokers, Dir: dir}, &n.urls))
	n.server, n.addrs[0] = n.startNode(tb, 0)
	n.reader, n.addrs[1] = n.startNode(tb, 0)
	n.addr = n.addrs[1]
	return n
}

// startNode starts a node. The nodes connect to the broker's servers in turn.
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

// used is the resources used since the processes were started, or between two times.
type used struct {
	sender, reader time.Duration // CPU; the reader's is 0 if one node has both
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

// openStreams opens streams, one for each user, and sends each an event, so that the cost of
// a first event is not measured. The caller must close them.
func (n *nodes) openStreams(tb testing.TB, count int, keepIDs bool) {
	tb.Helper()
	n.must(tb, n.open(load.OpenArgs{Streams: count, KeepIDs: keepIDs}))
	n.deliver(tb, servers.SendArgs{Events: count, Bytes: eventBytes, Users: count, Senders: min(count, 64)})
}

// deliver sends events and waits until all have arrived. It returns what was used.
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

// closeStreams closes the streams.
func (n *nodes) closeStreams(tb testing.TB) {
	tb.Helper()
	n.must(tb, n.load.Call("Close", struct{}{}, new(struct{})))
	_, err := n.rest(100 * time.Millisecond) // until the node has noticed
	n.must(tb, err)
}

// reconnectTo closes the streams, sends each some events, and reconnects the streams to a
// node. first is the number of the first of those events for each stream.
func (n *nodes) reconnectTo(tb testing.TB, addr string, streams, first, events int) (measured, used, map[string]int) {
	tb.Helper()
	n.closeStreams(tb)
	n.must(tb, n.sendWithoutStreams(servers.SendArgs{
		First: first * streams, Events: events * streams, Bytes: eventBytes, Users: streams, Senders: min(streams, 64),
	}))
	n.addr = addr
	requests := make(map[string]int)
	if n.broker != nil {
		n.must(tb, n.broker.Call("Tap", true, new(map[string]int)))
	}
	before := n.used(tb)
	m, err := n.reconnect(load.OpenArgs{Streams: streams, KeepIDs: true}, first+events)
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

// TestNodesDeliverAndResume checks the work of the benchmarks at a small size.
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
				t.Errorf("%d events arrived, and %d were sent", m.outcome.Delivered, 2*streams)
			}
			// An event comes in once. Its acknowledgement and one copy for each node go out.
			in, out := spent.traffic.In.Msgs, spent.traffic.Out.Msgs
			if least := int64(2 * streams); brokers > 0 && (in < least || out < 3*least) {
				t.Errorf("%d messages came in and %d went out for %d events on two nodes", in, out, least)
			}
			for round := range 2 {
				m, _, requests := n.reconnectTo(t, n.addrs[round], streams, 3+2*round, 2)
				if m.outcome.Delivered != 2*streams {
					t.Errorf("%d events arrived, and %d were missed", m.outcome.Delivered, 2*streams)
				}
				if requests[getRequests] != 0 {
					t.Errorf("requests to the broker for events that are in memory: %v", requests)
				}
			}
			if brokers == 0 {
				return
			}
			_, forgetful := n.startNode(t, 1)
			if _, _, requests := n.reconnectTo(t, forgetful, streams, 7, 2); requests[getRequests] < 2*streams {
				t.Errorf("requests for %d events from the broker: %v", 2*streams, requests)
			}
		})
	}
}
