package logtest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// registriesShare has two nodes send at the same time, to users who have streams at both.
func registriesShare(t *testing.T, s Suite) {
	const each = 30 // events of each sender
	nodes := newNodes(t, s, Bounds{})
	streams := make(map[string][]*ssetest.Stream)
	for _, node := range nodes {
		for _, user := range []string{aliceID, aliceID, bobID} {
			streams[user] = append(streams[user], node.open(t, s, user))
		}
	}
	var mu sync.Mutex
	expected := make(map[string][]ssetest.Event) // by user
	var sending sync.WaitGroup
	for i, node := range nodes {
		for j, send := range []func(e ginsse.Event) (ginsse.Receipt, error){
			func(e ginsse.Event) (ginsse.Receipt, error) { return node.registry.SendTo(t.Context(), aliceID, e) },
			func(e ginsse.Event) (ginsse.Receipt, error) { return node.registry.Broadcast(t.Context(), e) },
			func(e ginsse.Event) (ginsse.Receipt, error) { return node.registry.Publish(t.Context(), topic, e) },
		} {
			sending.Go(func() {
				for n := range each {
					n += each * (3*i + j)
					receipt, err := send(numbered(n))
					if err != nil {
						t.Errorf("event %d: %v", n, err)
						return
					}
					e := sent(t, n, receipt, nil)
					mu.Lock()
					expected[aliceID] = append(expected[aliceID], e)
					if j > 0 {
						expected[bobID] = append(expected[bobID], e)
					}
					mu.Unlock()
				}
			})
		}
	}
	sending.Wait()
	// One more event for each shows that none came twice.
	for i, node := range nodes {
		for _, user := range []string{aliceID, bobID} {
			expected[user] = append(expected[user], node.send(t, user, 1000+i))
		}
	}
	for user, events := range expected {
		for _, stream := range streams[user] {
			wantNext(t, stream, sorted(t, events)...)
		}
	}
}

// registriesKeep has a client disconnect, miss events, and reconnect to the other node.
func registriesKeep(t *testing.T, s Suite) {
	nodes := newNodes(t, s, Bounds{})
	id, n := "", 0
	for round := range 6 {
		var missed []ssetest.Event
		if round > 0 {
			for range 10 {
				n++
				missed = append(missed, nodes[n/3%2].send(t, aliceID, n))
				nodes[n%2].send(t, bobID, n)
			}
		}
		stream := nodes[round%2].open(t, s, aliceID, ssetest.LastEventID(id))
		wantNext(t, stream, missed...)
		n++
		live := nodes[n%2].send(t, aliceID, n)
		wantNext(t, stream, live)
		id = live.LastEventID
		stream.Close()
	}
}

// onlineAgrees has users connect and disconnect. Both nodes know who is online.
func onlineAgrees(t *testing.T, s Suite) {
	var nodes []*node
	for _, log := range sharedLogs(t, s) {
		nodes = append(nodes, newNode(t, log))
	}
	check := func(streams int, users ...string) {
		t.Helper()
		cluster := ginsse.ClusterStats{Nodes: 2, Streams: streams, Users: len(users)}
		for i, node := range nodes {
			agree(t, s, fmt.Sprint("node ", i), node.registry, cluster, users...)
		}
	}
	check(0)
	stream := nodes[0].open(t, s, aliceID)
	bob := nodes[1].open(t, s, bobID)
	check(2, aliceID, bobID)
	// A user with streams at both nodes counts once, and is online until both have ended.
	second := nodes[1].open(t, s, aliceID)
	nodes[1].open(t, s, carolID)
	check(4, aliceID, bobID, carolID)
	stream.Close()
	check(3, aliceID, bobID, carolID)
	second.Close()
	bob.Close()
	check(1, carolID)
	nodes[0].open(t, s, aliceID)
	check(2, aliceID, carolID)
	nodes[1].registry.Close()
	agree(t, s, "the remaining node", nodes[0].registry, ginsse.ClusterStats{Nodes: 1, Streams: 1, Users: 1}, aliceID)
}

// agree waits until exactly these users are online for a registry.
func agree(t *testing.T, s Suite, name string, r *ginsse.Registry, cluster ginsse.ClusterStats, users ...string) {
	t.Helper()
	agrees := func() bool {
		for _, user := range []string{aliceID, bobID, carolID} {
			if r.Online(user) != slices.Contains(users, user) {
				return false
			}
		}
		return r.Stats().Cluster == cluster
	}
	deadline := time.Now().Add(s.longPatience())
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	for !agrees() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: the cluster has %+v, want %+v with %q", name, r.Stats().Cluster, cluster, users)
		}
		<-ticker.C
	}
}
