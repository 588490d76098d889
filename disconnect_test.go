package ginsse_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// disconnect ends a user's streams and fails the test on an error.
func disconnect(t *testing.T, registry *ginsse.Registry, userID string, reason ginsse.Reason) (streams int) {
	t.Helper()
	streams, err := registry.Disconnect(t.Context(), userID, reason)
	if err != nil {
		t.Fatalf("disconnecting %q: %v", userID, err)
	}
	return streams
}

func TestDisconnectEndsAllStreamsOfTheUser(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	streams := []*ssetest.Stream{server.Open(t, "/events", as("alice")), server.Open(t, "/events", as("alice"))}
	bob := server.Open(t, "/events", as("bob"))
	send(t, registry, "alice", 1)
	if n, err := registry.Disconnect(t.Context(), "alice", "signed out"); n != 2 || err != nil {
		t.Errorf("Disconnect ended %d streams, %v, want 2", n, err)
	}
	if registry.Online("alice") || !registry.Online("bob") {
		t.Errorf("alice is online: %v, bob: %v; want only bob", registry.Online("alice"), registry.Online("bob"))
	}
	if receipt := send(t, registry, "alice", 2); receipt.Streams != 0 {
		t.Errorf("%d streams of a disconnected user", receipt.Streams)
	}
	for _, stream := range streams {
		rest, err := stream.WaitEnd()
		var got []string
		for _, e := range rest {
			got = append(got, e.Type+" "+e.Data)
		}
		// The event sent before Disconnect is delivered, the later one is not.
		want := []string{"n 1", `sse.close {"reason":"signed out"}`}
		if err != nil || !slices.Equal(got[1:], want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	send(t, registry, "bob", 3)
	wantNumbers(t, bob, 3, 3)
	if n, err := registry.Disconnect(t.Context(), "carol", ""); n != 0 || err != nil {
		t.Errorf("Disconnect ended %d streams of a user without one, %v", n, err)
	}
}

// The log of a registry may be older than the registry.
func TestDisconnectDeliversEventsOfAnEarlierRegistry(t *testing.T) {
	t.Parallel()
	log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	earlier := newRegistry(t, ginsse.RegistryConfig{Log: log})
	id := send(t, earlier, "alice", 0).ID
	for n := 1; n <= 3; n++ {
		send(t, earlier, "alice", n)
	}
	ended := make(chan struct{})
	registry := newRegistry(t, ginsse.RegistryConfig{
		Log: &gatedLog{log, ended},
		ConnectFunc: func(s *ginsse.Stream) {
			s.Disconnect(ginsse.ReasonDisconnected)
			close(ended)
		},
	})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"), ssetest.LastEventID(id))
	wantNumbers(t, stream, 1, 3)
	stream.NextOf("sse.close")
}

// gatedLog lets no stream read a turn until gate is closed.
type gatedLog struct {
	*eventlog.MemoryLog
	gate <-chan struct{}
}

func (l *gatedLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if q.MaxEntries > 1 { // a stream that opens reads one entry, to find out whether it can resume
		<-l.gate
	}
	return l.MemoryLog.Read(ctx, q, dst)
}

func TestDisconnectEndsStreamsOnAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, eventlog.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		streams := []*ssetest.Stream{here.Open(t, "/events", as("alice")), there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("alice"))}
		bob := there.Open(t, "/events", as("bob"))
		send(t, registries[0], "alice", 1)
		if n := disconnect(t, registries[0], "alice", "signed out"); n != 1 {
			t.Errorf("%d streams ended on this node, want 1", n)
		}
		for _, stream := range streams {
			wantNumbers(t, stream, 1, 1) // sent before
			wantClose(t, stream, "signed out")
		}
		again := there.Open(t, "/events", as("alice"))
		again.NextOf("sse.open")
		send(t, registries[0], "alice", 2)
		send(t, registries[0], "bob", 3)
		wantNumbers(t, again, 2, 2)
		wantNumbers(t, bob, 3, 3)
	})
}

