package promginsse

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginsse/ginsse"
)

// lagBounds are the numbers of events for the label of ginsse_lagging_streams.
var lagBounds = [...]int64{1, 100, 1000}

// What a collector sums up or asks the registry for, at each scrape.
var (
	sendsDesc          = newDesc("sends_total", "Calls that sent an event, also in a transaction, by whom it is for.", "kind")
	appendedEventsDesc = newDesc("appended_events_total", "Entries that this node has appended to the log, by kind of subject. "+
		"Transient ones went to the nodes, and the log did not keep them. What a transaction appends is not counted.", "kind", "transient")
	appendedBytesDesc = newDesc("appended_bytes_total", "Bytes of the entries that this node has appended, in wire form without IDs.", "kind", "transient")
	appendLatencyDesc = newDesc("append_latency_seconds", "Time until the log had an entry; for a shared log, until this node could read it. "+
		"Transient entries and errors are not observed.")
	writtenEventsDesc = newDesc("written_events_total", "Events that streams have written to their connections. "+
		"Heartbeats and the kit's own events do not count.")
	writtenBytesDesc    = newDesc("written_bytes_total", "Bytes that streams have written to their connections, in wire form, without what HTTP adds.")
	deliveryLatencyDesc = newDesc("delivery_latency_seconds", "Time from the append of an event until a stream has written it, by the clocks of the log "+
		"and of this node. The oldest event of each write is observed. What was sent before the stream opened is not.")

	streamsDesc = newDesc("streams", "Live streams of this node, by what writes them: handler, or compact (the registry's writers).", "mode")
	usersDesc   = newDesc("users", "Users with a live stream on this node.")
	runsDesc    = newDesc("runs", "Runs of this node that have not ended.")
	placesDesc  = newDesc("stream_places_used", "Places of RegistryConfig.MaxStreams that are taken: by live streams, by clients that follow runs, "+
		"and by hooks of streams that have ended.")
	limitDesc   = newDesc("stream_places_limit", "RegistryConfig.MaxStreams. The metric is missing if that is off.")
	lagDesc     = newDesc("slowest_stream_lag_events", "Events that wait to be written to the slowest client of this node.")
	laggingDesc = newDesc("lagging_streams", "Streams of this node for which more than so many events wait to be written.", "more_than")
	ageDesc     = newDesc("stream_age_seconds", "Ages of the live streams of this node. It is a state and has no rate.")
	writingDesc = newDesc("writing_streams", "Streams of this node whose write waits for the client, or is in progress at the moment.")
	headDesc    = newDesc("log_head", "Number of the newest entry of the log that this node knows. A node whose number stays smaller than that of others is behind.")
	nodesDesc   = newDesc("cluster_nodes", "Nodes that share the log, as this node knows them, with itself.")
	onlineDesc  = newDesc("cluster_users", "Users who are online at any node, as this node knows them. Take the maximum over nodes, not the sum.")
)

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// Collector returns all metrics: those of m, and those of the registry's state. Register it with a
// [prometheus.Registerer]. The registry is the one with the observer of m: without it, the counts stay 0.
//
// A process with several registries has a Metrics for each, and tells them apart with
// [prometheus.WrapRegistererWith].
func (m *Metrics) Collector(registry *ginsse.Registry) prometheus.Collector {
	return &collector{m, registry}
}

type collector struct {
	*Metrics

	registry *ginsse.Registry
}

// collectors returns those of client_golang.
func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.opened, m.ended, m.streamDuration, m.refused, m.gaps, m.commands, m.sendErrors, m.appendErrors,
		m.logReady, m.logInterruptions,
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, each := range c.collectors() {
		each.Describe(ch)
	}
	for _, desc := range []*prometheus.Desc{
		sendsDesc, appendedEventsDesc, appendedBytesDesc, appendLatencyDesc, writtenEventsDesc, writtenBytesDesc, deliveryLatencyDesc,
		streamsDesc, usersDesc, runsDesc, placesDesc, limitDesc, lagDesc, laggingDesc, ageDesc, writingDesc, headDesc, nodesDesc, onlineDesc,
	} {
		ch <- desc
	}
	for _, desc := range stateDescs {
		ch <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, each := range c.collectors() {
		each.Collect(ch)
	}
	c.tally.collect(ch)
	collectState(ch, c.registry)
}

