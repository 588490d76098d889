//go:build linux

package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// appendInBulk appends records with few requests.
func appendInBulk(t testing.TB, n node, list ...eventlog.Record) {
	t.Helper()
	for len(list) > 0 {
		pipe := n.client.TxPipeline()
		for size := 0; len(list) > 0 && size < 2<<20; list = list[1:] {
			size += len(list[0].Frame) + 3000 // the script
			if err := n.log.Tx(pipe).Put(t.Context(), list[0]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// records returns records with numbers and so many bytes.
func records(count, size int) (list []eventlog.Record) {
	for i := range count {
		list = append(list, record("all", fmt.Sprint(i, strings.Repeat("x", size))))
	}
	return list
}

// keyed returns a record with a key, which is also its data.
func keyed(key string) eventlog.Record {
	r := record("all", key)
	r.Key = key
	return r
}

// latestKeys returns the keys of the newest entries that a log has.
func latestKeys(t testing.TB, log *redislog.Log) (keys []string) {
	t.Helper()
	q := eventlog.Query{Subjects: []string{"all"}, After: head(t, log), Latest: true, MaxEntries: 1000, MaxBytes: 1 << 20}
	q.After.Seq, q.After.Check = 0, 0
	for {
		page := read(t, log, q)
		if page.Gap != "" {
			t.Fatalf("gap %q", page.Gap)
		}
		for _, e := range page.Entries {
			keys = append(keys, e.Key)
		}
		if q.After = page.Through; !page.More {
			return keys
		}
	}
}

// TestMadeUpPositionsNeedNoMemory has clients come with positions that were never given out. Anyone who
// has an event ID can make those up.
func TestMadeUpPositionsNeedNoMemory(t *testing.T) {
	s := redistest.Start(t)
	n := openNodes(t, s, redislog.Config{RecentBytes: 1 << 10}, 1)[0]
	appendInBulk(t, n, records(100, 100)...)
	at := head(t, n.log)
	used := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := used()
	const count = 20_000
	for range count {
		from := at
		from.Seq = rand.Uint64N(at.Seq-1000) + 1
		if gap := gapAfter(t, n.log, from); gap == "" {
			t.Fatal("no gap")
		}
	}
	if more := used() - before; more > 2<<20 {
		t.Errorf("%d made-up positions need %d bytes", count, more)
	}
}

// TestMissingReplicaLeavesTheTailAlone has appends fail because no replica has the event. The error says
// so, and Redis can be read meanwhile. With -short the machine may pause for a second, which the log
// notes too.
func TestMissingReplicaLeavesTheTailAlone(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	var logs logged
	n := openNodes(t, s, redislog.Config{Wait: 1, Logger: textLogger(&logs)}, 1)[0]
	before := s.Info(t, "total_connections_received")
	start := head(t, n.log)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		_, err := n.log.Append(ctx, record("all", "1"))
		if !errors.Is(err, eventlog.ErrNotVisible) || !strings.Contains(err.Error(), "0 replicas have it, and Config.Wait is 1") {
			t.Errorf("an event that no replica has: error %v", err)
		}
	}
	if got := contents(t, n.log, start); len(got) != 3 {
		t.Errorf("the events were not stored: %v", got)
	}
	t.Logf("connections: %s before, %s after", before, s.Info(t, "total_connections_received"))
	if text := logs.String(); text != "" && !testing.Short() {
		t.Errorf("the log wrote:\n%s", text)
	}
}

// TestLargeEventsAfterSmallOnesAreRead opens a log over a link of 4 MiB/s. Its newest events are large,
// and most are small.
func TestLargeEventsAfterSmallOnesAreRead(t *testing.T) {
	t.Parallel()
	const rate = 4 << 20
	s := redistest.Start(t)
	cfg := redislog.Config{RecentBytes: 200 << 20}
	there := openNodes(t, s, cfg, 1)[0]
	appendInBulk(t, there, records(2000, 100)...)
	appendInBulk(t, there, records(16, 1<<20)...)
	slow := newNetwork(t, s.Addr())
	slow.proxies[s.Addr()].SetRate(rate)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience) // 16 MiB take 4 s, and far longer on a busy machine
	defer cancel()
	began := time.Now()
	log, err := redislog.Open(ctx, slow.client(t, s.Addr()), cfg)
	if err != nil {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
	t.Logf("opened after %v", time.Since(began))
	_ = log.Close()
}

// TestReadOfOldLargeEventsIsBounded reads events that are not in memory over a link of 4 MiB/s.
func TestReadOfOldLargeEventsIsBounded(t *testing.T) {
	t.Parallel()
	const rate, count = 4 << 20, 140
	s := redistest.Start(t)
	cfg := redislog.Config{RecentBytes: 1 << 10}
	there := openNodes(t, s, cfg, 1)[0]
	start := head(t, there.log)
	appendInBulk(t, there, records(count, 256<<10)...)
	appendInBulk(t, there, records(130, 10)...)
	slow := newNetwork(t, s.Addr())
	slow.proxies[s.Addr()].SetRate(rate)
	log := openLog(t, slow.client(t, s.Addr()), cfg)
	at, got := start, 0
	for progress := time.Now(); got < count; {
		if time.Since(progress) > patience {
			t.Fatalf("after %d of %d events, no other one within %v", got, count, patience)
		}
		before := time.Now()
		page, err := log.Read(t.Context(), eventlog.Query{Subjects: allSubjects, After: at, MaxEntries: 100, MaxBytes: 4 << 20}, nil)
		if took := time.Since(before); took > 10*time.Second {
			t.Fatalf("Read returned after %v", took)
		}
		if err != nil {
			t.Log(err)
			continue
		}
		if page.Gap != "" {
			t.Fatal(page.Gap)
		}
		at = page.Through
		if len(page.Entries) > 0 {
			got, progress = got+len(page.Entries), time.Now()
		}
	}
}

// TestSlowReadLeavesTheTailAlone reads large old events over a slow link. The node keeps its contact.
func TestSlowReadLeavesTheTailAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs answers within a second: left out with -short")
	}
	t.Parallel()
	s := redistest.Start(t)
	cfg := redislog.Config{RecentBytes: 1 << 10}
	there := openNodes(t, s, cfg, 1)[0]
	start := head(t, there.log)
	appendInBulk(t, there, records(64, 1<<20)...)
	appendInBulk(t, there, records(3000, 10)...)
	slow := newNetwork(t, s.Addr())
	slow.proxies[s.Addr()].SetRate(4 << 20)
	var logs logged
	cfg.Logger = textLogger(&logs)
	log := openLog(t, slow.client(t, s.Addr()), cfg)
	_, err := log.Read(t.Context(), eventlog.Query{Subjects: allSubjects, After: start, MaxEntries: 100, MaxBytes: 4 << 20}, nil)
	t.Logf("Read: %v", err)
	appendAll(t, there.log, "live")
	appendPatiently(t, log, "live")
	if text := logs.String(); text != "" {
		t.Errorf("the log wrote:\n%s", text)
	}
}

// TestLatestAtUnknownPositionIsAGap asks for the newest events of keys after a position that the log has
// never given out, as one of a history that was rolled back.
func TestLatestAtUnknownPositionIsAGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for name, recent := range map[string]int{"in_memory": 0, "in_Redis": 1 << 10} {
		n := openNodes(t, s, redislog.Config{Prefix: newPrefix(), RecentBytes: recent}, 1)[0]
		at := appendAll(t, n.log, "1", "2")
		if _, err := n.log.Append(t.Context(), keyed("k")); err != nil {
			t.Fatal(err)
		}
		appendInBulk(t, n, records(20, 1000)...)
		head(t, n.log)
		q := eventlog.Query{Subjects: allSubjects, After: at[1], Latest: true, MaxEntries: 10, MaxBytes: 1 << 20}
		if page := read(t, n.log, q); page.Gap != "" || len(page.Entries) != 1 {
			t.Errorf("%s: %d events, gap %q", name, len(page.Entries), page.Gap)
		}
		q.After.Check++
		if page := read(t, n.log, q); page.Gap != eventlog.GapUnknown {
			t.Errorf("%s, position of another history: %d events, gap %q", name, len(page.Entries), page.Gap)
		}
	}
}

