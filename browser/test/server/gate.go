package main

import (
	"sync"
	"time"
)

// gate passes writes on. While it is frozen it holds the bytes back, and the writer does not
// notice, as on a network that has stopped. The first write after that time takes them along.
type gate struct {
	write func(b []byte) (int, error)

	mu     sync.Mutex // guards the fields below, and keeps writes in order
	frozen bool
	until  time.Time // zero for good
	held   []byte
}

func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen && !g.until.IsZero() && time.Now().After(g.until) {
		g.frozen = false
		if _, err := g.write(g.held); err != nil {
			return 0, err
		}
		g.held = nil
	}
	if g.frozen {
		g.held = append(g.held, b...)
		return len(b), nil
	}
	return g.write(b)
}

// freeze freezes the gate for a time, or for good if it is 0.
func (g *gate) freeze(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen, g.until = true, time.Time{}
	if d > 0 {
		g.until = time.Now().Add(d)
	}
}
