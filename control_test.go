package ginsse_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

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
			if got := stream.NextOf("sse.close").Data; got != `{"reason":"signed out"}` {
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
			if got := stream.NextOf("sse.close").Data; got != `{"reason":"signed out"}` {
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
