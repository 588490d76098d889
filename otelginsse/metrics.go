package otelginsse

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// metrics has the instruments, and the attributes of each. Attributes are made once, so that what is
// called for each event allocates nothing.
type metrics struct {
	openedCount, endedCount, refusedCount, gapCount, writtenCount metric.Int64Counter
	appendTime, deliveryTime                                      metric.Float64Histogram

	resumes, reasons, causes, gaps labels[metric.AddOption]
	appendedKinds, failedKinds     labels[metric.RecordOption]

	logIsDown atomic.Bool
}

// seconds are the bounds of the buckets of histograms.
var seconds = metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)

func newMetrics(meter metric.Meter) (*metrics, error) {
	m := &metrics{
		resumes: newLabels("ginsse.resume", "other", addOption,
			ginsse.ResumeNone, ginsse.ResumeMemory, ginsse.ResumeStore, ginsse.ResumeGap),
		reasons: newLabels("ginsse.reason", "application", addOption, reasons...),
		causes:  newLabels("ginsse.cause", "application", addOption, causes()...),
		gaps: newLabels("ginsse.reason", "other", addOption,
			eventlog.GapTrimmed, eventlog.GapEpoch, eventlog.GapUnknown, "undelivered", "topics"),
		appendedKinds: newLabels("ginsse.kind", "other", recordOption, kinds...),
		failedKinds:   newLabels("ginsse.kind", "other", failedOption, kinds...),
	}
	var failed []error
	counter := func(name, unit, help string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(help))
		failed = append(failed, err)
		return c
	}
	histogram := func(name, help string) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(help), seconds)
		failed = append(failed, err)
		return h
	}
	m.openedCount = counter("ginsse.stream.opened", "{stream}", "Streams that have opened.")
	m.endedCount = counter("ginsse.stream.ended", "{stream}", "Streams that have ended.")
	m.refusedCount = counter("ginsse.stream.refused", "{request}", "Requests that were not given a stream.")
	m.gapCount = counter("ginsse.stream.gaps", "{gap}", "Times that a client was told that it misses events.")
	m.writtenCount = counter("ginsse.event.written", "{event}", "Events that streams have written.")
	m.appendTime = histogram("ginsse.event.append.duration", "Time until the log had an event or a command.")
	m.deliveryTime = histogram("ginsse.event.delivery.duration", "Time from the log to the write of the oldest event that a stream has written at one time.")
	if err := errors.Join(failed...); err != nil {
		return nil, fmt.Errorf("otelginsse: making the metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) opened(_ *ginsse.Stream, o ginsse.Opening) {
	m.openedCount.Add(context.Background(), 1, m.resumes.of(string(o.Resume))...)
}

func (m *metrics) refused(r ginsse.Refusal) {
	m.refusedCount.Add(context.Background(), 1, m.causes.of(string(r.Cause))...)
}

func (m *metrics) ended(_ *ginsse.Stream, e ginsse.Ending) {
	m.endedCount.Add(context.Background(), 1, m.reasons.of(string(e.Reason))...)
}

func (m *metrics) gap(_ *ginsse.Stream, reason eventlog.GapReason) {
	m.gapCount.Add(context.Background(), 1, m.gaps.of(string(reason))...)
}

func (m *metrics) appended(a ginsse.Appended) {
	kinds := m.appendedKinds
	if a.Err != nil {
		kinds = m.failedKinds
	}
	m.appendTime.Record(context.Background(), a.Took.Seconds(), kinds.of(string(a.Kind))...)
}

func (m *metrics) written(_ *ginsse.Stream, w ginsse.Written) {
	if w.Events > 0 {
		m.writtenCount.Add(context.Background(), int64(w.Events))
	}
	if w.Delay > 0 {
		m.deliveryTime.Record(context.Background(), w.Delay.Seconds())
	}
}

func (m *metrics) logReady(err error) { m.logIsDown.Store(err != nil) }

// reasons are those of the kit. Others are the application's, of which there may be any number.
var reasons = []ginsse.Reason{
	ginsse.ReasonClientGone, ginsse.ReasonSlow, ginsse.ReasonExpired, ginsse.ReasonLifetime, ginsse.ReasonShutdown,
	ginsse.ReasonOverloaded, ginsse.ReasonThrottled, ginsse.ReasonReauthenticate, ginsse.ReasonDisconnected,
	ginsse.ReasonReplaced, ginsse.ReasonDone, ginsse.ReasonFailed,
}

// causes returns the causes of refusals, which are also reasons.
func causes() []ginsse.RefusalCause {
	all := []ginsse.RefusalCause{
		ginsse.RefusedNoUser, ginsse.RefusedCrossSite, ginsse.RefusedInvalid, ginsse.RefusedTooManyStreams,
		ginsse.RefusedWriter, ginsse.RefusedLog, ginsse.RefusedServer,
	}
	for _, reason := range reasons {
		all = append(all, ginsse.RefusalCause(reason))
	}
	return all
}

var kinds = []kind{
	eventlog.KindUser, eventlog.KindTopic, eventlog.KindAll, eventlog.KindCommand, eventlog.KindRevocation, eventlog.KindRun,
}

// labels are the options of an instrument for each value of an attribute.
type labels[Option any] struct {
	known map[string][]Option
	other []Option // for all other values
}

func newLabels[Value ~string, Option any](name, other string, option func(...attribute.KeyValue) Option, values ...Value) labels[Option] {
	l := labels[Option]{
		known: make(map[string][]Option, len(values)),
		other: []Option{option(attribute.String(name, other))},
	}
	for _, v := range values {
		l.known[string(v)] = []Option{option(attribute.String(name, string(v)))}
	}
	return l
}

func (l labels[Option]) of(value string) []Option {
	if options, ok := l.known[value]; ok {
		return options
	}
	return l.other
}

func addOption(attributes ...attribute.KeyValue) metric.AddOption {
	return metric.WithAttributeSet(attribute.NewSet(attributes...))
}

func recordOption(attributes ...attribute.KeyValue) metric.RecordOption {
	return metric.WithAttributeSet(attribute.NewSet(attributes...))
}

func failedOption(attributes ...attribute.KeyValue) metric.RecordOption {
	return recordOption(append(attributes, semconv.ErrorTypeOther)...)
}
