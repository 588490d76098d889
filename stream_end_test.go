package ginsse_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// wantNumberOrGap fails unless a stream ends cleanly, and has delivered a numbered event or sse.gap.
func wantNumberOrGap(t testing.TB, stream *ssetest.Stream) {
	t.Helper()
	rest, err := stream.WaitEnd()
	if err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	for _, e := range rest {
		if e.Type == "n" || e.Type == "sse.gap" {
			return
		}
	}
	t.Errorf("the event is lost without sse.gap: %+v", rest)
}

// sendText sends alice an event with this data.
func sendText(t *testing.T, registry *ginsse.Registry, data string) {
	t.Helper()
	if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: data}); err != nil {
		t.Fatal(err)
	}
}

// The stream ends while its heartbeat reads the log, and an event is sent before that read. The
// stream does not deliver the event, so its heartbeat must not move the position past it.
func TestHeartbeatOfAStreamThatEndsDoesNotSkipEvents(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*ginsse.Registry){
		"Registry.Close":    func(r *ginsse.Registry) { r.Close() },
		"Stream.Disconnect": func(r *ginsse.Registry) { r.Streams("alice")[0].Disconnect("") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
				other, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &changedNode{Node: logs[1]}
				var registry *ginsse.Registry
				var armed atomic.Bool
				log.onRead = func(context.Context, eventlog.Query) error {
					if armed.CompareAndSwap(true, false) {
						end(registry)
						send(t, other, "alice", 1)
					}
					return nil
				}
				registry = newRegistry(t, ginsse.RegistryConfig{
					Log:    log,
					Stream: ginsse.StreamConfig{HeartbeatInterval: time.Second},
				})
				stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
				stream.NextOf("sse.open")
				synctest.Wait()
				armed.Store(true) // the next read is that of the heartbeat
				if _, err := stream.WaitEnd(); err != nil {
					t.Fatal(err)
				}
				if armed.Load() {
					t.Fatal("no heartbeat has read the log")
				}
				resumed := ssetest.NewServer(t, newEngine(t, other)).
					Open(t, "/events", as("alice"), ssetest.LastEventID(stream.LastEventID()))
				for {
					e, err := resumed.TryNext(5 * time.Second)
					if err != nil {
						t.Fatalf("the event is lost without sse.gap: %v", err)
					}
					if e.Type == "n" || e.Type == "sse.gap" {
						return
					}
				}
			})
		})
	}
}

// The stream of a slow client ends for another reason before it has read the command. The command
// is still the last thing that it may read.
func TestNothingBehindACommandIsDeliveredByAStreamThatHasEnded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*ginsse.Registry, *ginsse.Stream){
		"Registry.Close":    func(r *ginsse.Registry, _ *ginsse.Stream) { r.Close() },
		"Stream.Disconnect": func(_ *ginsse.Registry, s *ginsse.Stream) { s.Disconnect("moved") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, registries := nodes(t, eventlog.MemoryLogConfig{})
				response := openBody(t, ssetest.NewServer(t, newEngine(t, registries[1])), "/events")
				synctest.Wait()
				sendText(t, registries[0], strings.Repeat("x", 100_000))
				synctest.Wait() // the stream writes the event, and the client does not read it
				stream := registries[1].Streams("alice")[0]
				disconnect(t, registries[0], "alice", "banned")
				for range 3 {
					sendText(t, registries[0], "sent behind the command")
				}
				pass(time.Second)
				end(registries[1], stream)
				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Error(err)
				}
				if strings.Contains(string(body), "sent behind the command") {
					t.Error("the stream has delivered an event from behind the command")
				}
			})
		})
	}
}

// The node is partitioned when the ended stream reads the log, and reconnected when the stream asks
// for the head.
func TestEventOfAPartitionThatIsOverAtTheEndIsNotLostSilently(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		other, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &changedNode{Node: logs[1]}
		var armed atomic.Bool
		log.onRead = func(context.Context, eventlog.Query) error {
			if armed.Load() {
				logs[1].SetPartitioned(true)
			}
			return nil
		}
		log.onHead = func(context.Context) error {
			if armed.CompareAndSwap(true, false) {
				logs[1].SetPartitioned(false)
			}
			return nil
		}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		synctest.Wait()
		armed.Store(true)
		send(t, other, "alice", 1) // the stream notices it, and cannot read it
		synctest.Wait()
		registry.Streams("alice")[0].Disconnect("")
		wantNumberOrGap(t, stream)
	})
}

// Head waits until the node is reconnected, as a log may do. So the stream sees no error of the
// partition at its end.
func TestEventOfAPartitionIsNotLostSilentlyWhenHeadWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		other, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &changedNode{Node: logs[1]}
		log.onHead = func(ctx context.Context) error {
			for {
				if _, err := logs[1].Head(ctx); err == nil {
					return nil
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		synctest.Wait()
		logs[1].SetPartitioned(true)
		send(t, other, "alice", 1)
		registry.Streams("alice")[0].Disconnect("")
		pass(time.Second)
		logs[1].SetPartitioned(false)
		wantNumberOrGap(t, stream)
	})
}