func TestDisconnectEndsStreamsOfAPartitionedNodeAfterItReconnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		alice, bob := there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("bob"))
		synctest.Wait()
		logs[1].SetPartitioned(true)
		send(t, registries[0], "alice", 1)
		disconnect(t, registries[0], "alice", "signed out")
		send(t, registries[0], "alice", 2)
		pass(time.Minute)
		if !registries[1].Online("alice") {
			t.Fatal("the stream ended while its node was partitioned")
		}
		logs[1].SetPartitioned(false)
		wantNumbers(t, alice, 1, 1)
		wantClose(t, alice, "signed out")
		send(t, registries[0], "bob", 3)
		wantNumbers(t, bob, 3, 3)
	})
}

// The caller gets the error of the log, and calls Disconnect again later.
func TestDisconnectOnAPartitionedNodeFailsAndEndsLocalStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		local, remote := here.Open(t, "/events", as("alice")), there.Open(t, "/events", as("alice"))
		synctest.Wait()
		logs[0].SetPartitioned(true)
		if n, err := registries[0].Disconnect(t.Context(), "alice", "signed out"); n != 1 || !errors.Is(err, ssetest.ErrPartitioned) {
			t.Errorf("%d streams, %v", n, err)
		}
		if e := local.NextOf("sse.gap"); e.Data != `{"reason":"undelivered"}` { // other nodes may have sent events
			t.Errorf("got %+v", e)
		}
		wantClose(t, local, "signed out")
		logs[0].SetPartitioned(false)
		pass(time.Minute)
		send(t, registries[0], "alice", 1)
		wantNumbers(t, remote, 1, 1)
		disconnect(t, registries[0], "alice", "signed out")
		wantClose(t, remote, "signed out")
	})
}

func TestDisconnectAfterCloseFails(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	registry.Close()
	if _, err := registry.Disconnect(t.Context(), "alice", ""); !errors.Is(err, ginsse.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestDisconnectRefusesAnInvalidUser(t *testing.T) {
	t.Parallel()
	if _, err := newRegistry(t, ginsse.RegistryConfig{}).Disconnect(t.Context(), "", ""); !errors.Is(err, ginsse.ErrInvalidSubject) {
		t.Errorf("got %v", err)
	}
}

// A reason that does not fit into a command ends the local streams all the same.
func TestDisconnectWithAHugeReasonFailsAndEndsLocalStreams(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxEventBytes: 1000})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	reason := ginsse.Reason(strings.Repeat("x", 1000))
	if _, err := registry.Disconnect(t.Context(), "alice", reason); !errors.Is(err, ginsse.ErrEventTooLarge) {
		t.Errorf("got %v", err)
	}
	wantClose(t, stream, string(reason))
}

// A node may not have been notified yet of an event that another node has sent.
func TestDisconnectDeliversEventsOfOtherNodesSentBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		here := newRegistry(t, ginsse.RegistryConfig{Log: &changedNode{Node: logs[0], unwatch: true}})
		there := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		stream := ssetest.NewServer(t, newEngine(t, here)).Open(t, "/events", as("alice"))
		synctest.Wait()
		send(t, there, "alice", 1)
		disconnect(t, here, "alice", "")
		wantNumbers(t, stream, 1, 1)
		wantClose(t, stream, "disconnected")
	})
}

// A lagging stream reads the command in order with its events, whether or not its node was notified
// of it.
func TestDisconnectDeliversNothingSentAfter(t *testing.T) {
	t.Parallel()
	for name, unwatch := range map[string]bool{"notified": false, "not_notified": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
				here := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]})
				there := newRegistry(t, ginsse.RegistryConfig{Log: &changedNode{Node: logs[1], unwatch: unwatch}})
				server := ssetest.NewServer(t, newEngine(t, there))
				alice, bob := server.Open(t, "/events", as("alice")), server.Open(t, "/events", as("bob"))
				synctest.Wait()
				logs[1].SetPartitioned(true)
				for _, user := range []string{"alice", "bob"} {
					send(t, here, user, 1)
				}
				disconnect(t, here, "alice", "")
				for _, user := range []string{"alice", "bob"} {
					send(t, here, user, 2)
				}
				logs[1].SetPartitioned(false)
				if unwatch { // else the streams are awake, and alice's may have ended
					for _, s := range there.AllStreams() {
						check(t, s.Send(t.Context(), ginsse.Event{Type: "wake"}))
					}
				}
				wantNumbers(t, alice, 1, 1)
				wantClose(t, alice, "disconnected")
				wantNumbers(t, bob, 1, 2)
			})
		})
	}
}

