//go:build !linux

package ginsse

import (
	"net"
	"time"
)

// limitUnacknowledged does nothing. The system's own limit remains.
func limitUnacknowledged(net.Conn, time.Duration) {}

// delivery is not available. The only sign of progress is a write that the kernel has accepted.
func (connection) delivery() (delivery, bool) { return delivery{}, false }
