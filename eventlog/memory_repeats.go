package eventlog

import (
	"strings"
	"time"
)

const (
	// repeatsShare is the share of MaxBytes that DedupKeys may use beside it.
	repeatsShare = 8
	// repeatOverhead is the part of a DedupKey's cost that is not text.
	repeatOverhead = 192
)

// repeats holds the DedupKeys of a MemoryLog. The zero value has none.
type repeats struct {
	byKey       map[dedupKey]*dedup
	first, last *dedup // in order of time
	bytes       int64
}

type dedupKey struct{ subject, key string }

// dedup is the record that had a DedupKey.
type dedup struct {
	dedupKey

	seq      uint64
	appended time.Duration // since the log was made
	next     *dedup
}

func (d *dedup) cost() int64 { return int64(len(d.key) + len(d.subject) + repeatOverhead) }

// find returns the sequence of the record with a DedupKey, if that is known and not too old.
func (r *repeats) find(subject, key string, now time.Duration) (seq uint64, ok bool) {
	d := r.byKey[dedupKey{subject, key}]
	if d == nil || now-d.appended >= DedupWindow {
		return 0, false
	}
	return d.seq, true
}

// add adds the DedupKey of a record, which find has not found.
func (r *repeats) add(subject, key string, seq uint64, now time.Duration) {
	d := &dedup{dedupKey: dedupKey{subject, strings.Clone(key)}, seq: seq, appended: now}
	if r.last == nil {
		r.byKey, r.first = make(map[dedupKey]*dedup), d
	} else {
		r.last.next = d
	}
	r.last = d
	delete(r.byKey, d.dedupKey) // the map would keep the old strings
	r.byKey[d.dedupKey] = d
	r.bytes += d.cost()
}

// trim removes old DedupKeys, and the oldest while they use more than a number of bytes. It leaves
// the newest.
func (r *repeats) trim(now time.Duration, most int64) {
	for n := 0; r.first != nil; n++ {
		d := r.first
		isOld := n < sweep && now-d.appended >= DedupWindow
		if !isOld && (r.bytes <= most || d == r.last) {
			return
		}
		if r.first = d.next; r.first == nil {
			*r = repeats{} // a map does not shrink
			return
		}
		if r.byKey[d.dedupKey] == d {
			delete(r.byKey, d.dedupKey)
		}
		r.bytes -= d.cost()
	}
}
