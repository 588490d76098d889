package otelginsse_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/otelginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// Trace contexts of a client.
const (
	sampled   = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	unsampled = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00"
	traceID   = "0123456789abcdef0123456789abcdef"
)

var hello = ginsse.Event{Type: "hello", Data: "private text"}

// TestOneTraceLeadsFromTheRequestToTheStreamOfAnotherNode sends in each way on node 1, to a stream on
// node 2.
func TestOneTraceLeadsFromTheRequestToTheStreamOfAnotherNode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, destination string
		hasID             bool
		send              func(ctx context.Context, registry *ginsse.Registry) error
	}{
		{"user", "user", true, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.SendTo(ctx, "alice", hello)
			return err
		}},
		{"users", "user", false, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.SendToUsers(ctx, []string{"alice", "bob"}, hello)
			return err
		}},
		{"topic", "topic", true, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.Publish(ctx, "secret-topic", hello)
			return err
		}},
		{"all", "all", true, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.Broadcast(ctx, hello)
			return err
		}},
		{"transient", "topic", false, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.Publish(ctx, "secret-topic", ginsse.Event{Type: "hello", Transient: true})
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
			exporter := tracetest.NewInMemoryExporter()
			node1 := newNode(t, "node 1", logs[0], exporter, otelginsse.Config{}, test.send)
			node2 := newNode(t, "node 2", logs[1], exporter, otelginsse.Config{}, test.send)
			alice := node2.open(t, "alice", "?topic=secret-topic")
			node1.post(t, sampled)
			event := alice.NextOf("hello")

			delivery := await(t, exporter, 1, "deliver "+test.destination)[0]
			send := await(t, exporter, 1, "send "+test.destination)[0]
			request := await(t, exporter, 1, "POST /send")[0]
			t.Logf("\n%s", picture(exporter.GetSpans()))
			if n := len(exporter.GetSpans()); n != 3 {
				t.Errorf("there are %d spans, want 3", n)
			}
			for _, s := range exporter.GetSpans() {
				if s.SpanContext.TraceID().String() != traceID {
					t.Errorf("%s is in another trace", s.Name)
				}
				if text := fmt.Sprint(s.Attributes, s.Events, s.Status); strings.Contains(text, "alice") ||
					strings.Contains(text, "secret-topic") || strings.Contains(text, "private") {
					t.Errorf("%s says too much: %s", s.Name, text)
				}
			}
			if send.Parent.SpanID() != request.SpanContext.SpanID() || send.SpanKind != trace.SpanKindProducer {
				t.Errorf("the send is %s, child of %s", send.SpanKind, send.Parent.SpanID())
			}
			if delivery.Parent.SpanID() != send.SpanContext.SpanID() || delivery.SpanKind != trace.SpanKindConsumer {
				t.Errorf("the delivery is %s, child of %s", delivery.SpanKind, delivery.Parent.SpanID())
			}
			if len(delivery.Links) != 1 || delivery.Links[0].SpanContext.SpanID() != send.SpanContext.SpanID() {
				t.Errorf("the delivery is linked to %v", delivery.Links)
			}
			if took := delivery.EndTime.Sub(delivery.StartTime); took <= 0 || took > time.Minute {
				t.Errorf("the delivery took %v", took)
			}
			if n1, n2 := send.Resource.String(), delivery.Resource.String(); n1 != "service.instance.id=node 1" || n2 != "service.instance.id=node 2" {
				t.Errorf("sent by %s, delivered by %s", n1, n2)
			}
			for _, want := range []struct {
				span       tracetest.SpanStub
				key, value string
			}{
				{send, "messaging.system", "ginsse"},
				{send, "messaging.operation.name", "send"},
				{send, "messaging.operation.type", "send"},
				{send, "messaging.destination.template", test.destination},
				{send, "ginsse.event.type", "hello"},
				{send, "messaging.message.id", valueIf(test.hasID, event.LastEventID)},
				{send, "messaging.batch.message_count", valueIf(test.name == "users", "2")},
				{send, "ginsse.streams", "0"},
				{delivery, "messaging.system", "ginsse"},
				{delivery, "messaging.operation.name", "deliver"},
				{delivery, "messaging.operation.type", "process"},
				{delivery, "messaging.destination.template", test.destination},
				{delivery, "messaging.message.id", valueIf(test.name != "transient", event.LastEventID)},
				{delivery, "user.id", ""},
				{delivery, "ginsse.delay", ""},
			} {
				if got := valueOf(want.span, want.key); got != want.value {
					t.Errorf("%s: %s is %q, want %q", want.span.Name, want.key, got, want.value)
				}
			}
		})
	}
}