func (t *tally) collect(ch chan<- prometheus.Metric) {
	counter := func(desc *prometheus.Desc, count func(p *part) *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(t.sum(count)), labels...)
	}
	for i, kind := range kinds {
		if kind.HasEvents() || kind == other {
			counter(sendsDesc, func(p *part) *atomic.Uint64 { return &p.sends[i] }, string(kind))
		}
		counter(appendedEventsDesc, func(p *part) *atomic.Uint64 { return &p.appended[i].events }, string(kind), "false")
		counter(appendedEventsDesc, func(p *part) *atomic.Uint64 { return &p.transient[i].events }, string(kind), "true")
		counter(appendedBytesDesc, func(p *part) *atomic.Uint64 { return &p.appended[i].bytes }, string(kind), "false")
		counter(appendedBytesDesc, func(p *part) *atomic.Uint64 { return &p.transient[i].bytes }, string(kind), "true")
	}
	counter(writtenEventsDesc, func(p *part) *atomic.Uint64 { return &p.writtenEvents })
	counter(writtenBytesDesc, func(p *part) *atomic.Uint64 { return &p.writtenBytes })
	appends, deliveries := &histogram{desc: appendLatencyDesc}, &histogram{desc: deliveryLatencyDesc}
	for i := range t.parts {
		appends.add(&t.parts[i].appendLatency)
		deliveries.add(&t.parts[i].deliveryLatency)
	}
	ch <- appends
	ch <- deliveries
}

func collectState(ch chan<- prometheus.Metric, registry *ginsse.Registry) {
	v := values(ch)
	gauge := func(desc *prometheus.Desc, value int, labels ...string) { v.gauge(desc, float64(value), labels...) }
	stats, now := registry.Stats(), time.Now()
	gauge(usersDesc, stats.Users)
	gauge(runsDesc, stats.Runs)
	gauge(placesDesc, stats.Places)
	if stats.MaxStreams > 0 {
		gauge(limitDesc, stats.MaxStreams)
	}
	gauge(headDesc, int(stats.Head))
	gauge(nodesDesc, stats.Cluster.Nodes)
	gauge(onlineDesc, stats.Cluster.Users)
	gauge(queuedDesc, stats.Queued)
	v.presence(stats.Presence)
	v.log(stats.Log, now)

	s := surveyOf(registry.AllStreams(), now)
	gauge(streamsDesc, s.streams-s.compact, "handler")
	gauge(streamsDesc, s.compact, "compact")
	gauge(lagDesc, int(s.lag))
	for i, bound := range lagBounds {
		gauge(laggingDesc, s.lagging[i], strconv.FormatInt(bound, 10))
	}
	gauge(writingDesc, s.writing)
	gauge(unsentDesc, int(s.unsent))
	ch <- prometheus.MustNewConstHistogram(ageDesc, uint64(s.streams), s.ages, s.younger)
}

// survey is what a scrape finds out about many streams.
type survey struct {
	streams, compact int
	writing          int                 // whose write waits, or is in progress
	unsent           int64               // bytes
	lag              int64               // of the slowest
	lagging          [len(lagBounds)]int // as lagBounds
	ages             float64             // the sum, in seconds
	younger          map[float64]uint64  // by ageBounds, the streams that are not older
}

func surveyOf(streams []*ginsse.Stream, now time.Time) survey {
	s := survey{streams: len(streams), younger: make(map[float64]uint64, len(ageBounds))}
	buckets := make([]uint64, len(ageBounds)+1)
	for _, stream := range streams {
		if stream.Compact() {
			s.compact++
		}
		stats := stream.Stats()
		if stats.Writing {
			s.writing++
		}
		s.unsent += stats.Unsent
		lag := stats.Lag
		s.lag = max(s.lag, lag)
		for i, bound := range lagBounds {
			if lag > bound {
				s.lagging[i]++
			}
		}
		age := max(0, now.Sub(stream.Opened()).Seconds())
		s.ages += age
		bucket, _ := slices.BinarySearch(ageBounds, age)
		buckets[bucket]++
	}
	var sum uint64
	for i, bound := range ageBounds {
		sum += buckets[i]
		s.younger[bound] = sum
	}
	return s
}
