package sqllog

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// minConnections is the least size of a pool with which the log does not wait for the application's
// transactions: it holds two, and needs others at times.
const minConnections = 4

// checkPool refuses a pool that is too small.
func checkPool(db *sql.DB) error {
	if most := db.Stats().MaxOpenConnections; most > 0 && most < minConnections {
		return fmt.Errorf("the pool has at most %d connections, and the log would wait for transactions of the application: allow %d, or give the log a pool of its own on the same database", most, minConnections)
	}
	return nil
}

const (
	// maxHeld is how long a connection is held if the pool has another one, so that the pool's limits of
	// age have an effect.
	maxHeld = time.Minute
	// maxIdle is how long a connection that was not used counts as good.
	maxIdle = time.Second
	// swapTimeout bounds the wait for that other one.
	swapTimeout = 50 * time.Millisecond
)

// heldConn is a connection that one goroutine holds. It can then go on while the application's
// transactions hold all others, also those that wait for it.
type heldConn struct {
	db         *sql.DB
	conn       *sql.Conn
	from, used time.Time // when it was taken, and last used
}

// get returns the connection. It waits for the pool if there is none.
//
// A connection that was idle is tried out first, as the pool does: it may have been closed meanwhile.
func (h *heldConn) get(ctx context.Context) (*sql.Conn, error) {
	if h.conn != nil && time.Since(h.used) > maxIdle && h.conn.PingContext(ctx) != nil {
		h.release()
	}
	h.used = time.Now()
	if h.conn != nil && time.Since(h.from) <= maxHeld {
		return h.conn, nil
	}
	wait := ctx
	if h.conn != nil {
		short, cancel := context.WithTimeout(ctx, swapTimeout)
		defer cancel()
		wait = short
	}
	conn, err := h.db.Conn(wait)
	switch {
	case err == nil:
		h.release()
		h.conn = conn
	case h.conn == nil:
		return nil, fmt.Errorf("waiting for a connection of the pool: %w", err)
	}
	h.from = time.Now()
	return h.conn, nil
}

// release returns the connection to the pool. The holder does so after an error, and at its end.
func (h *heldConn) release() {
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
}
