package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
	"github.com/ginsse/ginsse/internal/loadtest"
)

const (
	eventBytes = 100

	// Kinds of requests to JetStream.
	getRequests  = "STREAM.MSG.GET"
	infoRequests = "STREAM.INFO"
)

// BenchmarkNodes compares a log that nodes share with the one in memory: on one NATS server,
// and on a cluster of three with three replicas. An iteration is a whole series of events, so
// use a number of iterations for -benchtime.
func BenchmarkNodes(b *testing.B) {
	for _, log := range []struct {
		name    string
		brokers int
	}{{"memory", 0}, {"r1", 1}, {"r3", 3}} {
		b.Run(log.name, func(b *testing.B) {
			n := startNodes(b, log.brokers)
			more := 1 // factor for events: a series should take longer than its RPC
			if n.broker == nil {
				more = 10
			}
			if n.broker != nil {
				b.Run("idle", func(b *testing.B) { benchmarkIdle(b, n) }) // first, because nodes that have received events send fewer requests
			}
			b.Run("targeted/senders=1", func(b *testing.B) {
				benchmarkDelivery(b, n, 1000, servers.SendArgs{Events: 1000 * more, Users: 1000, Senders: 1})
			})
			b.Run("targeted/senders=64", func(b *testing.B) {
				benchmarkDelivery(b, n, 1000, servers.SendArgs{Events: 5000 * more, Users: 1000, Senders: 64})
			})
			b.Run("broadcast", func(b *testing.B) {
				benchmarkDelivery(b, n, 1000, servers.SendArgs{Events: 500})
			})
			b.Run("latency", func(b *testing.B) { benchmarkLatency(b, n) })
			b.Run("resume", func(b *testing.B) { benchmarkResume(b, n, n.addrs, 1000) })
			if n.broker == nil {
				return
			}
			b.Run("resume_past_recent", func(b *testing.B) {
				forgetful, addr := n.startNode(b, 1)
				defer forgetful.Stop()
				defer func(was *child.Child) { n.reader = was }(n.reader)
				n.reader = forgetful
				benchmarkResume(b, n, [2]string{addr, addr}, 200)
			})
			for _, count := range []int{2, 4} {
				b.Run(fmt.Sprint("traffic/nodes=", count), func(b *testing.B) { benchmarkTraffic(b, n, count) })
			}
		})
	}
}

func per(d time.Duration, n int) float64 { return micros(d) / float64(n) }

// benchmarkDelivery sends at full speed. Each sender waits for one event before the next.
func benchmarkDelivery(b *testing.B, n *nodes, streams int, args servers.SendArgs) {
	defer n.closeStreams(b)
	n.openStreams(b, streams, false)
	args.First, args.Bytes = 1, eventBytes // after the one of openStreams
	if args.Users > 0 {
		args.First = args.Users
	}
	var took time.Duration
	var all used
	sent, delivered := 0, 0
	for b.Loop() {
		m, spent := n.deliver(b, args)
		took, all = took+m.took, all.add(spent)
		sent, delivered = sent+args.Events, delivered+m.outcome.Delivered
		args.First += args.Events
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(sent)/took.Seconds(), "appends/s")
	b.ReportMetric(float64(delivered)/took.Seconds(), "deliveries/s")
	b.ReportMetric(per(all.sender, sent), "sender-µs/append")
	if n.broker != nil {
		b.ReportMetric(per(all.reader, sent), "reader-µs/append")
		b.ReportMetric(per(all.traffic.CPU, sent), "broker-µs/append")
	}
}

// benchmarkLatency measures the time from the call of SendTo until the client has read the
// event, at 200 events a second.
func benchmarkLatency(b *testing.B, n *nodes) {
	const streams = 100
	defer n.closeStreams(b)
	n.openStreams(b, streams, false)
	args := servers.SendArgs{First: streams, Events: 50, Bytes: eventBytes, Users: streams, Rate: 200, StampAtCall: true}
	var latency loadtest.Histogram
	for b.Loop() {
		m, _ := n.deliver(b, args)
		latency.Add(m.outcome.Latency)
		args.First += args.Events
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micros(latency.Quantile(0.5)), "p50-µs")
	b.ReportMetric(micros(latency.Quantile(0.99)), "p99-µs")
}

