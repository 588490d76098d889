package logtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A registry disconnects a user by a command: an entry of the user's command subject, which each
// of the user's streams reads with its other subjects.

const signedOut ginsse.Reason = "signed out"

// disconnectInOrder has each node disconnect a user with streams at both. The streams get all
// events from before the command and none from after it. Later streams live, also those that
// resume from far before the command.
func disconnectInOrder(t *testing.T, s Suite) {
	nodes := newNodes(t, s, Bounds{})
	var others []*ssetest.Stream
	for _, node := range nodes {
		others = append(others, node.open(t, s, bobID))
	}
	n := 0
	var history []ssetest.Event // alice's
	send := func() ssetest.Event {
		n++
		history = append(history, nodes[n%2].send(t, aliceID, n))
		return history[len(history)-1]
	}
	first := send()
	for round := range 6 {
		var streams []*ssetest.Stream
		for _, node := range nodes {
			resumed := node.open(t, s, aliceID, ssetest.LastEventID(first.LastEventID))
			wantNext(t, resumed, history[1:]...)
			streams = append(streams, resumed, node.open(t, s, aliceID))
		}
		// A command for another user is not for these streams.
		if _, err := nodes[round%2].registry.Disconnect(t.Context(), carolID, ""); err != nil {
			t.Fatal(err)
		}
		var events []ssetest.Event
		for range round * 5 {
			events = append(events, send())
		}
		reason := ginsse.Reason(fmt.Sprint("round ", round))
		ended, late := nodes[round%2].disconnect(t, aliceID, reason)
		if ended != 2 {
			t.Fatalf("Disconnect returned %d streams of its node, want 2", ended)
		}
		send()
		for i, stream := range streams {
			wantDisconnected(t, s, stream, late && i/2 == round%2, reason, events...)
		}
	}
	for _, node := range nodes {
		n++
		last := node.send(t, bobID, n)
		for _, stream := range others {
			wantNext(t, stream, last)
		}
	}
}

// disconnectAfterPartition disconnects a user while one of the nodes is partitioned.
func disconnectAfterPartition(t *testing.T, s Suite) {
	nodes := newNodes(t, s, Bounds{})
	begin := nodes[0].send(t, aliceID, 0)
	connected, partitioned := nodes[0].open(t, s, aliceID), nodes[1].open(t, s, aliceID)
	reconnect := s.Partition(t, nodes[1].log)
	before := nodes[0].send(t, aliceID, 1)
	ended, late := nodes[0].disconnect(t, aliceID, signedOut)
	if ended != 1 {
		t.Fatalf("Disconnect returned %d streams of its node, want 1", ended)
	}
	after := nodes[0].send(t, aliceID, 2)
	wantDisconnected(t, s, connected, late, signedOut, before)
	reconnect()
	wantNext(t, partitioned, before)
	wantEnd(t, s, partitioned, "sse.close", signedOut)
	resumed := nodes[1].open(t, s, aliceID, ssetest.LastEventID(begin.LastEventID))
	wantNext(t, resumed, before, after, nodes[0].send(t, aliceID, 3))
}

// disconnectDuringRestart disconnects a user of one node from the other, while the store restarts.
func disconnectDuringRestart(t *testing.T, s Suite) {
	nodes := newNodes(t, s, Bounds{})
	for range 2 {
		awaitContact(t, s, nodes[1]) // else its streams would be refused for now
		streams := []*ssetest.Stream{nodes[1].open(t, s, aliceID), nodes[1].open(t, s, aliceID)}
		disconnected := make(chan error)
		go func() { disconnected <- disconnectAgain(t, s, nodes[0]) }()
		s.Restart(t, nodes[0].log)
		if err := <-disconnected; err != nil {
			t.Fatalf("disconnecting: %v", err)
		}
		for _, stream := range streams {
			wantEnd(t, s, stream, "sse.close", signedOut)
		}
	}
}

// awaitContact waits until the store answers a node again after a restart.
func awaitContact(t *testing.T, s Suite, n *node) {
	t.Helper()
	for start := time.Now(); ; <-time.After(retryInterval) {
		_, err := n.log.Head(t.Context())
		switch {
		case err == nil:
			return
		case time.Since(start) > s.longPatience():
			t.Fatalf("the store has no contact %v after its restart: %v", s.longPatience(), err)
		}
	}
}

// disconnectAgain disconnects alice until the log takes the command.
func disconnectAgain(t *testing.T, s Suite, from *node) error {
	deadline := time.Now().Add(s.longPatience())
	for {
		ctx, cancel := context.WithTimeout(t.Context(), s.patience)
		_, err := from.registry.Disconnect(ctx, aliceID, signedOut)
		cancel()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(retryInterval)
	}
}

// lostCommand has commands trimmed while a node is partitioned. One of them may have ended its streams,
// so the node asks their clients to authenticate again. The commands are ones that no registry
// knows, so that nothing else ends the streams.
func lostCommand(t *testing.T, s Suite) {
	const kept = 5
	nodes := newNodes(t, s, Bounds{EventsPerSubject: kept})
	streams := []*ssetest.Stream{nodes[1].open(t, s, aliceID), nodes[1].open(t, s, aliceID)}
	other := nodes[1].open(t, s, bobID)
	commands := readerAt(nodes[1].log, head(t, nodes[1].log), "command:"+aliceID)
	reconnect := s.Partition(t, nodes[1].log)
	for n := range 10 * kept {
		command := eventlog.Record{Subject: "command:" + aliceID, Frame: fmt.Appendf(nil, "event: unknown\ndata: %d\n\n", n)}
		if _, err := nodes[0].log.Append(t.Context(), command); err != nil {
			t.Fatal(err)
		}
	}
	reconnect()
	for _, stream := range streams {
		wantEnd(t, s, stream, "sse.reconnect", ginsse.ReasonReauthenticate)
	}
	if gap := commands.page(t).Gap; gap != eventlog.GapTrimmed {
		t.Errorf("the commands that were lost are gap %q", gap)
	}
	if !s.Inexact {
		wantNext(t, other, nodes[0].send(t, bobID, 1))
	}
}
