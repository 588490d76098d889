package logtest

import (
	"fmt"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// wantNumbered fails unless the next events of each stream have these numbers. All streams have the
// same IDs. It returns the last one.
func wantNumbered(t *testing.T, streams []*ssetest.Stream, list ...int) (id string) {
	t.Helper()
	for _, n := range list {
		for i, stream := range streams {
			e := stream.Next()
			if i == 0 {
				id = e.LastEventID
			}
			if want := (ssetest.Event{Type: eventType, Data: fmt.Sprint(n), LastEventID: id}); e != want {
				t.Fatalf("stream %d of %d: got %q, want %q", i+1, len(streams), e, want)
			}
		}
	}
	return id
}

// openAll opens a stream of a user at each node.
func openAll(t *testing.T, s Suite, nodes []*node, user string, options ...ssetest.Option) (streams []*ssetest.Stream) {
	t.Helper()
	for _, n := range nodes {
		streams = append(streams, n.open(t, s, user, options...))
	}
	return streams
}

// streamsOfTransactions sends events in transactions of each node.
func streamsOfTransactions(t *testing.T, s Suite) {
	nodes := newNodes(t, s, Bounds{})
	streams := openAll(t, s, nodes, aliceID)
	others := openAll(t, s, nodes, bobID)
	for round := range 8 {
		n := 10 * round
		node, other := nodes[round%len(nodes)], nodes[(round+1)%len(nodes)]
		tx := s.transaction(t, node.log)
		sender := node.registry.In(tx.Outbox)
		for i, send := range []func(e ginsse.Event) error{
			func(e ginsse.Event) error { return sender.SendTo(t.Context(), aliceID, e) },
			func(e ginsse.Event) error { return sender.Publish(t.Context(), topic, e) },
			func(e ginsse.Event) error { return sender.SendToUsers(t.Context(), []string{bobID, carolID}, e) },
			func(e ginsse.Event) error { return sender.Broadcast(t.Context(), e) },
		} {
			if err := send(numbered(n + i)); err != nil {
				t.Fatal(err)
			}
		}
		if !s.OneWriter {
			other.send(t, aliceID, n+4)
			wantNumbered(t, streams, n+4)
		}
		if round%4 < 2 {
			tx.commit(t)
			wantNumbered(t, streams, n, n+1, n+3)
			wantNumbered(t, others, n+1, n+2, n+3)
		} else {
			tx.rollback(t)
		}
		for i, node := range nodes {
			node.send(t, aliceID, n+5+i)
			wantNumbered(t, streams, n+5+i)
		}
	}
	nodes[0].send(t, bobID, 1000)
	wantNumbered(t, others, 1000)
}

// disconnectInTransactions disconnects a user in transactions of each node. One that is rolled back
// ends no stream.
func disconnectInTransactions(t *testing.T, s Suite) {
	nodes := newNodes(t, s, Bounds{})
	others := openAll(t, s, nodes, bobID)
	for round := range 4 {
		n := 10 * round
		node, other := nodes[round%len(nodes)], nodes[(round+1)%len(nodes)]
		other.send(t, aliceID, n)
		streams := openAll(t, s, nodes, aliceID)
		reason := ginsse.Reason(fmt.Sprint("round ", round))
		// put sends an event, disconnects the user, and sends another one.
		put := func(tx *transaction, n int) {
			sender := node.registry.In(tx.Outbox)
			for _, err := range []error{
				sender.SendTo(t.Context(), aliceID, numbered(n)),
				sender.Disconnect(t.Context(), aliceID, reason),
				sender.SendTo(t.Context(), aliceID, numbered(n+1)),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if !s.OneWriter {
				other.send(t, aliceID, n+2)
				wantNumbered(t, streams, n+2)
			}
		}
		tx := s.transaction(t, node.log)
		put(tx, n+1)
		tx.rollback(t)
		node.send(t, aliceID, n+4)
		last := wantNumbered(t, streams, n+4)

		tx = s.transaction(t, node.log)
		put(tx, n+5)
		tx.commit(t)
		for _, stream := range streams {
			wantNumbered(t, []*ssetest.Stream{stream}, n+5)
			wantEnd(t, s, stream, "sse.close", reason)
		}
		// Later streams stay open, also those that resume from before the command.
		streams = openAll(t, s, nodes, aliceID, ssetest.LastEventID(last))
		if s.OneWriter {
			wantNumbered(t, streams, n+5, n+6)
		} else {
			wantNumbered(t, streams, n+7, n+5, n+6)
		}
		node.send(t, aliceID, n+8)
		wantNumbered(t, streams, n+8)
		for _, stream := range streams {
			stream.Close()
		}
	}
	nodes[0].send(t, bobID, 1000)
	wantNumbered(t, others, 1000)
}
