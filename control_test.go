package ginsse_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// sharedLog is a log in memory for several registries of one process, as nodes are. It
// can lose touch.
type sharedLog struct {
	*ginsse.MemoryLog

	away atomic.Bool
}

func (l *sharedLog) Shared() bool { return true }

var errAway = errors.New("out of touch")

func (l *sharedLog) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	if l.away.Load() {
		return ginsse.Cursor{}, errAway
	}
	return l.MemoryLog.Append(ctx, subject, frame)
}

func (l *sharedLog) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if l.away.Load() {
		return ginsse.Page{}, errAway
	}
	return l.MemoryLog.Read(ctx, q, dst)
}

// nodes returns logs of nodes that share what is in them, each with a registry.
func nodes(t *testing.T, cfg ginsse.MemoryLogConfig) (logs [2]*sharedLog, registries [2]*ginsse.Registry) {
	t.Helper()
	memory, err := ginsse.NewMemoryLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range logs {
		logs[i] = &sharedLog{MemoryLog: memory}
		registries[i] = newRegistry(t, ginsse.RegistryConfig{Log: logs[i]})
	}
	return logs, registries
}

func TestDisconnectReachesAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, ginsse.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		streams := []*ssetest.Stream{here.Open(t, "/events", as("alice")), there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("alice"))}
		bob := there.Open(t, "/events", as("bob"))
		send(t, registries[0], "alice", 1)
		if n, err := registries[0].Disconnect(t.Context(), "alice", "signed out"); n != 1 || err != nil {
			t.Errorf("%d streams ended here, %v", n, err)
		}
		for _, stream := range streams {
			stream.NextOf("n") // what was sent before is delivered
			if got := stream.NextOf("sse.close").Data; got != `{"reason":"signed out","reconnect":false}` {
				t.Errorf("it ended with %s", got)
			}
		}
		// Whoever comes back is let in, and others have noticed nothing.
		again := there.Open(t, "/events", as("alice"))
		synctest.Wait()
		send(t, registries[0], "alice", 2)
		send(t, registries[0], "bob", 3)
		again.NextOf("n")
		bob.NextOf("n")
	})
}

// A node that is out of touch when somebody is disconnected ends their streams when it
// is back.
func TestDisconnectReachesANodeThatWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		alice, bob := there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("bob"))
		logs[1].away.Store(true)
		if _, err := registries[0].Disconnect(t.Context(), "alice", "signed out"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if !registries[1].Online("alice") {
			t.Fatal("the stream has ended of itself")
		}
		logs[1].away.Store(false)
		alice.NextOf("sse.close")
		send(t, registries[0], "bob", 1)
		bob.NextOf("n")
	})
}

// The caller is told when the others were not.
func TestDisconnectSaysThatOthersWereNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		here := ssetest.NewServer(t, newEngine(t, registries[0]))
		alice := here.Open(t, "/events", as("alice"))
		logs[0].away.Store(true)
		if n, err := registries[0].Disconnect(t.Context(), "alice", ""); n != 1 || !errors.Is(err, errAway) {
			t.Errorf("%d streams, %v", n, err)
		}
		if registries[0].Online("alice") {
			t.Error("the stream here goes on")
		}
		logs[0].away.Store(false)
		alice.NextOf("sse.close")
		if _, err := registries[0].Disconnect(t.Context(), "", ""); !errors.Is(err, ginsse.ErrInvalidSubject) {
			t.Errorf("nobody: %v", err)
		}
	})
}

// When orders are lost, whoever may have been meant does not stay: everybody comes back
// and shows who they are.
func TestNodeThatMissedAnOrderSendsAllAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{EventsPerSubject: 2})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		bob := there.Open(t, "/events", as("bob"))
		logs[1].away.Store(true)
		for _, user := range []string{"alice", "carol", "dave"} {
			if _, err := registries[0].Disconnect(t.Context(), user, ""); err != nil {
				t.Fatal(err)
			}
		}
		logs[1].away.Store(false)
		if got := bob.NextOf("sse.close").Data; got != `{"reason":"lifetime","reconnect":true}` {
			t.Errorf("it ended with %s", got)
		}
	})
}

// With no orders for long, and many events, what is old does not count as lost.
func TestNodeKeepsUpWithTheLogWithoutOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, ginsse.MemoryLogConfig{MaxAge: time.Minute})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		alice, bob := there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("bob"))
		for range 3 {
			for n := range 2000 {
				send(t, registries[0], "nobody", n)
			}
			time.Sleep(10 * time.Minute)
		}
		if _, err := registries[0].Disconnect(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		alice.NextOf("sse.close")
		synctest.Wait()
		send(t, registries[0], "bob", 1)
		bob.NextOf("n")
	})
}
