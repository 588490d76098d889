package promginsse

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// Metrics counts what happens to the streams and events of one registry.
//
// Concurrency: all methods may be called from several goroutines.
type Metrics struct {
	tally *tally // what happens with each event

	opened         counters[ginsse.Resume]
	ended          counters[ginsse.Reason]
	streamDuration prometheus.Histogram
	refused        counters[ginsse.RefusalCause]
	gaps           counters[eventlog.GapReason]
	commands       counters[string]
	sendErrors     counters[eventlog.Kind]
	appendErrors   counters[eventlog.Kind]

	logReady         prometheus.Gauge
	logInterruptions prometheus.Counter
}

const (
	// other is the label of a value that this package does not know: the root module is newer, or the
	// log is another one.
	other = "other"
	// application is the label of reasons of the application's own.
	application = "application"
)

// The values that labels have beside these two.
var (
	resumes = []ginsse.Resume{ginsse.ResumeNone, ginsse.ResumeMemory, ginsse.ResumeStore, ginsse.ResumeGap}
	reasons = []ginsse.Reason{
		ginsse.ReasonClientGone, ginsse.ReasonSlow, ginsse.ReasonExpired, ginsse.ReasonLifetime,
		ginsse.ReasonShutdown, ginsse.ReasonOverloaded, ginsse.ReasonThrottled, ginsse.ReasonReauthenticate,
		ginsse.ReasonDisconnected, ginsse.ReasonReplaced, ginsse.ReasonDone, ginsse.ReasonFailed,
	}
	causes = append([]ginsse.RefusalCause{
		ginsse.RefusedNoUser, ginsse.RefusedCrossSite, ginsse.RefusedInvalid, ginsse.RefusedTooManyStreams,
		ginsse.RefusedWriter, ginsse.RefusedLog, ginsse.RefusedServer,
	}, causesOf(reasons)...)
	gapReasons   = []eventlog.GapReason{eventlog.GapTrimmed, eventlog.GapEpoch, eventlog.GapUnknown, "topics", "undelivered"}
	commandNames = []string{"grant", "revoke", "control"}
)

func causesOf(reasons []ginsse.Reason) (causes []ginsse.RefusalCause) {
	for _, reason := range reasons {
		causes = append(causes, ginsse.RefusalCause(reason))
	}
	return causes
}

// New returns metrics that have counted nothing yet: see [Metrics.Observer] and [Metrics.Collector].
func New() *Metrics {
	m := &Metrics{
		tally: newTally(),
		opened: newCounters("streams_opened_total", "Streams opened. The resume says whether one continues an earlier one: none (the client "+
			"has no last event ID), memory, store (the log had to ask its store), or gap (events are missing).", "resume", resumes, other),
		ended: newCounters("streams_ended_total", "Streams ended, by reason. The application's own reasons are one: application.",
			"reason", reasons, application),
		streamDuration: newAgeHistogram("stream_duration_seconds", "How long streams had lasted when they ended."),
		refused: newCounters("streams_refused_total", "Requests that got no stream, or whose client was asked to come back later, by cause. "+
			"What Middleware and RequireUser refuse is not counted.", "cause", causes, application),
		gaps: newCounters("gaps_total", "Events sse.gap written: a client was told that it misses events, by reason.",
			"reason", gapReasons, other),
		commands: newCounters("commands_total", "Commands about topics and states that streams have carried out, by command.",
			"command", commandNames, other),
		sendErrors:   newCounters("send_errors_total", "Calls that failed to send an event, by whom it is for.", "kind", kinds[:3], other),
		appendErrors: newCounters("append_errors_total", "Entries that the log, or for transient ones the other nodes, did not take, by kind of subject.", "kind", kinds[:], other),
		logReady: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "log_ready",
			Help: "Whether the log serves this node: 1 or 0, looked at once a second. A log without a method Ready counts as ready."}),
		logInterruptions: prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "log_interruptions_total",
			Help: "Times that the log stopped serving this node."}),
	}
	m.logReady.Set(1)
	return m
}

// Observer returns the observer that counts, for [ginsse.RegistryConfig.Observers] of one registry.
func (m *Metrics) Observer() *ginsse.Observer {
	return &ginsse.Observer{
		Opened:  func(_ *ginsse.Stream, o ginsse.Opening) { m.opened.of(o.Resume).Inc() },
		Refused: func(r ginsse.Refusal) { m.refused.of(r.Cause).Inc() },
		Ended: func(_ *ginsse.Stream, e ginsse.Ending) {
			m.ended.of(e.Reason).Inc()
			m.streamDuration.Observe(e.Lasted.Seconds())
		},
		Gap:       func(_ *ginsse.Stream, reason eventlog.GapReason) { m.gaps.of(reason).Inc() },
		Commanded: func(_ *ginsse.Stream, command string) { m.commands.of(command).Inc() },
		Sent: func(_ context.Context, s ginsse.Sent) {
			if s.Err != nil {
				m.sendErrors.of(s.Kind).Inc()
				return
			}
			m.tally.countSend(s.Kind)
		},
		Appended: func(a ginsse.Appended) {
			if a.Err != nil {
				m.appendErrors.of(a.Kind).Inc()
				return
			}
			m.tally.countAppended(a)
		},
		Written: func(_ *ginsse.Stream, w ginsse.Written) { m.tally.countWritten(w) },
		LogReady: func(err error) {
			if err == nil {
				m.logReady.Set(1)
				return
			}
			m.logReady.Set(0)
			m.logInterruptions.Inc()
		},
	}
}
