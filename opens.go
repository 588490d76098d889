package ginsse

import (
	"maps"
	"time"
)

// opens limits how often each user may open a stream: as often as perMinute at once,
// and then once each time that a minute has room for. It keeps a time for each user who
// has opened one lately.
type opens struct {
	perMinute int                  // not above 0 is no limit
	until     map[string]time.Time // by user: up to when the streams opened so far are paid for
	sweepAt   int                  // the size of until at which old entries are looked for
	swept     time.Time            // when they were last looked for
	room      int                  // the most that until has held since it was made
}

// minSweep is the least number of users at which old entries are looked for.
const minSweep = 1024

// take notes that a user opens a stream, or returns how long it is until the user may.
func (o *opens) take(user string, now time.Time) (wait time.Duration) {
	if o.perMinute <= 0 {
		return 0
	}
	paid := now
	if until, ok := o.until[user]; ok && until.After(now) {
		paid = until
	}
	paid = paid.Add(time.Minute / time.Duration(o.perMinute))
	if wait = paid.Sub(now.Add(time.Minute)); wait > 0 {
		return wait
	}
	if o.until == nil {
		o.until = make(map[string]time.Time)
		o.sweepAt = minSweep
	}
	if len(o.until) >= o.sweepAt || now.Sub(o.swept) >= time.Minute {
		o.sweep(now)
	}
	o.until[user] = paid
	o.room = max(o.room, len(o.until))
	return 0
}

// sweep forgets the users whose time is up. It runs when there are twice as many as it
// last left, so that each stream opened pays for a constant share of it, and once a
// minute. A map keeps its memory, so one that has become small is made anew.
func (o *opens) sweep(now time.Time) {
	for user, until := range o.until {
		if !until.After(now) {
			delete(o.until, user)
		}
	}
	if o.room > minSweep && len(o.until) < o.room/4 {
		small := make(map[string]time.Time, len(o.until))
		maps.Copy(small, o.until)
		o.until, o.room = small, len(small)
	}
	o.sweepAt = max(minSweep, 2*len(o.until))
	o.swept = now
}