func valueIf(ok bool, value string) string {
	if ok {
		return value
	}
	return ""
}

// TestUnsampledSendHasNoTrace sends in a trace that is not sampled. Its event has no trace in the log,
// and there is no span, before a send that is sampled.
func TestUnsampledSendHasNoTrace(t *testing.T) {
	t.Parallel()
	log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	exporter := tracetest.NewInMemoryExporter()
	n := newNode(t, "node", log, exporter, otelginsse.Config{}, func(ctx context.Context, r *ginsse.Registry) error {
		_, err := r.SendTo(ctx, "alice", hello)
		return err
	})
	start, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alice := n.open(t, "alice", "")
	n.post(t, unsampled)
	alice.NextOf("hello")
	n.post(t, sampled)
	alice.NextOf("hello")
	await(t, exporter, 1, "deliver user")
	if spans := exporter.GetSpans(); len(spans) != 3 {
		t.Errorf("want the spans of one send:\n%s", picture(spans))
	}
	page, err := log.Read(t.Context(), eventlog.Query{Subjects: []string{"user:alice"}, After: start, MaxEntries: 10, MaxBytes: 1 << 20}, nil)
	if err != nil || len(page.Entries) != 2 {
		t.Fatalf("read %d entries, %v", len(page.Entries), err)
	}
	if a := page.Entries[0].Attributes; a != nil {
		t.Errorf("the first event has attributes: %+v", a)
	}
	if a := page.Entries[1].Attributes; a == nil || !strings.Contains(a.Trace, traceID) {
		t.Errorf("the second event has attributes %+v", a)
	}
}

// TestBroadcastHasFewDeliveries sends to more streams than may have a span.
func TestBroadcastHasFewDeliveries(t *testing.T) {
	t.Parallel()
	const streams = 30
	for _, test := range []struct{ most, want int }{{0, 10}, {3, 3}, {-1, streams}} {
		t.Run(fmt.Sprint(test.most), func(t *testing.T) {
			t.Parallel()
			exporter := tracetest.NewInMemoryExporter()
			n := newNode(t, "node", nil, exporter, otelginsse.Config{MaxDeliveries: test.most}, nil)
			var open []*ssetest.Stream
			for i := range streams {
				open = append(open, n.open(t, fmt.Sprint("user", i), ""))
			}
			for range 2 {
				if _, err := n.registry.Broadcast(t.Context(), hello); err != nil {
					t.Fatal(err)
				}
				for _, s := range open {
					s.NextOf("hello")
				}
			}
			n.registry.Close() // ends what the writers still do
			for _, s := range open {
				if _, err := s.WaitEnd(); err != nil {
					t.Fatal(err)
				}
			}
			if got := len(await(t, exporter, 2*test.want, "deliver all")); got != 2*test.want {
				t.Errorf("two broadcasts had %d deliveries, want %d", got, 2*test.want)
			}
		})
	}
}

// TestFailedSendSaysWhatKind has sends fail.
func TestFailedSendSaysWhatKind(t *testing.T) {
	t.Parallel()
	log := &failingLog{}
	var err error
	if log.MemoryLog, err = eventlog.NewMemoryLog(eventlog.MemoryLogConfig{}); err != nil {
		t.Fatal(err)
	}
	exporter := tracetest.NewInMemoryExporter()
	n := newNode(t, "node", log, exporter, otelginsse.Config{}, nil)
	send := func(e ginsse.Event) error {
		_, err := n.registry.SendToUsers(t.Context(), []string{"alice", "bob"}, e)
		return err
	}
	for _, test := range []struct {
		want string
		err  error // of the log
		e    ginsse.Event
	}{
		{"invalid_event", nil, ginsse.Event{Type: "a\nb"}},
		{"event_too_large", nil, ginsse.Event{Data: strings.Repeat("x", 2<<20)}},
		{"timeout", context.DeadlineExceeded, hello},
		{"canceled", context.Canceled, hello},
		{"_OTHER", errors.New("no place for alice"), hello},
	} {
		exporter.Reset()
		log.err = test.err
		if err := send(test.e); err == nil {
			t.Fatalf("%s: no error", test.want)
		}
		checkFailed(t, exporter, test.want)
	}
	n.registry.Close()
	exporter.Reset()
	if err := send(hello); !errors.Is(err, ginsse.ErrClosed) {
		t.Fatal(err)
	}
	checkFailed(t, exporter, "closed")
}

