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

func TestLiveTopicsHoldWithFaultyNodes(t *testing.T) {
	for name, test := range map[string]struct {
		fault  nodetest.Fault
		rounds int
	}{
		"killed":    {nodetest.Kill, 4},
		"suspended": {nodetest.Freeze(3 * time.Second), 2},
		"cut_off":   {nodetest.Cut(3 * time.Second), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodetest.LiveTopics(t, newCutFleet(t), test.fault, test.rounds, 100)
		})
	}
}
