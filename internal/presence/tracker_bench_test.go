package presence_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// BenchmarkOnlineElsewhere measures Online for users of another node that has 200,000, the
// memory for each of them, and the time to read the list of them.
func BenchmarkOnlineElsewhere(b *testing.B) {
	const users = 200_000
	name := func(n int) string { return fmt.Sprintf("user-%011d", n) } // 16 bytes
	m := new(mesh)
	n := m.start(b, "a")
	for len(n.messages()) == 0 { // the node listens before it sends its first message
		runtime.Gosched()
	}
	before := heap()
	var start time.Time
	func() { // names and messages are garbage when it returns
		people := make([]presence.Person, users)
		for i := range people {
			people[i].User = name(i)
		}
		_, parts := presence.EncodePeople("z", people)
		start = time.Now()
		for _, part := range parts {
			m.deliver("a", part)
		}
	}()
	handled := make(chan struct{})
	n.setCarry(func(to string, _ []byte, _ func()) {
		if to == "y" {
			close(handled)
		}
	})
	m.deliver("a", []byte(`{"node":"y","request":true}`)) // is answered after the list
	<-handled
	took := time.Since(start)
	if got := n.Stats().Users; got != users {
		b.Fatalf("%d users", got)
	}
	held := heap() - before
	next := 0
	for b.Loop() {
		if next++; !n.Online(name(next % users)) {
			b.Fatal("not online")
		}
	}
	b.ReportMetric(float64(held)/users, "bytes/user")
	b.ReportMetric(float64(took.Nanoseconds())/users, "ns-to-read/user")
}

// BenchmarkJoinAndLeave measures what a stream that opens and ends costs under the lock of
// the caller.
func BenchmarkJoinAndLeave(b *testing.B) {
	n := new(mesh).start(b, "a")
	for b.Loop() {
		n.Join("alice")
		n.Leave("alice")
	}
}

// BenchmarkJoinAndLeaveTopic is the same for a topic, with a value, on a single node with a grace.
func BenchmarkJoinAndLeaveTopic(b *testing.B) {
	tracker := presence.New(presence.Config{
		Grace:      time.Millisecond,
		HasReaders: func(string) bool { return false },
		Changed:    func(presence.Change) {},
	})
	defer tracker.Stop()
	for b.Loop() {
		tracker.JoinTopic("board:7", "alice", `{"name":"Alice"}`)
		tracker.LeaveTopic("board:7", "alice")
	}
}

// BenchmarkTopics measures 10,000 people at 1,000 topics over four nodes: what it costs when they
// join within 2 s, and when the node of 2,500 of them crashes and they come back to the others. The
// costs are those of all four nodes together, and each message is counted once, whoever gets it. One
// round takes half a minute, so use -benchtime 1x.
func BenchmarkTopics(b *testing.B) {
	const people, topics, count = 10_000, 1000, 4
	for b.Loop() {
		before := heap()
		m := new(mesh)
		nodes := make([]*node, count)
		var changes atomic.Int64
		for i := range nodes {
			nodes[i] = m.start(b, fmt.Sprint("node", i), func(cfg *presence.Config) {
				cfg.Grace = 5 * time.Second
				cfg.HasReaders = func(string) bool { return true }
				cfg.Changed = func(presence.Change) { changes.Add(1) }
			})
		}
		join := func(n *node, person int) {
			user := fmt.Sprintf("user-%05d", person)
			n.Join(user)
			n.JoinTopic(fmt.Sprintf("board:%03d", person%topics), user, fmt.Sprintf(`{"name":"User %05d"}`, person))
		}
		await := func(nodes []*node) {
			for _, n := range nodes {
				for present := 0; present != people || n.Stats().Users != people; time.Sleep(5 * time.Millisecond) {
					present = 0
					for topic := range topics {
						present += n.PresentCount(fmt.Sprintf("board:%03d", topic))
					}
				}
			}
		}
		measure := func(name string, joins int, run func()) {
			cpu, reported := cpuTime(), changes.Load()
			messages, bytes := m.sent()
			run()
			cpu = cpuTime() - cpu
			messages2, bytes2 := m.sent()
			b.ReportMetric(float64(cpu.Microseconds())/float64(joins), "µs-CPU/"+name)
			b.ReportMetric(float64(messages2-messages)/float64(joins), "messages/"+name)
			b.ReportMetric(float64(bytes2-bytes)/float64(joins), "bytes/"+name)
			b.ReportMetric(float64(changes.Load()-reported)/float64(joins), "reports/"+name)
		}
		measure("join", people, func() {
			start := time.Now()
			for person := range people {
				join(nodes[person%count], person)
				if person%100 == 0 {
					time.Sleep(time.Until(start.Add(time.Duration(person) * 200 * time.Microsecond)))
				}
			}
			await(nodes)
		})
		time.Sleep(200 * time.Millisecond) // the last reports
		m.forgetSent()
		b.ReportMetric(float64(heap()-before)/people/count, "B/person-and-node")
		measure("lost-person", people/count, func() {
			nodes[0].setPartitioned(true)
			time.Sleep(time.Second)
			for person := 0; person < people; person += count {
				join(nodes[1+person/count%3], person)
			}
			for nodes[1].Stats().Nodes+nodes[2].Stats().Nodes+nodes[3].Stats().Nodes != 9 {
				time.Sleep(10 * time.Millisecond)
			}
			await(nodes[1:])
		})
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// sent returns the number of all messages sent, and their bytes.
func (m *mesh) sent() (messages, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.links {
		messages += len(l.sent)
		for _, s := range l.sent {
			bytes += len(s.message)
		}
	}
	return messages, bytes
}

// forgetSent releases the messages sent.
func (m *mesh) forgetSent() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.links {
		l.sent = nil
	}
}
