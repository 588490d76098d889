package otelginsse

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.39.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

type kind = eventlog.Kind

// lateAfter is the longest time that a delivery takes in a trace.
const lateAfter = time.Minute

// spanNames are the names and options of spans for one kind of destination.
type spanNames struct {
	send, deliver               string
	sendOptions, deliverOptions []trace.SpanStartOption
}

func newSpanNames() map[kind]spanNames {
	names := make(map[kind]spanNames)
	for _, k := range []kind{eventlog.KindUser, eventlog.KindTopic, eventlog.KindAll} {
		// In one option, and so copied once for each span. A sampler may look at them.
		attributes := func(operation string, kind attribute.KeyValue) trace.SpanStartEventOption {
			return trace.WithAttributes(
				semconv.MessagingSystemKey.String("ginsse"),
				semconv.MessagingDestinationTemplate(string(k)),
				semconv.MessagingOperationName(operation),
				kind,
			)
		}
		names[k] = spanNames{
			send:    "send " + string(k),
			deliver: "deliver " + string(k),
			sendOptions: []trace.SpanStartOption{
				trace.WithSpanKind(trace.SpanKindProducer),
				attributes("send", semconv.MessagingOperationTypeSend),
			},
			deliverOptions: []trace.SpanStartOption{
				trace.WithSpanKind(trace.SpanKindConsumer),
				attributes("deliver", semconv.MessagingOperationTypeProcess),
			},
		}
	}
	return names
}

// send is a span of a send, in the context that Sent gets.
type send struct {
	span  trace.Span
	users int
}

// sendKey is the key of a send in a context. Each Telemetry finds its own.
type sendKey struct{ t *Telemetry }

// sending starts the span of a send.
func (t *Telemetry) sending(ctx context.Context, s ginsse.Sending) (context.Context, string) {
	names := t.spans[s.Kind]
	ctx, span := t.tracer.Start(ctx, names.send, names.sendOptions...)
	if !span.IsRecording() {
		return ctx, ""
	}
	span.SetAttributes(attribute.String("ginsse.event.type", typeText(s.Event.Type)))
	if s.Users > 1 {
		span.SetAttributes(semconv.MessagingBatchMessageCount(s.Users))
	}
	return context.WithValue(ctx, sendKey{t}, send{span, s.Users}), traceText(ctx)
}

// typeText returns the type of an event as an attribute. The event is not checked yet: its type may be of
// any length, and it may be no UTF-8, with which an exporter would lose all spans that it sends together.
func typeText(eventType string) string {
	const most = 128
	return strings.ToValidUTF8(eventType[:min(len(eventType), most)], "\uFFFD")
}

// sent ends the span of a send.
func (t *Telemetry) sent(ctx context.Context, s ginsse.Sent) {
	send, ok := ctx.Value(sendKey{t}).(send)
	if !ok {
		return
	}
	if s.Receipt.ID != "" && send.users == 1 {
		send.span.SetAttributes(semconv.MessagingMessageID(s.Receipt.ID))
	}
	if s.Err != nil {
		class := errorType(s.Err)
		send.span.SetAttributes(semconv.ErrorTypeKey.String(class))
		send.span.SetStatus(codes.Error, class)
	} else {
		send.span.SetAttributes(attribute.Int("ginsse.streams", s.Receipt.Streams))
	}
	send.span.End()
}

// errorType returns what is recorded of an error: never its text, which may have user IDs.
func errorType(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, ginsse.ErrInvalidEvent):
		return "invalid_event"
	case errors.Is(err, ginsse.ErrEventTooLarge):
		return "event_too_large"
	case errors.Is(err, ginsse.ErrClosed):
		return "closed"
	default:
		return semconv.ErrorTypeOther.Value.AsString()
	}
}

// delivered makes the span of a delivery.
func (t *Telemetry) delivered(s *ginsse.Stream, d ginsse.Delivered) {
	if t.deliveries != nil && !t.deliveries.take(d.Trace) {
		return
	}
	parent := parseTrace(d.Trace)
	if !parent.IsSampled() {
		return
	}
	end := time.Now()
	begin := end.Add(-d.Delay)
	var attributes []attribute.KeyValue
	if d.Delay > lateAfter {
		begin = end
		attributes = append(attributes, attribute.Float64("ginsse.delay", d.Delay.Seconds()))
	}
	if d.ID != "" {
		attributes = append(attributes, semconv.MessagingMessageID(d.ID))
	}
	if t.userIDs {
		attributes = append(attributes, semconv.UserID(s.UserID()))
	}
	names := t.spans[d.Kind]
	options := append(make([]trace.SpanStartOption, 0, len(names.deliverOptions)+3), names.deliverOptions...)
	options = append(options,
		trace.WithTimestamp(begin),
		trace.WithLinks(trace.Link{SpanContext: parent}),
		trace.WithAttributes(attributes...),
	)
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), parent)
	_, span := t.tracer.Start(ctx, names.deliver, options...)
	span.End(trace.WithTimestamp(end))
}

// maxTraceText is the most bytes of ginsse.Observer's trace.
const maxTraceText = 128

const traceparent, tracestate = "traceparent", "tracestate"

// traceText returns what goes through the log: the traceparent of W3C Trace Context and, after a space,
// the tracestate if there is room for it. It is "" for a span that is not sampled.
func traceText(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	fields := make(propagation.MapCarrier, 2)
	propagation.TraceContext{}.Inject(ctx, fields)
	text := fields[traceparent]
	if state := fields[tracestate]; state != "" && len(text)+len(" ")+len(state) <= maxTraceText {
		text += " " + state
	}
	return text
}

// parseTrace is the reverse of traceText. What is no trace gives an invalid span context.
func parseTrace(text string) trace.SpanContext {
	parent, state, _ := strings.Cut(text, " ")
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceparent: parent, tracestate: state})
	return trace.SpanContextFromContext(ctx)
}
