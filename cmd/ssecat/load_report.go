package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ginsse/ginsse/internal/loadtest"
)

// loadReport is the report in JSON.
type loadReport struct {
	loadtest.Result

	OK       bool     `json:"ok"`
	Findings []string `json:"findings"`
	Warnings []string `json:"warnings"`
}

func newLoadReport(r loadtest.Result) loadReport {
	return loadReport{r, !r.Failed(), append([]string{}, loadFindings(r)...), append([]string{}, loadWarnings(r)...)}
}

// loadText is the report for people.
func loadText(r loadtest.Result) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s%s\n", name, visible(fmt.Sprintf(format, args...)))
	}
	line("streams", "%d asked, %d opened in %.1f s, %d open at the end, %d over for good",
		r.Streams.Asked, r.Streams.Opened, r.OpeningSeconds, r.Streams.Open, r.Streams.Closed)
	line("  opening", "%s", timesText(r.Opening))
	line("connections", "%d reconnects%s", r.Reconnects, kindsText("; ended: ", r.Ends)+kindsText("; failed: ", r.Errors))
	line("events", "%d in %.1f s, %.0f/s with all streams open, %s of data; %d of the kit's own", r.Events, r.OpeningSeconds+r.Seconds, r.EventsPerSecond, sizeText(r.Bytes), r.Own)
	line("  IDs", "%d repeated, %d behind an earlier one%s", r.IDs.Repeated, r.IDs.Behind, unknownText(r.IDs.Unknown))
	line("  gaps", "%d%s", sumOf(r.Gaps), kindsText(": ", r.Gaps))
	if s := r.Sent; s != nil {
		line("sent", "%d, %.1f/s%s", s.Events, float64(s.Events)/max(r.Seconds, 0.001), kindsText("; failed: ", s.Failed))
		line("  answers", "%s", timesText(s.Answers))
		line("arrived", "%d at %d streams; %d missing at %d of them, %d twice, %d out of order, %d at another user's", s.Arrived, s.Expecting, s.Missing, s.Incomplete, s.Twice, s.OutOfOrder, s.Foreign)
		line("  latency", "%s", timesText(s.Latency))
		b.WriteString(plotText(&s.Histogram))
	}
	line("this tool", "%.1f s of CPU, %.0f%% of %d CPUs in the busiest second; waited %.2f ms for a CPU (p99)", r.Tool.CPUSeconds, 100*r.Tool.Busiest, r.Tool.CPUs, r.Tool.WaitMillis)
	for _, text := range loadWarnings(r) {
		line("warning", "%s", text)
	}
	for _, text := range loadFindings(r) {
		line("FOUND", "%s", text)
	}
	if !r.Failed() {
		line("OK", "no loss, no repeat, no disorder")
	}
	return b.String()
}

// loadFindings says what is wrong with the events.
func loadFindings(r loadtest.Result) (texts []string) {
	add := func(n int, format string) {
		if n > 0 {
			texts = append(texts, fmt.Sprintf(format, n))
		}
	}
	if s := r.Sent; s != nil {
		if s.NoneSent() {
			text := "no event could be sent: " + s.FirstFailure
			if strings.HasPrefix(s.FirstFailure, "status 401") || strings.HasPrefix(s.FirstFailure, "status 403") {
				text += "; check the credential of these requests ($SSECAT_SEND_TOKEN, -send-H)"
			}
			texts = append(texts, text)
		}
		add(s.Missing, "loss: %d events have not arrived at streams that should have received them")
		add(s.Twice, "repeats: %d events have arrived twice at a stream")
		add(s.OutOfOrder, "disorder: %d events have arrived after one that was sent later")
		add(s.Foreign, "misdelivery: %d events have arrived at a stream of another user")
	}
	add(r.IDs.Repeated, "repeats: %d events have the ID of an earlier event")
	add(r.IDs.Behind, "disorder: %d blocks have an ID that is lower than an earlier one")
	add(sumOf(r.Gaps), "gaps: the server has announced %d times that events may be missing")
	return texts
}

// loadWarnings says what the figures must not be taken for.
func loadWarnings(r loadtest.Result) (texts []string) {
	if r.IsToolBusy() {
		texts = append(texts, "this tool was short of CPU, so the latencies contain delays of its own: use fewer streams or events, or several machines")
	}
	if missing := r.Streams.Asked - r.Streams.Opened; missing > 0 {
		texts = append(texts, fmt.Sprintf("%d streams were never open, and expected nothing", missing))
	}
	if ended := r.Streams.Closed; ended > 0 {
		text := fmt.Sprintf("%d streams were over for good before the end, and expected nothing from then on", ended)
		if r.Ends["sse.close: replaced"] > 0 {
			text += "; replaced: a user had more streams than RegistryConfig.MaxStreamsPerUser, so use more users (-token-file)"
		}
		texts = append(texts, text)
	}
	if s := r.Sent; s != nil && s.Expecting < r.Streams.Opened {
		texts = append(texts, fmt.Sprintf("%d streams were opened only after sending began, and expected what followed their first event", r.Streams.Opened-s.Expecting))
	}
	if s := r.Sent; s != nil && len(s.Failed) > 0 && !s.NoneSent() {
		texts = append(texts, fmt.Sprintf("%d requests to send have failed, and their events are not missed; the first: %s", sumOf(s.Failed), s.FirstFailure))
	}
	if s := r.Sent; s != nil && s.BehindSeconds > 1 {
		texts = append(texts, fmt.Sprintf("events were sent up to %.1f s late, because requests took too long, and the latencies contain that: raise -send-parallel, or lower -send-rate", s.BehindSeconds))
	}
	if s := r.Sent; s != nil && s.Events > sumOf(s.Failed) && s.Arrived == 0 {
		texts = append(texts, "no event was found in the streams: does the server put {{.Mark}} into the data of its events, and do the streams get them?")
	}
	return texts
}

func timesText(t loadtest.Times) string {
	if t.Count == 0 {
		return "-"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s", millisText(t.P50), millisText(t.P90), millisText(t.P99), millisText(t.P999), millisText(t.Max))
}

// millisText returns a duration with three digits.
func millisText(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.2f ms", ms)
	}
}

func sizeText(n int) string {
	if n < 10<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func unknownText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d are no positions of the kit, whose order is unknown", n)
}

// kindsText returns counts by kind, the largest first; "" without any.
func kindsText(prefix string, kinds map[string]int) string {
	if len(kinds) == 0 {
		return ""
	}
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[b], kinds[a]), strings.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d × %s", kinds[name], name)
	}
	return prefix + strings.Join(names, ", ")
}

func sumOf(kinds map[string]int) (n int) {
	for _, count := range kinds {
		n += count
	}
	return n
}

// plotText draws a histogram, a line for each power of two of microseconds.
func plotText(h *loadtest.Histogram) string {
	var counts [40]uint64
	first, last := len(counts), -1
	for i := range counts {
		low, high := time.Duration(0), time.Microsecond<<i
		if i > 0 {
			low = high / 2
		}
		if counts[i] = h.Between(low, high); counts[i] > 0 {
			first, last = min(first, i), i
		}
	}
	var b strings.Builder
	most := slices.Max(counts[:])
	for i := first; i <= last; i++ {
		high := time.Microsecond << i
		bar := int((counts[i]*50 + most - 1) / most)
		fmt.Fprintf(&b, "  up to %9s  %-50s %d\n", millisText(float64(high)/float64(time.Millisecond)), strings.Repeat("#", bar), counts[i])
	}
	return b.String()
}
