package servers

import "sync"

// What both handlers written by hand disclose.
const (
	aboutUpkeep = "A heartbeat comes every 15 s, the first after a random part of that. The write deadline of 10 s is set once a second at most."
	aboutHub    = "The sender waits if a channel is full, so a client that stops reading stops the sender until the deadline."
)

// hub connects sender and clients as careful code written by hand would: with a lock, a
// map, and a channel for each client. It loses no event, so a client that does not read
// stops the sender, until the client's write deadline.
type hub[T any] struct {
	mu    sync.RWMutex
	all   map[*client[T]]struct{}
	users map[string]map[*client[T]]struct{}
	// next is the number of the last event. Only the sender uses it.
	next int64
}

type client[T any] struct {
	events chan T
	done   chan struct{} // closed by leave
}

// clientBuffer is how many events a client may lag behind before the sender waits.
const clientBuffer = 64

func newHub[T any]() *hub[T] {
	return &hub[T]{all: make(map[*client[T]]struct{}), users: make(map[string]map[*client[T]]struct{})}
}

// join adds a client of a user, and returns it with a function that removes it.
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
