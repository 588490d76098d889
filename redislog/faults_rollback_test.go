//go:build linux

package redislog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

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
	until(t, "the trimming", func() bool { return client.XLen(t.Context(), "{ginsse}:log").Val() < 60 })
	s.Kill(t)
	restore()
	s.Restart(t)
	until(t, "an append", func() bool { return appendKeyed("k3") == nil })
	at := head(t, n.log)
	at.Seq, at.Check = 0, 0
	page, err := n.log.Read(t.Context(), eventlog.Query{Subjects: []string{"all"}, After: at, Latest: true, MaxEntries: 100, MaxBytes: 1 << 20}, nil)
	if err != nil || page.Gap != "" {
		t.Fatalf("gap %q, error %v", page.Gap, err)
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
