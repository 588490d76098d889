//go:build linux

package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// TestSlowLinkCatchesUp has a node with a slow link to Redis open a log with large events, read old
// ones, and follow new ones that are appended faster than it can read them.
func TestSlowLinkCatchesUp(t *testing.T) {
	t.Parallel()
	const size, count, rate = 50 << 10, 300, 4 << 20 // all events take 4 s
	s := redistest.Start(t)
	for name, recentBytes := range map[string]int{"all_in_memory": 0, "half_in_memory": 8 << 20} {
		cfg := redislog.Config{Prefix: newPrefix(), RecentBytes: recentBytes}
		there := openNodes(t, s, cfg, 1)[0]
		start := head(t, there.log)
		appendMany := func(count int) (last eventlog.Cursor) {
			for i := range count {
				last = appendAll(t, there.log, fmt.Sprint(i, strings.Repeat("x", size)))[0]
			}
			return last
		}
		appendMany(count)
		slow := newNetwork(t, s.Addr())
		slow.proxies[s.Addr()].SetRate(rate)
		began := time.Now()
		here := openLog(t, slow.client(t, s.Addr()), cfg)
		t.Logf("%s: opened after %v", name, time.Since(began).Round(time.Millisecond))
		began = time.Now()
		old, fresh := followFrom(t, start, here), follow(t, here)
		until(t, "the old events", func() bool { return len(old.events()) == count })
		t.Logf("%s: read %d events after %v", name, count, time.Since(began).Round(time.Millisecond))
		began = time.Now()
		last := appendMany(count)
		until(t, "the new events", func() bool { return fresh.reached(last) && old.reached(last) })
		t.Logf("%s: followed %d events in %v", name, count, time.Since(began).Round(time.Millisecond))
		wantNoGaps(t, old, fresh)
		if got := len(fresh.events()); got != count {
			t.Errorf("%s: the follower has %d events", name, got)
		}
	}
}

// TestLargeEventOnSlowLink appends an event that takes half a second to read.
func TestLargeEventOnSlowLink(t *testing.T) {
	t.Parallel()
	const size, rate = 1 << 20, 2 << 20
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{}, 2)
	nodes[0].network.proxies[s.Addr()].SetRate(rate)
	readers := followAll(t, nodes...)
	at := appendAll(t, nodes[1].log, strings.Repeat("x", size))[0]
	for _, r := range readers {
		until(t, "the large event", func() bool { return r.reached(at) && len(r.events()) == 1 })
	}
	wantNoGaps(t, readers...)
}

// TestCloseIsBounded closes a log whose server does not answer, while calls are in progress.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{RecentBytes: 1 << 10}, 1)
	log := nodes[0].log
	start := head(t, log)
	appendAll(t, log, strings.Repeat("x", 5000), strings.Repeat("x", 5000), "last")
	s.Freeze(t)
	defer s.Thaw(t)
	ended := make(chan error, 3)
	for _, call := range []func() error{
		func() error {
			_, err := log.Append(context.Background(), record("all", "never"))
			return err
		},
		func() error {
			_, err := log.Head(context.Background())
			return err
		},
		func() error {
			_, err := log.Read(context.Background(), eventlog.Query{Subjects: allSubjects, After: start, MaxEntries: 10, MaxBytes: 1 << 20}, nil)
			return err
		},
	} {
		go func() {
			err := call()
			for ; err == nil || errors.Is(err, eventlog.ErrUnavailable); err = call() { // the machine is slow
				time.Sleep(10 * time.Millisecond)
			}
			ended <- err
		}()
	}
	time.Sleep(300 * time.Millisecond) // they wait then
	began := time.Now()
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close returned after %v", took)
	}
	for range 3 {
		select {
		case err := <-ended:
			if !errors.Is(err, eventlog.ErrClosed) {
				t.Errorf("a call on a frozen server: %v", err)
			}
		case <-time.After(patience):
			t.Error("a call has not returned after Close")
		}
	}
	if _, err := log.Append(t.Context(), record("all", "closed")); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("a closed log appends: %v", err)
	}
}

