//go:build linux

package sqllog_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/logtest"
	"github.com/ginsse/ginsse/sqllog"
)

// TestConformancePostgresWithFaults runs the cases of the suite in which the server restarts, or a
// node is partitioned from it. TestConformancePostgres runs the others.
func TestConformancePostgresWithFaults(t *testing.T) {
	t.Parallel()
	type contents struct {
		server   *server // of the test's own; nil without
		address  string
		restarts int
	}
	type faultyNode struct {
		*contents

		proxy *proxy
		cfg   sqllog.Config
	}
	var mu sync.Mutex
	nodes := make(map[eventlog.Log]faultyNode)
	open := func(t *testing.T, n faultyNode) eventlog.Log {
		n.proxy = newProxy(t, n.address)
		log := inPostgres.openLog(t, inPostgres.open(t, n.proxy.through(n.address)), n.cfg)
		mu.Lock()
		defer mu.Unlock()
		nodes[log] = n
		return log
	}
	find := func(log eventlog.Log) faultyNode {
		mu.Lock()
		defer mu.Unlock()
		return nodes[log]
	}
	logtest.Run(t, logtest.Suite{
		New: func(t *testing.T, b logtest.Bounds) eventlog.Log {
			c := new(contents)
			switch {
			case strings.Contains(t.Name(), "restart"):
				c.server = ownServer(t)
				c.address = c.server.url("postgres")
			case strings.Contains(t.Name(), "partition"), strings.Contains(t.Name(), "at_once"), strings.Contains(t.Name(), "lost"):
				c.address = newDatabase(t)
			default:
				t.Skip("TestConformancePostgres runs it")
			}
			return open(t, faultyNode{contents: c, cfg: sqllog.Config{
				MaxAge: b.MaxAge, MaxBytes: b.MaxBytes,
			}})
		},
		Peer: func(t *testing.T, log eventlog.Log) eventlog.Log { return open(t, find(log)) },
		Restart: func(t *testing.T, log eventlog.Log) {
			c := find(log).contents
			if err := c.server.stop(syscall.SIGQUIT); err != nil { // an immediate shutdown, as by a crash
				t.Fatal(err)
			}
			// Every other time for so long that the nodes lose contact.
			if c.restarts++; c.restarts%2 == 0 {
				until(t, "the loss of contact", unavailable(log.(*sqllog.Log)))
			}
			if err := c.server.start(); err != nil {
				t.Fatal(err)
			}
		},
		Partition: func(t *testing.T, log eventlog.Log) (reconnect func()) {
			p := find(log).proxy
			p.Stall(true)
			until(t, "the loss of contact", unavailable(log.(*sqllog.Log)))
			return func() { p.Stall(false) }
		},
		NoSubjectBound: true,
		Inexact:        true,
	})
}

// TestPostgresThatCrashesLosesNothing kills the server under load, and starts it again.
func TestPostgresThatCrashesLosesNothing(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	onFaultyServer(t, s, func(l *load) {
		for range 3 {
			l.await(t, 100)
			if err := s.kill(); err != nil {
				t.Fatal(err)
			}
			if err := s.start(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestPostgresThatIsPausedLosesNothing stops the server's processes under load for 6 s.
func TestPostgresThatIsPausedLosesNothing(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	onFaultyServer(t, s, func(l *load) {
		l.await(t, 100)
		pids, err := s.freeze()
		if err != nil {
			t.Fatal(err)
		}
		defer thaw(pids)
		for _, n := range l.nodes {
			until(t, "the loss of contact", unavailable(n.log))
		}
		timer := time.NewTimer(4 * time.Second) // 6 s with the above; transactions and reads end meanwhile
		<-timer.C
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.nodes[0].log.Head(ctx); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Errorf("Head returned %v", err)
		}
	})
}

// onFaultyServer has two nodes under load, and a reader at each and one at both, while a fault goes
// on and after it.
func onFaultyServer(t *testing.T, s *server, fault func(l *load)) {
	t.Helper()
	address := s.url("postgres")
	nodes := inPostgres.openNodes(t, sqllog.Config{}, address, address)
	readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log), follow(t, nodes[0].log, nodes[1].log)}
	l := startLoad(t, nodes...)
	l.await(t, 200)
	fault(l)
	l.recovers(t, 20*time.Second, readers...)
	l.await(t, 200)
	l.verify(t, readers...)
	wantNoGaps(t, readers...)
}
