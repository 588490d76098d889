package otelginsse_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	api "go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/otelginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// collect returns the values of metrics: those of histograms are counts. The keys are names and
// attributes, such as "ginsse.stream.ended{ginsse.reason=slow}".
func collect(t testing.TB, reader *metric.ManualReader) map[string]int64 {
	t.Helper()
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &collected); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]int64)
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Description == "" || m.Unit == "" {
				t.Errorf("%s has the unit %q and the description %q", m.Name, m.Unit, m.Description)
			}
			set := func(attributes attribute.Set, value int64) {
				values[m.Name+"{"+attributes.Encoded(attribute.DefaultEncoder())+"}"] = value
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					set(p.Attributes, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					set(p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					set(p.Attributes, int64(p.Value))
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					set(p.Attributes, int64(p.Count))
					if p.Sum < 0 || p.Sum > time.Minute.Seconds()*float64(p.Count) {
						t.Errorf("%s took %g s", m.Name, p.Sum)
					}
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return values
}

// awaitMetric waits until a metric has a value.
func awaitMetric(t testing.TB, reader *metric.ManualReader, key string, want int64) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		values := collect(t, reader)
		if values[key] == want {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s is %d, want %d; all are:\n%v", key, values[key], want, values)
		case <-time.After(time.Millisecond):
		}
	}
}

// brokenLog is a log that says that it does not serve, and takes nothing, while err is not nil.
type brokenLog struct {
	failingLog

	down chan error // holds what Ready returns
}

// Stats has the figures of a log with a store.
func (l *brokenLog) Stats() eventlog.Stats {
	s := l.MemoryLog.Stats()
	now := time.Now()
	s.Since = now.Add(-time.Hour)
	s.Evicted.Reset = 1
	s.Store = &eventlog.StoreStats{Connected: true, Heard: now.Add(-time.Minute), Failures: 2, Behind: 3, Reads: 4, ReadEntries: 5, ReadErrors: 6, Inbox: 7}
	return s
}

func (l *brokenLog) Ready() error {
	err := <-l.down
	l.down <- err
	return err
}

// TestMetricsCountWhatHappens opens, resumes, refuses and ends streams, sends, and takes the log away.
func TestMetricsCountWhatHappens(t *testing.T) {
	t.Parallel()
	log := &brokenLog{down: make(chan error, 1)}
	log.down <- nil
	var err error
	if log.MemoryLog, err = eventlog.NewMemoryLog(eventlog.MemoryLogConfig{EventsPerSubject: 2}); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, "node", log, tracetest.NewInMemoryExporter(), otelginsse.Config{}, nil)
	send := func(user string) {
		t.Helper()
		if _, err := n.registry.SendTo(t.Context(), user, hello); err != nil {
			t.Fatal(err)
		}
	}
	alice := n.open(t, "alice", "")
	id := alice.LastEventID()
	send("alice")
	alice.NextOf("hello")
	bob := n.open(t, "bob", "")
	awaitMetric(t, n.metrics, "ginsse.stream.count{}", 2)
	awaitMetric(t, n.metrics, "ginsse.user.count{}", 2)
	awaitMetric(t, n.metrics, "ginsse.stream.lag.max{}", 0)
	awaitMetric(t, n.metrics, "ginsse.stream.opened{ginsse.resume=none}", 2)
	awaitMetric(t, n.metrics, "ginsse.event.written{}", 1)
	awaitMetric(t, n.metrics, "ginsse.event.delivery.duration{}", 1)
	awaitMetric(t, n.metrics, "ginsse.event.append.duration{ginsse.kind=user}", 1)

	if _, err := n.registry.Disconnect(t.Context(), "bob", "a reason of the application"); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.WaitEnd(); err != nil {
		t.Fatal(err)
	}
	awaitMetric(t, n.metrics, "ginsse.stream.ended{ginsse.reason=application}", 1)
	awaitMetric(t, n.metrics, "ginsse.event.append.duration{ginsse.kind=command}", 1)
	alice.Close()
	awaitMetric(t, n.metrics, "ginsse.stream.ended{ginsse.reason=client gone}", 1)
	for range 5 {
		send("alice")
	}
	late := n.server.Open(t, "/events", ssetest.Header("Test-User", "alice"), ssetest.LastEventID(id))
	late.NextOf("sse.gap")
	awaitMetric(t, n.metrics, "ginsse.stream.opened{ginsse.resume=gap}", 1)
	awaitMetric(t, n.metrics, "ginsse.stream.gaps{ginsse.reason=trimmed}", 1)

	awaitMetric(t, n.metrics, "ginsse.log.ready{}", 1)
	<-log.down
	log.down <- errors.New("the log is down")
	awaitMetric(t, n.metrics, "ginsse.log.ready{}", 0)
	log.err = errors.New("the log is down")
	if _, err := n.registry.Broadcast(t.Context(), hello); err == nil {
		t.Fatal("a broken log took an event")
	}
	awaitMetric(t, n.metrics, "ginsse.event.append.duration{error.type=_OTHER,ginsse.kind=all}", 1)
	n.registry.Close()
	awaitMetric(t, n.metrics, "ginsse.stream.count{}", 0)
	if _, err := late.WaitEnd(); err != nil {
		t.Fatal(err)
	}
	refused := n.server.Open(t, "/events", ssetest.Header("Test-User", "alice"))
	if _, err := refused.WaitEnd(); err != nil {
		t.Fatal(err)
	}
	awaitMetric(t, n.metrics, "ginsse.stream.refused{ginsse.cause=shutdown}", 1)

	values := collect(t, n.metrics)
	for key, want := range map[string]int64{
		"ginsse.writing.streams{}": 0, "ginsse.unsent{}": 0, "ginsse.writer.queue.streams{}": 0,
		"ginsse.log.memory.events{}": 3, "ginsse.log.memory.limit{}": 64 << 20, // two of alice, and a command
		"ginsse.log.evicted.events{ginsse.reason=subject}": 4, "ginsse.log.evicted.events{ginsse.reason=reset}": 1, "ginsse.log.evicted.events{ginsse.reason=size}": 0,
		"ginsse.log.store.connected{}": 1, "ginsse.log.store.failures{}": 2, "ginsse.log.behind.events{}": 3,
		"ginsse.log.store.reads{}": 4, "ginsse.log.store.read.events{}": 5, "ginsse.log.store.read.errors{}": 6, "ginsse.log.inbox.events{}": 7,
	} {
		if got, ok := values[key]; !ok || got != want {
			t.Errorf("%s is %d (%v), want %d", key, got, ok, want)
		}
	}
	for key, least := range map[string]int64{"ginsse.log.memory.reach{}": 3600, "ginsse.log.store.silence{}": 60} {
		if got := values[key]; got < least || got > least+60 {
			t.Errorf("%s is %d, want a little more than %d", key, got, least)
		}
	}
	for key := range values {
		if strings.Contains(key, "alice") || strings.Contains(key, "a reason") {
			t.Errorf("%s says too much", key)
		}
	}
	checkDocumented(t, values)
}

