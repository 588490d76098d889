package ginsse

import (
	"sort"
	"sync"
	"sync/atomic"
)

// history is what the log holds of one subject.
type history struct {
	subject string
	newest  atomic.Uint64 // sequence of the newest entry there ever was

	mu      sync.RWMutex // guards the fields below; taken after MemoryLog.mu
	entries []*Entry     // in order
	trimmed uint64       // sequence of the newest entry that was removed

	bytes      int64        // counted for its entries; MemoryLog's, like the rest
	list       *historyList // the one it is in
	prev, next *history
}

// between returns the entries in (after, end].
func between(entries []*Entry, after, end uint64) []*Entry {
	n := len(entries)
	if n == 0 || entries[n-1].Cursor.Seq <= after {
		return nil
	}
	// Streams that keep up want the last entry only.
	from := n - 1
	if n > 1 && entries[n-2].Cursor.Seq > after {
		from = sort.Search(n, func(i int) bool { return entries[i].Cursor.Seq > after })
	}
	to := n
	if entries[n-1].Cursor.Seq > end {
		to = sort.Search(n, func(i int) bool { return entries[i].Cursor.Seq > end })
	}
	return entries[min(from, to):to]
}

// fit returns how many of the entries, none beyond end, make a page: at least
// one, if there is one.
func fit(entries []*Entry, q Query, end uint64) int {
	bytes := 0
	for n, e := range entries {
		bytes += len(e.Frame)
		if e.Cursor.Seq > end || n > 0 && (n >= q.MaxEvents || bytes > q.MaxBytes) {
			return n
		}
	}
	return len(entries)
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
