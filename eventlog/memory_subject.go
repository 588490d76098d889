package eventlog

import (
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

	mu      sync.RWMutex   // guards the fields below; taken after MemoryLog.mu
	entries []*memoryEntry // in order; the end of array
	array   []*memoryEntry // has the capacity of all slots: those of removed entries come first
	trimmed uint64         // sequence of the newest entry that was removed

	bytes      int64        // cost of the entries held; guarded by MemoryLog.mu, as the fields below
	list       *historyList // the list that the history is in
	prev, next *history
}

// memoryEntry is an entry with what the log keeps about it. It never changes.
type memoryEntry struct {
	Entry

	appended time.Duration // when it was appended, since the log was made
}

// append adds an entry. The caller holds mu, as for the methods below.
func (h *history) append(e *memoryEntry) {
	full := len(h.entries) == cap(h.entries)
	if unused := cap(h.array) - cap(h.entries); full && unused > cap(h.array)/8 { // use these slots again
		n := copy(h.array[:len(h.entries)], h.entries)
		clear(h.entries[max(0, n-unused):])
		h.entries, full = h.array[:n], false
	}
	h.entries = append(h.entries, e)
	if full {
		h.array = h.entries[:0]
	}
	h.newest.Store(e.At.Seq)
}

// remove removes the oldest entry and returns it.
func (h *history) remove() *memoryEntry {
	e := h.entries[0]
	h.entries[0] = nil // the array outlives the entry
	h.entries = h.entries[1:]
	h.trimmed = e.At.Seq
	switch slots := cap(h.array); {
	case len(h.entries) == 0:
		h.entries, h.array = nil, nil
	case slots > 64 && len(h.entries) < slots/4: // a burst has ended
		h.entries = slices.Clone(h.entries)
		h.array = h.entries[:0]
	}
	return e
}

// between returns the entries in (after, end].
func (h *history) between(after, end uint64) []*memoryEntry {
	entries := h.entries
	n := len(entries)
	for n > 0 && entries[n-1].At.Seq > end { // appended since the reader has asked for the end
		n--
	}
	from := max(0, n-1)
	switch {
	case n > 1 && entries[n-2].At.Seq > after:
		from = sort.Search(n, func(i int) bool { return entries[i].At.Seq > after })
	case n > 0 && entries[n-1].At.Seq <= after:
		from = n
	}
	return entries[from:n]
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
