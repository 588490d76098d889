//go:build linux

package redislog_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// TestEvictionIsRefused opens a log on servers that remove keys when their memory is full, also if
// the command CONFIG is not there.
func TestEvictionIsRefused(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"maxmemory 100mb", "maxmemory 100mb\nrename-command CONFIG \"\""} {
		for policy, ok := range map[string]bool{"noeviction": true, "allkeys-lru": false, "allkeys-random": false, "volatile-ttl": false} {
			s := redistest.Start(t, settings, "maxmemory-policy "+policy)
			log, err := redislog.Open(t.Context(), s.Client(t), redislog.Config{})
			switch {
			case ok && err != nil:
				t.Errorf("%s: %v", policy, err)
			case ok:
				_ = log.Close()
			case err == nil:
				t.Errorf("%s: the log was opened", policy)
				_ = log.Close()
			case !strings.Contains(err.Error(), policy) || !strings.Contains(err.Error(), "noeviction"):
				t.Errorf("%s: the error names no remedy: %v", policy, err)
			}
			s.Kill(t)
		}
	}
}

func usedMemory(t testing.TB, s *redistest.Server) int { return infoNumber(t, s, "used_memory") }

// infoNumber returns a number of a server's INFO.
func infoNumber(t testing.TB, s *redistest.Server, field string) (n int) {
	t.Helper()
	until(t, "a number in INFO", func() bool {
		var err error
		n, err = strconv.Atoi(s.Info(t, field))
		return err == nil
	})
	return n
}

// TestFullServerRefusesWithoutPartialState has the server's memory fill up under load, and then gives it
// more.
func TestFullServerRefusesWithoutPartialState(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	onFaultyServer(t, s, func(l *load) {
		for range 3 {
			l.await(t, 50)
			s.Set(t, "maxmemory", fmt.Sprint(usedMemory(t, s)-1_000_000))
			refused := func() (count int) {
				l.mu.Lock()
				defer l.mu.Unlock()
				for _, s := range l.sent {
					if s.err != nil {
						count++
					}
				}
				return count
			}
			had := refused()
			until(t, "refusals", func() bool { return refused() > had+20 })
			s.Set(t, "maxmemory", "0")
		}
	})
}

// TestFullServerStoresNoRecord has a record with a key and a DedupKey be refused, and appends it again.
func TestFullServerStoresNoRecord(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{AppendTimeout: patience}, 2)
	log := nodes[0].log
	start := head(t, log)
	r := record("all", "old")
	r.Key = "k"
	if _, err := log.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.Set(t, "maxmemory", "1")
	r = record("all", "new")
	r.Key, r.DedupKey = "k", "d"
	began := time.Now()
	_, err := log.Append(t.Context(), r)
	if err == nil {
		t.Fatal("a full server has taken a record")
	}
	t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
	if !strings.Contains(err.Error(), "OOM") && !strings.Contains(err.Error(), "memory") {
		t.Errorf("the error does not say why: %v", err)
	}
	tx := beginTransaction(nodes[1])
	if err := tx.Outbox.Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err == nil {
		t.Error("a full server has taken a transaction")
	}
	if got := contents(t, log, start); !slices.Equal(got, []string{"old"}) {
		t.Errorf("the full server's log has %v", got)
	}
	if err := log.Ready(); err != nil {
		t.Logf("Ready on a full server: %v", err)
	}
	s.Set(t, "maxmemory", "0")
	at := appendPatiently(t, log, "other")
	first, err := log.Append(t.Context(), r)
	if err != nil || first.Seq <= at.Seq {
		t.Errorf("the record that was refused: %v, %v", first, err)
	}
	again, err := nodes[1].log.Append(t.Context(), r)
	if err != nil || again != first {
		t.Errorf("the record again: %v, %v; want %v", again, err, first)
	}
	for i, n := range nodes {
		until(t, "the head", func() bool { return head(t, n.log).Seq >= first.Seq })
		if got := contents(t, n.log, start); !slices.Equal(got, []string{"other", "new"}) {
			t.Errorf("node %d has %v", i, got)
		}
	}
}

