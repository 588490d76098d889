//go:build linux

package main

import (
	"errors"
	"fmt"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// nodesScenarios returns the scenarios with several nodes on one log.
func nodesScenarios(quick bool) (list []scenario) {
	for _, streams := range []int{5000, 75_000} {
		s := scenario{work: work{nodes: 5, streams: streams, events: 10, bytes: 100, rate: 1}}
		if quick {
			s.work.streams, s.work.rate = streams/100, 20
		}
		list = append(list, nodesScenario(s.work))
	}
	return list
}

func nodesScenario(w work) scenario {
	s := scenario{
		Scenario: report.Scenario{
			Name:  fmt.Sprintf("nodes-%d", w.streams),
			Title: "Several nodes on one log", Group: "nodes", XName: sizes, X: float64(w.streams),
			About: fmt.Sprintf("Streams, each of a user of its own, are open at %d nodes. The nodes share a log on a NATS server (natslog). Each "+
				"node is a process, and so are the server and each of %d groups of clients. %d broadcasts of 100 bytes go to all streams, %d a "+
				"second. Then the broadcasts go on, and one node is killed. Its clients reconnect to the others at once, with their last "+
				"event ID, and %d concurrent requests. Memory of all nodes is that after a collection.", w.nodes, w.nodes, w.events, w.rate, inFlight),
			Measures: []report.Measure{
				{Name: "memory of all nodes", Unit: "MB"},
				{Name: "with the program's pages", Unit: "MB", InfoOnly: true},
				goroutines,
				cpuPerEvent,
				{Name: "delivered", Unit: "%", More: true, InfoOnly: true},
				p50,
				p99,
				{Name: "all back after", Unit: "s"},
				{Name: "events lost", InfoOnly: true},
				{Name: "streams with a gap", InfoOnly: true},
				{Name: "memory of the broker", Unit: "MB", InfoOnly: true},
				{Name: "memory of the clients", Unit: "MB", InfoOnly: true},
				clients,
			},
			Notes: []string{
				"Nodes, broker and clients share the machine. A latency includes the time until the clients have read the other streams. " +
					"The clients' CPU is that of all their processes.",
				"The program's pages are shared by the nodes, and counted for each. Lost events and gaps are those after the node was killed. " +
					"A client that has all events that were sent has lost none.",
			},
		},
		excuse: func(c servers.Contestant) string {
			if c.Kind != report.Kit {
				return "has no nodes"
			}
			return ""
		},
		run:  nodesFail,
		work: w,
	}
	if w.streams == 75_000 {
		s.Aims = []report.Aim{{Kit: servers.Compact, Measure: 0, Most: 300}}
	}
	return s
}

// nodesFail broadcasts to the streams of several nodes, measures the nodes' memory, and then
// kills a node.
func nodesFail(s scenario, b *bout) (f figures, err error) {
	w := s.work
	c, err := startCluster(b.contestant, s.settings, w)
	defer func() { err = errors.Join(err, c.stop()) }()
	if err != nil {
		return f, err
	}
	before, err := c.memory()
	if err != nil {
		return f, err
	}
	if err := c.open(w.streams); err != nil {
		return f, err
	}
	series := servers.SendArgs{Events: 3, Bytes: w.bytes, Rate: w.rate}
	warm, err := c.deliver(series, b.quiet)
	warm.late = 0
	if f.failed = onlyOnce(warm); err != nil || f.failed != "" {
		return f, err
	}
	series.Events = w.events
	var sent measured
	err = profiled(c.nodes[w.nodes-1], b.profile, func() error { // not of the node that sends
		sent, err = c.deliver(series, b.quiet)
		return err
	})
	if err != nil {
		return f, err
	}
	b.others = c.others
	memory, err := c.memory()
	if err != nil {
		return f, err
	}
	f = figures{failed: onlyOnce(sent), values: []float64{
		megabytes(memory.nodes),
		megabytes(memory.whole),
		float64(memory.goroutines-before.goroutines) / float64(w.streams),
		micros(sent.cpu) / float64(sent.outcome.Delivered),
		sent.share(),
		sent.latency(0.50),
		sent.latency(0.99),
	}}
	if f.failed != "" {
		return f, nil
	}
	after, back, err := c.failover(series, b.quiet)
	f.failed = after.shortfall()
	if n := w.streams / w.nodes; f.failed == "" && after.reconnected != n {
		f.failed = fmt.Sprintf("%d streams reconnected, and %d were at the node that was killed", after.reconnected, n)
	}
	f.values = append(f.values,
		back.Seconds(),
		float64(after.outcome.Lost+after.outcome.Missing),
		float64(after.outcome.GapStreams),
		megabytes(memory.broker),
		megabytes(memory.loads),
		sent.clients(),
	)
	return f, err
}

// share is the percentage of the events that have arrived.
func (m measured) share() float64 {
	o := m.outcome
	return 100 * float64(o.Delivered) / float64(o.Delivered+o.Missing+o.Lost)
}
