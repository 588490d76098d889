package ginsse

import "time"

// opens limits how often each user may open a stream: as often as perMinute at once,
// and then once each time that a minute has room for. It keeps a time for each user who
// has opened one lately.
type opens struct {
	perMinute int                  // not above 0 is no limit
	until     map[string]time.Time // by user: up to when the streams opened so far are paid for
	sweepAt   int                  // the size of until at which old entries are looked for
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
	if len(o.until) >= o.sweepAt {
		o.sweep(now)
	}
	o.until[user] = paid
	return 0
}

// sweep forgets the users whose time is up. It runs when there are twice as many as it
// last left, so that each stream opened pays for a constant share of it.
func (o *opens) sweep(now time.Time) {
	for user, until := range o.until {
		if !until.After(now) {
			delete(o.until, user)
		}
	}
	o.sweepAt = max(minSweep, 2*len(o.until))
}
