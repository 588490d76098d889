package ginsse_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// A client takes nothing for a while. The counts of its stream say what waits for it, and that nothing
// does once it has taken all.
func TestStreamStatsSayWhatWaitsForAClient(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		compact    bool
		transport  transport
		holdsTurns bool // net/http holds what a handler writes
	}{
		"handler":          {false, transports[0], false},
		"compact":          {true, transports[0], true},
		"compact over TLS": {true, transports[1], false}, // its goroutine waits in a write
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if allCompact() && !test.compact {
				t.Skip("all streams are compact")
			}
			cfg := ginsse.RegistryConfig{Stream: ginsse.StreamConfig{HeartbeatInterval: -1, WriteTimeout: -1, Compact: test.compact}}
			registry := newRegistry(t, cfg)
			server := test.transport.start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer })
			client := openRaw(t, server, rawRequest{user: "alice", small: true, lines: "X-Lifetime: 1h\r\n"})
			stream := registry.Streams("alice")[0]
			until(t, "an idle stream", func() bool { return !stream.Stats().Writing })
			if test.compact {
				untilCompact(t, registry, 1)
			}
			fill(t, registry, "alice")
			var before ginsse.StreamStats
			until(t, "a write that waits", func() bool { // and the client's system takes no more
				earlier := before
				pass(50 * time.Millisecond)
				before = stream.Stats()
				return before == earlier && before.Writing && (before.Unsent > 0) == test.holdsTurns
			})
			const sent = 10_000
			if err := stream.Send(t.Context(), ginsse.Event{Type: "last", Data: strings.Repeat("x", sent)}); err != nil {
				t.Fatal(err)
			}
			if after := stream.Stats(); after.Unsent < before.Unsent+sent || after.Unsent > before.Unsent+sent+200 {
				t.Errorf("an event of %d bytes waits: %+v, and before %+v", sent, after, before)
			}
			if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "end"}); err != nil {
				t.Fatal(err)
			}
			client.readUntil("event: end\n")
			until(t, "a stream with nothing to write", func() bool {
				s := stream.Stats()
				return !s.Writing && s.Unsent == 0 && s.Lag == 0
			})
		})
	}
}

// The counts of a stream that ended while its client took nothing show no write.
func TestEndedCompactStreamHoldsNothing(t *testing.T) {
	t.Parallel()
	registry := newCompactRegistry(t, ginsse.RegistryConfig{})
	server := transports[0].start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer })
	client := openRaw(t, server, rawRequest{user: "alice", small: true, lines: "X-Lifetime: 1h\r\n"})
	untilCompact(t, registry, 1)
	stream := registry.Streams("alice")[0]
	fill(t, registry, "alice")
	until(t, "a write that waits", func() bool { return stream.Stats().Unsent > 0 })
	_ = client.conn.Close()
	untilCompact(t, registry, 0)
	until(t, "a stream that holds nothing", func() bool {
		s := stream.Stats()
		return !s.Writing && s.Unsent == 0
	})
}

// plainLog is a log without figures.
type plainLog struct{ log *eventlog.MemoryLog }

func (l plainLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	return l.log.Append(ctx, r)
}
func (l plainLog) Head(ctx context.Context) (eventlog.Cursor, error) { return l.log.Head(ctx) }
func (l plainLog) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return l.log.Read(ctx, q, dst)
}
func (l plainLog) Watch(fn func(subject string, seq uint64)) (stop func()) { return l.log.Watch(fn) }

func TestStatsHaveTheFiguresOfTheLog(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	send(t, registry, "alice", 1)
	s := registry.Stats().Log
	if s == nil {
		t.Fatal("there are no figures")
	}
	want := log.Stats()
	want.Since = s.Since // by the time of day, which may be set meanwhile
	if s.Entries != 1 || *s != want || s.Store != nil {
		t.Errorf("the log says %+v, and the registry %+v", want, s)
	}
	if s := newRegistry(t, ginsse.RegistryConfig{Log: plainLog{log}}).Stats().Log; s != nil {
		t.Errorf("of a log without figures: %+v", s)
	}
}
