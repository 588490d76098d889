package promginsse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/promginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// values has the value of each series by its name and labels, as `name{label="value"}`. A histogram has
// one value, the number of its observations.
func values(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	all := make(map[string]float64)
	for _, family := range gather(t, c) {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			name := family.GetName()
			if labels != nil {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

func gather(t *testing.T, c prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func connect(t *testing.T, url, user string, options ...ssetest.Option) *ssetest.Stream {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return ssetest.Connect(t, http.DefaultClient, request, append(options, ssetest.Header("X-User", user))...)
}

// Streams open, resume, are refused and end, events are sent, written and missed. The metrics count all
// of it.
func TestMetricsCountWhatHappens(t *testing.T) {
	t.Parallel()
	metrics := promginsse.New()
	log := &stubbornLog{}
	var err error
	if log.MemoryLog, err = eventlog.NewMemoryLog(eventlog.MemoryLogConfig{EventsPerSubject: 10}); err != nil {
		t.Fatal(err)
	}
	registry := newRegistry(t, ginsse.RegistryConfig{
		Log: log, Observers: []*ginsse.Observer{metrics.Observer()}, MaxStreams: 3, MaxStreamsPerUser: 2, RefuseNewest: true,
	})
	collector := metrics.Collector(registry)
	server := serve(t, registry)
	events := server.URL + "/events"

	alice := connect(t, events, "alice")
	id := alice.NextOf("sse.open").LastEventID
	send := func(e ginsse.Event) {
		t.Helper()
		if _, err := registry.SendTo(t.Context(), "alice", e); err != nil {
			t.Fatal(err)
		}
		alice.NextOf(e.Type)
	}
	send(ginsse.Event{Type: "kept", Data: "12345"})
	send(ginsse.Event{Type: "passing", Transient: true})
	if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Type: "no\nline"}); err == nil {
		t.Fatal("an invalid event was sent")
	}
	log.fails.Store(true)
	if _, err := registry.Broadcast(t.Context(), ginsse.Event{Type: "lost"}); !errors.Is(err, errStubborn) {
		t.Fatal(err)
	}
	until(t, "the log counts as not ready", func() bool { return values(t, collector)["ginsse_log_ready"] == 0 })
	log.fails.Store(false)
	until(t, "the log counts as ready", func() bool { return values(t, collector)["ginsse_log_ready"] == 1 })

	again := connect(t, events, "alice", ssetest.LastEventID(id))
	again.NextOf("kept")
	open, err := http.Get(server.URL + "/open")
	if err != nil {
		t.Fatal(err)
	}
	open.Body.Close()
	third, err := http.NewRequest(http.MethodGet, events, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	third.Header.Set("X-User", "alice")
	refused, err := http.DefaultClient.Do(third)
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	bob := connect(t, events, "bob", ssetest.LastEventID("made up"))
	bob.NextOf("sse.gap")
	connect(t, events, "carol").NextOf("sse.reconnect")
	if err := registry.Grant(t.Context(), "bob", "board"); err != nil {
		t.Fatal(err)
	}
	bob.NextOf("sse.topics")
	got := untilValues(t, collector, map[string]float64{
		`ginsse_streams{mode="handler"}`: 3, `ginsse_streams{mode="compact"}`: 0,
		"ginsse_users": 2, "ginsse_runs": 0, "ginsse_cluster_nodes": 1, "ginsse_cluster_users": 2,
		"ginsse_stream_places_used": 3, "ginsse_stream_places_limit": 3,
		"ginsse_slowest_stream_lag_events": 0, `ginsse_lagging_streams{more_than="1"}`: 0, "ginsse_stream_age_seconds": 3,
		`ginsse_streams_opened_total{resume="none"}`: 1, `ginsse_streams_opened_total{resume="memory"}`: 1,
		`ginsse_streams_opened_total{resume="gap"}`: 1, `ginsse_streams_opened_total{resume="store"}`: 0,
		`ginsse_gaps_total{reason="unknown"}`: 1, `ginsse_gaps_total{reason="trimmed"}`: 0,
		`ginsse_streams_refused_total{cause="no user"}`: 1, `ginsse_streams_refused_total{cause="too many streams"}`: 1,
		`ginsse_streams_refused_total{cause="overloaded"}`: 1,
		`ginsse_commands_total{command="grant"}`:           1,
		`ginsse_sends_total{kind="user"}`:                  2, `ginsse_send_errors_total{kind="user"}`: 1, `ginsse_send_errors_total{kind="all"}`: 1,
		`ginsse_appended_events_total{kind="user",transient="false"}`: 1, `ginsse_appended_events_total{kind="user",transient="true"}`: 1,
		`ginsse_appended_events_total{kind="command",transient="false"}`: 1,
		`ginsse_append_errors_total{kind="all"}`:                         1, "ginsse_append_latency_seconds": 2,
		"ginsse_written_events_total": 3, "ginsse_log_interruptions_total": 1, "ginsse_log_head": 2,
		"ginsse_stream_duration_seconds": 0,
	})
	if n := got[`ginsse_appended_bytes_total{kind="user",transient="false"}`]; n < 20 || n > 200 {
		t.Errorf("the event that was appended has %v bytes", n)
	}
	if n := got["ginsse_written_bytes_total"]; n < 100 || n > 5000 {
		t.Errorf("%v bytes were written", n)
	}
	if n := got["ginsse_delivery_latency_seconds"]; n < 1 || n > 2 {
		t.Errorf("%v deliveries have a latency: those of one or two events do", n)
	}

	bob.Close()
	if _, err := registry.Disconnect(t.Context(), "alice", "moved to Vienna"); err != nil {
		t.Fatal(err)
	}
	untilValues(t, collector, map[string]float64{
		"ginsse_stream_duration_seconds":                   3,
		`ginsse_streams_ended_total{reason="client gone"}`: 1, `ginsse_streams_ended_total{reason="application"}`: 2,
		`ginsse_streams{mode="handler"}`: 0, "ginsse_stream_places_used": 0, "ginsse_stream_age_seconds": 0,
	})
	wantFixedLabels(t, collector)
}

// untilValues waits until metrics have these values: a client may have an event before it is counted. It
// returns all.
func untilValues(t *testing.T, c prometheus.Collector, want map[string]float64) (got map[string]float64) {
	t.Helper()
	for start := time.Now(); ; <-time.After(time.Millisecond) {
		var wrong []string
		got = values(t, c)
		for name, value := range want {
			if v, ok := got[name]; !ok || v != value {
				wrong = append(wrong, fmt.Sprintf("%s is %v (%v), want %v", name, v, ok, value))
			}
		}
		if len(wrong) == 0 {
			return got
		}
		if time.Since(start) > time.Minute {
			t.Fatal(strings.Join(wrong, "\n"))
		}
	}
}

// wantFixedLabels fails if the metrics have a series that they do not have from the start, as a user, a
// topic, or a reason of the application's would make.
func wantFixedLabels(t *testing.T, c prometheus.Collector) {
	t.Helper()
	unused := promginsse.New()
	known := values(t, unused.Collector(newRegistry(t, ginsse.RegistryConfig{})))
	for name := range values(t, c) {
		if _, ok := known[name]; !ok {
			t.Errorf("%s was not there from the start", name)
		}
		for _, secret := range []string{"alice", "bob", "board", "Vienna", "kept"} {
			if strings.Contains(name, secret) {
				t.Errorf("%s has something of the application's in a label", name)
			}
		}
	}
}

// stubbornLog is a log that can be told to fail.
type stubbornLog struct {
	*eventlog.MemoryLog

	fails atomic.Bool
}

var errStubborn = errors.New("the log does not want to")

func (l *stubbornLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if l.fails.Load() {
		return eventlog.Cursor{}, errStubborn
	}
	return l.MemoryLog.Append(ctx, r)
}

func (l *stubbornLog) Ready() error {
	if l.fails.Load() {
		return errStubborn
	}
	return nil
}
