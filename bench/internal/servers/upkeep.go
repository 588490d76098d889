package servers

import (
	"math/rand/v2"
	"net/http"
	"time"
)

// heartbeats is the timer for the heartbeats of a stream, in a handler written by hand.
type heartbeats struct {
	C        <-chan time.Time // nil without heartbeats
	timer    *time.Timer
	interval time.Duration
}

// interval is the interval of heartbeats, or 0 without heartbeats.
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

// newHeartbeats starts the timer. The first heartbeat is due after a random part of the
// interval, because real clients connect at different times. Here all streams are opened
// at once, and one wake-up would serve thousands of heartbeats.
func newHeartbeats(s Settings) *heartbeats {
	interval := s.interval()
	if interval == 0 {
		return new(heartbeats)
	}
	timer := time.NewTimer(rand.N(interval))
	return &heartbeats{timer.C, timer, interval}
}

// next restarts the timer after a heartbeat.
func (h *heartbeats) next() { h.timer.Reset(h.interval) }

func (h *heartbeats) stop() {
	if h.timer != nil {
		h.timer.Stop()
	}
}

// deadline moves the write deadline of a stream, in a handler written by hand. Without it
// a client that stops reading would block the handler, and the sender, until TCP gives up.
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

// push must be called before each write. It sets the deadline a tenth later than needed,
// and so once a second at most. Else a busy stream would move a timer for each event.
func (d *deadline) push() error {
	now := time.Now()
	if d.until.Sub(now) >= d.timeout {
		return nil
	}
	d.until = now.Add(d.timeout + d.timeout/10)
	return d.set(d.until)
}
