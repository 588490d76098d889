package ginsse

import "github.com/ginsse/ginsse/eventlog"

// Stats are counts of a registry. Those outside of Cluster are of this node.
type Stats struct {
	Streams int    `json:"streams"` // live now
	Compact int    `json:"compact"` // compact streams whose connection is open; see StreamConfig.Compact
	Users   int    `json:"users"`   // with a live stream now
	Runs    int    `json:"runs"`    // that have not ended
	Opened  uint64 `json:"opened"`  // streams opened since the start
	Gaps    uint64 `json:"gaps"`    // sse.gap events sent since the start
	Slow    uint64 `json:"slow"`    // streams ended because their client took nothing, since the start
	// Head is the number of the newest entry of the log that this node knows. Nodes whose number is
	// smaller are behind.
	Head uint64 `json:"head"`

	// Places is how many of MaxStreams are taken: by live streams, by clients that follow runs, and
	// by hooks of streams that have ended.
	Places     int `json:"places"`
	MaxStreams int `json:"max_streams"` // RegistryConfig.MaxStreams; 0 if it is off

	// Queued is how many compact streams have something to write, and wait for one of the goroutines
	// that write them. Streams that wait for their client do not count.
	Queued int `json:"queued"`

	Cluster  ClusterStats  `json:"cluster"`
	Presence PresenceStats `json:"presence"`
	// Log has the figures of the registry's log; nil if the log is no [eventlog.StatsLog].
	Log *eventlog.Stats `json:"log,omitempty"`
}

// ClusterStats are counts of this node and, with a [eventlog.SharedLog], of the other nodes, as
// [Registry.Online] knows them. The streams on other nodes may be those of 5 s ago.
type ClusterStats struct {
	Nodes   int `json:"nodes"`   // including this one
	Streams int `json:"streams"` // live now
	Users   int `json:"users"`   // online, each counted once
}

// PresenceStats is what this node holds to know who is online and who is present at topics.
type PresenceStats struct {
	Topics  int `json:"topics"`  // at which a user is present, on any node, or was until a moment ago
	Members int `json:"members"` // users who are present, each counted once for each topic
	Leaving int `json:"leaving"` // users whose last stream here has ended, and presences at topics, until RegistryConfig.PresenceGrace has passed
	// Bytes estimates the memory for people on other nodes, of which more than 1 GiB are ignored.
	Bytes int64 `json:"bytes"`
	// Dropped counts messages of other nodes that came faster than they could be handled. The
	// nodes ask each other for what was missed.
	Dropped uint64 `json:"dropped"`
}

// Streams returns the live streams of a user on this node, in no order. Sending
// to one of them alone is [Stream.Send].
func (r *Registry) Streams(userID string) []*Stream {
	return r.subscribers.streams(userSubject(userID))
}

// AllStreams returns the live streams on this node, in no order.
func (r *Registry) AllStreams() []*Stream { return r.subscribers.streams(eventlog.SubjectAll) }

// Online reports whether a user has a live stream on this node or, with a [eventlog.SharedLog], on
// another, or had one until a moment ago. It does no I/O.
//
// A user stays online for [RegistryConfig.PresenceGrace] after the last stream, so that a reload is no
// absence. Users of a node that shuts down have that time to come back on another.
//
// A user who comes or goes on another node is known here after about 0.1 s. The users of
// a node that crashed or is partitioned stay online for 15 to 20 s. A node that has just
// started, or is partitioned itself, knows its own users. A client that vanished without
// closing its connection stays online until a write to it fails.
func (r *Registry) Online(userID string) bool {
	return r.presence.Online(userID)
}

// Stats returns counts of the registry. It neither does I/O nor waits for the log's store.
func (r *Registry) Stats() Stats {
	streams, users := r.subscribers.totals()
	r.mu.Lock()
	runs := len(r.runs)
	places := streams + r.followers.total + r.admission.held
	r.mu.Unlock()
	var log *eventlog.Stats
	if with, ok := r.log.(eventlog.StatsLog); ok {
		figures := with.Stats()
		log = &figures
	}
	return Stats{
		Streams: streams,
		Compact: r.writers.count(),
		Users:   users,
		Runs:    runs,
		Opened:  r.opened.Load(),
		Gaps:    r.gaps.Load(),
		Slow:    r.slow.Load(),
		Head:    r.head.Load(),

		Places:     places,
		MaxStreams: max(0, r.cfg.MaxStreams),

		Queued: r.writers.waiting(),

		Cluster:  ClusterStats(r.presence.Stats()),
		Presence: PresenceStats(r.presence.Load()),
		Log:      log,
	}
}
