package logtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// newSharedSites is newSites for logs by which registries tell each other things.
func newSharedSites(t *testing.T, s Suite) [2]*site {
	t.Helper()
	var sites [2]*site
	for i, log := range sharedLogs(t, s) {
		sites[i] = newSite(t, log)
	}
	return sites
}

// disconnectReaches has each node end a user's streams at both.
func disconnectReaches(t *testing.T, s Suite) {
	sites := newSharedSites(t, s)
	var others []*ssetest.Stream
	for _, at := range sites {
		others = append(others, at.open(t, s, bobID))
	}
	n := 0
	for round := range 6 {
		at := sites[round%2]
		var streams []*ssetest.Stream
		for i := range 4 {
			streams = append(streams, sites[i%2].open(t, s, aliceID))
		}
		// What was sent before, at either, is delivered, though the nodes are busy with an
		// order for somebody else; and whoever has come since the last round gets it: that
		// order was not for them.
		if _, err := at.registry.Disconnect(t.Context(), carolID, ""); err != nil {
			t.Fatal(err)
		}
		var events []ssetest.Event
		for range round * 5 {
			n++
			events = append(events, sites[n%2].send(t, aliceID, n))
		}
		reason := ginsse.Reason(fmt.Sprint("round ", round))
		if ended, err := at.registry.Disconnect(t.Context(), aliceID, reason); ended != 2 || err != nil {
			t.Fatalf("%d streams ended, %v", ended, err)
		}
		for _, stream := range streams {
			wantEnd(t, stream, reason, events...)
		}
	}
	for _, at := range sites {
		n++
		last := at.send(t, bobID, n)
		for _, stream := range others {
			wantNext(t, stream, last)
		}
	}
}

// onlineAgrees has users come and go, and both nodes know who is there.
func onlineAgrees(t *testing.T, s Suite) {
	sites := newSharedSites(t, s)
	check := func(streams int, users ...string) {
		t.Helper()
		cluster := ginsse.ClusterStats{Nodes: 2, Streams: streams, Users: len(users)}
		for i, at := range sites {
			agree(t, s, fmt.Sprint("node ", i), at.registry, cluster, users...)
		}
	}
	check(0)
	alice := sites[0].open(t, s, aliceID)
	bob := sites[1].open(t, s, bobID)
	check(2, aliceID, bobID)
	// A user who is at both counts once, and is online until gone from both.
	again := sites[1].open(t, s, aliceID)
	sites[1].open(t, s, carolID)
	check(4, aliceID, bobID, carolID)
	alice.Close()
	check(3, aliceID, bobID, carolID)
	again.Close()
	bob.Close()
	check(1, carolID)
	sites[0].open(t, s, aliceID)
	check(2, aliceID, carolID)
	sites[1].registry.Close()
	agree(t, s, "the node that is left", sites[0].registry, ginsse.ClusterStats{Nodes: 1, Streams: 1, Users: 1}, aliceID)
}

// agree waits until a registry holds exactly these users for online.
func agree(t *testing.T, s Suite, who string, r *ginsse.Registry, cluster ginsse.ClusterStats, users ...string) {
	t.Helper()
	agrees := func() bool {
		for _, user := range []string{aliceID, bobID, carolID} {
			online := false
			for _, name := range users {
				online = online || name == user
			}
			if r.Online(user) != online {
				return false
			}
		}
		return r.Stats().Cluster == cluster
	}
	deadline := time.Now().Add(s.long())
	look := time.NewTicker(again)
	defer look.Stop()
	for !agrees() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: the cluster has %+v, want %+v with %q", who, r.Stats().Cluster, cluster, users)
		}
		<-look.C
	}
}
