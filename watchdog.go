package ginsse

import (
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// watchdog ends a write when the client has taken nothing for the timeout. It checks several times
// within the timeout, and only while a write is in progress. So a busy stream pays little for it,
// an idle one nothing.
//
// A deadline on the connection is not enough. It limits the time of one piece, and the kernel
// accepts no more of that piece until a slow client has taken a good part of the megabytes before
// it.
type watchdog struct {
	timeout   time.Duration // 0 or less: a stalled write ends only with its stream
	s         *Stream
	conn      connection
	shared    bool   // other streams use the connection too: HTTP/2 and later
	abort     func() // makes the write in progress fail; nil if that is impossible
	closeConn func() // closes a shared connection

	write atomic.Uint64 // number of the write in progress; 0 if there is none
	size  atomic.Uint64 // its largest size on the wire, with framing
	last  uint64        // number of the newest write; used only by the writer
	awake atomic.Bool   // the timer is running
	fired atomic.Bool   // a write was made to fail

	mu       sync.Mutex // held while a write is made to fail
	released bool       // the response was given back
	timer    *time.Timer

	// Used only by the timer's goroutine, of which there is one at a time.
	seen     uint64    // the write that was checked last
	taken    uint64    // bytes that the client had taken at its last progress
	limit    uint64    // bytes that the connection may carry before the write must progress
	progress time.Time // when the client last made progress with the write
	moved    time.Time // when the connection last made progress, or would take more
	movedTo  uint64    // bytes that the client had taken by then
}

const (
	// checks is how many times the watchdog checks a write within the timeout.
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

// begin starts to watch a write of n bytes.
func (d *watchdog) begin(n int) {
	if d.abort == nil {
		return
	}
	if d.shared {
		d.size.Store(uint64(n + n/8 + frameBytes))
	}
	d.last++
	d.write.Store(d.last)
	if !d.awake.Load() && d.awake.CompareAndSwap(false, true) {
		d.set()
	}
}

// end stops watching, after the write has returned.
func (d *watchdog) end() { d.write.Store(0) }

// release ends the watchdog's use of the response. It reports whether a write was made to fail.
func (d *watchdog) release() (fired bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.abort, d.closeConn = nil, nil
	return d.fired.Load()
}

func (d *watchdog) set() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLocked()
}

func (d *watchdog) setLocked() {
	interval := drainTime / 2
	if d.timeout > 0 {
		interval = min(interval, d.timeout/checks)
	}
	switch {
	case d.released:
	case d.timer == nil:
		d.timer = time.AfterFunc(interval, d.check)
	default:
		d.timer.Reset(interval)
	}
}

// check is the timer's function.
func (d *watchdog) check() {
	write := d.write.Load()
	if write == 0 {
		d.awake.Store(false)
		if d.write.Load() == 0 || !d.awake.CompareAndSwap(false, true) {
			return // another write has begun and set the timer
		}
		d.set()
		return
	}
	now := time.Now()
	there, _ := d.conn.delivery()
	d.observe(write, there, now)
	if reason := d.s.overdue(now); reason != "" {
		d.s.end(reason) // no timer of the stream runs until the first block is written
	}
	d.s.readOverdueCommands()
	late := d.s.ended.Load() && !d.s.mayWrite(now)
	if late || d.timeout > 0 && now.Sub(d.progress) >= d.timeout {
		d.stop(write, now.Sub(d.moved) >= d.timeout)
		return
	}
	d.set()
}

// observe records the delivery of the connection during a write. Counting starts at the first check
// of each write.
func (d *watchdog) observe(write uint64, there delivery, now time.Time) {
	first := write != d.seen
	if first {
		d.seen, d.taken, d.limit = write, there.taken, math.MaxUint64
	}
	takesMore := there.taken > 0 && there.waiting < queueBytes
	if first || there.taken > d.movedTo || takesMore {
		d.moved, d.movedTo = now, there.taken
	}
	least := uint64(1)
	if d.shared {
		// Before the write makes progress, the connection may carry what waits and a share of each
		// other stream. If the connection would take more, the client stalls this stream, or takes
		// it slowly through its window; then only small writes of other streams may pass.
		share := uint64(shareBytes)
		if takesMore {
			share, least = d.size.Load(), windowBytes
		}
		d.limit = min(d.limit, there.taken+there.waiting+share)
	}
	if first || there.taken >= d.taken+least && there.taken <= d.limit {
		d.progress, d.taken = now, there.taken
	}
	if there.onTheWay {
		// The kernel sends lost bytes again, and perhaps late ones. Until then the client may take
		// nothing new, but it does not stall.
		heard := now.Add(-there.heard)
		d.moved = later(d.moved, heard)
		if !d.shared || !takesMore && there.taken <= d.limit {
			d.progress = later(d.progress, heard)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stop makes the write fail, unless it has returned. stuck means that the connection made no
// progress for the timeout.
func (d *watchdog) stop(write uint64, stuck bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.released:
		return
	case d.write.Load() != write:
		d.setLocked() // the next write relies on the running timer
		return
	case !d.fired.Swap(true):
		d.abort()
	case stuck:
		// The end of one stream waits behind bytes that the connection does not take.
		d.closeConn()
		return
	}
	if d.shared {
		d.setLocked()
	}
}

// floodFrames is one more than the number of control frames that may wait on an HTTP/2 connection
// of net/http.
const floodFrames = 10_001

// closeHTTP2 returns a function that closes the HTTP/2 connection of r. Without ConnContext only
// net/http can close it. net/http does so when too many of its control frames wait, and each
// deadline in the past adds one.
func closeHTTP2(r *http.Request, abort func()) func() {
	conn, ok := r.Context().Value(connKey{}).(net.Conn)
	return func() {
		if ok {
			_ = conn.Close()
			return
		}
		for range floodFrames {
			abort()
		}
	}
}
