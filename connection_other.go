//go:build !linux

package ginsse

import "net"

// limitUnacknowledged does nothing: the system's own limit stays.
func limitUnacknowledged(net.Conn) {}

// delivery knows nothing here: a write that the kernel has accepted is the only sign
// of progress.
func (connection) delivery() (delivery, bool) { return delivery{}, false }
