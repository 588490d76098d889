package ginsse

import (
	"maps"
	"time"
)

// opens limits how often each user may open a stream, as a token bucket. The bucket holds perMinute
// tokens and refills evenly within a minute. It keeps one time for each recently active user.
type opens struct {
	perMinute int                  // 0 or less: no limit
	until     map[string]time.Time // by user: when the bucket is full again
	sweepAt   int                  // the size of until that triggers a sweep
	swept     time.Time            // the time of the last sweep
	room      int                  // the largest size of until since it was made
}

// minSweep is the smallest number of users that triggers a sweep.
const minSweep = 1024

// take takes a token for a user who opens a stream. If there is none, it returns the time until
// there is.
func (o *opens) take(user string, now time.Time) (wait time.Duration) {
	if o.perMinute <= 0 {
		return 0
	}
	full := now
	if until, ok := o.until[user]; ok && until.After(now) {
		full = until
	}
	full = full.Add(time.Minute / time.Duration(o.perMinute))
	if wait = full.Sub(now.Add(time.Minute)); wait > 0 {
		return wait
	}
	if o.until == nil {
		o.until = make(map[string]time.Time)
		o.sweepAt = minSweep
	}
	if len(o.until) >= o.sweepAt || now.Sub(o.swept) >= time.Minute {
		o.sweep(now)
	}
	o.until[user] = full
	o.room = max(o.room, len(o.until))
	return 0
}

// sweep removes users whose buckets are full. It runs once a minute, and when the map has doubled
// since the last sweep, so that its cost for each opened stream is constant. A map never shrinks,
// so sweep replaces one that has become mostly empty.
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
