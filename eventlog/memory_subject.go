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
	// last is the newest entry while it is held. Most readers want this one alone, and take no
	// lock for it.
	last atomic.Pointer[memoryEntry]

	mu      sync.RWMutex   // guards the fields below; taken after MemoryLog.mu
	space   []*memoryEntry // removed entries, which are nil, then those held in order
	removed int            // number of removed entries in space
	trimmed uint64         // sequence of the newest entry that was removed
	oldest  time.Duration  // when the oldest entry held was appended

	bytes      int64        // cost of the entries held; guarded by MemoryLog.mu, as the fields below
	list       *historyList // the list that the history is in
	prev, next *history
}

// memoryEntry is an entry with what the log keeps about it. It never changes.
type memoryEntry struct {
	Entry

	previous uint64        // sequence of the subject's entry before this one
	appended time.Duration // when it was appended, since the log was made
}

// entries returns the entries held, in order. The caller holds one of the locks.
func (h *history) entries() []*memoryEntry { return h.space[h.removed:] }

// appendLocked adds an entry. It uses the space of removed entries before it grows.
func (h *history) appendLocked(e *memoryEntry) {
	if held := len(h.entries()); len(h.space) == cap(h.space) && h.removed > len(h.space)/8 {
		copy(h.space, h.entries())
		clear(h.space[held:])
		h.space, h.removed = h.space[:held], 0
	}
	e.previous = h.newest.Load()
	if h.space = append(h.space, e); len(h.entries()) == 1 {
		h.oldest = e.appended
	}
	h.newest.Store(e.At.Seq)
	h.last.Store(e)
}

// removeLocked removes the oldest entry and returns it.
func (h *history) removeLocked() *memoryEntry {
	e := h.space[h.removed]
	h.space[h.removed] = nil // the array outlives the entry
	h.removed++
	h.trimmed = e.At.Seq
	switch rest := h.entries(); {
	case len(rest) == 0:
		h.space, h.removed = nil, 0
		h.last.Store(nil)
	case cap(h.space) > 64 && len(rest) < cap(h.space)/4:
		h.space, h.removed = slices.Clone(rest), 0 // a burst has ended
		fallthrough
	default:
		h.oldest = rest[0].appended
	}
	return e
}

// only returns the single entry in (after, end]. It returns nil if there is another number of
// entries, or if only the lock can tell.
func (h *history) only(after, end uint64) *memoryEntry {
	e := h.last.Load()
	if e == nil || e.previous > after || e.At.Seq <= after || e.At.Seq > end {
		return nil
	}
	return e
}

// between returns the entries in (after, end].
func between(entries []*memoryEntry, after, end uint64) []*memoryEntry {
	n := len(entries)
	if n == 0 || entries[n-1].At.Seq <= after {
		return nil
	}
	from := sort.Search(n, func(i int) bool { return entries[i].At.Seq > after })
	to := n
	if entries[n-1].At.Seq > end {
		to = sort.Search(n, func(i int) bool { return entries[i].At.Seq > end })
	}
	return entries[min(from, to):to]
}

// fit returns how many of the entries fit the bounds of a query, at least one, and the last
// sequence that a page of them covers: end if all of them fit.
func fit(entries []*memoryEntry, q *Query, end uint64) (n int, reach uint64) {
	bytes := 0
	for n, e := range entries {
		bytes += len(e.Block)
		if n > 0 && (n >= q.MaxEntries || bytes > q.MaxBytes) {
			return n, e.At.Seq - 1
		}
	}
	return len(entries), end
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
