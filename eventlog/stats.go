package eventlog

import "time"

// StatsLog is a [Log] that has figures for metrics. Of another log there are none.
//
// Stats is called at each scrape, on any goroutine. It waits neither for the store nor for readers or
// appenders, beyond the moment in which a few numbers change.
type StatsLog interface {
	Log
	Stats() Stats
}

// Stats are figures of a log on one node. Counts begin when the node opens the log.
type Stats struct {
	// Entries is how many entries are in the memory of this node. Bytes is what they take, counted as
	// for MaxBytes, which is the bound.
	Entries  int   `json:"entries"`
	Bytes    int64 `json:"bytes"`
	MaxBytes int64 `json:"max_bytes"`
	// Since is how far the memory reaches back. No entry from after it has left the memory by age, or
	// to make room for entries of other subjects. It is zero if that is not known.
	Since time.Time `json:"since,omitzero"`
	// Evicted counts the entries that have left the memory.
	Evicted Evicted `json:"evicted"`
	// Store says how the node reaches the store of a shared log. It is nil for a log without one.
	Store *StoreStats `json:"store,omitempty"`
}

// Evicted counts entries that have left the memory of a node, by the reason. Only without a store are
// they gone: [MemoryLog] has none.
type Evicted struct {
	Size     uint64 `json:"size"`     // to keep within [Stats.MaxBytes]
	Subject  uint64 `json:"subject"`  // to keep one subject within its bounds
	Age      uint64 `json:"age"`      // they were too old
	Replaced uint64 `json:"replaced"` // a newer entry has the same subject and key
	Reset    uint64 `json:"reset"`    // the store has another history now, or has lost entries that followed
}

// StoreStats says how a node reads the store of a log.
type StoreStats struct {
	// Connected is whether the store has answered lately. Heard is when it last showed that the node has
	// all that it had; zero for never.
	Connected bool      `json:"connected"`
	Heard     time.Time `json:"heard,omitzero"`
	// Failures counts how often reading the store began to fail.
	Failures uint64 `json:"failures"`
	// Behind is how many entries, at most, this node knows to be in the store and cannot read yet.
	Behind uint64 `json:"behind"`
	// Reads counts pages that were not in memory and were asked of the store, ReadEntries what the store
	// found, and ReadErrors those that failed.
	Reads       uint64 `json:"reads"`
	ReadEntries uint64 `json:"read_entries"`
	ReadErrors  uint64 `json:"read_errors"`
	// Inbox is how many records of committed transactions have no place in the log yet. It is -1 if the
	// store has no such inbox, or that is not known.
	Inbox int `json:"inbox"`
}
