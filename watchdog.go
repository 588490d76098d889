package ginsse

import (
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

	write atomic.Uint64 // number of the write in progress; 0 if there is none
	last  uint64        // number of the newest write; the writer's
	awake atomic.Bool   // the timer is set
	fired atomic.Bool   // a write was ended

	mu       sync.Mutex // held while a write is ended
	released bool       // the response is not the stream's any more
	timer    *time.Timer

	// Of the timer's goroutine; there is one at a time.
	seen     uint64    // the write looked at last
	taken    uint64    // what the client had taken by then
	limit    uint64    // what it may take before seen has had its turn on the connection
	progress time.Time // when it was last seen to have taken something
	endSeen  time.Time // when the stream was seen to have ended; zero before
}

const (
	// looks is how often the watchdog looks within the timeout.
	looks = 8
	// shareBytes is how much of other streams a connection may carry before it is
	// the turn of a write: one frame of 16 KiB for each of 256 streams.
	shareBytes = 4 << 20
)

// begin notes that a write begins.
func (d *watchdog) begin() {
	if d.timeout <= 0 || d.cut == nil {
		return
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
	d.cut = nil
	return d.fired.Load()
}

func (d *watchdog) set() {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.released:
	case d.timer == nil:
		d.timer = time.AfterFunc(d.timeout/looks, d.look)
	default:
		d.timer.Reset(d.timeout / looks)
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
	if d.progressed(write) {
		d.progress = now
	}
	late := false
	if d.s.ended.Load() {
		if d.endSeen.IsZero() {
			d.endSeen = now
		}
		past := now.Sub(d.endSeen)
		late = past >= graceOf(reasonOf(d.s.Err())) || past >= drainTime && d.s.loop.over(now) != ""
	}
	if late || now.Sub(d.progress) >= d.timeout {
		d.bite(write)
		return
	}
	d.set()
}

// progressed reports whether the client has taken anything since the last look. The
// first look at a write is where counting begins.
func (d *watchdog) progressed(write uint64) bool {
	now, _ := d.conn.delivery()
	first := write != d.seen
	if first {
		d.seen, d.limit = write, now.taken+now.waiting+shareBytes
	}
	more := now.taken > d.taken || now.starved
	d.taken = max(d.taken, now.taken)
	if d.shared && now.taken > d.limit {
		more = false // it is the stream that does not go on, not the connection
	}
	return first || more
}

// bite ends the write, unless it has returned.
func (d *watchdog) bite(write uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released || d.write.Load() != write {
		d.awake.Store(false)
		return
	}
	d.fired.Store(true)
	d.cut()
}
