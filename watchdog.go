package ginsse

import (
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

	progress progress // of the timer's goroutine, of which there is one at a time
}

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
	switch interval := checkInterval(d.timeout); {
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
	if late || d.timeout > 0 && now.Sub(d.progress.made) >= d.timeout {
		d.stop(write, now.Sub(d.progress.moved) >= d.timeout)
		return
	}
	d.set()
}

func (d *watchdog) observe(write uint64, there delivery, now time.Time) {
	if d.shared {
		d.progress.observeShared(write, there, now, d.size.Load())
	} else {
		d.progress.observe(write, there, now)
	}
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
