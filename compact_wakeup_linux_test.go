package ginsse_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// Tests of what wakes compact streams up: events of their connections, timers, and notifications. All of
// them may come late, too often, or for nothing.

// The readiness set of a connection was closed with it, and has reported its end meanwhile. The report
// comes when another set has the next stream.
func TestLateEventOfAConnectionDoesNotEndALaterStream(t *testing.T) {
	t.Parallel()
	registry := newCompactRegistry(t, ginsse.RegistryConfig{})
	server := transports[0].start(t, newEngine(t, registry), nil)
	first := openRaw(t, server, rawRequest{user: "first"})
	untilCompact(t, registry, 1)
	report := registry.ReportEnd(registry.Streams("first")[0])
	_ = first.conn.Close()
	untilCompact(t, registry, 0)
	later := openRaw(t, server, rawRequest{user: "later"})
	untilCompact(t, registry, 1)
	report()
	send(t, registry, "later", 1)
	later.readUntil("event: n\ndata: 1\n")
	if err := registry.Streams("later")[0].Err(); err != nil {
		t.Errorf("the later stream ended with %v", err)
	}
}

func TestBlockedStreamThatHasExpiredIsNotPolled(t *testing.T) {
	t.Parallel()
	registry := newCompactRegistry(t, ginsse.RegistryConfig{})
	fired := registry.CountTimers()
	server := transports[0].start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer })
	var s *ginsse.Stream
	for lifetime := 2 * time.Second; ; lifetime *= 2 { // longer if the stream has expired before it was blocked
		c := openRaw(t, server, rawRequest{user: "stalled", small: true, lines: fmt.Sprintf("X-Lifetime: %v\r\n", lifetime)})
		untilCompactOrEnded(t, registry)
		if streams := registry.Streams("stalled"); len(streams) > 0 {
			fill(t, registry, "stalled")
			if s = streams[0]; s.Err() == nil {
				break
			}
		}
		if lifetime > time.Minute {
			t.Fatal("the stream was not blocked within a minute")
		}
		_ = c.conn.Close()
		untilCompact(t, registry, 0)
	}
	within(t, "the expiry", s.Done())
	before := fired.Load()
	pass(500 * time.Millisecond)
	if n := fired.Load() - before; n > 1 { // it looks once within an eighth of the timeout, which is 30 s
		t.Errorf("within 0.5 s after the expiry, the timer of the stream fired %d times", n)
	}
	if registry.Stats().Compact != 1 {
		t.Error("the connection is closed, so the test shows nothing")
	}
}

// untilCompactOrEnded waits until the only stream of a registry is compact, or has ended.
func untilCompactOrEnded(t *testing.T, registry *ginsse.Registry) {
	t.Helper()
	until(t, "a compact stream, or its end", func() bool {
		stats := registry.Stats()
		return stats.Compact == 1 || stats.Streams == 0
	})
}

// notifyingLog lets a test notify the registry, as a log does that is connected again.
type notifyingLog struct {
	eventlog.Log
	notify atomic.Pointer[func(subject string, seq uint64)]
}

func (l *notifyingLog) Watch(fn func(subject string, seq uint64)) func() {
	l.notify.Store(&fn)
	return l.Log.Watch(fn)
}

// drip reads little from a connection at a time, with pauses, and then calls then.
func drip(t *testing.T, c *rawClient, then func()) {
	t.Helper()
	var reader sync.WaitGroup
	reader.Go(func() {
		var b [512]byte
		for ; ; pass(20 * time.Millisecond) {
			if _, err := c.conn.Read(b[:]); err != nil {
				return
			}
			then()
		}
	})
	t.Cleanup(func() {
		_ = c.conn.Close()
		reader.Wait()
	})
}

// Each event that wakes a stream up while its client is slow leaves the observation of the client as it is.
func TestSlowClientKeepsItsStreamWhileMuchHappens(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second
	run, wait := allAtOnce(t)
	defer wait()
	for name, happens := range map[string]func(c *rawClient, log *notifyingLog){
		"nothing":       func(*rawClient, *notifyingLog) {},
		"bytes":         func(c *rawClient, _ *notifyingLog) { _, _ = io.WriteString(c.conn, "x") },
		"notifications": func(_ *rawClient, log *notifyingLog) { (*log.notify.Load())("", 0) },
	} {
		run(name, func(t *testing.T) {
			log := &notifyingLog{Log: newMemoryLog(t, eventlog.MemoryLogConfig{})}
			registry := newCompactRegistry(t, ginsse.RegistryConfig{Log: log, Stream: ginsse.StreamConfig{WriteTimeout: timeout}})
			server := transports[0].start(t, newEngine(t, registry), nil)
			c := openRaw(t, server, rawRequest{user: "alice", small: true})
			untilCompact(t, registry, 1)
			s := registry.Streams("alice")[0]
			drip(t, c, func() { happens(c, log) })
			fill(t, registry, "alice")
			select {
			case <-s.Done():
				t.Errorf("the stream ended with %v", s.Err())
			case <-time.After(timeout * 3 / 2):
			}
		})
	}
}

