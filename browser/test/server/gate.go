package main

import "sync"

// gate passes writes on. While it is frozen it holds the bytes back, and the writer does not
// notice, as on a network that has stopped.
type gate struct {
	write func(b []byte) (int, error) // called while mu is held

	mu     sync.Mutex // guards the fields below
	frozen bool
	closed bool
	held   []byte
}

func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen {
		g.held = append(g.held, b...)
		return len(b), nil
	}
	return g.write(b)
}

func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = true
}

// thaw writes what was held back.
func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen && !g.closed && len(g.held) > 0 {
		_, _ = g.write(g.held) // its error also meets the next write
	}
	g.frozen, g.held = false, nil
}

// close drops what is held back. Nothing is written afterwards, except by Write.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.held = true, nil
}
