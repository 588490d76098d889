package natslog_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

// nodeVariable makes the test's program a node of an application, with nodeOptions.
const nodeVariable = "NATSLOG_TEST_NODE"

type nodeOptions struct {
	Brokers     string `json:"brokers"`
	RecentBytes int    `json:"recentBytes"` // as in natslog.Config
}

func serveNode(o nodeOptions) error {
	nc, err := nats.Connect(o.Brokers, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.IgnoreDiscoveredServers(), nats.RetryOnFailedConnect(true))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	log, err := natslog.Open(ctx, nc, natslog.Config{
		Replicas: 3, RecentBytes: o.RecentBytes, EventsPerSubject: 100_000, // no gap, however fast the machine
	})
	if err != nil {
		return err
	}
	return nodetest.ServeNode(log, nil)
}

// newFleet starts the nodes on a cluster of their own.
func newFleet(t *testing.T, recentBytes int) *nodetest.Fleet {
	t.Helper()
	c := newCluster(t)
	c.startAll(t)
	return nodetest.NewFleet(t, nodetest.Config{
		Variable: nodeVariable,
		Options:  func(int) any { return nodeOptions{c.urls(), recentBytes} },
	})
}

// newCutFleet is newFleet with a proxy between each node and one of the servers.
func newCutFleet(t *testing.T) *nodetest.Fleet {
	t.Helper()
	c := newCluster(t)
	c.startAll(t)
	cfg := nodetest.Config{Variable: nodeVariable}
	for i := range cfg.Proxies {
		cfg.Proxies[i] = nodetest.NewProxy(t, c.servers[i].Addr().String())
	}
	cfg.Options = func(node int) any { return nodeOptions{"nats://" + cfg.Proxies[node].Address(), 0} }
	return nodetest.NewFleet(t, cfg)
}
