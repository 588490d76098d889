//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ginsse/ginsse/bench/internal/broker"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// cluster is the kit on several nodes that share a log. Each node is a process, and so is the
// broker. There are as many processes with clients. All nodes have clients of all these
// processes.
type cluster struct {
	dir    string // of the broker's data
	broker *child.Child
	nodes  []*child.Child
	addrs  []string // of the nodes
	loads  []*child.Child
	events int     // broadcasts so far; all streams were open
	others float64 // cores that other processes used during the last delivery
}

// clusterLimit is how long each step of the clients may take. It is below the limit of a call.
const clusterLimit = 100 * time.Second

// startCluster starts the processes. The caller must stop them, even after an error.
func startCluster(contestant servers.Contestant, settings servers.Settings, w work) (c *cluster, err error) {
	c = new(cluster)
	if c.dir, err = os.MkdirTemp("", "bench-broker-"); err != nil {
		return c, err
	}
	if c.broker, err = child.Start("-child", "broker"); err != nil {
		return c, err
	}
	var urls []string
	if err := c.broker.Call("Start", broker.StartArgs{Servers: 1, Dir: c.dir}, &urls); err != nil {
		return c, err
	}
	settings.Broker, settings.Replicas = urls[0], 1
	args := servers.StartArgs{Contestant: contestant.Name, Settings: settings, Streams: w.files()}
	for range w.nodes {
		node, err := child.Start("-child", "server")
		if err != nil {
			return c, err
		}
		c.nodes = append(c.nodes, node)
		var addr string
		if err := node.Call("Start", args, &addr); err != nil {
			return c, err
		}
		c.addrs = append(c.addrs, addr)
		clients, err := child.Start("-child", "load")
		if err != nil {
			return c, err
		}
		c.loads = append(c.loads, clients)
	}
	return c, nil
}

// stop stops all processes.
func (c *cluster) stop() error {
	for _, p := range slices.Concat(c.loads, c.nodes, []*child.Child{c.broker}) {
		if p != nil {
			p.Stop()
		}
	}
	if c.dir == "" {
		return nil
	}
	return os.RemoveAll(c.dir)
}

// all does something with each of several processes, at the same time.
func all(processes []*child.Child, do func(i int, p *child.Child) error) error {
	failures := make([]error, len(processes))
	var group sync.WaitGroup
	for i, p := range processes {
		group.Go(func() { failures[i] = do(i, p) })
	}
	group.Wait()
	return errors.Join(failures...)
}

// open opens streams, each of a user of its own. They connect to the nodes in turn.
func (c *cluster) open(streams int) error {
	n := len(c.loads)
	return all(c.loads, func(i int, p *child.Child) error {
		first, next := streams*i/n, streams*(i+1)/n
		args := load.OpenArgs{
			Addrs: c.addrs, From: source(i), First: first, Streams: next - first,
			All: true, KeepIDs: true, Limit: clusterLimit, InFlight: c.inFlight(),
		}
		if err := p.Call("Prepare", args, new(struct{})); err != nil {
			return err
		}
		return p.Call("Open", struct{}{}, new(time.Duration))
	})
}

// inFlight is the number of concurrent requests of one process.
func (c *cluster) inFlight() int { return max(1, inFlight/len(c.loads)) }

// source is the address that the i-th process with clients connects from. From one address for
// all, tens of thousands of streams would use almost every port, also of other programs.
func source(i int) string { return netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}).String() }

// broadcast sends events from the first node, and does something with each process of clients
// meanwhile. It returns how much longer than due the sender took.
func (c *cluster) broadcast(args servers.SendArgs, meanwhile func(i int, p *child.Child) error) (late time.Duration, err error) {
	args.First = c.events
	c.events += args.Events
	expected := load.ExpectArgs{Events: c.events}
	if err := all(c.loads, func(_ int, p *child.Child) error { return p.Call("Expect", expected, new(struct{})) }); err != nil {
		return 0, err
	}
	var sent servers.Sent
	sending := c.nodes[0].Go("Send", args, &sent)
	err = all(c.loads, meanwhile)
	// If all events have arrived, the sender is about to return.
	if err := errors.Join(err, c.nodes[0].Wait(sending, clusterLimit)); err != nil {
		return 0, err
	}
	return lateness(args, sent), nil
}

