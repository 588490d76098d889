//go:build linux

package redislog_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// TestKeysAreThereAfterARollback restores a backup from before much was trimmed. The first event with
// a key that follows must not hide the keys of the backup.
func TestKeysAreThereAfterARollback(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AOF)
	n := openNodes(t, s, redislog.Config{MaxBytes: 50 << 10}, 1)[0]
	appendKeyed := func(key string) error {
		r := record("all", key)
		r.Key = key
		_, err := n.log.Append(t.Context(), r)
		return err
	}
	for _, key := range []string{"k1", "k2"} {
		if err := appendKeyed(key); err != nil {
			t.Fatal(err)
		}
	}
	s.Kill(t)
	restore := s.Backup(t)
	s.Restart(t)
	appendPatiently(t, n.log, "x")
	for i := range 200 {
		appendAll(t, n.log, fmt.Sprint(i, strings.Repeat("x", 1000)))
	}
	client := s.Client(t)
	until(t, "the trimming", func() bool { return entriesIn(t, client) < 60 })
	before := head(t, n.log)
	s.Kill(t)
	restore()
	s.Restart(t)
	until(t, "an append", func() bool { return appendKeyed("k3") == nil })
	awaitEpoch(t, n.log, before.Epoch)
	at := head(t, n.log)
	at.Seq, at.Check = 0, 0
	page := read(t, n.log, eventlog.Query{Subjects: []string{"all"}, After: at, Latest: true, MaxEntries: 100, MaxBytes: 1 << 20})
	if page.Gap != "" {
		t.Fatalf("gap %q", page.Gap)
	}
	var got []string
	for _, e := range page.Entries {
		got = append(got, dataOf(e))
	}
	if want := []string{"k1", "k2", "k3"}; !slices.Equal(got, want) {
		t.Errorf("the newest events are %v, want %v", got, want)
	}
}

// TestFailoverWhileAllNodesAreDown promotes a replica that lacks an acknowledged event before a node
// looks at it.
func TestFailoverWhileAllNodesAreDown(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF)
	replica, link := newReplica(t, master)
	n := openNodes(t, master, redislog.Config{}, 1)[0]
	at := appendAll(t, n.log, "a1", "a2")
	inStep(t, master, replica)
	link.Stall(true)
	appendAll(t, n.log, "lost")
	if err := n.log.Close(); err != nil {
		t.Fatal(err)
	}
	failOver(t, nil, master, replica, link)
	fresh := openNodes(t, replica, redislog.Config{}, 1)[0]
	if gap := gapAfter(t, fresh.log, at[1]); gap != eventlog.GapEpoch {
		t.Errorf("a client that has not got the lost event resumes with gap %q", gap)
	}
}

// TestBatchThatIsSentAgainIsAnotherHistory rolls a log back, and adds other events, before a node sends a
// batch again that it has already read. Some positions within the batch are in both histories.
func TestBatchThatIsSentAgainIsAnotherHistory(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			cfg := redislog.Config{Prefix: newPrefix()}
			other := openNodes(t, s, cfg, 1)[0]
			appendAll(t, other.log, "first")
			client := s.Client(t)
			log, state := cfg.Prefix+"log", cfg.Prefix+"state"
			backup := []string{client.Dump(t.Context(), log).Val(), client.Dump(t.Context(), state).Val()}
			// Without a replica, the node sends each batch until its callers give up.
			cfg.Wait = 1
			n := openNodes(t, s, cfg, 1)[0]
			r := follow(t, n.log)
			var sending sync.WaitGroup
			defer sending.Wait()
			send := func(data string, timeout time.Duration) {
				sending.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					_, _ = n.log.Append(ctx, record("all", data))
				})
			}
			// The others wait for it, so that they share a batch.
			send("before", 2*time.Second)
			until(t, "the event before the batch", func() bool { return len(r.events()) == 1 })
			for i := range 20 {
				send(fmt.Sprint("batch", i), 8*time.Second)
			}
			until(t, "the batch", func() bool { return len(r.events()) == 21 })
			_ = other.log.Close() // it would notice
			// Between two attempts to send the batch, the node rarely looks at the state of the log.
			waits := func() bool {
				return regexp.MustCompile(`flags=b.* cmd=wait `).MatchString(client.ClientList(t.Context()).Val())
			}
			until(t, "an attempt", waits)
			until(t, "its end", func() bool { return !waits() })
			pipe := client.TxPipeline()
			pipe.RestoreReplace(t.Context(), log, 0, backup[0])
			pipe.RestoreReplace(t.Context(), state, 0, backup[1])
			pipe.Del(t.Context(), client.Keys(t.Context(), cfg.Prefix+"batch:*").Val()...)
			for i := range 3 {
				if err := other.log.Tx(pipe).Put(t.Context(), record("all", fmt.Sprint("other", i))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			sending.Wait()
			appendPatiently(t, openNodes(t, s, redislog.Config{Prefix: cfg.Prefix}, 1)[0].log, "last")
			until(t, "a gap, or the last event", func() bool {
				return len(r.allGaps()) > 0 || slices.Contains(r.events(), "last")
			})
			if len(r.allGaps()) == 0 {
				t.Errorf("events of the other node were lost without a gap: %v", r.events())
			}
		})
	}
}