// benchmarkResume moves all streams from node to node at once. Each has missed some events of
// its own.
func benchmarkResume(b *testing.B, n *nodes, to [2]string, streams int) {
	const missed = 5
	defer func() { n.addr = n.addrs[1] }()
	defer n.closeStreams(b)
	n.openStreams(b, streams, true)
	var took time.Duration
	var all used
	gets, infos, rounds := 0, 0, 0
	for b.Loop() {
		m, spent, requests := n.reconnectTo(b, to[rounds%2], streams, 1+missed*rounds, missed)
		took, all = took+m.took, all.add(spent)
		gets, infos = gets+requests[getRequests], infos+requests[infoRequests]
		rounds++
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(rounds*streams)/took.Seconds(), "resumes/s")
	b.ReportMetric(per(all.sender+all.reader, rounds*streams), "nodes-µs/resume")
	if n.broker != nil {
		b.ReportMetric(per(all.traffic.CPU, rounds*streams), "broker-µs/resume")
		b.ReportMetric(float64(gets)/float64(rounds*streams), "gets/resume")
		b.ReportMetric(float64(infos)/float64(rounds*streams), "infos/resume") // includes one a second of each node
	}
}

// benchmarkIdle measures two nodes with idle streams.
func benchmarkIdle(b *testing.B, n *nodes) {
	const nodes, window = 2, 500 * time.Millisecond
	defer n.closeStreams(b)
	n.must(b, n.open(load.OpenArgs{Streams: 1000}))
	var took time.Duration
	var all used
	for b.Loop() {
		before := n.used(b)
		start := time.Now()
		_, err := n.rest(window)
		n.must(b, err)
		took += time.Since(start)
		all = all.add(n.used(b).sub(before))
	}
	seconds := nodes * took.Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(all.traffic.In.Msgs)/seconds, "in-msgs/node/s")
	b.ReportMetric(float64(all.traffic.Out.Msgs)/seconds, "out-msgs/node/s")
	b.ReportMetric(float64(all.traffic.In.Bytes)/seconds, "in-B/node/s")
	b.ReportMetric(float64(all.traffic.Out.Bytes)/seconds, "out-B/node/s")
	b.ReportMetric(micros(all.traffic.CPU)/took.Seconds(), "broker-µs/s")
}

// benchmarkTraffic counts the broker's traffic with a number of nodes.
func benchmarkTraffic(b *testing.B, n *nodes, count int) {
	const streams = 100
	var others []*child.Child // nodes without streams
	for range count - 2 {
		node, _ := n.startNode(b, 0)
		defer node.Stop()
		others = append(others, node)
	}
	othersCPU := func() (sum time.Duration) {
		for _, node := range others {
			var stat servers.Stat
			n.must(b, node.Call("Stat", false, &stat))
			sum += stat.CPU
		}
		return sum
	}
	defer n.closeStreams(b)
	n.openStreams(b, streams, false)
	args := servers.SendArgs{First: streams, Events: 2000, Bytes: eventBytes, Users: streams, Senders: 64}
	var all used
	sent := 0
	before := othersCPU()
	for b.Loop() {
		_, spent := n.deliver(b, args)
		all, sent = all.add(spent), sent+args.Events
		args.First += args.Events
	}
	spent := othersCPU() - before
	t := all.traffic
	b.ReportMetric(0, "ns/op")
	for unit, value := range map[string]int64{
		"in-msgs": t.In.Msgs, "out-msgs": t.Out.Msgs, "route-msgs": t.Routes.Msgs,
		"in-B": t.In.Bytes, "out-B": t.Out.Bytes, "route-B": t.Routes.Bytes,
	} {
		b.ReportMetric(float64(value)/float64(sent), unit+"/append")
	}
	b.ReportMetric(per(t.CPU, sent), "broker-µs/append")
	if len(others) > 0 {
		b.ReportMetric(per(spent, sent*len(others)), "other-node-µs/append")
	}
}

// BenchmarkNodesRecent measures the memory of a node's recent entries, with many events for
// each user and with a user for each event.
func BenchmarkNodesRecent(b *testing.B) {
	for _, users := range []int{100, 100_000} {
		b.Run(fmt.Sprint("users=", users), func(b *testing.B) {
			n := startNodes(b, 1)
			node, _ := n.startNode(b, 1<<30)
			n.server.Stop()
			n.server = node
			resident := func() int64 {
				stat, err := n.stat(true)
				n.must(b, err)
				return stat.Resident
			}
			args := servers.SendArgs{Events: 5000, Bytes: eventBytes, Users: users, Senders: 64}
			n.must(b, n.sendWithoutStreams(servers.SendArgs{Events: 1000, Bytes: eventBytes, Users: 100, Senders: 64}))
			before := resident()
			for b.Loop() {
				n.must(b, n.sendWithoutStreams(args))
				args.First += args.Events
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(resident()-before)/float64(args.First), "B/event")
		})
	}
}