// The node is partitioned again after the stream has read the command, and before it reads the event
// in front of it.
func TestEventBeforeACommandIsNotLostSilentlyInAPartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		other, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &changedNode{Node: logs[1]}
		var armed atomic.Bool
		log.onRead = func(_ context.Context, q eventlog.Query) error {
			if readsTurn(q) && armed.CompareAndSwap(true, false) {
				logs[1].SetPartitioned(true)
			}
			return nil
		}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		synctest.Wait()
		logs[1].SetPartitioned(true)
		send(t, other, "alice", 1)
		disconnect(t, other, "alice", "")
		armed.Store(true)
		logs[1].SetPartitioned(false)
		wantNumberOrGap(t, stream)
		if armed.Load() {
			t.Error("the stream has not read the log")
		}
	})
}

// Another node has sent an event, and this node has not noticed it when the stream ends.
func TestEventThatTheNodeHasNotNoticedIsNotLostSilently(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		here := newRegistry(t, ginsse.RegistryConfig{Log: &changedNode{Node: logs[0], unwatch: true}})
		there := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		stream := ssetest.NewServer(t, newEngine(t, here)).Open(t, "/events", as("alice"))
		synctest.Wait()
		send(t, there, "alice", 1)
		here.Streams("alice")[0].Disconnect("")
		wantNumberOrGap(t, stream)
	})
}

// A client on a slow line reads a large event, and reads on all the time. Its node loses the log for
// a moment, which is no reason to end its stream.
func TestSlowReaderKeepsItsStreamWhenTheNodeReconnects(t *testing.T) {
	t.Parallel()
	for name, partitioned := range map[string]bool{"partition": true, "no partition": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size, perSecond = 400_000, 8 << 10
				logs, registries := nodes(t, eventlog.MemoryLogConfig{})
				response := openBody(t, ssetest.NewServer(t, newEngine(t, registries[1])), "/events")
				sendText(t, registries[0], strings.Repeat("x", size))
				synctest.Wait()
				stream := registries[1].Streams("alice")[0]
				if partitioned {
					logs[1].SetPartitioned(true)
					pass(time.Second)
					logs[1].SetPartitioned(false)
				}
				piece := make([]byte, perSecond)
				for got := 0; got < size; {
					n, err := response.Body.Read(piece)
					got += n
					if err != nil {
						t.Fatalf("after %d of %d bytes: %v; the stream ended with %v", got, size, err, stream.Err())
					}
					pass(time.Duration(n) * time.Second / perSecond)
				}
			})
		})
	}
}

// A client that was disconnected takes a few bytes now and then. It has a minute for the last write,
// also if its stream has a long WriteTimeout, or none.
func TestSlowClientIsDisconnectedInTimeWithoutWriteTimeout(t *testing.T) {
	t.Parallel()
	for name, timeout := range map[string]time.Duration{"an hour": time.Hour, "off": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const limit = 2 * time.Minute
				ended := make(chan struct{})
				registry := newRegistry(t, ginsse.RegistryConfig{
					Stream:         ginsse.StreamConfig{WriteTimeout: timeout},
					DisconnectFunc: func(*ginsse.Stream, ginsse.Reason) { close(ended) },
				})
				response := openBody(t, ssetest.NewServer(t, newEngine(t, registry)), "/events")
				sendText(t, registry, strings.Repeat("x", 900_000))
				synctest.Wait()
				disconnect(t, registry, "alice", "")
				few := make([]byte, 1<<10)
				for start := time.Now(); time.Since(start) <= limit; {
					select {
					case <-ended:
						return
					case <-time.After(10 * time.Second):
						_, _ = response.Body.Read(few) // fails at the end
					}
				}
				t.Errorf("the stream is still there %v after Disconnect", limit)
			})
		})
	}
}

// An append to the old store returns after the log was recreated and a stream has joined. Its
// sequence is not one of the new store. A stream that ends must not take it for the position of its
// end: it delivers what was sent before its end, and no more.
func TestLateAppendToARecreatedLogDoesNotMoveTheEndOfStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := new(slowAppendNode)
		log.replace(ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0])
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		for n := range 1000 {
			send(t, registry, "carol", n)
		}
		log.slow.Store(true)
		appended := make(chan error, 1)
		go func() {
			_, err := registry.SendTo(context.Background(), "carol", numbered(0))
			appended <- err
		}()
		synctest.Wait()
		log.replace(ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0])
		response := openBody(t, ssetest.NewServer(t, newEngine(t, registry)), "/events")
		synctest.Wait()
		if err := within(t, "the append", appended); err != nil {
			t.Fatal(err)
		}
		sendText(t, registry, strings.Repeat("x", 100_000))
		synctest.Wait() // the stream writes the event, and the client does not read it
		sendText(t, registry, "sent before the end")
		registry.Streams("alice")[0].Disconnect("")
		for range 3 {
			sendText(t, registry, "sent after the end")
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		if !strings.Contains(string(body), "sent before the end") {
			t.Error("the stream has not delivered an event that was sent before its end")
		}
		if n := strings.Count(string(body), "sent after the end"); n > 0 {
			t.Errorf("the stream has delivered %d events that were sent after its end", n)
		}
	})
}

// slowAppendNode is a recreatedNode. While it is slow, appending an event of carol's returns half a
// second late.
type slowAppendNode struct {
	recreatedNode
	slow atomic.Bool
}

func (s *slowAppendNode) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	at, err := s.recreatedNode.Append(ctx, r)
	if s.slow.Load() && r.Subject == "user:carol" {
		time.Sleep(500 * time.Millisecond)
	}
	return at, err
}