// TestLagIsThatOfTheSlowestStream has one client take nothing.
func TestLagIsThatOfTheSlowestStream(t *testing.T) {
	t.Parallel()
	n := newNode(t, "node", nil, tracetest.NewInMemoryExporter(), otelginsse.Config{}, nil)
	n.open(t, "alice", "")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.server.URL+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Test-User", "bob")
	response, err := n.server.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	const events, perTurn = 2000, 512
	for range events {
		if _, err := n.registry.SendTo(t.Context(), "bob", hello); err != nil {
			t.Fatal(err)
		}
	}
	if lag := collect(t, n.metrics)["ginsse.stream.lag.max{}"]; lag < events-2*perTurn || lag > events {
		t.Errorf("%d events were sent, and the lag is %d", events, lag)
	}
}

// checkDocumented compares the names of metrics with the tables of the documents.
func checkDocumented(t *testing.T, values map[string]int64) {
	t.Helper()
	var names []string
	for key := range values {
		name, _, _ := strings.Cut(key, "{")
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, file := range []string{"doc.go", "../docs/tracing.md"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, table, found := strings.Cut(string(content), "# Metrics\n")
		if !found {
			t.Fatalf("%s has no list of metrics", file)
		}
		var documented []string
		for _, row := range regexp.MustCompile("(?m)^(?://\t|\\| `)(ginsse\\.[a-z.]+)").FindAllStringSubmatch(table, -1) {
			documented = append(documented, row[1])
		}
		slices.Sort(documented)
		if !slices.Equal(documented, names) {
			t.Errorf("%s has the metrics\n%q, want\n%q", file, documented, names)
		}
	}
}

// TestMetricsAllocateNothing calls the hooks of an event.
func TestMetricsAllocateNothing(t *testing.T) {
	telemetry, err := otelginsse.New(otelginsse.Config{MeterProvider: metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))})
	if err != nil {
		t.Fatal(err)
	}
	o := telemetry.Observer()
	appended := ginsse.Appended{Kind: eventlog.KindUser, Bytes: 100, Took: time.Millisecond}
	written := ginsse.Written{Events: 1, Bytes: 100, Delay: time.Millisecond}
	allocations := testing.AllocsPerRun(1000, func() {
		o.Appended(appended)
		o.Written(nil, written)
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// TestNewFailsWithTheMeterProvider has instruments that cannot be made.
func TestNewFailsWithTheMeterProvider(t *testing.T) {
	t.Parallel()
	broken := errors.New("no more instruments")
	_, err := otelginsse.New(otelginsse.Config{MeterProvider: brokenMeters{err: broken}})
	if !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
	telemetry, err := otelginsse.New(otelginsse.Config{})
	if err != nil || telemetry.Observer() == nil {
		t.Error(fmt.Errorf("without a provider: %w", err))
	}
}

// brokenMeters is a MeterProvider that makes no counters.
type brokenMeters struct {
	noop.MeterProvider

	err error
}

func (b brokenMeters) Meter(string, ...api.MeterOption) api.Meter { return brokenMeter{err: b.err} }

type brokenMeter struct {
	noop.Meter

	err error
}

func (b brokenMeter) Int64Counter(string, ...api.Int64CounterOption) (api.Int64Counter, error) {
	return nil, b.err
}
