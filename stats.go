package ginsse

// Stats are counts of a registry, on this node where nothing else is said.
type Stats struct {
	Streams int    `json:"streams"` // live now
	Users   int    `json:"users"`   // with a live stream now
	Opened  uint64 `json:"opened"`  // streams opened since the start
	Gaps    uint64 `json:"gaps"`    // sse.gap events sent since the start
	Slow    uint64 `json:"slow"`    // streams cut because their reader had stopped, since the start

	Cluster ClusterStats `json:"cluster"`
}

// ClusterStats are counts of all nodes of a [SharedLog] that this one has heard of, as
// [Registry.Online] does: streams on other nodes may be those of 5 s ago. Without a
// SharedLog they are those of this node.
type ClusterStats struct {
	Nodes   int `json:"nodes"`   // this one too
	Streams int `json:"streams"` // live now
	Users   int `json:"users"`   // with a live stream now, each counted once
}

// Streams returns the live streams of a user on this node, in no order. Sending
// to one of them alone is [Stream.Send].
func (r *Registry) Streams(userID string) []*Stream {
	return r.audience(subjectUser + userID)
}

// Online reports whether a user has a live stream, on this node or, with a [SharedLog],
// on another that this one has heard of: who comes or goes there is known here in about
// 0.1 s, the users of a node that crashed or is out of touch count for 15 to 20 s, and a node
// that has just started, or is out of touch itself, knows its own. A client that vanished
// without closing its connection counts until a write to it fails. It asks nobody and
// returns at once.
func (r *Registry) Online(userID string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.audiences[subjectUser+userID] != nil || r.presence.elsewhere[subjectUser+userID] > 0
}

// Stats returns counts of the registry.
func (r *Registry) Stats() Stats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p := &r.presence
	return Stats{
		Streams: r.streams,
		Users:   r.users,
		Opened:  r.opened.Load(),
		Gaps:    r.gaps.Load(),
		Slow:    r.slow.Load(),
		Cluster: ClusterStats{
			Nodes:   1 + p.nodes,
			Streams: r.streams + p.streams,
			Users:   r.users + len(p.elsewhere) - p.both,
		},
	}
}
