package natslog_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/internal/nodetest"
)

// BenchmarkPresence measures people who join topics at four nodes on one broker, 1,000 a second and
// ten at each topic: what it costs, and what it costs the others when one of the nodes is lost. Each
// person has a stream, which writes into a recorder. In one case the streams make their users present
// at the topic. In the other they only read the topic: the users are online. The difference is the
// cost of presence.
//
// An operation is one person, so run it with -benchtime 10000x. The loss of a node takes 20 s, and is
// left out with fewer than 100 people.
//
// CPU is that of all nodes and the broker. Each message between nodes is counted once, whoever gets
// it. B/person is memory for one person at all four nodes, with the stream.
func BenchmarkPresence(b *testing.B) {
	b.Run("online", func(b *testing.B) { benchmarkPresence(b, nil) })
	b.Run("present", func(b *testing.B) {
		benchmarkPresence(b, func(string) any { return gin.H{"name": "A person's name"} })
	})
}

func benchmarkPresence(b *testing.B, value func(topic string) any) {
	var options []ginsse.ServeOption
	if value != nil {
		options = append(options, ginsse.WithPresence(value))
	}
	s, nc := benchmarkServer(b)
	nodes := benchmarkNodes(b, s, 4, options...)
	traffic := countTraffic(b, nc)
	people, topics := b.N, max(1, b.N/10)
	topic := func(n int) string { return fmt.Sprint("board:", n%topics) }
	nodeOf := func(person int) int { return (person + person/topics) % len(nodes) } // those of a topic are at different nodes
	user := func(person int) string { return fmt.Sprintf("user-%05d", person) }
	audience := newAudience("event: sse.leave\n")

	awaitPeople := func(nodes []benchmarkNode, isThere func(person int) bool) {
		count, present := 0, make([]int, topics)
		for person := range people {
			if isThere(person) {
				count++
				present[person%topics]++
			}
		}
		for _, node := range nodes {
			nodetest.Until(b, "who is online", func() bool { return node.registry.Stats().Cluster.Users == count })
			for n := 0; n < topics && value != nil; n++ {
				nodetest.Until(b, "who is present", func() bool { return len(node.registry.Present(topic(n))) == present[n] })
			}
		}
	}
	measure := func(name string, count int, run func()) {
		messages, size := traffic.count()
		cpu := cpuTime()
		run()
		cpu = cpuTime() - cpu
		messages2, size2 := traffic.count()
		b.ReportMetric(float64(cpu.Microseconds())/float64(count), "µs-CPU/"+name)
		b.ReportMetric(float64(messages2-messages)/float64(count), "messages/"+name)
		b.ReportMetric(float64(size2-size)/float64(count), "B-sent/"+name)
	}

	b.ReportMetric(0, "ns/op") // the people come at a given rate
	before := heapInUse()
	start := time.Now()
	measure("join", people, func() {
		for person := range people {
			time.Sleep(time.Until(start.Add(time.Duration(person) * time.Millisecond)))
			audience.open(nodes[nodeOf(person)], user(person), topic(person))
		}
		audience.awaitOpen(b)
		awaitPeople(nodes, func(int) bool { return true })
	})
	b.ReportMetric(float64(heapInUse()-before)/float64(people), "B/person")
	if people < 100 {
		return
	}
	lost, leaves := make([]int, topics), 0 // by topic; events that others get
	for person := range people {
		if nodeOf(person) == 0 {
			lost[person%topics]++
		}
	}
	lostPeople := 0
	for n, count := range lost {
		readers := (people-n+topics-1)/topics - count
		lostPeople, leaves = lostPeople+count, leaves+count*readers
	}
	start = time.Now()
	nodes[0].nc.Close() // the node can send no goodbye
	nodes[0].stop()
	measure("lost-person", lostPeople, func() {
		for _, node := range nodes[1:] {
			for node.registry.Stats().Cluster.Nodes == len(nodes) && time.Since(start) < patience {
				time.Sleep(50 * time.Millisecond) // awaitPeople asks more often, which would be measured too
			}
		}
		awaitPeople(nodes[1:], func(person int) bool { return nodeOf(person) != 0 })
		if value != nil {
			audience.awaitSeen(b, int64(leaves))
		}
	})
	b.ReportMetric(time.Since(start).Seconds(), "s-until-left")
}

// traffic counts the messages between nodes.
type traffic struct{ messages, bytes atomic.Int64 }

func countTraffic(b *testing.B, nc *nats.Conn) *traffic {
	b.Helper()
	t := new(traffic)
	for _, subject := range []string{"ginsse.nodes", "ginsse.node.*"} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
			t.messages.Add(1)
			t.bytes.Add(int64(len(m.Data)))
		}); err != nil {
			b.Fatal(err)
		}
	}
	return t
}

func (t *traffic) count() (messages, bytes int64) { return t.messages.Load(), t.bytes.Load() }

func heapInUse() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}
