package ginsse

import (
	"sync/atomic"
	"time"
)

// clock tells the time of day, for observers of what happens with each event. time.Now reads two clocks:
// the time of day, and a monotonic one. This clock reads the second, and compares it with the first once
// a second. So for up to a second after the time of day was set, it still goes by the old one.
//
// Concurrency: all methods may be called from several goroutines.
type clock struct {
	made     time.Time
	origin   atomic.Int64 // the time of day at age 0, in nanoseconds since 1970
	compared atomic.Int64 // the age at the last comparison
}

// compareInterval is how often the two clocks are compared.
const compareInterval = time.Second

func newClock() *clock {
	c := &clock{made: time.Now()}
	c.compare()
	return c
}

// age returns the time since the clock was made.
func (c *clock) age() time.Duration { return time.Since(c.made) }

// unixNano returns the time of day, in nanoseconds since 1970. age is that of now.
func (c *clock) unixNano(age time.Duration) int64 {
	compared := c.compared.Load()
	if int64(age)-compared >= int64(compareInterval) && c.compared.CompareAndSwap(compared, int64(age)) {
		c.compare()
	}
	return c.origin.Load() + int64(age)
}

// compare reads both clocks at the same time.
func (c *clock) compare() {
	const same = 10 * time.Microsecond
	for range 3 { // again, if the goroutine may have been interrupted between the clocks
		before, now := c.age(), time.Now()
		age := now.Sub(c.made)
		c.origin.Store(now.UnixNano() - int64(age))
		if age-before < same {
			return
		}
	}
}