// The client takes little, and sends bytes all the time.
func TestBusyClientLosesItsStreamWithItsCredential(t *testing.T) {
	t.Parallel()
	run, wait := allAtOnce(t)
	defer wait()
	for _, tr := range compactTransports {
		run(tr.name, func(t *testing.T) {
			var cfg ginsse.RegistryConfig
			ends := reportEnds(&cfg)
			registry := newCompactRegistry(t, cfg)
			server := tr.start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer })
			c := openRaw(t, server, rawRequest{user: "alice", small: true, lines: "X-Lifetime: 1s\r\n"})
			untilCompactOrEnded(t, registry)
			start := time.Now()
			drip(t, c, func() { _, _ = io.WriteString(c.conn, "x") })
			for range 50 { // more than a minute's
				if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: strings.Repeat("x", 32<<10)}); err != nil {
					t.Fatal(err)
				}
			}
			wantHookEnd(t, ends, "alice", ginsse.ReasonExpired)
			if lasted := time.Since(start); lasted > 40*time.Second {
				t.Errorf("the client lost its stream after %v; its credential was valid for 1 s", lasted)
			}
			untilCompact(t, registry, 0)
		})
	}
}

// The timer may have been set before the stream's end, for example to its expiry.
func TestEndedStreamLingersWhenItsTimerFires(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{})
		server := tr.start(t, newEngine(t, registry), nil)
		c := openRaw(t, server, rawRequest{user: "alice"})
		untilCompact(t, registry, 1)
		s := registry.Streams("alice")[0]
		ended := time.Now()
		s.Disconnect("")
		c.readEnd()
		s.TimerFires()
		pass(100 * time.Millisecond)
		const linger = 500 * time.Millisecond
		if open := registry.Stats().Compact; open != 1 && time.Since(ended) < linger {
			t.Errorf("the connection was closed before %v, although the client has not closed it", linger)
		}
		_ = c.conn.Close()
		untilCompact(t, registry, 0)
	})
}

// A process is paused, as by "docker pause", for longer than the timeout of writes. Meanwhile the clients
// take what the kernel has.
func TestPausedProcessKeepsStreamsWhoseClientsRead(t *testing.T) {
	t.Parallel()
	const clients, timeout = 20, 5 * time.Second // longer than it takes a busy machine to block all streams
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprint("compact_", compact), func(t *testing.T) {
			t.Parallel()
			if os.Getenv(ownProcess) != "" {
				registry := newRegistry(t, ginsse.RegistryConfig{
					Stream:            ginsse.StreamConfig{Compact: compact, WriteTimeout: timeout},
					MaxStreamsPerUser: -1,
				})
				server := transports[0].start(t, newEngine(t, registry), nil)
				fmt.Println("address", server.Listener.Addr())
				until(t, "streams", func() bool { return registry.Stats().Streams == clients })
				fill(t, registry, "alice")
				streams := registry.Streams("alice")
				fmt.Println("blocked")
				until(t, "reading", func() bool {
					return !slices.ContainsFunc(streams, func(s *ginsse.Stream) bool { return s.Err() == nil && s.Unread() > 0 })
				})
				fmt.Println("slow", registry.Stats().Slow)
				registry.Close()
				untilCompact(t, registry, 0) // the clients, in the other process, may take a while to close
				return
			}
			process := thisTest(t, ownProcess)
			output, err := process.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(output)
			next := func(prefix string) string {
				t.Helper()
				for lines.Scan() {
					if text, ok := strings.CutPrefix(lines.Text(), prefix+" "); ok || lines.Text() == prefix {
						return text
					}
				}
				t.Fatalf("the process wrote no line %q", prefix)
				return ""
			}
			address := next("address")
			var opened []*rawClient
			for range clients {
				opened = append(opened, openRawAt(t, address, nil, rawRequest{user: "alice", small: true}))
			}
			next("blocked")
			_ = process.Process.Signal(syscall.SIGSTOP)
			var readers sync.WaitGroup
			for _, c := range opened {
				readers.Go(func() {
					_, _ = io.Copy(io.Discard, c.conn)
					_ = c.conn.Close()
				})
			}
			pass(timeout * 5 / 4)
			_ = process.Process.Signal(syscall.SIGCONT)
			if got := next("slow"); got != "0" {
				t.Errorf("%s of %d streams were slow", got, clients)
			}
			var rest []string
			for lines.Scan() {
				rest = append(rest, lines.Text())
			}
			if err := process.Wait(); err != nil {
				t.Errorf("%v, after %q", err, rest)
			}
			readers.Wait()
		})
	}
}
