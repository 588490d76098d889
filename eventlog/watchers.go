package eventlog

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Watchers holds the functions given to [Log.Watch]. It is for implementers of a Log. The zero
// value has no functions.
//
// Concurrency: all methods may be called from several goroutines.
type Watchers struct {
	mu   sync.Mutex                 // taken to replace list
	list atomic.Pointer[[]*watcher] // never changed; nil for none
}

type watcher struct {
	fn func(subject string, seq uint64)
}

// Watch adds a function until stop is called. stop may be repeated.
func (w *Watchers) Watch(fn func(subject string, seq uint64)) (stop func()) {
	added := &watcher{fn: fn}
	w.change(func(list []*watcher) []*watcher { return append(list, added) })
	return func() {
		w.change(func(list []*watcher) []*watcher {
			return slices.DeleteFunc(list, func(other *watcher) bool { return other == added })
		})
	}
}

func (w *Watchers) change(change func([]*watcher) []*watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*watcher
	if old := w.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = change(list)
	w.list.Store(&list)
}

// Call calls each function, on the calling goroutine.
func (w *Watchers) Call(subject string, seq uint64) {
	if list := w.list.Load(); list != nil {
		for _, watcher := range *list {
			watcher.fn(subject, seq)
		}
	}
}
