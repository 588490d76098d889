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

// maxHeld is how long a connection is held, so that the pool's limits of age have an effect.
const maxHeld = time.Minute

// heldConn is a connection that one goroutine holds. It can then go on while the application's
// transactions hold all others, also those that wait for it.
type heldConn struct {
	db   *sql.DB
	conn *sql.Conn
	from time.Time
}

// get returns the connection. It may wait for the pool.
func (h *heldConn) get(ctx context.Context) (*sql.Conn, error) {
	if h.conn != nil && time.Since(h.from) > maxHeld {
		h.release()
	}
	if h.conn == nil {
		conn, err := h.db.Conn(ctx)
		if err != nil {
			return nil, fmt.Errorf("waiting for a connection of the pool: %w", err)
		}
		h.conn, h.from = conn, time.Now()
	}
	return h.conn, nil
}

// release returns the connection to the pool. The holder does so after an error, and at its end.
func (h *heldConn) release() {
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
}
