package eventlog

import (
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// history holds the entries of one subject in a MemoryLog.
type history struct {
	subject string
	newest  atomic.Uint64 // sequence of the subject's newest entry, whether held or not

	mu      sync.RWMutex // guards the fields below; taken after MemoryLog.mu
	slots   []slot       // in order; the end of array. The first and the last one have an entry
	array   []slot       // has the capacity of all slots: those of removed entries come first
	keyed   *keyed       // nil if no entry has a key
	trimmed uint64       // sequence of the newest entry that was removed, other than replaced ones

	bytes      int64        // cost of the entries held; guarded by MemoryLog.mu, as the fields below
	list       *historyList // the list that the history is in
	prev, next *history
}

// slot is the place of an entry in a history.
type slot struct {
	seq      uint64
	appended time.Duration // when the entry was appended, since the log was made
	entry    *Entry        // nil if the entry was replaced
}

// keyed is what a history knows about its keys.
type keyed struct {
	newest   map[string]uint64 // sequences of the entries held, by key
	empty    int               // slots without an entry
	replaced uint64            // sequence of the newest entry that has replaced another one
}

// size returns the number of entries held. The caller holds mu, as for the methods below.
func (h *history) size() int {
	if h.keyed == nil {
		return len(h.slots)
	}
	return len(h.slots) - h.keyed.empty
}

// append adds an entry, which no entry has the key of.
func (h *history) append(e *Entry, appended time.Duration) {
	full := len(h.slots) == cap(h.slots)
	if unused := cap(h.array) - cap(h.slots); full && unused > cap(h.array)/8 { // use these slots again
		n := copy(h.array[:len(h.slots)], h.slots)
		clear(h.slots[max(0, n-unused):])
		h.slots, full = h.array[:n], false
	}
	h.slots = append(h.slots, slot{seq: e.At.Seq, appended: appended, entry: e})
	if full {
		h.array = h.slots[:0]
	}
	if e.Key != "" {
		h.keyed.newest[e.Key] = e.At.Seq
	}
	h.newest.Store(e.At.Seq)
}

// replace removes the entry with a key, for one that is appended next, at a sequence. It returns nil
// if there is no such entry.
func (h *history) replace(key string, by uint64) (removed *Entry) {
	if h.keyed == nil {
		h.keyed = &keyed{newest: make(map[string]uint64)}
	}
	seq, ok := h.keyed.newest[key]
	if !ok {
		return nil
	}
	delete(h.keyed.newest, key)
	h.keyed.replaced = by
	i := sort.Search(len(h.slots), func(i int) bool { return h.slots[i].seq >= seq })
	removed, h.slots[i].entry = h.slots[i].entry, nil
	if i == len(h.slots)-1 {
		h.slots = h.slots[:i]
	} else {
		h.keyed.empty++
	}
	h.dropEmpty()
	if h.keyed.empty > len(h.slots)/2 {
		h.compact()
	}
	return removed
}

// remove removes the oldest entry and returns it.
func (h *history) remove() *Entry {
	e := h.slots[0].entry
	h.slots[0].entry = nil // the array outlives the entry
	h.slots = h.slots[1:]
	h.trimmed = e.At.Seq
	if h.keyed != nil {
		if e.Key != "" {
			delete(h.keyed.newest, e.Key)
		}
		h.dropEmpty()
	}
	h.shrink()
	return e
}

// dropEmpty drops the oldest slots while they have no entry.
func (h *history) dropEmpty() {
	for len(h.slots) > 0 && h.slots[0].entry == nil {
		h.slots = h.slots[1:]
		h.keyed.empty--
	}
}

// compact drops all slots without an entry.
func (h *history) compact() {
	used := h.array[:0:cap(h.array)]
	for _, s := range h.slots {
		if s.entry != nil {
			used = append(used, s)
		}
	}
	clear(h.array[len(used):cap(h.array)])
	h.slots, h.keyed.empty = used, 0
	h.shrink()
}

// shrink frees the memory of a burst that has ended.
func (h *history) shrink() {
	switch slots := cap(h.array); {
	case len(h.slots) == 0:
		h.slots, h.array, h.keyed = nil, nil, nil
	case slots > 64 && len(h.slots) < slots/4:
		h.slots = slices.Clone(h.slots)
		h.array = h.slots[:0]
		if h.keyed != nil { // a map does not shrink
			newest := make(map[string]uint64, len(h.keyed.newest))
			maps.Copy(newest, h.keyed.newest)
			h.keyed.newest = newest
		}
	}
}

// between returns the slots of the entries in (after, end], among those of replaced ones.
func (h *history) between(after, end uint64) []slot {
	slots := h.slots
	n := len(slots)
	for n > 0 && slots[n-1].seq > end { // appended since the reader has asked for the end
		n--
	}
	from := max(0, n-1)
	switch {
	case n > 1 && slots[n-2].seq > after:
		from = sort.Search(n, func(i int) bool { return slots[i].seq > after })
	case n > 0 && slots[n-1].seq <= after:
		from = n
	}
	return slots[from:n]
}

// historyList is a doubly linked list. A history is in at most one list.
type historyList struct {
	first, last *history
	size        int
}

// moveTo takes h out of its list and appends it to another one; nil is none.
func (h *history) moveTo(to *historyList) {
	if from := h.list; from != nil {
		if h.prev != nil {
			h.prev.next = h.next
		} else {
			from.first = h.next
		}
		if h.next != nil {
			h.next.prev = h.prev
		} else {
			from.last = h.prev
		}
		from.size--
	}
	h.list, h.prev, h.next = to, nil, nil
	if to == nil {
		return
	}
	h.prev = to.last
	if to.last != nil {
		to.last.next = h
	} else {
		to.first = h
	}
	to.last = h
	to.size++
}
