//go:build linux

package redislog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// TestFlushIsAGap empties the server under load and without.
func TestFlushIsAGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client(t)
	losesContents(t, s, func([]node) time.Time {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return time.Now()
	})
}

// keysOf returns the names of a log's keys, without the prefix.
func keysOf(t testing.TB, client *redis.Client, prefix string) (keys []string) {
	t.Helper()
	all, err := client.Keys(t.Context(), strings.NewReplacer("{", "\\{", "}", "\\}").Replace(prefix)+"*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		keys = append(keys, strings.TrimPrefix(key, prefix))
	}
	slices.Sort(keys)
	return keys
}

// TestDeletedKeyIsAGap deletes each key that has events, or what the log is, while the nodes are idle.
func TestDeletedKeyIsAGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client(t)
	for _, name := range []string{"log", "state"} {
		nodes := openNodes(t, s, redislog.Config{Prefix: newPrefix()}, 2)
		appendAll(t, nodes[0].log, "a1", "a2", "a3")
		readers := followAll(t, nodes...)
		old := readers[0].positions(1)
		began := time.Now()
		if count, err := client.Del(t.Context(), nodes[0].prefix+name).Result(); err != nil || count != 1 {
			t.Fatal(count, err)
		}
		awaitGaps(t, began, soon, readers...)
		at := appendPatiently(t, nodes[1].log, "b")
		for _, r := range readers {
			until(t, "an event", func() bool { return r.reached(at) })
		}
		wantOldPositionsRefused(t, old, nodes[0].log, nodes[1].log)
	}
}

// TestDeletedNoteHidesNoEvent deletes what Redis knows of batches and of repeats. Events are read as
// before, at a node that has them in memory and at one that has not.
func TestDeletedNoteHidesNoEvent(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client(t)
	cfg := redislog.Config{Prefix: newPrefix()}
	nodes := openNodes(t, s, cfg, 1)
	start := head(t, nodes[0].log)
	r := record("all", "a1")
	r.Key, r.DedupKey = "k", "d"
	if _, err := nodes[0].log.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		appendAll(t, nodes[0].log, strings.Repeat("x", 1000))
	}
	deleted := 0
	for _, name := range keysOf(t, client, cfg.Prefix) {
		if strings.HasPrefix(name, "batch:") || strings.HasPrefix(name, "repeat:") {
			deleted += int(client.Del(t.Context(), cfg.Prefix+name).Val())
		}
	}
	if deleted != 2 {
		t.Errorf("%d keys were deleted", deleted)
	}
	cfg.RecentBytes = 1 << 10
	nodes = append(nodes, node{log: openLog(t, client, cfg)})
	for i, n := range nodes {
		appendAll(t, n.log, "b")
		if got := contents(t, n.log, start); len(got) != 22+i || got[0] != "a1" {
			t.Errorf("node %d reads %d events", i, len(got))
		}
	}
}

// TestRemovedEntriesAreAGap has an administrator cut the log with commands of Redis.
func TestRemovedEntriesAreAGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client(t)
	nodes := openNodes(t, s, redislog.Config{Prefix: newPrefix(), RecentBytes: 1 << 10}, 1)
	log := nodes[0].log
	start := head(t, log)
	var list []string
	for i := range 200 {
		list = append(list, fmt.Sprint("a", i, strings.Repeat("-", 100)))
	}
	at := appendAll(t, log, list...)
	var streams []string
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if client.Type(t.Context(), key).Val() == "stream" {
			streams = append(streams, key)
		}
	}
	if len(streams) != 1 {
		t.Fatalf("the streams are %q", streams)
	}
	if removed, err := client.XTrimMaxLen(t.Context(), streams[0], 150).Result(); err != nil || removed == 0 {
		t.Fatal(removed, err)
	}
	for _, n := range []node{nodes[0], {log: openLog(t, client, redislog.Config{Prefix: nodes[0].prefix, RecentBytes: 1 << 10})}} {
		for _, from := range []eventlog.Cursor{start, at[10]} {
			if gap := gapAfter(t, n.log, from); gap == "" {
				t.Errorf("no gap after %v, although entries were removed", from)
			}
		}
		if events := contents(t, n.log, at[180]); len(events) != 19 {
			t.Errorf("after %v come %d events", at[180], len(events))
		}
	}
}

// TestTransactionAfterScriptFlush has the server forget its scripts.
func TestTransactionAfterScriptFlush(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := openNodes(t, s, redislog.Config{}, 1)[0]
	start := head(t, n.log)
	appendAll(t, n.log, "a1")
	for _, flush := range []bool{true, false} {
		if flush {
			if err := n.client.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		tx := beginTransaction(n)
		if err := tx.Outbox.Put(t.Context(), record("all", "t")); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		appendAll(t, n.log, "a2")
	}
	if got, want := contents(t, n.log, start), []string{"a1", "t", "a2", "t", "a2"}; !slices.Equal(got, want) {
		t.Errorf("the log has %v, want %v", got, want)
	}
}
