//go:build linux

package redislog_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// processOptions are the options of a process of the test's own, which is a node.
type processOptions struct {
	Addresses   []string `json:"addresses"` // of servers; of a cluster if there are several
	RecentBytes int      `json:"recentBytes"`
}

// quiet keeps the client's errors of connections from standard error, where a node writes nothing.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func serveProcess(o processOptions) error {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: o.Addresses})
	log, err := redislog.Open(context.Background(), client, redislog.Config{
		RecentBytes: o.RecentBytes, // no gap, however fast the machine
	})
	if err != nil {
		return err
	}
	return nodetest.ServeNode(log, nil)
}

// newFleet starts the nodes on servers of their own.
func newFleet(t *testing.T, recentBytes int, addresses ...string) *nodetest.Fleet {
	t.Helper()
	return nodetest.NewFleet(t, nodetest.Config{
		Variable: processVariable,
		Options:  func(int) any { return processOptions{addresses, recentBytes} },
	})
}

// newCutFleet starts the nodes on a server. Between each and the server is a proxy.
func newCutFleet(t *testing.T, server string) *nodetest.Fleet {
	t.Helper()
	cfg := nodetest.Config{Variable: processVariable}
	for i := range cfg.Proxies {
		cfg.Proxies[i] = nodetest.NewProxy(t, server)
	}
	cfg.Options = func(node int) any { return processOptions{Addresses: []string{cfg.Proxies[node].Address()}} }
	return nodetest.NewFleet(t, cfg)
}

// TestKilledNodesLoseNothing kills each node twice, at random moments.
func TestKilledNodesLoseNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cluster     bool
		recentBytes int
	}{
		"much_in_memory":   {},
		"little_in_memory": {recentBytes: 16 << 10},
		"cluster":          {cluster: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var addresses []string
			if test.cluster {
				addresses = redistest.StartCluster(t, false).Addrs()
			} else {
				addresses = []string{redistest.Start(t).Addr()}
			}
			nodetest.KillNodes(t, newFleet(t, test.recentBytes, addresses...), 2, func() int { return 50 + rand.IntN(50) })
		})
	}
}

func TestFrozenNodeCatchesUp(t *testing.T) {
	t.Parallel()
	for name, least := range map[string]time.Duration{"briefly": 0, "until_contact_is_lost": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodetest.FreezeNode(t, newFleet(t, 0, redistest.Start(t).Addr()), least, 200)
		})
	}
}

func TestLiveTopicsHoldWithFaultyNodes(t *testing.T) {
	t.Parallel()
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
			nodetest.LiveTopics(t, newCutFleet(t, redistest.Start(t).Addr()), test.fault, test.rounds, 100)
		})
	}
}
