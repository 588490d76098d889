package eventlog

import (
	"slices"
	"sort"
)

// windowKeys is what a Window knows about the entries with keys that readers see.
type windowKeys struct {
	newest   map[subjectKey]*WindowEntry
	replaced map[string]int // entries that were replaced in the list of a subject; none is 0
}

type subjectKey struct{ subject, key string }

func newWindowKeys() windowKeys {
	return windowKeys{newest: make(map[subjectKey]*WindowEntry), replaced: make(map[string]int)}
}

// isReplaced reports whether a newer entry of an entry's key is held, up to a sequence.
func (k *windowKeys) isReplaced(e *Entry, end uint64) bool {
	if e.Key == "" {
		return false
	}
	newest := k.newest[subjectKey{e.Subject, e.Key}]
	return newest != nil && newest.At.Seq > e.At.Seq && newest.At.Seq <= end
}

// forget forgets an entry that is removed from the list of its subject.
func (k *windowKeys) forget(e *WindowEntry) {
	key := subjectKey{e.Subject, e.Key}
	switch {
	case e.replaced && k.replaced[e.Subject] == 1:
		delete(k.replaced, e.Subject)
	case e.replaced:
		k.replaced[e.Subject]--
	case e.Key != "" && k.newest[key] == e:
		delete(k.newest, key)
	}
}

// replaceLocked has the entries that readers see since before replace earlier ones of their keys.
func (w *Window) replaceLocked(before uint64) {
	if w.head == before {
		return
	}
	i := len(w.entries)
	for i > 0 && w.entries[i-1].At.Seq > before {
		i--
	}
	for ; i < len(w.entries) && w.entries[i].At.Seq <= w.head; i++ {
		e := w.entries[i]
		if e.Key == "" {
			continue
		}
		key := subjectKey{e.Subject, e.Key}
		if old := w.keys.newest[key]; old != nil {
			w.emptyEntryLocked(old)
		}
		w.keys.newest[key] = e
	}
}

// emptyEntryLocked puts another entry without a block in the place of one. Readers may hold the one.
func (w *Window) emptyEntryLocked(e *WindowEntry) {
	i, ok := w.index(e.At.Seq)
	if !ok {
		return // never: what is in keys is held
	}
	empty := &WindowEntry{Entry: Entry{At: e.At, Subject: e.Subject}, Time: e.Time, Tag: e.Tag, replaced: true}
	w.entries[i] = empty
	w.bytes += empty.cost() - e.cost()
	w.replaced++
	w.evicted.Replaced++
	list := w.subjects[e.Subject]
	list[sort.Search(len(list), func(i int) bool { return list[i].At.Seq >= e.At.Seq })] = empty
	w.keys.replaced[e.Subject]++
	if w.keys.replaced[e.Subject] > len(list)/2 {
		delete(w.keys.replaced, e.Subject)
		list = slices.DeleteFunc(list, func(e *WindowEntry) bool { return e.replaced })
		if cap(list) > 64 && len(list) < cap(list)/4 {
			list = slices.Clone(list)
		}
		w.subjects[e.Subject] = list
	}
}

// leaveOut removes from a page of the store the entries that were replaced, as far as the window
// knows. The first held entries are not the store's. It reports false if the page is full, and
// nothing is left: the caller reads on.
//
// The store was asked up to head. If entries with keys came meanwhile, the store may have removed
// what they replaced. So leaveOut extends the page by what is in memory.
func (w *Window) leaveOut(q *Query, head Cursor, page *Page, held int) (ok bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if head.Epoch != w.epoch {
		return true // the window was reset meanwhile
	}
	end := head.Seq
	extend := !page.More && w.hasKeysAfter(q, end)
	if extend {
		if extend, _ = w.place(page.Through); extend {
			end = w.head
		}
	}
	kept, bytes := page.Entries[:held], 0
	for _, e := range page.Entries[held:] {
		if (!q.Latest || e.Key != "") && !w.keys.isReplaced(e, end) {
			kept = append(kept, e)
			bytes += len(e.Block)
		}
	}
	clear(page.Entries[len(kept):])
	page.Entries = kept
	switch {
	case page.More && len(kept) == held:
		return false
	case page.More:
		page.Through = kept[len(kept)-1].At
	case extend:
		rest, longer := *q, *page
		rest.After = page.Through
		if w.readOn(&rest, w.cursor(w.head), &longer, len(kept)-held, bytes); longer.Gap == "" {
			*page = longer
		}
	}
	return true
}

// hasKeysAfter reports whether readers see an entry with a key after a sequence.
func (w *Window) hasKeysAfter(q *Query, seq uint64) bool {
	for _, subject := range q.Subjects {
		for _, e := range w.after(subject, seq) {
			if e.Key != "" && e.At.Seq <= w.head {
				return true
			}
		}
	}
	return false
}