// deliver broadcasts events, and waits until all have arrived. It sets others.
func (c *cluster) deliver(args servers.SendArgs, quiet time.Duration) (m measured, err error) {
	waited := make([]load.Waited, len(c.loads))
	before, err := c.used()
	if err != nil {
		return m, err
	}
	busy, start := child.MachineCPU(), time.Now()
	m.late, err = c.broadcast(args, func(i int, p *child.Child) error {
		return p.Call("Wait", load.WaitArgs{Limit: clusterLimit, Quiet: quiet}, &waited[i])
	})
	if err != nil {
		return m, err
	}
	busy, m.took = child.MachineCPU()-busy, time.Since(start)
	after, err := c.used()
	for _, w := range waited {
		m.outcome.Add(w.Outcome)
	}
	m.cpu, m.loadCPU = after.nodes-before.nodes, after.loads-before.loads
	c.others = (busy - m.cpu - m.loadCPU - (after.broker - before.broker)).Seconds() / max(m.took.Seconds(), 0.5)
	return m, err
}

// failover broadcasts events, and kills the last node after the first ones. The streams of that
// node reconnect to the others. It returns when all streams are open and have all events, and
// says how long after the kill the last one was back.
func (c *cluster) failover(args servers.SendArgs, quiet time.Duration) (m measured, back time.Duration, err error) {
	last := len(c.nodes) - 1
	survivors := load.FailoverArgs{Addrs: c.addrs[:last], InFlight: c.inFlight(), Limit: clusterLimit, Quiet: quiet}
	results := make([]load.FailedOver, len(c.loads))
	var killed time.Time
	var killing sync.WaitGroup
	killing.Go(func() {
		time.Sleep(3 * time.Second / time.Duration(2*args.Rate)) // about between the second event and the third
		killed = time.Now()
		c.nodes[last].Stop()
	})
	m.late, err = c.broadcast(args, func(i int, p *child.Child) error { return p.Call("Failover", survivors, &results[i]) })
	killing.Wait()
	c.nodes, c.addrs = c.nodes[:last], c.addrs[:last]
	for _, r := range results {
		m.outcome.Add(r.Outcome)
		m.reconnected += r.Reconnected
		if d := r.Back.Sub(killed); r.Reconnected > 0 && d > back {
			back = d
		}
	}
	return m, back, err
}

// clusterCPU is the CPU time that the processes have used.
type clusterCPU struct{ nodes, loads, broker time.Duration }

func (c *cluster) used() (used clusterCPU, err error) {
	for _, p := range c.nodes {
		var stat servers.Stat
		if err := p.Call("Stat", false, &stat); err != nil {
			return used, err
		}
		used.nodes += stat.CPU
	}
	for _, p := range c.loads {
		var cpu time.Duration
		if err := p.Call("CPU", struct{}{}, &cpu); err != nil {
			return used, err
		}
		used.loads += cpu
	}
	var traffic broker.Traffic
	err = c.broker.Call("Traffic", struct{}{}, &traffic)
	used.broker = traffic.CPU
	return used, err
}

// clusterMemory is what the processes have in memory, in bytes.
type clusterMemory struct {
	nodes      int64 // after a collection, without the pages of the program's file
	whole      int64 // with these pages
	goroutines int   // of the nodes
	loads      int64 // of all clients
	broker     int64
}

func (c *cluster) memory() (m clusterMemory, err error) {
	for _, node := range c.nodes { // one after another: a collection uses all processors
		var stat servers.Stat
		if err := node.Call("Stat", true, &stat); err != nil {
			return m, err
		}
		m.nodes, m.goroutines = m.nodes+stat.Resident, m.goroutines+stat.Goroutines
	}
	for _, sum := range []struct {
		of  []*child.Child
		sum *int64
	}{{c.nodes, &m.whole}, {c.loads, &m.loads}, {[]*child.Child{c.broker}, &m.broker}} {
		for _, p := range sum.of {
			resident, err := p.Resident()
			if err != nil {
				return m, fmt.Errorf("memory: %w", err)
			}
			*sum.sum += resident
		}
	}
	return m, nil
}
