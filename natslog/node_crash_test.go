//go:build unix

package natslog_test

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/nodetest"
)

func TestKilledNodesLoseNothing(t *testing.T) {
	for name, recentBytes := range map[string]int{"much_in_memory": 0, "little_in_memory": 16 << 10} {
		t.Run(name, func(t *testing.T) {
			nodetest.KillNodes(t, newFleet(t, recentBytes), 1, func() int { return 200 })
		})
	}
}

func TestFrozenNodeCatchesUp(t *testing.T) {
	for name, least := range map[string]time.Duration{"briefly": 0, "until_contact_is_lost": 3 * time.Second} {
		t.Run(name, func(t *testing.T) { nodetest.FreezeNode(t, newFleet(t, 0), least, 500) })
	}
}