// A stream that is opened after the command stays open, even if it resumes from before it.
func TestDisconnectDoesNotCloseLaterStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		early := send(t, registries[0], "alice", 1).ID
		send(t, registries[0], "alice", 2)
		disconnect(t, registries[0], "alice", "")
		send(t, registries[0], "alice", 3)
		fresh := there.Open(t, "/events", as("alice"))
		resumed := there.Open(t, "/events", as("alice"), ssetest.LastEventID(early))
		synctest.Wait()
		send(t, registries[0], "alice", 4)
		wantNumbers(t, fresh, 4, 4)
		wantNumbers(t, resumed, 2, 4)
		logs[1].SetPartitioned(false) // all streams read again
		send(t, registries[0], "alice", 5)
		wantNumbers(t, fresh, 5, 5)
		wantNumbers(t, resumed, 5, 5)
		disconnect(t, registries[0], "alice", "")
		wantClose(t, fresh, "disconnected")
		wantClose(t, resumed, "disconnected")
	})
}

// A stream must not begin at a position that the log has not reached: it would miss the commands
// before it.
func TestForgedPositionDoesNotProtectFromDisconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		at, err := eventlog.ParseCursor(send(t, registries[0], "bob", 1).ID)
		if err != nil {
			t.Fatal(err)
		}
		future, far := at, at
		future.Seq++
		far.Seq = 1 << 62
		for _, forged := range []eventlog.Cursor{future, far, {Epoch: 7, Seq: 1 << 62, Check: 7}} {
			stream := there.Open(t, "/events", as("alice"), ssetest.LastEventID(forged.String()))
			stream.NextOf("sse.gap")
			logs[1].SetPartitioned(true) // the stream reads nothing until the command is in the log
			disconnect(t, registries[0], "alice", "")
			logs[1].SetPartitioned(false)
			wantClose(t, stream, "disconnected")
		}
	})
}

// A log on several nodes may accept a position that this node has not reached.
func TestPositionPastTheHeadIsAGap(t *testing.T) {
	t.Parallel()
	log := trustingLog{newMemoryLog(t, eventlog.MemoryLogConfig{})}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	at, err := eventlog.ParseCursor(send(t, registry, "bob", 1).ID)
	if err != nil {
		t.Fatal(err)
	}
	at.Seq += 1000
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"), ssetest.LastEventID(at.String()))
	if e := stream.NextOf("sse.gap"); e.Data != `{"reason":"unknown"}` {
		t.Errorf("got %+v", e)
	}
}

// trustingLog accepts each position past its head, and waits there.
type trustingLog struct{ *eventlog.MemoryLog }

func (l trustingLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if head, err := l.Head(ctx); err != nil || q.After.Seq > head.Seq {
		return eventlog.Page{Entries: dst, Through: q.After}, err
	}
	return l.MemoryLog.Read(ctx, q, dst)
}

func TestDisconnectEndsLocalStreamsWhileTheLogHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		log.onAppend = func(ctx context.Context, _ eventlog.Record) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		start := time.Now()
		took := make(chan time.Duration, 1)
		done := registry.Streams("alice")[0].Done()
		go func() {
			<-done
			took <- time.Since(start)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := registry.Disconnect(ctx, "alice", ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := <-took; took > time.Second {
			t.Errorf("the local stream ended after %v", took)
		}
		wantClose(t, stream, "disconnected")
	})
}

// Streams of a user whose commands are complete go on.
func TestLostCommandReauthenticatesTheUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		alice, bob := there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("bob"))
		synctest.Wait()
		logs[1].SetPartitioned(true)
		for range 3 {
			disconnect(t, registries[0], "alice", "")
		}
		for n := range 3 {
			send(t, registries[0], "bob", n)
		}
		logs[1].SetPartitioned(false)
		wantReconnect(t, alice, "reauthenticate")
		bob.NextOf("sse.gap")
		send(t, registries[0], "bob", 3)
		wantNumbers(t, bob, 3, 3)
	})
}

