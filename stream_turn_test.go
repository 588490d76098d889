package ginsse_test

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A resuming stream skips the commands before its opening, which were for earlier streams. The same
// read must not skip a command after the opening.
func TestResumingStreamCarriesOutCommandsAfterItsOpening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		log := &changedNode{Node: logs[1], unwatch: true}
		release := log.holdTurns()
		here, there := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: log})
		early := send(t, here, "alice", 1).ID
		disconnect(t, here, "alice", "")
		send(t, here, "alice", 2)
		stream := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("alice"), ssetest.LastEventID(early))
		synctest.Wait()
		disconnect(t, here, "alice", "banned")
		send(t, here, "alice", 3)
		release()
		wantRest(t, stream, "n 2", `sse.close {"reason":"banned"}`)
	})
}

func TestEndedStreamDeliversNothingSentAfterItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		release := log.holdTurns()
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		synctest.Wait()
		send(t, registry, "alice", 1)
		registry.Streams("alice")[0].Disconnect("bye")
		send(t, registry, "alice", 2)
		release()
		// For all that this node knows, another one has sent event 2 before the end.
		wantRest(t, stream, "n 1", `sse.gap {"reason":"undelivered"}`, `sse.close {"reason":"bye"}`)
	})
}

// A stream that has ended needs no commands. Their loss is not reported as a gap.
func TestEndedStreamIgnoresTheLossOfCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2}, 1)[0]}
		release := log.holdTurns()
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		synctest.Wait()
		send(t, registry, "alice", 1)
		registry.Streams("alice")[0].Disconnect("bye")
		for range 3 {
			disconnect(t, registry, "alice", "")
		}
		release()
		wantRest(t, stream, "n 1", `sse.close {"reason":"bye"}`)
	})
}

// A stream that has delivered everything before its end needs the log no more.
func TestEndedStreamWithoutBacklogReadsNoLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &failingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		send(t, registry, "alice", 1)
		wantNumbers(t, stream, 1, 1)
		synctest.Wait() // the stream may look once more
		log.failing.Store(true)
		registry.Streams("alice")[0].Disconnect("bye")
		wantRest(t, stream, `sse.close {"reason":"bye"}`)
	})
}

// Without heartbeats, nothing wakes the stream a second time.
func TestEventSentDuringAReadIsDelivered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		var armed atomic.Bool
		log.afterRead = func(q eventlog.Query) {
			if readsTurn(q) && armed.CompareAndSwap(true, false) {
				send(t, registry, "alice", 2)
			}
		}
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		synctest.Wait()
		armed.Store(true)
		send(t, registry, "alice", 1)
		wantNumbers(t, stream, 1, 2)
	})
}

// The node was not notified of the command. The stream finds it where it passes the gap.
func TestDisconnectBehindAGapIsCarriedOut(t *testing.T) {
	t.Parallel()
	gap, closed := `sse.gap {"reason":"trimmed"}`, `sse.close {"reason":"banned"}`
	for name, test := range map[string]struct {
		before, after int // events before and after the command; the log keeps two
		want          []string
	}{
		"events_before_it_are_lost": {3, 0, []string{gap, closed}},
		"events_after_it_are_lost":  {0, 3, []string{closed}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2}, 2)
				log := &changedNode{Node: logs[1], unwatch: true}
				release := log.holdTurns()
				here, there := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: log})
				stream := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("alice"))
				synctest.Wait()
				for n := range test.before {
					send(t, here, "alice", n)
				}
				disconnect(t, here, "alice", "banned")
				for n := range test.after {
					send(t, here, "alice", n)
				}
				release()
				wantRest(t, stream, test.want...)
			})
		})
	}
}

// The node is partitioned after it has found the gap, and cannot read the commands in it. The
// stream must not pass them.
func TestStreamDoesNotPassAGapWithUnreadCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2}, 2)
		log := &changedNode{Node: logs[1]}
		release := log.holdTurns()
		hold := log.onRead
		var partitions atomic.Bool // while it is set, the node is partitioned when it reads commands
		partitions.Store(true)
		log.onRead = func(ctx context.Context, q eventlog.Query) error {
			if partitions.Load() && readsCommands(q) {
				logs[1].SetPartitioned(true)
			}
			return hold(ctx, q)
		}
		here, there := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("alice"))
		synctest.Wait()
		disconnect(t, here, "alice", "banned")
		for n := range 3 {
			send(t, here, "alice", n)
		}
		release()
		pass(10 * time.Second)
		partitions.Store(false)
		logs[1].SetPartitioned(false)
		wantRest(t, stream, `sse.close {"reason":"banned"}`)
	})
}

