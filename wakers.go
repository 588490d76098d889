package ginsse

import "sync"

// wakers maps subjects of the log to what waits for their entries: runs, and those that follow them.
// Streams of users have subscribers instead.
//
// Concurrency: all methods may be called from several goroutines.
type wakers struct {
	mu        sync.RWMutex // guards the field below; not held during I/O
	bySubject map[string]map[*waker]struct{}
}

// waker wakes one goroutine.
type waker struct {
	news chan struct{} // holds a token when there may be an entry
	// called, if not nil, is called beside. It does not block.
	called func()
}

func newWaker() *waker { return &waker{news: make(chan struct{}, 1)} }

func (w *waker) wake() {
	select {
	case w.news <- struct{}{}:
	default:
	}
	if w.called != nil {
		w.called()
	}
}

// add has w woken up for entries of a subject, until remove is called.
func (m *wakers) add(subject string, w *waker) (remove func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bySubject == nil {
		m.bySubject = make(map[string]map[*waker]struct{})
	}
	if m.bySubject[subject] == nil {
		m.bySubject[subject] = make(map[*waker]struct{})
	}
	m.bySubject[subject][w] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if delete(m.bySubject[subject], w); len(m.bySubject[subject]) == 0 {
			delete(m.bySubject, subject)
		}
	}
}

// has reports whether anything waits for entries of a subject. Only a run waits for commands to it.
func (m *wakers) has(subject string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.bySubject[subject]) > 0
}

// wake wakes up what waits for entries of a subject, or with "" of any.
func (m *wakers) wake(subject string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if subject != "" {
		for w := range m.bySubject[subject] {
			w.wake()
		}
		return
	}
	for _, list := range m.bySubject {
		for w := range list {
			w.wake()
		}
	}
}