// The history dropped the events before the command, but not the command. The client gets sse.gap
// and sse.close.
func TestGapBeforeDisconnectIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2})
		stream := ssetest.NewServer(t, newEngine(t, registries[1])).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		logs[1].SetPartitioned(true)
		for n := range 3 {
			send(t, registries[0], "alice", n)
		}
		disconnect(t, registries[0], "alice", "banned")
		send(t, registries[0], "alice", 3)
		logs[1].SetPartitioned(false)
		if e := stream.Next(); e.Type != "sse.gap" || e.Data != `{"reason":"trimmed"}` {
			t.Errorf("got %+v", e)
		}
		if e := stream.Next(); e.Type != "sse.close" || e.Data != `{"reason":"banned"}` {
			t.Errorf("got %+v", e)
		}
	})
}

// A stream that is open for longer than the log keeps entries has not missed a command.
func TestOldStreamHasNoGapInItsCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, eventlog.MemoryLogConfig{MaxAge: time.Minute})
		there := ssetest.NewServer(t, newEngine(t, registries[1]))
		alice, bob := there.Open(t, "/events", as("alice")), there.Open(t, "/events", as("bob"))
		for range 3 {
			for n := range 2000 {
				send(t, registries[0], "carol", n)
			}
			disconnect(t, registries[0], "carol", "")
			pass(10 * time.Minute)
		}
		disconnect(t, registries[0], "alice", "")
		wantClose(t, alice, "disconnected")
		send(t, registries[0], "bob", 1)
		wantNumbers(t, bob, 1, 1)
	})
}

// While the log cannot read the commands, the stream delivers nothing that may be behind one.
func TestCommandsAreReadAgainAfterAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		here, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &changedNode{Node: logs[1]}
		var failing atomic.Bool
		log.onRead = func(_ context.Context, q eventlog.Query) error {
			if failing.Load() && strings.HasPrefix(q.Subjects[0], "command:") { // reads of turns too
				return errBrokerAway
			}
			return nil
		}
		there := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("alice"))
		stream.NextOf("sse.open")
		failing.Store(true)
		send(t, here, "alice", 1)
		disconnect(t, here, "alice", "")
		send(t, here, "alice", 2)
		if err := there.Streams("alice")[0].Send(t.Context(), numbered(7)); err != nil {
			t.Fatal(err)
		}
		wantNumbers(t, stream, 7, 7) // not in the log
		pass(10 * time.Second)
		failing.Store(false)
		wantRest(t, stream, "n 1", `sse.close {"reason":"disconnected"}`)
	})
}

// A command of a later version of the kit has no effect. The events around it are delivered.
func TestUnknownCommandHasNoEffect(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	send(t, registry, "alice", 1)
	for _, frame := range []string{"event: promote\ndata: {\"topic\":\"x\"}\n\n", "event: disconnected\ndata: {}\n\n", ": x\n\n"} {
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: "command:alice", Frame: []byte(frame)}); err != nil {
			t.Fatal(err)
		}
	}
	send(t, registry, "alice", 2)
	for n := 1; n <= 2; n++ {
		if e := stream.Next(); e.Type != "n" {
			t.Errorf("got %+v, want event %d", e, n)
		}
	}
}

// A command to disconnect that cannot be read may be for the stream.
func TestMalformedDisconnectReauthenticates(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	stream := ssetest.NewServer(t, newEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: log}))).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	if _, err := log.Append(t.Context(), eventlog.Record{Subject: "command:alice", Frame: []byte("event: disconnect\ndata: {\n\n")}); err != nil {
		t.Fatal(err)
	}
	wantReconnect(t, stream, "reauthenticate")
}

// The command reaches a stream that was being opened when another node called Disconnect.
func TestDisconnectEndsAStreamThatIsBeingOpened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		here, log := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), &changedNode{Node: logs[1]}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newEngine(t, registry))
		early := send(t, here, "alice", 1).ID
		for name, id := range map[string]string{"fresh": "", "resumed": early} {
			release, opening := make(chan struct{}), make(chan struct{})
			log.onRead = func(context.Context, eventlog.Query) error { // its first, after the head
				log.onRead = nil
				close(opening)
				<-release
				return nil
			}
			streams := make(chan *ssetest.Stream, 1)
			go func() { streams <- server.Open(t, "/events", as("alice"), ssetest.LastEventID(id)) }()
			<-opening
			disconnect(t, here, "alice", "signed out")
			send(t, here, "alice", 2)
			close(release)
			stream := <-streams
			wantClose(t, stream, "signed out")
			if stream.LastEventID() == "" {
				t.Errorf("%s: it got no position", name)
			}
		}
	})
}

