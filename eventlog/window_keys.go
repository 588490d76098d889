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

// newerThan returns the newest entry of an entry's key that readers see, if that is another one
// and held.
func (k *windowKeys) newerThan(e *Entry) *WindowEntry {
	if e.Key == "" {
		return nil
	}
	newest := k.newest[subjectKey{e.Subject, e.Key}]
	if newest == nil || newest.At.Seq <= e.At.Seq {
		return nil
	}
	return newest
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

// leaveOut removes from a page of the store the entries of which readers see a newer one. The first
// held entries are not the store's. It reports false if the page is full, and nothing is left: the
// caller reads on.
func (w *Window) leaveOut(q *Query, page *Page, held int) (ok bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if page.Through.Epoch != w.epoch {
		return true // the window was reset meanwhile
	}
	kept, bytes := page.Entries[:held], 0
	late := false // a newer one is not on this page
	for _, e := range page.Entries[held:] {
		newer := w.keys.newerThan(e)
		late = late || newer != nil && newer.At.Seq > page.Through.Seq
		if newer == nil && (!q.Latest || e.Key != "") {
			kept = append(kept, e)
			bytes += len(e.Block)
		}
	}
	clear(page.Entries[len(kept):])
	page.Entries = kept
	n := len(kept) - held
	switch {
	case page.More && n == 0:
		return false
	case page.More:
		page.Through = kept[len(kept)-1].At
	case late:
		w.readLate(q, page, n, bytes)
	}
	return true
}

// readLate extends a page of the store, which has n entries, to the present head. It leaves the page
// if that is not possible.
func (w *Window) readLate(q *Query, page *Page, n, bytes int) {
	if held, _ := w.place(page.Through); !held {
		return
	}
	rest := *q
	rest.After = page.Through
	longer := *page
	if w.readOn(&rest, w.cursor(w.head), &longer, n, bytes); longer.Gap == "" {
		*page = longer
	}
}
