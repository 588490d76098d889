package ginsse

import (
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// watchdog ends a write when the client has taken nothing for the timeout. It looks
// several times within the timeout, and only while a write is in progress: a busy
// stream pays for it once in a while, an idle one nothing.
//
// A deadline on the connection would not do. It bounds how long a piece may take,
// and the kernel takes no more of it until a slow client has taken a good part of
// the megabytes before.
type watchdog struct {
	timeout time.Duration // above 0, or it is never started
	s       *Stream
	conn    connection
	shared  bool   // other streams use the connection too: HTTP/2 and later
	cut     func() // has the write in progress fail; nil if that is impossible
	hangUp  func() // closes a shared connection

	write atomic.Uint64 // number of the write in progress; 0 if there is none
	size  atomic.Uint64 // how much it is at most, with what frames it
	last  uint64        // number of the newest write; the writer's
	awake atomic.Bool   // the timer is set
	fired atomic.Bool   // a write was ended

	mu       sync.Mutex // held while a write is ended
	released bool       // the response is not the stream's any more
	timer    *time.Timer

	// Of the timer's goroutine; there is one at a time.
	seen     uint64    // the write looked at last
	taken    uint64    // what the client had taken when it last made progress
	limit    uint64    // what it may take before it is the turn of the write
	progress time.Time // when it was last seen to make progress
	moved    time.Time // when the connection was last seen to go on, or to take more
	movedTo  uint64    // what the client had taken by then
	endSeen  time.Time // when the stream was seen to have ended; zero before
}

const (
	// looks is how often the watchdog looks within the timeout.
	looks = 8
	// shareBytes is how much of other streams a connection may carry before it is
	// the turn of a write: one frame of 16 KiB for each of 256 streams.
	shareBytes = 4 << 20
	// frameBytes is more than what HTTP/2 and TLS add to a small write.
	frameBytes = 256
	// queueBytes is how much waits at least on a connection that takes no more for now.
	queueBytes = 2 << 10
	// windowBytes is the least by which clients widen the window of a stream.
	windowBytes = 4 << 10
)

// begin notes that a write of n bytes begins.
func (d *watchdog) begin(n int) {
	if d.timeout <= 0 || d.cut == nil {
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

// end notes that the write has returned.
func (d *watchdog) end() { d.write.Store(0) }

// release ends the watchdog's use of the response, and reports whether it has ended
// a write.
func (d *watchdog) release() (fired bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.released = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.cut, d.hangUp = nil, nil
	return d.fired.Load()
}

func (d *watchdog) set() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLocked()
}

func (d *watchdog) setLocked() {
	interval := min(d.timeout/looks, drainTime/2)
	switch {
	case d.released:
	case d.timer == nil:
		d.timer = time.AfterFunc(interval, d.look)
	default:
		d.timer.Reset(interval)
	}
}

// look is the timer's function.
func (d *watchdog) look() {
	write := d.write.Load()
	if write == 0 {
		d.awake.Store(false)
		if d.write.Load() == 0 || !d.awake.CompareAndSwap(false, true) {
			return // a write that began meanwhile has set the timer
		}
		d.set()
		return
	}
	now := time.Now()
	there, _ := d.conn.delivery()
	d.see(write, there, now)
	if reason := d.s.over(now); reason != "" {
		d.s.end(reason) // before the first block is written, no timer of the stream runs
	}
	late := false
	if d.s.ended.Load() {
		if d.endSeen.IsZero() {
			d.endSeen = now
		}
		past := now.Sub(d.endSeen)
		late = past >= d.s.graceOf(reasonOf(d.s.Err())) || past >= drainTime && d.s.over(now) != ""
	}
	if late || now.Sub(d.progress) >= d.timeout {
		d.bite(write, now.Sub(d.moved) >= d.timeout)
		return
	}
	d.set()
}

// see takes in how far the bytes of the connection have come while a write was in
// progress. The first look at a write is where counting begins.
func (d *watchdog) see(write uint64, there delivery, now time.Time) {
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
		// How much may pass until the write has returned: what waits, and a share of each
		// other stream. If the connection would take more, it is the client that does not
		// go on with the stream, or does so by its window; small writes of other streams
		// may pass.
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
		// What is lost is sent again, and perhaps what is only late: for a while the client
		// may take nothing that is new. It does not keep anything waiting.
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

// bite ends the write, unless it has returned. stuck says that nothing has passed on the
// connection for the timeout.
func (d *watchdog) bite(write uint64, stuck bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.released:
		return
	case d.write.Load() != write:
		d.setLocked() // the next write counts on a timer that is set
		return
	case !d.fired.Swap(true):
		d.cut()
	case stuck:
		// What ends one stream waits behind what the connection does not take.
		d.hangUp()
		return
	}
	if d.shared {
		d.setLocked()
	}
}

// floodFrames is one more than the control frames for which net/http lets a connection of
// HTTP/2 wait.
const floodFrames = 10_001

// hangUpHTTP2 returns a function that closes the connection of r, which is of HTTP/2.
// Without ConnContext, only net/http can: it closes a connection that does not take its
// control frames, of which each deadline in the past is one.
func hangUpHTTP2(r *http.Request, cut func()) func() {
	conn, ok := r.Context().Value(connKey{}).(net.Conn)
	return func() {
		if ok {
			_ = conn.Close()
			return
		}
		for range floodFrames {
			cut()
		}
	}
}
