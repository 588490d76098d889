package ginsse_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// settled is enough time for a change to reach all nodes.
const settled = 200 * time.Millisecond

// wantOnline fails unless exactly the given users of alice, bob and carol are online.
func wantOnline(t *testing.T, r *ginsse.Registry, users ...string) {
	t.Helper()
	online := make(map[string]bool)
	for _, user := range users {
		online[user] = true
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		if r.Online(user) != online[user] {
			t.Errorf("Online(%q) is %v", user, r.Online(user))
		}
	}
}

func wantCluster(t *testing.T, r *ginsse.Registry, want ginsse.ClusterStats) {
	t.Helper()
	if got := r.Stats().Cluster; got != want {
		t.Errorf("Stats().Cluster is %+v, want %+v", got, want)
	}
}

// A user with streams on two nodes is counted once, and is online until the last stream ends.
func TestOnlineCoversAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, eventlog.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		both := func(want ginsse.ClusterStats, users ...string) {
			t.Helper()
			pass(settled)
			synctest.Wait()
			for _, r := range registries {
				wantOnline(t, r, users...)
				wantCluster(t, r, want)
			}
		}
		both(ginsse.ClusterStats{Nodes: 2})
		alice := here.Open(t, "/events", as("alice"))
		bob := there.Open(t, "/events", as("bob"))
		both(ginsse.ClusterStats{Nodes: 2, Streams: 2, Users: 2}, "alice", "bob")
		alice2 := there.Open(t, "/events", as("alice"))
		both(ginsse.ClusterStats{Nodes: 2, Streams: 3, Users: 2}, "alice", "bob")
		alice.Close()
		both(ginsse.ClusterStats{Nodes: 2, Streams: 2, Users: 2}, "alice", "bob")
		alice2.Close()
		both(ginsse.ClusterStats{Nodes: 2, Streams: 1, Users: 1}, "bob")
		bob.Close()
		both(ginsse.ClusterStats{Nodes: 2})
	})
}

// A stream that replaces the user's oldest one changes no count on the other nodes.
func TestReplacedStreamLeavesTheUserOnline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		first := newRegistry(t, ginsse.RegistryConfig{Log: logs[0], MaxStreamsPerUser: 1})
		second := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		server := ssetest.NewServer(t, newEngine(t, first))
		server.Open(t, "/events", as("alice"))
		pass(settled)
		for range 3 {
			server.Open(t, "/events", as("alice"))
			pass(settled)
			synctest.Wait()
			for _, r := range []*ginsse.Registry{first, second} {
				wantOnline(t, r, "alice")
				wantCluster(t, r, ginsse.ClusterStats{Nodes: 2, Streams: 1, Users: 1})
			}
		}
	})
}

func TestClusterOfOneNodeHasTheCountsOfTheNode(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	server.Open(t, "/events", as("alice"))
	server.Open(t, "/events", as("alice"))
	wantOnline(t, registry, "alice")
	wantCluster(t, registry, ginsse.ClusterStats{Nodes: 1, Streams: 2, Users: 1})
}

func TestNewNodeLearnsTheUsersOfOtherNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
		for i, user := range []string{"alice", "bob"} {
			registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[i]})
			ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as(user))
		}
		pass(time.Minute)
		registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[2]})
		synctest.Wait()
		wantOnline(t, registry, "alice", "bob")
		wantCluster(t, registry, ginsse.ClusterStats{Nodes: 3, Streams: 2, Users: 2})
	})
}

func TestUsersOfAClosedNodeAreOfflineAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		ssetest.NewServer(t, newEngine(t, registries[0])).Open(t, "/events", as("alice"))
		ssetest.NewServer(t, newEngine(t, registries[1])).Open(t, "/events", as("bob"))
		pass(settled)
		wantOnline(t, registries[0], "alice", "bob")
		registries[1].Close()
		logs[1].SetPartitioned(true) // Close has returned, so the application may close the log
		synctest.Wait()
		wantOnline(t, registries[0], "alice")
		wantCluster(t, registries[0], ginsse.ClusterStats{Nodes: 1, Streams: 1, Users: 1})
	})
}

// A partitioned node knows its own users. For the other nodes they are offline after 15 to 20 s,
// and online again after the node has reconnected.
func TestUsersOfAPartitionedNodeAreOfflineUntilItReconnects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		here.Open(t, "/events", as("alice"))
		bob := there.Open(t, "/events", as("bob"))
		pass(settled)
		logs[1].SetPartitioned(true)
		pass(9 * time.Second)
		wantOnline(t, registries[0], "alice", "bob")
		pass(11 * time.Second)
		wantOnline(t, registries[0], "alice")
		wantOnline(t, registries[1], "bob")
		for _, r := range registries {
			wantCluster(t, r, ginsse.ClusterStats{Nodes: 1, Streams: 1, Users: 1})
		}
		bob.Close()
		pass(time.Minute)
		logs[1].SetPartitioned(false)
		there.Open(t, "/events", as("carol"))
		pass(6 * time.Second)
		for _, r := range registries {
			wantOnline(t, r, "alice", "carol")
			wantCluster(t, r, ginsse.ClusterStats{Nodes: 2, Streams: 2, Users: 2})
		}
	})
}

// Another client of the broker may post forged messages. A user ID that Serve refuses is never
// online.
func TestForgedUserIDsAreNotOnline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, eventlog.MemoryLogConfig{})
		synctest.Wait()
		if err := logs[1].Post("", []byte(`{"node":"z","number":1,"streams":1,"joined":["","bob","a\u0000"]}`)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantOnline(t, registries[0], "bob")
		wantCluster(t, registries[0], ginsse.ClusterStats{Nodes: 3, Streams: 1, Users: 1})
	})
}

// slowNode is a node that takes some time to post a message.
type slowNode struct {
	*ssetest.Node

	delay atomic.Int64 // a time.Duration
}

func (n *slowNode) Post(to string, message []byte) error {
	pass(time.Duration(n.delay.Load()))
	return n.Node.Post(to, message)
}
