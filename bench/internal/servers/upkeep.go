package servers

import (
	"math/rand/v2"
	"net/http"
	"time"
)

// heartbeats are one stream's, in a handler that is written by hand.
type heartbeats struct {
	C        <-chan time.Time // nil if there are none
	timer    *time.Timer
	interval time.Duration
}

// interval is that of heartbeats; 0 if there are none.
func (s Settings) interval() time.Duration {
	switch {
	case s.Silent:
		return 0
	case s.Heartbeat == 0:
		return 15 * time.Second
	default:
		return s.Heartbeat
	}
}

// newHeartbeats has the first one come after a random part of the interval. Streams
// that are all opened at once would beat at once, and one wake-up would do for
// thousands: real clients come at all times.
func newHeartbeats(s Settings) *heartbeats {
	interval := s.interval()
	if interval == 0 {
		return new(heartbeats)
	}
	timer := time.NewTimer(rand.N(interval))
	return &heartbeats{timer.C, timer, interval}
}

// next is called for each one.
func (h *heartbeats) next() { h.timer.Reset(h.interval) }

func (h *heartbeats) stop() {
	if h.timer != nil {
		h.timer.Stop()
	}
}

// deadline keeps a stream's write deadline ahead, in a handler that is written by
// hand. Without it a client that has stopped reading would hold the handler until
// TCP gives up, and the sender that waits for it.
type deadline struct {
	timeout time.Duration
	set     func(time.Time) error
	until   time.Time
}

func newDeadline(s Settings, w http.ResponseWriter) *deadline {
	d := &deadline{timeout: s.WriteTimeout, set: http.NewResponseController(w).SetWriteDeadline}
	if d.timeout == 0 {
		d.timeout = 10 * time.Second
	}
	return d
}

// push is called before each write. It sets the deadline with a tenth to spare, and
// so once a second at most: a busy stream would move a timer for each event.
func (d *deadline) push() error {
	now := time.Now()
	if d.until.Sub(now) >= d.timeout {
		return nil
	}
	d.until = now.Add(d.timeout + d.timeout/10)
	return d.set(d.until)
}