// A client that gets other events meanwhile needs no heartbeat for the position that sse.gap
// carried.
func TestGapCarriesThePosition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2})
		registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[1], Stream: withHeartbeats})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		synctest.Wait()
		logs[1].SetPartitioned(true)
		for n := range 3 {
			send(t, registries[0], "alice", n)
		}
		logs[1].SetPartitioned(false)
		stream.NextOf("sse.gap")
		for range 60 {
			if err := registry.Streams("alice")[0].Send(t.Context(), ginsse.Event{Type: "tick"}); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		synctest.Wait()
		if n := stream.Heartbeats(); n != 0 {
			t.Errorf("%d heartbeats on a busy stream", n)
		}
	})
}

// written is a write to the response of one stream.
type written struct {
	at   *byte // the first byte
	size int
}

// writesOf opens two streams for alice, and has send send events to them before they read the log.
// It returns the writes that follow on each stream, until both have the event of type "last".
func writesOf(t *testing.T, send func(registry *ginsse.Registry)) (writes [2][]written) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		release := log.holdTurns()
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		var mu sync.Mutex
		opened, recording := 0, false
		record := func(c *gin.Context) {
			mu.Lock()
			n := opened
			opened++
			mu.Unlock()
			c.Writer = &recordingWriter{c.Writer, func(p []byte) {
				mu.Lock()
				defer mu.Unlock()
				if recording {
					writes[n] = append(writes[n], written{unsafe.SliceData(p), len(p)})
				}
			}}
		}
		server := ssetest.NewServer(t, serveAt(registry.Handler(), record, ginsse.Middleware(headerAuth(t))))
		var streams []*ssetest.Stream
		for range writes {
			streams = append(streams, server.Open(t, "/", as("alice")))
			synctest.Wait()
		}
		mu.Lock()
		recording = true
		mu.Unlock()
		send(registry)
		release()
		for _, stream := range streams {
			stream.NextOf("last")
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		recording = false
	})
	return writes
}

// recordingWriter is a gin.ResponseWriter that calls record with each write.
type recordingWriter struct {
	gin.ResponseWriter
	record func(p []byte)
}

func (w *recordingWriter) Write(p []byte) (int, error) {
	w.record(p)
	return w.ResponseWriter.Write(p)
}

func (w *recordingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// One event to many streams is one piece of memory: no stream copies a large event.
func TestStreamsWriteALargeEventFromSharedMemory(t *testing.T) {
	needsHandler(t)
	t.Parallel()
	writes := writesOf(t, func(registry *ginsse.Registry) {
		send(t, registry, "alice", 1) // both events fit into one turn
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "last", Data: strings.Repeat("x", 30_000)}); err != nil {
			t.Fatal(err)
		}
	})
	large := func(w written) bool { return w.size > 10_000 }
	first, second := slices.Collect(filter(writes[0], large)), slices.Collect(filter(writes[1], large))
	if len(first) == 0 || !slices.Equal(first, second) {
		t.Errorf("the streams wrote %v and %v, want the same memory", first, second)
	}
}

func TestStreamsWriteASingleEventFromSharedMemory(t *testing.T) {
	needsHandler(t)
	t.Parallel()
	writes := writesOf(t, func(registry *ginsse.Registry) {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "last"}); err != nil {
			t.Fatal(err)
		}
	})
	if len(writes[0]) != 1 || !slices.Equal(writes[0], writes[1]) {
		t.Errorf("the streams wrote %v and %v, want one write of the same memory", writes[0], writes[1])
	}
}

func TestStreamWritesSmallEventsTogether(t *testing.T) {
	needsHandler(t)
	t.Parallel()
	writes := writesOf(t, func(registry *ginsse.Registry) {
		for n := range 100 {
			send(t, registry, "alice", n)
		}
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "last"}); err != nil {
			t.Fatal(err)
		}
	})
	if len(writes[0]) != 1 {
		t.Errorf("%d writes for 101 events, want 1", len(writes[0]))
	}
}

func filter[T any](list []T, keep func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, v := range list {
			if keep(v) && !yield(v) {
				return
			}
		}
	}
}

// A turn that waits in the pool would keep events alive that the log has dropped.
//
// Not parallel: no other test may borrow the turn.
func TestReleasedTurnHoldsNoMemory(t *testing.T) {
	entries := make([]*eventlog.Entry, 100)
	for i := range entries {
		entries[i] = new(eventlog.Entry)
	}
	if references, bytes := ginsse.ReleasedTurn(entries, 50, 1<<20); references > 0 || bytes > 128<<10 {
		t.Errorf("a released turn holds %d entries and %d bytes", references, bytes)
	}
}
