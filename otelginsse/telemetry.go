package otelginsse

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/ginsse/ginsse"
)

// Config holds the settings of a [Telemetry]. Zero means default.
type Config struct {
	// TracerProvider makes the spans. Its span processors must not block, so use a batch processor:
	// the goroutines that write streams end spans. Default: otel.GetTracerProvider().
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. Default: otel.GetMeterProvider().
	MeterProvider metric.MeterProvider

	// MaxDeliveries is the most deliveries of one event that have a span on this node: the first
	// ones. So an event to 10,000 streams does not make 10,000 spans. One send to several users is one
	// event. Negative: no bound. Default 10.
	MaxDeliveries int

	// UserIDs adds the attribute user.id to the spans of deliveries.
	UserIDs bool
}

const defaultMaxDeliveries = 10

const scope = "github.com/ginsse/ginsse/otelginsse"

// Telemetry makes spans and metrics of one registry.
//
// Concurrency: all methods may be called from several goroutines.
type Telemetry struct {
	tracer     trace.Tracer
	spans      map[kind]spanNames
	deliveries *deliveries // nil for no bound
	userIDs    bool

	meter   metric.Meter
	metrics *metrics
}

// New returns a Telemetry for cfg. It fails if the MeterProvider does not make an instrument.
func New(cfg Config) (*Telemetry, error) {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.MaxDeliveries == 0 {
		cfg.MaxDeliveries = defaultMaxDeliveries
	}
	t := &Telemetry{
		tracer:  cfg.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		meter:   cfg.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)),
		spans:   newSpanNames(),
		userIDs: cfg.UserIDs,
	}
	if cfg.MaxDeliveries > 0 {
		t.deliveries = newDeliveries(cfg.MaxDeliveries)
	}
	var err error
	t.metrics, err = newMetrics(t.meter)
	return t, err
}

// Observer returns the observer for [ginsse.RegistryConfig.Observers]. A caller that does not want a
// part of it sets fields to nil: Sending, Sent and Delivered make the spans, and the others the metrics.
func (t *Telemetry) Observer() *ginsse.Observer {
	m := t.metrics
	return &ginsse.Observer{
		Opened:    m.opened,
		Refused:   m.refused,
		Ended:     m.ended,
		Gap:       m.gap,
		Sending:   t.sending,
		Sent:      t.sent,
		Appended:  m.appended,
		Written:   m.written,
		Delivered: t.delivered,
		LogReady:  m.logReady,
	}
}