func checkFailed(t *testing.T, exporter *tracetest.InMemoryExporter, want string) {
	t.Helper()
	s := await(t, exporter, 1, "send user")[0]
	if got := valueOf(s, "error.type"); got != want || s.Status.Code != codes.Error {
		t.Errorf("the type is %q, want %q; the status %v", got, want, s.Status)
	}
	if text := fmt.Sprint(s.Attributes, s.Events, s.Status); strings.Contains(text, "alice") {
		t.Errorf("the span names the user: %s", text)
	}
}

// failingLog is a log that takes nothing while err is not nil.
type failingLog struct {
	*eventlog.MemoryLog

	err error
}

func (l *failingLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if l.err != nil {
		return eventlog.Cursor{}, l.err
	}
	return l.MemoryLog.Append(ctx, r)
}

// TestLateDeliveryTakesNoTimeInTheTrace has a client come back after two minutes.
func TestLateDeliveryTakesNoTimeInTheTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		n := newNode(t, "node", nil, exporter, otelginsse.Config{}, nil)
		alice := n.open(t, "alice", "")
		id := alice.LastEventID()
		alice.Close()
		synctest.Wait() // until the node has noticed: the event is for the next stream
		if _, err := n.registry.SendTo(t.Context(), "alice", hello); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		alice = n.open(t, "alice", "", ssetest.LastEventID(id))
		alice.NextOf("hello")
		synctest.Wait()
		delivery := await(t, exporter, 1, "deliver user")[0]
		send := await(t, exporter, 1, "send user")[0]
		if took := delivery.EndTime.Sub(delivery.StartTime); took != 0 {
			t.Errorf("the delivery took %v", took)
		}
		if later := delivery.StartTime.Sub(send.EndTime); later < 2*time.Minute {
			t.Errorf("the delivery was %v after the send", later)
		}
		if delay := valueOf(delivery, "ginsse.delay"); !strings.HasPrefix(delay, "120") {
			t.Errorf("the delay is %q", delay)
		}
		alice.Close()
	})
}

// TestUserIDIsAnAttributeIfAskedFor sets UserIDs.
func TestUserIDIsAnAttributeIfAskedFor(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	n := newNode(t, "node", nil, exporter, otelginsse.Config{UserIDs: true}, nil)
	alice := n.open(t, "alice", "")
	if _, err := n.registry.SendTo(t.Context(), "alice", hello); err != nil {
		t.Fatal(err)
	}
	alice.NextOf("hello")
	if id := valueOf(await(t, exporter, 1, "deliver user")[0], "user.id"); id != "alice" {
		t.Errorf("user.id is %q", id)
	}
}

// TestTracestateGoesWithTheTrace sends with a tracestate that has room, and with one that has none.
func TestTracestateGoesWithTheTrace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		state string
		want  string
	}{
		{"ot=th:8,vendor=x", "ot=th:8,vendor=x"},
		{"vendor=" + strings.Repeat("x", 72-len("vendor=")), "vendor=" + strings.Repeat("x", 72-len("vendor="))},
		{"vendor=" + strings.Repeat("x", 73-len("vendor=")), ""},
	} {
		exporter := tracetest.NewInMemoryExporter()
		n := newNode(t, "node", nil, exporter, otelginsse.Config{}, nil)
		state, err := trace.ParseTraceState(test.state)
		if err != nil {
			t.Fatal(err)
		}
		parent := trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, TraceState: state,
		})
		alice := n.open(t, "alice", "")
		if _, err := n.registry.SendTo(trace.ContextWithRemoteSpanContext(t.Context(), parent), "alice", hello); err != nil {
			t.Fatal(err)
		}
		alice.NextOf("hello")
		delivery := await(t, exporter, 1, "deliver user")[0]
		if got := delivery.SpanContext.TraceState().String(); got != test.want {
			t.Errorf("with the tracestate %q, the delivery has %q", test.state, got)
		}
	}
}

