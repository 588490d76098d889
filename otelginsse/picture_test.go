package otelginsse_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// picture draws the spans as docs/tracing.md has them: children under their parents, with when they
// began since the first one, and how long they took.
func picture(spans tracetest.SpanStubs) string {
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	known := make(map[trace.SpanID]bool)
	for _, s := range spans {
		known[s.SpanContext.SpanID()] = true
	}
	var text strings.Builder
	var draw func(indent string, of func(tracetest.SpanStub) bool)
	draw = func(indent string, of func(tracetest.SpanStub) bool) {
		for _, s := range spans {
			if !of(s) {
				continue
			}
			node := ""
			if s.Resource != nil && s.Resource.Len() > 0 {
				node = s.Resource.Attributes()[0].Value.Emit()
			}
			fmt.Fprintf(&text, "%-24s %-9s %-7s %9s %9s\n", indent+s.Name, s.SpanKind, node,
				s.StartTime.Sub(spans[0].StartTime).Round(time.Microsecond), s.EndTime.Sub(s.StartTime).Round(time.Microsecond))
			draw(indent+"  ", func(child tracetest.SpanStub) bool { return child.Parent.SpanID() == s.SpanContext.SpanID() })
		}
	}
	draw("", func(s tracetest.SpanStub) bool { return !known[s.Parent.SpanID()] })
	return text.String()
}
