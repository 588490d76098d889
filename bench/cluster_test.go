//go:build linux

package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

const testQuiet = 10 * time.Second

// startTestCluster starts nodes without heartbeats, and opens streams.
func startTestCluster(t *testing.T, w work) *cluster {
	t.Helper()
	c, err := startCluster(servers.All[0], servers.Settings{Silent: true}, w)
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
			t.Errorf("the broker's data is left: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.open(w.streams); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClusterDeliversToTheStreamsOfAllNodes(t *testing.T) {
	t.Parallel()
	w := work{nodes: 3, streams: 8}
	c := startTestCluster(t, w)
	for range 2 {
		m, err := c.deliver(servers.SendArgs{Events: 5, Bytes: 100, Rate: 100}, testQuiet)
		m.late = 0 // the machine may be busy
		if err != nil || onlyOnce(m) != "" || m.outcome.Delivered != 5*w.streams || m.share() != 100 {
			t.Fatalf("delivered %d, %.0f %%, %q, %v", m.outcome.Delivered, m.share(), onlyOnce(m), err)
		}
		if p50, p99 := m.latency(0.5), m.latency(0.99); p50 <= 0 || p99 < p50 {
			t.Errorf("the latency is %v, the 99th percentile %v", p50, p99)
		}
	}
	used, err := c.used()
	if err != nil || used.nodes <= 0 || used.loads <= 0 || used.broker <= 0 {
		t.Errorf("%+v, %v", used, err)
	}
	// Each process has at least a megabyte.
	m, err := c.memory()
	if err != nil || m.nodes < 3e6 || m.whole < m.nodes || m.loads < 3e6 || m.broker < 1e6 || m.goroutines < w.nodes {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestClusterStreamsReconnectWhenTheirNodeIsKilled(t *testing.T) {
	t.Parallel()
	w := work{nodes: 3, streams: 9}
	c := startTestCluster(t, w)
	m, err := c.deliver(servers.SendArgs{Events: 2, Bytes: 100, Rate: 100}, testQuiet)
	if m.late = 0; err != nil || onlyOnce(m) != "" {
		t.Fatalf("%q, %v", onlyOnce(m), err)
	}
	last := c.nodes[2]
	m, back, err := c.failover(servers.SendArgs{Events: 10, Bytes: 100, Rate: 50}, testQuiet)
	if m.late = 0; err != nil || m.shortfall() != "" || m.outcome.Delivered != 10*w.streams {
		t.Fatalf("delivered %d, %q, %v", m.outcome.Delivered, m.shortfall(), err)
	}
	if m.reconnected != 3 || back <= 0 || back > testQuiet {
		t.Errorf("%d streams are back after %v", m.reconnected, back)
	}
	if err := last.Call("Stat", false, new(servers.Stat)); !errors.Is(err, child.ErrEnded) || len(c.nodes) != 2 || len(c.addrs) != 2 {
		t.Errorf("the last node answers with %v, and %d nodes are left", err, len(c.nodes))
	}
	// The streams that have reconnected get later events.
	if m, err := c.deliver(servers.SendArgs{Events: 2, Bytes: 100, Rate: 100}, testQuiet); err != nil || m.outcome.Delivered != 2*w.streams {
		t.Errorf("later: delivered %d, %q, %v", m.outcome.Delivered, m.shortfall(), err)
	}
}

func TestShareIsThatOfAllEvents(t *testing.T) {
	t.Parallel()
	m := measured{outcome: load.Outcome{Tally: load.Tally{Delivered: 6, Lost: 1}, Missing: 3}}
	if got := m.share(); got != 60 {
		t.Errorf("%v %%", got)
	}
}

func TestNodesScenariosAreForTheKitAlone(t *testing.T) {
	t.Parallel()
	for _, s := range nodesScenarios(false) {
		for _, c := range servers.All {
			if excused := s.excuse(c) != ""; excused == strings.HasPrefix(c.Name, kit) {
				t.Errorf("%s: %s is excused: %v", s.Name, c.Name, excused)
			}
		}
	}
}
