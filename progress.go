package ginsse

import (
	"math"
	"time"
)

// progress says when a client last took something of a write that waits. It is observed several
// times within the timeout of the write.
type progress struct {
	made    time.Time // when the client last made progress with the write
	taken   uint64    // bytes that the client had taken by then
	moved   time.Time // when the connection last made progress, or would take more
	movedTo uint64    // bytes that the client had taken by then
	write   uint64    // the write that was observed last
	limit   uint64    // bytes that a shared connection may carry before the write must progress
}

const (
	// checks is how many times a write that waits is observed within its timeout.
	checks = 8
	// shareBytes is how many bytes of other streams a connection may carry before a write. It is
	// one frame of 16 KiB for each of 256 streams.
	shareBytes = 4 << 20
	// frameBytes is more than HTTP/2 and TLS add to a small write.
	frameBytes = 256
	// queueBytes is the least that waits on a connection that does not take more at the moment.
	queueBytes = 2 << 10
	// windowBytes is the smallest increase of a stream's window by clients.
	windowBytes = 4 << 10
)

// checkInterval returns how often a write that waits is observed.
func checkInterval(timeout time.Duration) time.Duration {
	if timeout > 0 {
		return min(drainTime/2, timeout/checks)
	}
	return drainTime / 2
}

// observe records the delivery of a connection while a write to it waits. Counting starts at the
// first observation of each write.
func (p *progress) observe(write uint64, there delivery, now time.Time) {
	first, _ := p.begin(write, there, now)
	if first || there.taken > p.taken {
		p.made, p.taken = now, there.taken
	}
	if there.onTheWay {
		// The kernel sends lost bytes again, and perhaps late ones. Until then the client may take
		// nothing new, but it does not stall.
		heard := now.Add(-there.heard)
		p.made, p.moved = later(p.made, heard), later(p.moved, heard)
	}
}

// observeShared is observe for a write of size bytes to one of several streams of a connection.
// Before the write makes progress, the connection may carry what waits and a share of each other
// stream. If the connection would take more, the client stalls this stream, or takes it slowly
// through its window; then only small writes of other streams may pass.
func (p *progress) observeShared(write uint64, there delivery, now time.Time, size uint64) {
	first, takesMore := p.begin(write, there, now)
	share, least := uint64(shareBytes), uint64(1)
	if takesMore {
		share, least = size, windowBytes
	}
	p.limit = min(p.limit, there.taken+there.waiting+share)
	if first || there.taken >= p.taken+least && there.taken <= p.limit {
		p.made, p.taken = now, there.taken
	}
	if there.onTheWay { // as in observe
		heard := now.Add(-there.heard)
		p.moved = later(p.moved, heard)
		if !takesMore && there.taken <= p.limit {
			p.made = later(p.made, heard)
		}
	}
}

// begin reports whether a write is observed for the first time, and whether the connection would
// take more.
func (p *progress) begin(write uint64, there delivery, now time.Time) (first, takesMore bool) {
	first = write != p.write
	if first {
		p.write, p.taken, p.limit = write, there.taken, math.MaxUint64
	}
	takesMore = there.taken > 0 && there.waiting < queueBytes
	if first || there.taken > p.movedTo || takesMore {
		p.moved, p.movedTo = now, there.taken
	}
	return first, takesMore
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
