package ginsse_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// What another node has sent before is delivered, though nothing has been heard of it yet.
func TestDisconnectDeliversWhatOtherNodesHaveSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		here, there := newRegistry(t, ginsse.RegistryConfig{Log: unwoken{logs[0]}}), newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		stream := ssetest.NewServer(t, newEngine(t, here)).Open(t, "/events", as("alice"))
		send(t, there, "alice", 1)
		if _, err := here.Disconnect(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		wantNumbers(t, stream, 1, 1)
		stream.NextOf("sse.close")
	})
}

// What was sent after the order is not delivered, also where both are read late.
func TestDisconnectEndsWhereItWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		log := &busy{Node: logs[1]}
		here, there := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("alice"))
		synctest.Wait()
		log.reading = make(chan struct{})
		logs[1].SetAway(true)
		send(t, here, "alice", 1)
		if _, err := here.Disconnect(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		send(t, here, "alice", 2)
		logs[1].SetAway(false)
		synctest.Wait() // the order is followed
		close(log.reading)
		wantNumbers(t, stream, 1, 1)
		if e := stream.Next(); e.Type != "sse.close" {
			t.Errorf("got %+v", e)
		}
	})
}

// While an order is not followed yet, nobody gets what was sent after it; then all do whom
// it does not concern.
func TestNothingPassesAnOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		here, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &secluded{Node: logs[1]}
		there := ssetest.NewServer(t, newEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: log})))
		alice, bob := there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("bob"))
		synctest.Wait()
		log.now.Store(true)
		send(t, here, "alice", 1)
		send(t, here, "bob", 1)
		if _, err := here.Disconnect(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		send(t, here, "alice", 2)
		send(t, here, "bob", 2)
		pass(500 * time.Millisecond)
		log.now.Store(false)
		wantNumbers(t, alice, 1, 1)
		if e := alice.Next(); e.Type != "sse.close" {
			t.Errorf("got %+v", e)
		}
		wantNumbers(t, bob, 1, 2)
		// The same for who did not know that there was something.
		logs[1].SetAway(true)
		if _, err := here.Disconnect(t.Context(), "bob", ""); err != nil {
			t.Fatal(err)
		}
		send(t, here, "bob", 3)
		logs[1].SetAway(false)
		if e := bob.Next(); e.Type != "sse.close" {
			t.Errorf("got %+v", e)
		}
	})
}

// Whatever position a client makes up, or has kept from a history that was longer, it is
// disconnected.
func TestDisconnectOfWhoSaysToBeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		for range 3 {
			if _, err := logs[0].Append(t.Context(), "all", []byte("data: x\n\n")); err != nil {
				t.Fatal(err)
			}
		}
		log := &believing{Node: logs[1]}
		here, there := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: log})
		log.now.Store(true)
		ahead := ginsse.Cursor{Epoch: 7, Seq: 1 << 62, Check: 7}
		stream := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("alice"), ssetest.LastEventID(ahead.String()))
		log.now.Store(false)
		logs[1].SetAway(false) // all look again
		synctest.Wait()
		if receipt := send(t, there, "alice", 1); receipt.Streams != 1 {
			t.Errorf("the event reaches %d streams", receipt.Streams)
		}
		if _, err := here.Disconnect(t.Context(), "alice", ""); err != nil {
			t.Fatal(err)
		}
		stream.NextOf("sse.close")
	})
}

