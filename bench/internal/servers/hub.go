package servers

import "sync"

// What is disclosed of both handlers that are written by hand.
const (
	aboutDeadline = "a write deadline of 10 s, set once a second at most."
	aboutHub      = "the sender waits where a channel is full, so a client that has stopped reading stops it until its deadline."
)

// hub is what a careful person writes by hand: a lock, a map, and a channel for
// each client. It loses nothing, so a client that does not read stops it, until its
// write deadline.
type hub[T any] struct {
	mu    sync.RWMutex
	all   map[*client[T]]struct{}
	users map[string]map[*client[T]]struct{}
	// next numbers the events; the sender's.
	next int64
}

type client[T any] struct {
	events chan T
	done   chan struct{} // closed when the client has left
}

// clientBuffer is how many events a client may be behind before the sender waits.
const clientBuffer = 64

func newHub[T any]() *hub[T] {
	return &hub[T]{all: make(map[*client[T]]struct{}), users: make(map[string]map[*client[T]]struct{})}
}

// join adds a client of a user, and returns it with what takes it out again.
func (h *hub[T]) join(user string) (c *client[T], leave func()) {
	c = &client[T]{events: make(chan T, clientBuffer), done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[c] = struct{}{}
	if h.users[user] == nil {
		h.users[user] = make(map[*client[T]]struct{})
	}
	h.users[user][c] = struct{}{}
	return c, func() {
		close(c.done)
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.all, c)
		delete(h.users[user], c)
		if len(h.users[user]) == 0 {
			delete(h.users, user)
		}
	}
}

func (h *hub[T]) broadcast(event T) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.all {
		c.send(event)
	}
}

func (h *hub[T]) sendTo(user string, event T) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.users[user] {
		c.send(event)
	}
}

func (c *client[T]) send(event T) {
	select {
	case c.events <- event:
	case <-c.done:
	}
}
