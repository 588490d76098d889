//go:build linux

package redistest_test

import (
	"fmt"
	"testing"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

func TestSentinelsPromoteTheReplica(t *testing.T) {
	const password = "requirepass secret\nmasterauth secret"
	master, replica := redistest.Start(t, password), redistest.Start(t, password)
	replica.Follow(t, master.Addr())
	sentinels := redistest.StartSentinels(t, master, 1)
	client := sentinels.Client(t)
	set(t, client, "k")
	if replies, err := client.Wait(t.Context(), 1, 0).Result(); err != nil || replies != 1 {
		t.Fatal(replies, err)
	}
	master.Kill(t)
	sentinels.AwaitMaster(t, replica)
	nodetest.Until(t, "the key", func() bool { return has(t, client, "k") })
	master.Restart(t)
	// Sentinel has it follow the new master. On a busy machine it may promote it again.
	nodetest.Until(t, "one to follow the other", func() bool {
		return master.Info(t, "master_link_status") == "up" || replica.Info(t, "master_link_status") == "up"
	})
}

func TestClusterHasAllSlots(t *testing.T) {
	for _, program := range redistest.Programs(t) {
		client := redistest.StartClusterProgram(t, program, false).Client(t)
		for i := range 20 {
			set(t, client, fmt.Sprint("k", i))
		}
	}
}

func TestClusterPromotesTheReplica(t *testing.T) {
	c := redistest.StartCluster(t, true)
	client := c.Client(t)
	set(t, client, "{x}k")
	owner := c.Owner(t, "{x}k")
	if replies, err := c.Masters[owner].Client(t).Wait(t.Context(), 1, 0).Result(); err != nil || replies != 1 {
		t.Fatal(replies, err)
	}
	c.Masters[owner].Kill(t)
	c.AwaitFailover(t, owner)
	fresh := c.Client(t)
	nodetest.Until(t, "the key", func() bool { return has(t, fresh, "{x}k") })
}
