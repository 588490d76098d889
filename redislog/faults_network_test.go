//go:build linux

package redislog_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// TestLostAnswersStoreNothingTwice drops connections in place of answers, at random: the server has
// done what the request says, and the node does not know.
func TestLostAnswersStoreNothingTwice(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{}, 2)
	readers := followAll(t, nodes...)
	l := startLoad(t, nodes...)
	var dropped atomic.Int64
	for _, n := range nodes {
		n.network.proxies[s.Addr()].OnAnswer(func(int, []byte) nodetest.Verdict {
			if rand.IntN(40) > 0 {
				return nodetest.Forward
			}
			dropped.Add(1)
			return nodetest.Drop
		})
	}
	for range 10 {
		l.await(t, 200)
	}
	for _, n := range nodes {
		n.network.proxies[s.Addr()].OnAnswer(nil)
	}
	l.recovers(t, 10*time.Second, readers...)
	l.verify(t, readers...)
	wantNoGaps(t, readers...)
	if t.Logf("%d answers were lost", dropped.Load()); dropped.Load() < 10 {
		t.Error("too few answers were lost: the test shows nothing")
	}
}

// TestLostAnswerOfAppend drops the connection in place of the answers to one append, and to one
// transaction.
func TestLostAnswerOfAppend(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{}, 2)
	start := head(t, nodes[0].log)
	var want []string
	for i := range 10 {
		n := nodes[0]
		at := appendAll(t, n.log, "before")[0]
		var drops atomic.Int64
		// The log's other connections are dropped too if they get an answer meanwhile.
		n.network.proxies[s.Addr()].OnAnswer(func(int, []byte) nodetest.Verdict {
			if drops.Add(1) <= int64(1+i%4) {
				return nodetest.Drop
			}
			return nodetest.Forward
		})
		want = append(want, "before")
		if i%2 == 0 {
			appendAll(t, n.log, "append") // the log tries again
			want = append(want, "append")
		} else {
			tx := beginTransaction(n)
			if err := tx.Outbox.Put(t.Context(), record("all", "transaction")); err != nil {
				t.Fatal(err)
			}
			err := tx.Commit()
			t.Logf("the transaction's error: %v", err)
			// It may have been stored although EXEC has failed. An append that follows shows whether.
			appendAll(t, nodes[1].log, "after")
			if slices.Contains(contents(t, nodes[1].log, at), "transaction") {
				want = append(want, "transaction")
			} else if err == nil {
				t.Error("a transaction was acknowledged and is not stored")
			}
			want = append(want, "after")
		}
		n.network.proxies[s.Addr()].OnAnswer(nil)
		if drops.Load() == 0 {
			t.Error("no answer was lost: the test shows nothing")
		}
	}
	appendAll(t, nodes[1].log, "end")
	want = append(want, "end")
	if got := contents(t, nodes[1].log, start); !slices.Equal(got, want) {
		t.Errorf("the log has\n%s\nwant\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// TestCutConnectionsLoseNothing cuts the connections of the nodes under load.
func TestCutConnectionsLoseNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	onFaultyServer(t, s, func(l *load) {
		for range 20 {
			l.await(t, 20)
			l.nodes[rand.IntN(len(l.nodes))].network.dropAll()
		}
	})
}

// TestStalledNodeCatchesUp stalls the connections of one node, and then drops them, while the other one
// works.
func TestStalledNodeCatchesUp(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	onFaultyServer(t, s, func(l *load) {
		stalled := l.nodes[0]
		stalled.network.stall(true)
		until(t, "the loss of contact", unavailable(stalled.log))
		l.await(t, 300)
		stalled.network.dropAll()
		stalled.network.stall(false)
		l.await(t, 100)
	})
}