// Disconnect on another node limits the time of a client that reads slowly or not at all. The
// stream must not stay open until its backlog is delivered.
func TestDisconnectEndsSlowClientsOfOtherNodesInTime(t *testing.T) {
	t.Parallel()
	unknown := func(t *testing.T, log eventlog.Log, count int) {
		for range count {
			record := eventlog.Record{Subject: "command:alice", Frame: []byte("event: unknown\ndata: {}\n\n")}
			if _, err := log.Append(t.Context(), record); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		pause     time.Duration                  // between two reads of 32 KiB
		timeout   time.Duration                  // StreamConfig.WriteTimeout; 0 is two hours
		size      int                            // of an event; the backlog has 20 MB
		before    func(*testing.T, *changedNode) // called before Disconnect
		meanwhile func(*testing.T, *changedNode) // called after each pause
		after     func(*testing.T, *changedNode) // called after Disconnect
		gap       bool                           // the client can still get sse.gap and sse.close
	}{
		"stalled":      {pause: time.Hour, size: 200_000},
		"no_timeout":   {pause: time.Hour, size: 200_000, timeout: -1},
		"large_events": {pause: 2 * time.Second, size: 200_000},
		"small_events": {pause: time.Second, size: 20_000, gap: true},
		"many_commands": {
			pause: time.Second, size: 20_000, gap: true,
			before: func(t *testing.T, log *changedNode) { unknown(t, log.Node, 600) },
		},
		"more_commands": {
			pause: 5 * time.Second, size: 200_000,
			meanwhile: func(t *testing.T, log *changedNode) { unknown(t, log.Node, 1) },
		},
		"failing_log": {
			pause: time.Second, size: 20_000, gap: true,
			before: func(_ *testing.T, log *changedNode) { log.failCommands.Store(1) },
		},
		"partitioned_node": {
			pause: time.Second, size: 20_000, gap: true,
			before: func(_ *testing.T, log *changedNode) { log.SetPartitioned(true) },
			after:  func(_ *testing.T, log *changedNode) { log.SetPartitioned(false) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{MaxBytes: 256 << 20}, 2)
				log := &changedNode{Node: logs[1]}
				ended := make(chan struct{})
				here := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]})
				there := newRegistry(t, ginsse.RegistryConfig{
					Log:            log,
					Stream:         ginsse.StreamConfig{WriteTimeout: cmp.Or(test.timeout, 2*time.Hour)},
					DisconnectFunc: func(*ginsse.Stream, ginsse.Reason) { close(ended) },
				})
				response := openBody(t, ssetest.NewServer(t, newEngine(t, there)), "/events")
				for range 20_000_000 / test.size {
					if _, err := here.SendTo(t.Context(), "alice", ginsse.Event{Data: strings.Repeat("x", test.size)}); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if test.before != nil {
					test.before(t, log)
				}
				disconnect(t, here, "alice", "banned")
				if test.after != nil {
					test.after(t, log)
				}
				start := time.Now()
				var body bytes.Buffer
				for over := false; !over; {
					select {
					case <-ended:
						over = true
					case <-time.After(test.pause):
						_, _ = io.CopyN(&body, response.Body, 32<<10)
						if test.meanwhile != nil {
							test.meanwhile(t, log)
						}
					}
				}
				if took := time.Since(start); took > 2*time.Minute {
					t.Errorf("the stream ended after %v", took)
				}
				if !test.gap {
					return
				}
				_, _ = io.Copy(&body, response.Body)
				const want = "event: sse.gap\ndata: {\"reason\":\"undelivered\"}\n\nevent: sse.close\ndata: {\"reason\":\"banned\"}\n\n"
				if !strings.HasSuffix(body.String(), want) {
					t.Errorf("the stream ended with %q", body.String()[max(0, body.Len()-200):])
				}
			})
		})
	}
}