// TestLogGetsTheContextOfTheSend has a log make a span, as an instrumented database does.
func TestLogGetsTheContextOfTheSend(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	log := &tracedLog{}
	var err error
	if log.MemoryLog, err = eventlog.NewMemoryLog(eventlog.MemoryLogConfig{}); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, "node", log, exporter, otelginsse.Config{}, nil)
	log.tracer = n.tracers.Tracer("log")
	if _, err := n.registry.SendTo(t.Context(), "alice", hello); err != nil {
		t.Fatal(err)
	}
	send, insert := await(t, exporter, 1, "send user")[0], await(t, exporter, 1, "insert")[0]
	if insert.Parent.SpanID() != send.SpanContext.SpanID() {
		t.Errorf("the span of the log is no child of the send:\n%s", picture(exporter.GetSpans()))
	}
}

type tracedLog struct {
	*eventlog.MemoryLog

	tracer trace.Tracer
}

func (l *tracedLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	ctx, span := l.tracer.Start(ctx, "insert")
	defer span.End()
	return l.MemoryLog.Append(ctx, r)
}

// TestTracesOfOthersMakeNoSpan delivers events with a trace of an application's observer, and one that is
// not sampled.
func TestTracesOfOthersMakeNoSpan(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	telemetry, err := otelginsse.New(otelginsse.Config{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))})
	if err != nil {
		t.Fatal(err)
	}
	observer := telemetry.Observer()
	observer.Delivered(nil, ginsse.Delivered{Kind: eventlog.KindUser, Trace: "request 7"})
	observer.Delivered(nil, ginsse.Delivered{Kind: eventlog.KindUser, Trace: unsampled})
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("there are spans:\n%s", picture(spans))
	}
}

// TestTwoTelemetriesEndTheirOwnSpans has two of them observe one registry.
func TestTwoTelemetriesEndTheirOwnSpans(t *testing.T) {
	t.Parallel()
	exporters := []*tracetest.InMemoryExporter{tracetest.NewInMemoryExporter(), tracetest.NewInMemoryExporter()}
	cfg := ginsse.RegistryConfig{}
	for _, exporter := range exporters {
		telemetry, err := otelginsse.New(otelginsse.Config{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))})
		if err != nil {
			t.Fatal(err)
		}
		cfg.Observers = append(cfg.Observers, telemetry.Observer())
	}
	registry, err := ginsse.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	if _, err := registry.Broadcast(t.Context(), hello); err != nil {
		t.Fatal(err)
	}
	for i, exporter := range exporters {
		if spans := exporter.GetSpans(); len(spans) != 1 || spans[0].Name != "send all" ||
			!spans[0].EndTime.After(spans[0].StartTime) || valueOf(spans[0], "messaging.message.id") == "" {
			t.Errorf("telemetry %d has:\n%s%v", i, picture(spans), attribute.NewSet(spans[0].Attributes...))
		}
	}
}

// A type is an attribute before the event is checked. An exporter loses all its spans for one text that is
// not UTF-8.
func TestSpansHaveShortTypesOfValidText(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	n := newNode(t, "", nil, exporter, otelginsse.Config{}, nil)
	for _, eventType := range []string{"bad\xff", strings.Repeat("ö", 1<<20), "x" + strings.Repeat("ö", 200)} {
		exporter.Reset()
		_, _ = n.registry.SendTo(t.Context(), "alice", ginsse.Event{Type: eventType})
		text := valueOf(await(t, exporter, 1, "send user")[0], "ginsse.event.type")
		if !utf8.ValidString(text) || len(text) > 130 || text[:2] != eventType[:2] {
			t.Errorf("the attribute has %d bytes, of %.20q: %.20q", len(text), eventType, text)
		}
	}
}
