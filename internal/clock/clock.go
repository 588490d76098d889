// Package clock tells the time of day for what happens often, such as each event. time.Now reads two clocks:
// the time of day, and a monotonic one. A Clock reads the second alone, and compares it with the first once
// a second.
package clock

import (
	"sync/atomic"
	"time"
)

// Clock tells the time by its age. For up to a second after the time of day was set, it still goes by the
// old one.
//
// Concurrency: all methods may be called from several goroutines.
type Clock struct {
	made     time.Time
	origin   atomic.Int64 // the time of day at age 0, in nanoseconds since 1970
	compared atomic.Int64 // the age at the last comparison
}

// compareInterval is how often the two clocks are compared.
const compareInterval = time.Second

// New returns a clock of age 0.
func New() *Clock {
	c := &Clock{made: time.Now()}
	c.compare()
	return c
}

// Age returns the time since the clock was made.
func (c *Clock) Age() time.Duration { return time.Since(c.made) }

// AgeAt returns the age at a time with a monotonic reading, as of time.Now.
func (c *Clock) AgeAt(t time.Time) time.Duration { return t.Sub(c.made) }

// UnixNano returns the time of day at an age that is now or earlier, in nanoseconds since 1970.
func (c *Clock) UnixNano(age time.Duration) int64 {
	compared := c.compared.Load()
	if int64(age)-compared >= int64(compareInterval) && c.compared.CompareAndSwap(compared, int64(age)) {
		c.compare()
	}
	return c.origin.Load() + int64(age)
}

// Time returns the time of day at an age that may be long ago, by what the time of day is now.
func (c *Clock) Time(age time.Duration) time.Time {
	now := c.Age()
	return time.Unix(0, c.UnixNano(now)-int64(now-age))
}

// compare reads both clocks at the same time.
func (c *Clock) compare() {
	const same = 10 * time.Microsecond
	for range 3 { // again, if the goroutine may have been interrupted between the clocks
		before, now := c.Age(), time.Now()
		age := c.AgeAt(now)
		c.origin.Store(now.UnixNano() - int64(age))
		if age-before < same {
			return
		}
	}
}