// TestStalledNodeMissesWhatIsTrimmed has events leave the log before a stalled node has read them.
func TestStalledNodeMissesWhatIsTrimmed(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{MaxBytes: 100 << 10}, 2)
	readers := followAll(t, nodes[0])
	appendAll(t, nodes[1].log, "before")
	for _, r := range readers {
		until(t, "an event", func() bool { return len(r.events()) == 1 })
	}
	nodes[0].network.stall(true)
	for i := range 500 {
		appendAll(t, nodes[1].log, fmt.Sprint(i, strings.Repeat("x", 1000)))
	}
	client := s.Client(t)
	until(t, "the trimming", func() bool { return entriesIn(t, client) < 200 })
	nodes[0].network.stall(false)
	last := appendAll(t, nodes[1].log, "after")[0]
	for i, r := range readers {
		until(t, "the last event", func() bool { return r.reached(last) })
		gaps := r.allGaps()
		if len(gaps) == 0 || gaps[0].reason != eventlog.GapTrimmed {
			t.Errorf("reader %d has %d events and the gaps %v", i, len(r.events()), gaps)
		}
	}
}

// TestRolledBackPositionsAreGaps restores a backup while no node is up. Clients return with positions
// that only they know, to nodes that read them from memory or from Redis.
func TestRolledBackPositionsAreGaps(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AOF)
	log := openNodes(t, s, redislog.Config{}, 1)[0].log
	kept := appendAll(t, log, "a1", "a2", "a3")
	s.Kill(t)
	restore := s.Backup(t)
	s.Restart(t)
	appendPatiently(t, log, "b0")
	lost := appendAll(t, log, "b1", "b2", "b3", "b4", "b5")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	restore()
	s.Restart(t)
	var logs []*redislog.Log
	for _, recentBytes := range []int{0, 1 << 10} {
		logs = append(logs, openNodes(t, s, redislog.Config{RecentBytes: recentBytes}, 1)[0].log)
	}
	check := func(when string) {
		t.Helper()
		for i, log := range logs {
			for j, at := range lost {
				page := read(t, log, eventlog.Query{Subjects: allSubjects, After: at, MaxEntries: 100, MaxBytes: 1 << 20})
				switch {
				case page.Gap != "":
				case len(page.Entries) > 0:
					t.Errorf("%s, log %d, after lost event %d: %d events without a gap", when, i, j, len(page.Entries))
				case page.Through != at:
					t.Errorf("%s, log %d, after lost event %d: from %v to %v without a gap", when, i, j, at, page.Through)
				}
			}
			page := read(t, log, eventlog.Query{Subjects: allSubjects, After: kept[1], MaxEntries: 100, MaxBytes: 1 << 20})
			if page.Gap == "" && (len(page.Entries) == 0 || dataOf(page.Entries[0]) != "a3") {
				t.Errorf("%s, log %d, after a kept event: %d events, gap %q", when, i, len(page.Entries), page.Gap)
			}
		}
	}
	check("at first")
	for i := range 8 {
		at := appendPatiently(t, logs[i%2], "c")
		for _, log := range logs {
			until(t, "the event", func() bool { return head(t, log).Seq >= at.Seq })
		}
		check(fmt.Sprint("after ", i+1, " events"))
	}
	for range 100 {
		appendAll(t, logs[0], strings.Repeat("x", 1000))
	}
	until(t, "the events", func() bool { return head(t, logs[1]).Seq >= head(t, logs[0]).Seq })
	check("at last")
}

// TestLargeEntriesOnSlowLink appends large events faster than a node can read them. The node stays in
// contact with Redis.
func TestLargeEntriesOnSlowLink(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs answers within a second: left out with -short")
	}
	t.Parallel()
	const size, count, rate = 64 << 10, 120, 3 << 20 // all events take 2.5 s
	s := redistest.Start(t)
	var logs logged
	slow := openNodes(t, s, redislog.Config{Logger: textLogger(&logs)}, 1)[0]
	other := openNodes(t, s, redislog.Config{}, 1)[0]
	slow.network.proxies[s.Addr()].SetRate(rate)
	r := follow(t, slow.log)
	appendInBulk(t, other, records(count, size)...)
	last := head(t, other.log)
	until(t, "all events", func() bool { return r.reached(last) && len(r.events()) == count })
	wantNoGaps(t, r)
	if text := logs.String(); text != "" {
		t.Errorf("the log wrote:\n%s", text)
	}
}
