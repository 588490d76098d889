package presence_test

import (
	"fmt"
	"runtime"
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
		names := make([]string, users)
		for i := range names {
			names[i] = name(i)
		}
		_, parts := presence.EncodeUsers("z", names)
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

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