// A client that takes a few seconds for the events before the command gets all of them, and learns
// the reason.
func TestDisconnectWaitsForAClientThatIsALittleSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, eventlog.MemoryLogConfig{})
		response := openBody(t, ssetest.NewServer(t, newEngine(t, registries[1])), "/events")
		large := strings.Repeat("x", 500_000)
		for range 2 {
			if _, err := registries[0].SendTo(t.Context(), "alice", ginsse.Event{Type: "large", Data: large}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		disconnect(t, registries[0], "alice", "banned")
		pass(8 * time.Second)
		body, err := io.ReadAll(response.Body)
		var got []string
		for _, e := range ssetest.Parse(body) {
			got = append(got, e.Type)
		}
		if want := []string{"sse.open", "large", "large", "sse.close"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})
}

// The log notifies the node of each entry, so this would be a second read for each event.
func TestEventsCauseNoReadOfCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		var reads atomic.Int64
		log.onRead = func(_ context.Context, q eventlog.Query) error {
			if readsCommands(q) {
				reads.Add(1)
			}
			return nil
		}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		for n := range 10 {
			send(t, registry, "alice", n)
			wantNumbers(t, stream, n, n)
		}
		if n := reads.Load(); n > 0 {
			t.Errorf("%d reads of commands for 10 events", n)
		}
	})
}

// A notification of any subject may be of a command. While it opens, a stream that resumes has not
// passed the commands before its opening, which were for earlier streams.
func TestOldCommandDoesNotCloseAStreamThatOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		early := send(t, registry, "alice", 1).ID
		disconnect(t, registry, "alice", "")
		send(t, registry, "alice", 2)
		log.onHead = func(context.Context) error {
			log.SetPartitioned(false) // notifies all streams
			return nil
		}
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"), ssetest.LastEventID(early))
		wantNumbers(t, stream, 2, 2)
		send(t, registry, "alice", 3)
		wantNumbers(t, stream, 3, 3)
	})
}

// The stream opens after a gap, and the user is disconnected before the stream has its position
// behind the gap.
func TestDisconnectReachesAStreamThatOpensBehindAGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 2}, 2)
		log := &changedNode{Node: logs[1], unwatch: true}
		here, there := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: log})
		early := send(t, here, "alice", 1).ID
		for n := range 3 {
			send(t, here, "alice", n)
		}
		log.onRead = func(_ context.Context, q eventlog.Query) error {
			if q.MaxEntries == 1 {
				disconnect(t, here, "alice", "banned")
			}
			return nil
		}
		stream := ssetest.NewServer(t, newEngine(t, there)).Open(t, "/events", as("alice"), ssetest.LastEventID(early))
		wantClose(t, stream, "banned")
	})
}

// A sender on another node is quicker than the registry that has appended the command.
func TestEventSentRightAfterDisconnectIsNotDelivered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0]}
		release := log.holdTurns()
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		log.afterAppend = func(r eventlog.Record) {
			if r.Subject == "command:alice" {
				send(t, registry, "alice", 2)
			}
		}
		stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
		synctest.Wait()
		send(t, registry, "alice", 1)
		disconnect(t, registry, "alice", "")
		release()
		wantRest(t, stream, "n 1", `sse.close {"reason":"disconnected"}`)
	})
}

// A new store does not know the positions of the old one, and commands may be lost. The clients
// reconnect, are authenticated again, and get sse.gap.
func TestStreamsReauthenticateWhenTheLogIsRecreated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := new(recreatedNode)
		log.replace(ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0])
		registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
		server := ssetest.NewServer(t, newEngine(t, registry))
		before := server.Open(t, "/events", as("alice"))
		for n := range 5000 {
			send(t, registry, "carol", n)
		}
		log.replace(ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0])
		wantReconnect(t, before, "reauthenticate")
		after := server.Open(t, "/events", as("alice"), ssetest.LastEventID(before.LastEventID()))
		if e := after.NextOf("sse.gap"); e.Data != `{"reason":"epoch"}` {
			t.Errorf("got %+v", e)
		}
		send(t, registry, "alice", 1)
		registry.Streams("alice")[0].Disconnect("")
		send(t, registry, "alice", 2) // after the end, in a log that is shorter than the old one
		const gap = `sse.gap {"reason":"undelivered"}`
		rest, err := after.WaitEnd()
		got := slices.DeleteFunc(texts(rest), func(text string) bool { return text == gap }) // it may have ended before 2 was sent
		if want := []string{"n 1", `sse.close {"reason":"disconnected"}`}; err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q, perhaps with %s", got, err, want, gap)
		}
	})
}
