package promginsse_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/promginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// storeLog is a log that says of itself what one with a store does.
type storeLog struct {
	*eventlog.MemoryLog

	stats eventlog.Stats
}

func (l *storeLog) Stats() eventlog.Stats { return l.stats }

func newStoreLog(tb testing.TB) *storeLog {
	tb.Helper()
	memory, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	return &storeLog{memory, eventlog.Stats{
		Entries: 1, Bytes: 2, MaxBytes: 3, Since: now.Add(-time.Hour),
		Evicted: eventlog.Evicted{Size: 4, Subject: 5, Age: 6, Replaced: 7, Reset: 8},
		Store: &eventlog.StoreStats{
			Connected: true, Heard: now.Add(-time.Minute), Failures: 9, Behind: 10, Reads: 11, ReadEntries: 12, ReadErrors: 13, Inbox: 14,
		},
	}}
}

// wantValues fails unless metrics have these values.
func wantValues(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, value)
		}
	}
}

func TestMetricsHaveTheFiguresOfTheLog(t *testing.T) {
	t.Parallel()
	log := newStoreLog(t)
	metrics := promginsse.New()
	collector := metrics.Collector(newRegistry(t, ginsse.RegistryConfig{Log: log}))
	got := values(t, collector)
	wantValues(t, got, map[string]float64{
		"ginsse_log_memory_events": 1, "ginsse_log_memory_bytes": 2, "ginsse_log_memory_limit_bytes": 3,
		`ginsse_log_evicted_events_total{reason="size"}`: 4, `ginsse_log_evicted_events_total{reason="subject"}`: 5,
		`ginsse_log_evicted_events_total{reason="age"}`: 6, `ginsse_log_evicted_events_total{reason="replaced"}`: 7,
		`ginsse_log_evicted_events_total{reason="reset"}`: 8,
		"ginsse_log_store_connected":                      1, "ginsse_log_store_failures_total": 9, "ginsse_log_behind_events": 10,
		"ginsse_log_store_reads_total": 11, "ginsse_log_store_read_events_total": 12, "ginsse_log_store_read_errors_total": 13,
		"ginsse_log_inbox_events": 14,
	})
	for name, least := range map[string]float64{"ginsse_log_memory_reach_seconds": 3600, "ginsse_log_store_silence_seconds": 60} {
		if v := got[name]; v < least || v > least+60 {
			t.Errorf("%s is %v, want a little more than %v", name, v, least)
		}
	}
	log.stats = eventlog.Stats{Store: &eventlog.StoreStats{Inbox: -1}}
	got = values(t, collector)
	wantValues(t, got, map[string]float64{"ginsse_log_store_connected": 0})
	for _, name := range []string{"ginsse_log_memory_reach_seconds", "ginsse_log_store_silence_seconds", "ginsse_log_inbox_events"} {
		if v, ok := got[name]; ok {
			t.Errorf("%s is %v, which is not known", name, v)
		}
	}
}

// A log in memory is full. The metrics agree with what it has lost.
func TestMetricsShowThatAMemoryLogIsFull(t *testing.T) {
	t.Parallel()
	const bound, events = 64 << 10, 500
	log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{MaxBytes: bound})
	if err != nil {
		t.Fatal(err)
	}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	metrics := promginsse.New()
	for n := range events {
		if _, err := registry.SendTo(t.Context(), fmt.Sprint("user", n), ginsse.Event{Type: "n", Data: n}); err != nil {
			t.Fatal(err)
		}
	}
	got := values(t, metrics.Collector(registry))
	held, evicted := got["ginsse_log_memory_events"], got[`ginsse_log_evicted_events_total{reason="size"}`]
	if held == 0 || evicted == 0 || held+evicted != events {
		t.Errorf("%v events are in memory, and %v have made room", held, evicted)
	}
	if bytes := got["ginsse_log_memory_bytes"]; bytes > bound || bytes < bound*9/10 || got["ginsse_log_memory_limit_bytes"] != bound {
		t.Errorf("%v bytes of %v are used", bytes, got["ginsse_log_memory_limit_bytes"])
	}
	for name := range got {
		if strings.HasPrefix(name, "ginsse_log_store_") || name == "ginsse_log_inbox_events" {
			t.Errorf("a log without a store has %s", name)
		}
	}
}