// TestTrimByBytes appends more than Config.MaxBytes, and looks at what Redis has then.
func TestTrimByBytes(t *testing.T) {
	t.Parallel()
	const most, events, size = 1 << 20, 6000, 1000
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{MaxBytes: most, RecentBytes: 64 << 10}, 2)
	before := usedMemory(t, s)
	start := head(t, nodes[0].log)
	data := strings.Repeat("x", size)
	var at []eventlog.Cursor
	for range events / 100 {
		pipe := nodes[0].client.TxPipeline()
		for range 99 {
			if err := nodes[0].log.Tx(pipe).Put(t.Context(), record("all", data)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		at = append(at, appendAll(t, nodes[0].log, data)...)
	}
	for i, n := range nodes {
		if gap := gapAfter(t, n.log, start); gap != eventlog.GapTrimmed {
			t.Errorf("node %d: gap %q after the start", i, gap)
		}
		if got := len(contents(t, n.log, at[len(at)-5])); got != 400 {
			t.Errorf("node %d: %d of the newest events", i, got)
		}
	}
	until(t, "Redis to have no more than twice the bound", func() bool { return usedMemory(t, s)-before < 2*most })
	t.Logf("%d bytes of events need %d bytes in Redis, with a bound of %d", events*size, usedMemory(t, s)-before, most)
}

// TestTrimByAge has events grow old while nothing is appended.
func TestTrimByAge(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	nodes := openNodes(t, s, redislog.Config{MaxAge: time.Second}, 2)
	before := usedMemory(t, s)
	start := head(t, nodes[0].log)
	pipe := nodes[0].client.TxPipeline()
	for i := range 1000 {
		r := record("all", strings.Repeat("x", 1000))
		if i%2 == 0 {
			r.Key = fmt.Sprint("k", i)
		}
		if err := nodes[0].log.Tx(pipe).Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := head(t, nodes[0].log)
	for i, n := range nodes {
		until(t, fmt.Sprint("a gap at node ", i), func() bool { return gapAfter(t, n.log, start) == eventlog.GapTrimmed })
		until(t, fmt.Sprint("no gap at the head of node ", i), func() bool { return gapAfter(t, n.log, at) == "" })
	}
	until(t, "Redis to have none of the events", func() bool { return usedMemory(t, s)-before < 500_000 })
}

// TestOpenIsBounded opens logs on a server that does not answer, and on one that is not there.
func TestOpenIsBounded(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	frozen, gone := s.Client(t), redistest.Start(t)
	client := gone.Client(t)
	gone.Kill(t)
	s.Freeze(t)
	for name, open := range map[string]func(ctx context.Context) (*redislog.Log, error){
		"frozen": func(ctx context.Context) (*redislog.Log, error) { return redislog.Open(ctx, frozen, redislog.Config{}) },
		"gone":   func(ctx context.Context) (*redislog.Log, error) { return redislog.Open(ctx, client, redislog.Config{}) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		began := time.Now()
		_, err := open(ctx)
		cancel()
		if took := time.Since(began); err == nil || took > 6*time.Second {
			t.Errorf("%s: Open returned after %v: %v", name, took, err)
		}
		t.Logf("%s: %v", name, err)
	}
	s.Thaw(t)
}

// TestOpenSaysThatThePortHasNoTLS opens a log with TLS on a port without.
func TestOpenSaysThatThePortHasNoTLS(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := redis.NewClient(&redis.Options{
		Addr: s.Addr(), DialTimeout: time.Hour,
		TLSConfig: &tls.Config{ServerName: "redis.example"},
	})
	defer client.Close()
	_, err := redislog.Open(t.Context(), client, redislog.Config{})
	if !errors.Is(err, eventlog.ErrUnavailable) || !strings.Contains(err.Error(), "connecting to "+s.Addr()+" with TLS") {
		t.Errorf("Open returned %v", err)
	}
}