// TestRolledBackLogKeepsItsKeys restores a backup of the server from before events were trimmed, and
// appends events with keys at once.
func TestRolledBackLogKeepsItsKeys(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AOF)
	cfg := redislog.Config{MaxBytes: 200 << 10, RecentBytes: 1 << 10}
	n := openNodes(t, s, cfg, 1)[0]
	for i := range 20 {
		if _, err := n.log.Append(t.Context(), keyed(fmt.Sprint("old", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.Kill(t)
	restore := s.Backup(t)
	s.Restart(t)
	appendPatiently(t, n.log, "lost")
	appendInBulk(t, n, records(1000, 1000)...)
	client := s.Client(t)
	until(t, "the trimming", func() bool { return entriesIn(t, client) < 300 })
	before := head(t, n.log)
	s.Kill(t)
	restore()
	s.Restart(t)
	until(t, "an append", func() bool {
		_, err := n.log.Append(t.Context(), keyed("new"))
		return err == nil
	})
	awaitEpoch(t, n.log, before.Epoch)
	appendInBulk(t, n, records(20, 1000)...)
	if got := latestKeys(t, n.log); len(got) != 21 {
		t.Errorf("the log has the keys %q", got)
	}
}

// TestCloseIsBoundedWithoutRoute closes a log whose server cannot be reached any more, not even with an
// error.
func TestCloseIsBoundedWithoutRoute(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	network := newNetwork(t, s.Addr())
	var gone atomic.Bool
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), Dialer: func(ctx context.Context, kind, address string) (net.Conn, error) {
		if gone.Load() {
			ctx, cancel := context.WithTimeout(ctx, 2*patience) // a client may have a long timeout
			defer cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return network.dial(ctx, kind, address)
	}})
	t.Cleanup(func() { _ = client.Close() })
	log := openLog(t, client, redislog.Config{})
	stop := log.Receive("a", func([]byte) {})
	gone.Store(true)
	network.dropAll()
	until(t, "the loss of contact", unavailable(log))
	began := time.Now()
	log.Receive("b", func([]byte) {})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("Receive returned after %v", took)
	}
	began = time.Now()
	stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the end of receiving returned after %v", took)
	}
	began = time.Now()
	_ = log.Close()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("Close returned after %v", took)
	}
}

// TestRecreatedLogHasNoRepeats deletes a log that was made by a server whose clock was ahead by an hour.
// What was sent to it is not in the new log.
func TestRecreatedLogHasNoRepeats(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := s.Client(t)
	base := fmt.Sprint(time.Now().Add(time.Hour).UnixMicro())
	if err := client.HSet(t.Context(), "{ginsse}:state", "epoch", "E", "base", base, "seq", base, "check", "1", "total", "0", "at", "0", "replid", "").Err(); err != nil {
		t.Fatal(err)
	}
	n := openNodes(t, s, redislog.Config{}, 1)[0]
	r := keyed("k")
	r.DedupKey = "d"
	if _, err := n.log.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := client.Del(t.Context(), "{ginsse}:log", "{ginsse}:state").Err(); err != nil {
		t.Fatal(err)
	}
	appendPatiently(t, n.log, "first")
	if _, err := n.log.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := latestKeys(t, n.log); len(got) != 1 {
		t.Errorf("the log has the keys %q, and one event with a key was appended", got)
	}
}
