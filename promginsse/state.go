package promginsse

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// What a scrape asks of queues, presence and the log.
var (
	unsentDesc = newDesc("unsent_bytes", "Bytes that streams hold for their clients: the queues of Stream.Send, and what compact streams have begun to write.")
	queuedDesc = newDesc("writer_queue_streams", "Compact streams that have something to write, and wait for one of the goroutines that write them.")

	topicsDesc  = newDesc("presence_topics", "Topics at which a user is present, on any node, as this node knows them.")
	membersDesc = newDesc("presence_members", "Users who are present at topics, on any node. A user counts once for each topic.")
	leavingDesc = newDesc("presence_leaving", "Users and presences at topics whose last stream on this node has ended less than RegistryConfig.PresenceGrace ago.")
	peopleDesc  = newDesc("presence_remote_bytes", "Estimate of the memory for the people of other nodes. More than 1 GiB are ignored.")
	droppedDesc = newDesc("presence_dropped_messages_total", "Messages about presence that came faster than this node could handle them. It asks for what it has missed.")

	heldDesc      = newDesc("log_memory_events", "Entries of the log in the memory of this node.")
	heldBytesDesc = newDesc("log_memory_bytes", "Bytes of the entries of the log in the memory of this node, counted as their bound is.")
	boundDesc     = newDesc("log_memory_limit_bytes", "The most bytes of the log in the memory of this node: MaxBytes of a MemoryLog, RecentBytes of another log.")
	reachDesc     = newDesc("log_memory_reach_seconds", "How far back the memory reaches. A client that was away for longer has a gap, or with a store, is read from there.")
	evictedDesc   = newDesc("log_evicted_events_total", "Entries that have left the memory of this node, by reason: size (to keep within the bound), subject (the bounds of one subject), "+
		"age, replaced (by an event with the same key), or reset (the store has another history).", "reason")

	// The log has these if it has a store.
	connectedDesc  = newDesc("log_store_connected", "Whether the store of the log has answered lately: 1 or 0.")
	silenceDesc    = newDesc("log_store_silence_seconds", "Time since the store last showed that this node has all events that it had.")
	failuresDesc   = newDesc("log_store_failures_total", "Times that reading new events of the store began to fail, also for a moment.")
	behindDesc     = newDesc("log_behind_events", "Events, at most, that this node knows to be in the store and cannot deliver yet.")
	readsDesc      = newDesc("log_store_reads_total", "Pages of older events that were not in memory and were asked of the store.")
	readEventsDesc = newDesc("log_store_read_events_total", "Events that the store found in pages of older events.")
	readErrorsDesc = newDesc("log_store_read_errors_total", "Pages of older events that the store did not deliver.")
	inboxDesc      = newDesc("log_inbox_events", "Events that transactions have committed and that are not in the log yet. It is counted every 5 s, up to 10,000. Only a sqllog on Postgres has an inbox.")
)

var stateDescs = []*prometheus.Desc{
	unsentDesc, queuedDesc, topicsDesc, membersDesc, leavingDesc, peopleDesc, droppedDesc,
	heldDesc, heldBytesDesc, boundDesc, reachDesc, evictedDesc,
	connectedDesc, silenceDesc, failuresDesc, behindDesc, readsDesc, readEventsDesc, readErrorsDesc, inboxDesc,
}

// values sends metrics of constant values.
type values chan<- prometheus.Metric

func (v values) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	v <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (v values) counter(desc *prometheus.Desc, value uint64, labels ...string) {
	v <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
}

func (v values) presence(p ginsse.PresenceStats) {
	v.gauge(topicsDesc, float64(p.Topics))
	v.gauge(membersDesc, float64(p.Members))
	v.gauge(leavingDesc, float64(p.Leaving))
	v.gauge(peopleDesc, float64(p.Bytes))
	v.counter(droppedDesc, p.Dropped)
}

func (v values) log(s *eventlog.Stats, now time.Time) {
	if s == nil {
		return
	}
	v.gauge(heldDesc, float64(s.Entries))
	v.gauge(heldBytesDesc, float64(s.Bytes))
	v.gauge(boundDesc, float64(s.MaxBytes))
	if !s.Since.IsZero() {
		v.gauge(reachDesc, max(0, now.Sub(s.Since).Seconds())) // by two clocks
	}
	v.counter(evictedDesc, s.Evicted.Size, "size")
	v.counter(evictedDesc, s.Evicted.Subject, "subject")
	v.counter(evictedDesc, s.Evicted.Age, "age")
	v.counter(evictedDesc, s.Evicted.Replaced, "replaced")
	v.counter(evictedDesc, s.Evicted.Reset, "reset")
	if s.Store != nil {
		v.store(s.Store, now)
	}
}

func (v values) store(s *eventlog.StoreStats, now time.Time) {
	connected := 0.0
	if s.Connected {
		connected = 1
	}
	v.gauge(connectedDesc, connected)
	if !s.Heard.IsZero() {
		v.gauge(silenceDesc, max(0, now.Sub(s.Heard).Seconds()))
	}
	v.counter(failuresDesc, s.Failures)
	v.gauge(behindDesc, float64(s.Behind))
	v.counter(readsDesc, s.Reads)
	v.counter(readEventsDesc, s.ReadEntries)
	v.counter(readErrorsDesc, s.ReadErrors)
	if s.Inbox >= 0 {
		v.gauge(inboxDesc, float64(s.Inbox))
	}
}
