package clock

import "time"

// Jump sets the time of day ahead, as the clock sees it.
func (c *Clock) Jump(d time.Duration) { c.origin.Add(int64(d)) }
