package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

func TestClosedRegistryRefusesEventsAndStreams(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	stream := server.Open(t, "/events", as("alice"))
	registry.Close()
	registry.Close()
	wantReconnect(t, stream, "shutdown")
	for name, err := range map[string]error{
		"SendTo":    second(registry.SendTo(t.Context(), "alice", numbered(1))),
		"Broadcast": second(registry.Broadcast(t.Context(), numbered(1))),
		"Publish":   second(registry.Publish(t.Context(), "x", numbered(1))),
		"Users":     second(registry.SendToUsers(t.Context(), []string{"a"}, numbered(1))),
	} {
		if !errors.Is(err, ginsse.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	wantReconnect(t, server.Open(t, "/events", as("bob")), "shutdown")
	if err := registry.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown after Close: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestShutdownSpreadsTheEndsOfStreamsOverItsWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const count = 50
		registry := newRegistry(t, ginsse.RegistryConfig{ShutdownWindow: 10 * time.Second})
		server := ssetest.NewServer(t, newEngine(t, registry))
		var streams []*ssetest.Stream
		for n := range count {
			streams = append(streams, server.Open(t, "/events", as(fmt.Sprint("user", n))))
		}
		result := make(chan error, 1)
		start := time.Now()
		go func() { result <- registry.Shutdown(t.Context()) }()
		pass(5 * time.Second)
		synctest.Wait()
		if n := registry.Stats().Streams; n < count*2/5 || n > count*3/5 {
			t.Errorf("%d of %d streams are left in the middle of the window", n, count)
		}
		// Events are still delivered, and new streams are asked to reconnect.
		if _, err := registry.Broadcast(t.Context(), numbered(1)); err != nil {
			t.Errorf("Broadcast during Shutdown: %v", err)
		}
		wantReconnect(t, server.Open(t, "/events", as("late")), "shutdown")
		if err := <-result; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		for _, stream := range streams {
			wantReconnect(t, stream, "shutdown")
		}
		if _, err := registry.Broadcast(t.Context(), numbered(1)); !errors.Is(err, ginsse.ErrClosed) {
			t.Errorf("Broadcast after Shutdown: %v", err)
		}
	})
}

func TestShutdownReturnsAtTheDeadlineOfItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		registry := newRegistry(t, ginsse.RegistryConfig{
			ShutdownWindow: time.Hour,
			DisconnectFunc: func(*ginsse.Stream, ginsse.Reason) { <-release },
		})
		server := ssetest.NewServer(t, newEngine(t, registry))
		stream := server.Open(t, "/events", as("alice"))
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		start := time.Now()
		if err := registry.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(start); took != 8*time.Second {
			t.Errorf("Shutdown took %v", took)
		}
		wantReconnect(t, stream, "shutdown") // within three quarters of the time until the deadline
		close(release)
	})
}

// http.Server calls Close in the background while the application waits for Shutdown. Whichever
// returns last, the other nodes know by then, so that the application may close the log.
func TestCloseAndShutdownWaitUntilOtherNodesKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		log := &slowNode{Node: logs[0]}
		registry, other := newRegistry(t, ginsse.RegistryConfig{Log: log}), newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		wantCluster(t, other, ginsse.ClusterStats{Nodes: 2})
		log.delay.Store(int64(500 * time.Millisecond))
		go registry.Close()
		synctest.Wait()
		if err := registry.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantCluster(t, other, ginsse.ClusterStats{Nodes: 1})
	})
}

func TestCloseReturnsWhileTheLogHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &slowNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		synctest.Wait()
		log.delay.Store(int64(time.Hour))
		start := time.Now()
		registry.Close()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("Close returned after %v", took)
		}
		pass(2 * time.Hour) // for the message that hangs
	})
}
