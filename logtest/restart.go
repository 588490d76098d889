package logtest

import (
	"context"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// openNodes returns a log, and its peer if it has one.
func openNodes(t *testing.T, s Suite, b Bounds) []eventlog.Log {
	t.Helper()
	logs := []eventlog.Log{s.New(t, b)}
	if s.Peer != nil {
		logs = append(logs, s.Peer(t, logs[0]))
	}
	return logs
}

// restartUnderLoad has appenders go on while the store restarts, twice. The second time each
// appender stops after the append that met the restart. No later entry wakes a reader then that
// Watch has not called.
func restartUnderLoad(t *testing.T, s Suite) {
	const some = 100 // entries
	logs := openNodes(t, s, loadBounds)
	l := newLoadTest(t, s, logs, len(logs))
	l.failing = true
	defer l.start(t)()
	restart := func() {
		restarted := make(chan struct{})
		for _, log := range logs {
			l.running.Go(func() { l.checkHeads(t, log, restarted) })
		}
		defer close(restarted)
		s.Restart(t, logs[0])
	}
	l.await(t, some)
	restart()
	l.await(t, some)
	l.set(func() { l.watchful = true })
	restart()
	l.hold(true)
	l.wait(t, "appends to end, and readers to read all entries", l.quietLocked)
	l.set(func() { l.watchful = false })
	l.hold(false)
	l.await(t, some)
	l.hold(true)
	l.finish(t)
}

// checkHeads asks for the head of a log until its store has restarted. If Head returns one, Read
// reaches it. In between, the store may go away once.
func (l *loadTest) checkHeads(t *testing.T, log eventlog.Log, restarted <-chan struct{}) {
	for missed := 0; missed < 3; {
		select {
		case <-restarted:
			return
		case <-time.After(time.Millisecond):
		}
		l.mu.Lock()
		newest := l.newest
		l.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), l.s.longPatience())
		head, err := log.Head(ctx)
		cancel()
		if err != nil {
			missed = 0
			continue
		}
		if head.Seq < newest {
			breaksf(t, clauseHead, "Head returned %d; %d had been acknowledged", head.Seq, newest)
			return
		}
		page, err := log.Read(t.Context(), eventlog.Query{Subjects: []string{"user:quiet"}, After: l.from, MaxEntries: 1}, nil)
		switch {
		case err != nil, page.Gap != "", page.Through.Seq >= head.Seq:
			missed = 0
		default:
			missed++
		}
		if missed == 3 {
			breaksf(t, clausePartitionHead, "it returned %d again and again, and Read came to %d", head.Seq, page.Through.Seq)
		}
	}
}
