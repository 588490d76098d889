//go:build linux

package redislog_test

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// TestMovedSlotLosesNothing moves the slot of a log to another server of the cluster, under load.
func TestMovedSlotLosesNothing(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, false, redistest.AOF)
	var nodes []node
	for range 2 {
		client := c.Client(t)
		nodes = append(nodes, node{log: openLog(t, client, redislog.Config{}), client: client})
	}
	readers := followAll(t, nodes...)
	l := startLoad(t, nodes...)
	from := c.Owner(t, "{ginsse}:")
	for _, to := range []int{(from + 1) % 3, (from + 2) % 3} {
		l.await(t, 200)
		c.MoveSlot(t, "{ginsse}:", from, to)
		from = to
		l.recovers(t, 10*time.Second, readers...)
	}
	l.await(t, 200)
	l.verify(t, readers...)
	wantNoGaps(t, readers...)
}
