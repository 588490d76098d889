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

// nodes returns nodes that share a history, each with a registry.
func nodes(t *testing.T, cfg ginsse.MemoryLogConfig) (logs [2]*ssetest.Node, registries [2]*ginsse.Registry) {
	t.Helper()
	for i, node := range ssetest.NewNodes(t, cfg, len(logs)) {
		logs[i] = node
		registries[i] = newRegistry(t, ginsse.RegistryConfig{Log: node})
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
		logs[1].SetAway(true)
		if _, err := registries[0].Disconnect(t.Context(), "alice", "signed out"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if !registries[1].Online("alice") {
			t.Fatal("the stream has ended of itself")
		}
		logs[1].SetAway(false)
		alice.NextOf("sse.close")
		send(t, registries[0], "bob", 1)
		bob.NextOf("n")
	})
}

// Who is disconnected by a node that is out of touch is so everywhere when it is back, but
// for those who have come in the meantime: they were let in again.
func TestDisconnectByANodeThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		alice, elsewhere := here.Open(t, "/events", as("alice")), there.Open(t, "/events", as("alice"))
		pass(time.Minute)
		logs[0].SetAway(true)
		if n, err := registries[0].Disconnect(t.Context(), "alice", "signed out"); n != 1 || !errors.Is(err, ginsse.ErrPending) || !errors.Is(err, ssetest.ErrAway) {
			t.Errorf("%d streams, %v", n, err)
		}
		pass(10 * time.Second)
		if len(registries[0].Streams("alice")) != 0 {
			t.Error("the stream here goes on")
		}
		again, other := there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("bob"))
		pass(10 * time.Second)
		logs[0].SetAway(false)
		for _, stream := range []*ssetest.Stream{alice, elsewhere} {
			if got := stream.NextOf("sse.close").Data; got != `{"reason":"signed out","reconnect":false}` {
				t.Errorf("it ended with %s", got)
			}
		}
		pass(time.Minute)
		send(t, registries[0], "alice", 1)
		send(t, registries[0], "bob", 2)
		again.NextOf("n")
		other.NextOf("n")
	})
}

// A registry that shuts down tells at last what it could not.
func TestShutdownTellsWhoIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		var streams []*ssetest.Stream
		for _, user := range []string{"alice", "bob"} {
			streams = append(streams, there.Open(t, "/events", as(user)))
		}
		logs[0].SetAway(true)
		for _, user := range []string{"alice", "bob"} {
			if _, err := registries[0].Disconnect(t.Context(), user, ""); !errors.Is(err, ginsse.ErrPending) {
				t.Error(err)
			}
		}
		logs[0].SetAway(false)
		if err := registries[0].Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for _, stream := range streams {
			stream.NextOf("sse.close")
		}
		if _, err := registries[0].Disconnect(t.Context(), "alice", ""); !errors.Is(err, ginsse.ErrClosed) || errors.Is(err, ginsse.ErrPending) {
			t.Errorf("after it: %v", err)
		}
	})
}

// A node's own order, told late, does not end who has come back to it since.
func TestDisconnectByANodeThatWasAwaySparesItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &secluded{Node: ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 1)[0]}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newEngine(t, registry))
		log.now.Store(true)
		if _, err := registry.Disconnect(t.Context(), "alice", ""); !errors.Is(err, ginsse.ErrPending) {
			t.Error(err)
		}
		alice := server.Open(t, "/events", as("alice"))
		log.now.Store(false)
		pass(time.Minute)
		send(t, registry, "alice", 1)
		alice.NextOf("n")
	})
}

func TestDisconnectRefusesNobody(t *testing.T) {
	_, registries := nodes(t, ginsse.MemoryLogConfig{})
	if _, err := registries[0].Disconnect(t.Context(), "", ""); !errors.Is(err, ginsse.ErrInvalidSubject) {
		t.Error(err)
	}
}

// secluded is a node that neither reads nor gives orders for a while.
type secluded struct {
	*ssetest.Node

	now atomic.Bool
}

func (s *secluded) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	if s.now.Load() && subject == "control" {
		return ginsse.Cursor{}, ssetest.ErrAway
	}
	return s.Node.Append(ctx, subject, frame)
}

func (s *secluded) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if s.now.Load() && len(q.Subjects) == 1 {
		return ginsse.Page{}, ssetest.ErrAway
	}
	return s.Node.Read(ctx, q, dst)
}

// A node that reads an order late, and of itself, leaves those alone who have come since.
func TestDisconnectSparesWhoHasComeSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		here, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &secluded{Node: logs[1]}
		there := ssetest.NewServer(t, newEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: log})))
		before := there.Open(t, "/events", as("alice"))
		log.now.Store(true)
		if _, err := here.Disconnect(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		after := there.Open(t, "/events", as("alice"))
		log.now.Store(false)
		before.NextOf("sse.close")
		synctest.Wait()
		send(t, here, "alice", 1)
		after.NextOf("n")
	})
}

// When orders are lost, whoever may have been meant does not stay: everybody comes back
// and shows who they are.
func TestNodeThatMissedAnOrderSendsAllAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{EventsPerSubject: 2})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		const clients = 10
		var streams []*ssetest.Stream
		for range clients {
			streams = append(streams, there.Open(t, "/events", as("bob")))
		}
		logs[1].SetAway(true)
		for _, user := range []string{"alice", "carol", "dave"} {
			if _, err := registries[0].Disconnect(t.Context(), user, ""); err != nil {
				t.Fatal(err)
			}
		}
		logs[1].SetAway(false)
		start := time.Now()
		left := func(after time.Duration) int {
			pass(after - time.Since(start))
			synctest.Wait()
			return registries[1].Stats().Streams
		}
		if n := left(2500 * time.Millisecond); n < 4 || n > 6 {
			t.Errorf("%d of %d streams are left when half of the time has passed", n, clients)
		}
		carol := there.Open(t, "/events", as("carol"))
		if _, err := registries[0].Disconnect(t.Context(), "carol", ""); err != nil { // orders are followed meanwhile
			t.Fatal(err)
		}
		carol.NextOf("sse.close")
		if n := left(2500 * time.Millisecond); n < 4 {
			t.Errorf("it took until %d streams were left", n)
		}
		if n := left(5 * time.Second); n != 0 {
			t.Errorf("%d streams are left", n)
		}
		for _, stream := range streams {
			if got := stream.NextOf("sse.close").Data; got != `{"reason":"lifetime","reconnect":true}` {
				t.Errorf("it ended with %s", got)
			}
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
			pass(10 * time.Minute)
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
