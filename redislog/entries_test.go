//go:build linux

package redislog_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// appendTogether has records wait for a node whose connections are stalled, so that they share entries
// of the stream. It returns their positions.
func appendTogether(t *testing.T, n node, records []eventlog.Record) []eventlog.Cursor {
	t.Helper()
	at := make([]eventlog.Cursor, len(records))
	n.network.stall(true)
	var started, appending sync.WaitGroup
	for i, r := range records {
		started.Add(1)
		appending.Go(func() {
			started.Done()
			var err error
			if at[i], err = n.log.Append(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	n.network.stall(false)
	appending.Wait()
	return at
}

// TestEachPositionWithinAnEntryHolds appends events that share entries of the stream. From the position
// of each, a node reads the same whether it has them in memory, or only the newest, or none. A position
// that another history gave is a gap.
func TestEachPositionWithinAnEntryHolds(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := openNodes(t, s, redislog.Config{}, 1)[0]
	start := head(t, n.log)
	var list []eventlog.Record
	for i := range 1000 {
		r := record("all", fmt.Sprint(i))
		switch i % 100 {
		case 50:
			r.Key = "k"
		case 70:
			r.DedupKey = fmt.Sprint("d", i)
		}
		list = append(list, r)
	}
	at := appendTogether(t, n, list)
	order := slices.Clone(at)
	slices.SortFunc(order, func(a, b eventlog.Cursor) int { return int(a.Seq) - int(b.Seq) })
	for i, c := range order {
		if c.Seq != start.Seq+uint64(i)+1 {
			t.Fatalf("event %d has number %d after %d", i, c.Seq, start.Seq)
		}
	}
	if entries := entriesIn(t, n.client); entries > 200 {
		t.Fatalf("%d events are in %d entries", len(list), entries)
	}
	appendAll(t, n.log, "last")
	little := openLog(t, n.client, redislog.Config{RecentBytes: 1})
	some := openLog(t, n.client, redislog.Config{RecentBytes: 100 * (eventlog.WindowEntryOverhead + 100)})
	for name, log := range map[string]*redislog.Log{"memory": n.log, "Redis": little, "both": some} {
		all := contents(t, log, start)
		if len(all) != 1+len(list)-9 { // of the key, only the newest
			t.Fatalf("%s: %d events", name, len(all))
		}
		for i, c := range order {
			first := contents(t, log, c)
			if want := all[len(all)-len(first):]; len(first) < len(order)-i-9 || !slices.Equal(first, want) {
				t.Fatalf("%s: after event %d come %d events, %.5q and so on", name, i, len(first), first)
			}
			if c.Check++; i%7 == 0 && gapAfter(t, log, c) != eventlog.GapUnknown {
				t.Fatalf("%s: no gap after a position of another history", name)
			}
		}
	}
	// Repeats have the position of the first one.
	for i := 70; i < len(list); i += 100 {
		if again, err := little.Append(t.Context(), list[i]); err != nil || again != at[i] {
			t.Errorf("a repeat of %v is at %v, %v", at[i], again, err)
		}
	}
}

// TestTrimmedEntriesAreAGap trims entries that have several events.
func TestTrimmedEntriesAreAGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := openNodes(t, s, redislog.Config{MaxBytes: 100_000, RecentBytes: 1}, 1)[0]
	start := head(t, n.log)
	var order []eventlog.Cursor
	for range 4 {
		order = append(order, appendTogether(t, n, records(300, 100))...)
	}
	slices.SortFunc(order, func(a, b eventlog.Cursor) int { return int(a.Seq) - int(b.Seq) })
	until(t, "the trimming", func() bool { return gapAfter(t, n.log, start) == eventlog.GapTrimmed })
	until(t, "the trimming to the bound", func() bool { return entriesIn(t, n.client) < 20 })
	const held = 100_000 / (100 + 64 + 80) // at least
	if got := contents(t, n.log, order[len(order)-held]); len(got) != held-1 {
		t.Errorf("%d of the newest %d events", len(got), held-1)
	}
	gaps := 0
	for _, c := range order {
		if gap := gapAfter(t, n.log, c); gap == eventlog.GapTrimmed {
			gaps++
		} else if gap != "" {
			t.Fatal(gap)
		}
	}
	if gaps < 300 || gaps > len(order)-held {
		t.Errorf("%d of %d positions are gaps", gaps, len(order))
	}
}

// rangesRead returns how many times a server has executed XRANGE.
func rangesRead(t testing.TB, s *redistest.Server) int {
	t.Helper()
	stats, err := s.Client(t).Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`cmdstat_xrange:calls=(\d+)`).FindStringSubmatch(stats)
	if calls == nil {
		return 0
	}
	n, _ := strconv.Atoi(calls[1])
	return n
}

// TestPositionsOutsideTheLogReadLittle reads from positions before the oldest entry, where entries are
// large. Clients that return late have such positions, and anyone can make them up.
func TestPositionsOutsideTheLogReadLittle(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := openNodes(t, s, redislog.Config{RecentBytes: 1}, 1)[0]
	start := head(t, n.log)
	appendTogether(t, n, records(5000, 100))
	appendAll(t, n.log, "last")
	sent := func() int { return infoNumber(t, s, "total_net_output_bytes") }
	before := sent()
	const count = 50
	for i := range count {
		from := start
		from.Seq -= uint64(1000 * (i + 1))
		if gap := gapAfter(t, n.log, from); gap != eventlog.GapTrimmed {
			t.Fatalf("gap %q", gap)
		}
	}
	if bytes := sent() - before; bytes > count*10_000 {
		t.Errorf("Redis has sent %d bytes for %d positions", bytes, count)
	}
}

// TestEntriesAreReadWithFewRequests reads entries of many small events after the newest events were
// large ones.
func TestEntriesAreReadWithFewRequests(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := openNodes(t, s, redislog.Config{RecentBytes: 1}, 1)[0]
	start := head(t, n.log)
	appendTogether(t, n, records(5000, 10))
	appendInBulk(t, n, records(3, 600<<10)...)
	last := head(t, n.log)
	before := rangesRead(t, s)
	r := followFrom(t, start, n.log)
	until(t, "all events", func() bool { return r.reached(last) })
	if got := len(r.events()); got != 5003 {
		t.Errorf("%d events", got)
	}
	wantNoGaps(t, r)
	if count := rangesRead(t, s) - before; count > 1000 {
		t.Errorf("%d requests for %d entries", count, entriesIn(t, n.client))
	}
}

// TestForeignEntryIsNotDelivered adds an entry that is no event, as XADD does with an ID of its own. Nodes
// read what is before it and after it, from memory and from Redis.
func TestForeignEntryIsNotDelivered(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	n := openNodes(t, s, redislog.Config{}, 1)[0]
	start := head(t, n.log)
	appendAll(t, n.log, "a", "b")
	if err := n.client.Do(t.Context(), "xadd", "{ginsse}:log", "*", "not", "an event").Err(); err != nil {
		t.Fatal(err)
	}
	appendAll(t, n.log, "c")
	var logs logged
	fresh := openLog(t, n.client, redislog.Config{Logger: textLogger(&logs)})
	little := openLog(t, n.client, redislog.Config{RecentBytes: 1})
	for name, log := range map[string]*redislog.Log{"before": n.log, "memory": fresh, "Redis": little} {
		if got := contents(t, log, start); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !strings.Contains(logs.String(), "is not an event") {
		t.Errorf("no warning: %s", logs.String())
	}
}
