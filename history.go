package ginsse

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// history is what the log holds of one subject.
type history struct {
	subject string
	newest  atomic.Uint64 // sequence of the newest event there ever was
	// last is the newest event, while it is held: what most readers want, for
	// which they need no lock.
	last atomic.Pointer[entry]

	mu      sync.RWMutex  // guards the fields below; taken after MemoryLog.mu
	space   []*entry      // in order, behind those that were removed
	removed int           // how many of space
	trimmed uint64        // sequence of the newest event that was removed
	oldest  time.Duration // when the oldest event held was appended

	bytes      int64        // counted for its events; MemoryLog's, like the rest
	list       *historyList // the one it is in
	prev, next *history
}

// entry is an event in a history. It is never changed.
type entry struct {
	seq      uint64
	previous uint64        // sequence of the one before of the same subject
	at       time.Duration // when it was appended, since the log was made
	block    []byte        // as a stream sends it
}

// entries are those held, in order. Called with one of the locks held.
func (h *history) entries() []*entry { return h.space[h.removed:] }

// appendLocked adds an entry. The room of those that were removed is used again
// before more is taken.
func (h *history) appendLocked(e *entry) {
	if held := len(h.entries()); len(h.space) == cap(h.space) && h.removed > len(h.space)/8 {
		copy(h.space, h.entries())
		clear(h.space[held:])
		h.space, h.removed = h.space[:held], 0
	}
	e.previous = h.newest.Load()
	if h.space = append(h.space, e); len(h.entries()) == 1 {
		h.oldest = e.at
	}
	h.newest.Store(e.seq)
	h.last.Store(e)
}

// removeLocked removes the oldest entry and returns it.
func (h *history) removeLocked() *entry {
	e := h.space[h.removed]
	h.space[h.removed] = nil // the array lives on
	h.removed++
	h.trimmed = e.seq
	switch rest := h.entries(); {
	case len(rest) == 0:
		h.space, h.removed = nil, 0
		h.last.Store(nil)
	case cap(h.space) > 64 && len(rest) < cap(h.space)/4:
		h.space, h.removed = slices.Clone(rest), 0 // a burst is over
		fallthrough
	default:
		h.oldest = rest[0].at
	}
	return e
}

// only returns the entry that is the only one in (after, end]; nil if there are
// others or this cannot be told without the lock.
func (h *history) only(after, end uint64) *entry {
	e := h.last.Load()
	if e == nil || e.previous > after || e.seq <= after || e.seq > end {
		return nil
	}
	return e
}

// between returns the entries in (after, end].
func between(entries []*entry, after, end uint64) []*entry {
	n := len(entries)
	if n == 0 || entries[n-1].seq <= after {
		return nil
	}
	from := sort.Search(n, func(i int) bool { return entries[i].seq > after })
	to := n
	if entries[n-1].seq > end {
		to = sort.Search(n, func(i int) bool { return entries[i].seq > end })
	}
	return entries[min(from, to):to]
}

// fit returns how many of the entries make a page, at least one if there is one, and
// up to where no other is missing: end, if all of them fit.
func fit(entries []*entry, q *Query, end uint64) (n int, reach uint64) {
	bytes := 0
	for n, e := range entries {
		bytes += len(e.block)
		if n > 0 && (n >= q.MaxEvents || bytes > q.MaxBytes) {
			return n, e.seq - 1
		}
	}
	return len(entries), end
}

// historyList is a doubly linked list; a history is in one list at most.
type historyList struct {
	first, last *history
	size        int
}

// moveTo takes h out of its list and puts it at the end of another; nil is none.
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
