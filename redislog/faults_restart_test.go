//go:build linux

package redislog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

// TestKilledServerLosesNothing kills a server with an append-only file under load.
func TestKilledServerLosesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AOF)
	onFaultyServer(t, s, func(l *load) {
		for range 3 {
			l.await(t, 100)
			s.Restart(t)
		}
	})
}

// TestStoppedServerLosesNothing shuts a server down, and starts it after the nodes have lost contact.
func TestStoppedServerLosesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AOF)
	onFaultyServer(t, s, func(l *load) {
		s.Stop(t)
		for _, n := range l.nodes {
			until(t, "the loss of contact", unavailable(n.log))
		}
		s.Restart(t)
	})
}

// TestFrozenServerLosesNothing stops a server's process under load for some seconds.
func TestFrozenServerLosesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AOF)
	onFaultyServer(t, s, func(l *load) {
		s.Freeze(t)
		defer s.Thaw(t)
		began := time.Now()
		for _, n := range l.nodes {
			until(t, "the loss of contact", unavailable(n.log))
		}
		t.Logf("the nodes know after %v", time.Since(began).Round(time.Millisecond))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := l.nodes[0].log.Head(ctx); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("Head returned %v", err)
		}
		if _, err := l.nodes[0].log.Append(ctx, record("all", "frozen")); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("Append returned %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Head and Append returned after %v, and their context ended after 1 s", took)
		}
		time.Sleep(4 * time.Second) // appends and reads end meanwhile
	}, "frozen")
}

// onFaultyServer has two nodes under load, and a reader at each and one at both, while a fault goes
// on and after it.
func onFaultyServer(t *testing.T, s *redistest.Server, fault func(l *load), other ...string) {
	t.Helper()
	nodes := openNodes(t, s, redislog.Config{}, 2)
	readers := followAll(t, nodes...)
	l := startLoad(t, nodes...)
	for _, n := range other {
		l.note(n, sent{began: time.Now()})
	}
	l.await(t, 200)
	fault(l)
	l.recovers(t, 10*time.Second, readers...)
	l.await(t, 200)
	l.verify(t, readers...)
	wantNoGaps(t, readers...)
}

// TestRestartWithoutPersistenceIsAGap kills a server that keeps its contents in memory alone, under
// load and without, and starts it again at once or after the nodes have lost contact.
func TestRestartWithoutPersistenceIsAGap(t *testing.T) {
	t.Parallel()
	for name, long := range map[string]bool{"briefly": false, "until_contact_is_lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, redistest.InMemory)
			losesContents(t, s, func(nodes []node) time.Time {
				s.Kill(t)
				for _, n := range nodes {
					if long {
						until(t, "the loss of contact", unavailable(n.log))
					}
				}
				s.Restart(t)
				return time.Now()
			})
		})
	}
}

// reconnected is within which time a log has a new connection after its server has come back.
const reconnected = 2 * time.Second

// losesContents has the contents of a log lost by a fault, which returns when it was over: once without
// load, and once with.
func losesContents(t *testing.T, s *redistest.Server, fault func(nodes []node) time.Time) {
	t.Helper()
	for _, loaded := range []bool{false, true} {
		nodes := openNodes(t, s, redislog.Config{Prefix: newPrefix()}, 2)
		appendAll(t, nodes[0].log, "recovered")
		readers := followAll(t, nodes...)
		var l *load
		if loaded {
			l = startLoad(t, nodes...)
			l.await(t, 200)
		} else {
			appendAll(t, nodes[1].log, "recovered", "recovered")
			for _, r := range readers {
				until(t, "two events", func() bool { return len(r.events()) == 2 })
			}
			l = &load{nodes: nodes, stop: func() {}, sent: map[string]sent{"-": {}}}
		}
		old := readers[0].positions(20)
		over := fault(nodes)
		awaitGaps(t, over, soon+reconnected, readers...)
		l.recovers(t, 10*time.Second, readers...)
		if loaded {
			l.await(t, 200)
		}
		l.verify(t, readers...)
		fresh := openLog(t, s.Client(t), redislog.Config{Prefix: nodes[0].prefix})
		wantOldPositionsRefused(t, old, nodes[0].log, nodes[1].log, fresh)
		for _, n := range nodes {
			_ = n.log.Close()
		}
	}
}

// TestOlderBackupIsAGap restores a server's files from a backup, while the nodes stay up.
func TestOlderBackupIsAGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.AOF)
	nodes := openNodes(t, s, redislog.Config{}, 2)
	readers := followAll(t, nodes...)
	before := appendAll(t, nodes[0].log, "a1", "a2", "a3")
	for _, r := range readers {
		until(t, "the events", func() bool { return len(r.events()) == 3 })
	}
	s.Kill(t)
	restore := s.Backup(t)
	s.Restart(t)
	beyond := appendPatiently(t, nodes[1].log, "b1")
	after := appendAll(t, nodes[1].log, "b2", "b3")
	for _, r := range readers {
		until(t, "the events", func() bool { return r.reached(after[1]) })
	}
	wantNoGaps(t, readers...)
	s.Kill(t)
	restore()
	s.Restart(t)
	// As many as were lost and more, so that the new ones have the numbers of those.
	appendPatiently(t, nodes[0].log, "c1")
	last := appendAll(t, nodes[0].log, "c2", "c3", "c4", "c5")[3]
	for i, r := range readers {
		until(t, "a gap", func() bool { return len(r.allGaps()) > 0 })
		until(t, "the last event", func() bool { return r.reached(last) })
		t.Logf("reader %d has read %v with gaps %v", i, r.events(), r.allGaps())
	}
	fresh := openLog(t, s.Client(t), redislog.Config{})
	for _, at := range append(after, beyond) {
		for i, log := range []*redislog.Log{nodes[0].log, nodes[1].log, fresh} {
			if gap := gapAfter(t, log, at); gap == "" {
				t.Errorf("log %d has no gap after %v, which was rolled back", i, at)
			}
		}
	}
	// A position from before the backup is either continued or a gap.
	for i, log := range []*redislog.Log{nodes[0].log, nodes[1].log, fresh} {
		page := read(t, log, eventlog.Query{Subjects: allSubjects, After: before[2], MaxEntries: 100, MaxBytes: 1 << 20})
		if page.Gap == "" && (len(page.Entries) < 5 || dataOf(page.Entries[len(page.Entries)-1]) != "c5") {
			t.Errorf("log %d, from before the backup: %d entries, gap %q", i, len(page.Entries), page.Gap)
		}
	}
}