// A log that does not answer keeps nobody here, nor does an order that failed undo a later
// one.
func TestDisconnectWhileTheLogHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &hanging{Node: ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 1)[0], until: make(chan struct{})}
		peers := newRegistry(t, ginsse.RegistryConfig{Log: log.Node})
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server, there := ssetest.NewServer(t, newEngine(t, registry)), ssetest.NewServer(t, newEngine(t, peers))
		stream := server.Open(t, "/events", as("alice"))
		disconnect := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := registry.Disconnect(ctx, "alice", ""); !errors.Is(err, ginsse.ErrPending) {
				t.Error(err)
			}
		}
		start := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			<-registry.Streams("alice")[0].Done()
			ended <- time.Since(start)
		}()
		disconnect()
		if took := <-ended; took > 300*time.Millisecond {
			t.Errorf("the stream here ended after %v", took)
		}
		stream.NextOf("sse.close")

		// By now the order is being told again. The next is given to who has come since.
		again := there.Open(t, "/events", as("alice"))
		pass(10 * time.Second)
		disconnect()
		pass(10 * time.Second)
		close(log.until)
		again.NextOf("sse.close")
	})
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
			wantReconnect(t, stream, "lifetime")
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

// Orders that come without end hold nobody up: each stream goes on behind those that have
// been followed.
func TestManyOrdersHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{EventsPerSubject: 1 << 20}, 2)
		here, there := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: far{logs[1]}})
		bob := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("bob"))
		end, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-end:
					return
				case <-time.After(time.Millisecond):
					_, _ = here.Disconnect(t.Context(), "nobody", "")
				}
			}
		}()
		pass(100 * time.Millisecond)
		begun := time.Now()
		send(t, here, "bob", 1)
		bob.NextOf("n")
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("the event took %v", took)
		}
		close(end)
		<-ended
	})
}

// A stream that ends after the history was replaced by a shorter one gets what was sent
// before its end, and no more.
func TestStreamEndsInAReplacedHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(replaced)
		log.replace(ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 1)[0])
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log, ShutdownWindow: -1})
		server := ssetest.NewServer(t, newEngine(t, registry))
		for n := range 5000 {
			send(t, registry, "nobody", n)
		}
		log.replace(ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 1)[0])
		pass(time.Minute)
		alice := server.Open(t, "/events", as("alice"))
		synctest.Wait()
		send(t, registry, "alice", 1)
		registry.Streams("alice")[0].Disconnect("")
		send(t, registry, "alice", 2)
		wantNumbers(t, alice, 1, 1)
		if e := alice.Next(); e.Type != "sse.close" {
			t.Errorf("got %+v", e)
		}
	})
}

// Whoever calls Close or Shutdown last does not return before the other nodes know.
func TestSecondCloseWaitsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		log := &posting{Node: logs[0]}
		registry, other := newRegistry(t, ginsse.RegistryConfig{Log: log}), newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		slow := func(post func()) { pass(500 * time.Millisecond); post() }
		log.way.Store(&slow)
		go registry.Close() // as http.Server does with what RegisterOnShutdown was given
		synctest.Wait()
		if err := registry.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantCluster(t, other, ginsse.ClusterStats{Nodes: 1})
		// Nor does it wait for ever.
		begun := time.Now()
		hangs := func(func()) { pass(time.Hour) }
		log = &posting{Node: logs[0]}
		registry = newRegistry(t, ginsse.RegistryConfig{Log: log})
		synctest.Wait()
		log.way.Store(&hangs)
		registry.Close()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		pass(2 * time.Hour)
	})
}

// Nor does one that was given before, and fails after it.
func TestLaterOrderThatFailsEarlierIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &hanging{Node: ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 1)[0], until: make(chan struct{})}
		peers := newRegistry(t, ginsse.RegistryConfig{Log: log.Node})
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		there := ssetest.NewServer(t, newEngine(t, peers))
		disconnect := func(patience time.Duration) <-chan struct{} {
			done := make(chan struct{})
			go func() {
				defer close(done)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if _, err := registry.Disconnect(ctx, "alice", ""); !errors.Is(err, ginsse.ErrPending) {
					t.Error(err)
				}
			}()
			return done
		}
		first := disconnect(10 * time.Second)
		pass(4 * time.Second)
		alice := there.Open(t, "/events", as("alice")) // let in again
		pass(time.Second)
		<-disconnect(time.Second)
		<-first
		close(log.until)
		alice.NextOf("sse.close")
	})
}