// Two nodes know the same of who is present, and a node counts who is about to leave.
func TestMetricsShowPresenceOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, showPresence) // those who leave do so within a second
}

func showPresence(t *testing.T) {
	logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	var registries []*ginsse.Registry
	want := func(what string, want map[string]float64) {
		t.Helper()
		for i, registry := range registries {
			metrics := promginsse.New()
			until(t, fmt.Sprint(what, " at node ", i), func() bool {
				got := values(t, metrics.Collector(registry))
				for name, v := range want {
					if got[name] != v {
						return false
					}
				}
				return true
			})
		}
	}
	var streams []*ssetest.Stream
	for i, log := range logs {
		registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log, PresenceGrace: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(registry.Close)
		registries = append(registries, registry)
		auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
			return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		engine := gin.New()
		engine.GET("/events", ginsse.Middleware(auth), registry.Handler(
			ginsse.WithTopics("board", fmt.Sprint("node", i)),
			ginsse.WithPresence(func(string) any { return "there" }),
		))
		server := ssetest.NewServer(t, engine)
		for _, user := range []string{"alice", fmt.Sprint("user", i)} {
			streams = append(streams, server.Open(t, "/events", ssetest.Header("X-User", user)))
		}
	}
	want("all are there", map[string]float64{
		"ginsse_cluster_nodes": 2, "ginsse_cluster_users": 3,
		"ginsse_presence_topics": 3, "ginsse_presence_members": 7, "ginsse_presence_leaving": 0, "ginsse_presence_dropped_messages_total": 0,
	})
	for i, registry := range registries {
		metrics := promginsse.New()
		if v := values(t, metrics.Collector(registry))["ginsse_presence_remote_bytes"]; v < 5*100 || v > 5*500 {
			t.Errorf("node %d holds %v bytes for two users and four presences of the other one", i, v)
		}
	}
	for _, s := range streams[:2] { // those of the first node
		s.Close()
	}
	metrics := promginsse.New()
	until(t, "two users and four presences are about to leave", func() bool {
		return values(t, metrics.Collector(registries[0]))["ginsse_presence_leaving"] == 6
	})
	time.Sleep(time.Second)
	want("they have left", map[string]float64{
		"ginsse_cluster_users": 2, "ginsse_presence_topics": 2, "ginsse_presence_members": 4, "ginsse_presence_leaving": 0,
	})
}

// A client takes nothing. Its stream is one whose write waits, and its bytes are counted.
func TestMetricsShowWhatWaitsForClients(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Stream: ginsse.StreamConfig{Compact: true}})
	metrics := promginsse.New()
	collector := metrics.Collector(registry)
	server := serve(t, registry)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET /events HTTP/1.1\r\nHost: test\r\nX-User: alice\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "an idle compact stream", func() bool {
		got := values(t, collector)
		return got[`ginsse_streams{mode="compact"}`] == 1 && got["ginsse_writing_streams"] == 0 &&
			got["ginsse_unsent_bytes"] == 0 && got["ginsse_writer_queue_streams"] == 0
	})
	data := strings.Repeat("x", 64<<10)
	until(t, "a stream that waits for its client", func() bool {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "n", Data: data}); err != nil {
			t.Fatal(err)
		}
		got := values(t, collector)
		return got["ginsse_writing_streams"] == 1 && got["ginsse_unsent_bytes"] > 0
	})
	conn.Close()
	until(t, "the stream has ended", func() bool {
		got := values(t, collector)
		return got[`ginsse_streams{mode="compact"}`] == 0 && got["ginsse_writing_streams"] == 0 && got["ginsse_unsent_bytes"] == 0
	})
}
