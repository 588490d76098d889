//go:build linux

package sqllog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// newStandby starts a standby of a server, and returns when it receives what the server commits.
func newStandby(t testing.TB, primary *server) *server {
	t.Helper()
	s := &server{bin: primary.bin, dir: filepath.Join(openDir(t), "data")}
	var err error
	if s.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	err = s.command("pg_basebackup", "-D", s.dir, "-h", "127.0.0.1", "-p", fmt.Sprint(primary.port), "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "-N")
	if err != nil {
		t.Fatal(err)
	}
	startServer(t, s, "fsync=off", "wal_retrieve_retry_interval=100ms")
	db := openURL(t, primary.url("postgres"))
	defer db.Close()
	until(t, "the standby", func() bool {
		var streaming bool
		err := db.QueryRowContext(t.Context(), `select count(*) > 0 from pg_stat_replication where state = 'streaming'`).Scan(&streaming)
		return err == nil && streaming
	})
	return s
}

// waitForStandby has commits wait for the standby.
func waitForStandby(t testing.TB, primary *server) {
	t.Helper()
	db := openURL(t, primary.url("postgres"))
	defer db.Close()
	for _, statement := range []string{`alter system set synchronous_standby_names = '*'`, `select pg_reload_conf()`} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "synchronous replication", func() bool {
		var ok bool
		err := db.QueryRowContext(t.Context(), `select count(*) > 0 from pg_stat_replication where sync_state = 'sync'`).Scan(&ok)
		return err == nil && ok
	})
}

// promote has a standby be a primary.
func promote(t testing.TB, s *server) {
	t.Helper()
	db := openURL(t, s.url("postgres"))
	defer db.Close()
	var done bool
	if err := db.QueryRowContext(t.Context(), `select pg_promote()`).Scan(&done); err != nil || !done {
		t.Fatalf("promoting: %v, %v", done, err)
	}
}

// stopSending stops the processes that send a server's WAL to its standbys.
func stopSending(t testing.TB, s *server) {
	t.Helper()
	found := false
	for _, pid := range children(s.run.Process.Pid) {
		if line, _ := os.ReadFile(fmt.Sprint("/proc/", pid, "/cmdline")); strings.Contains(string(line), "walsender") {
			found = true
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !found {
		t.Fatal("nothing sends to a standby")
	}
}

// either returns the address of two servers, for the one that takes writes.
func either(one, two *server) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write&connect_timeout=2", one.port, two.port)
}

// TestFailoverToAsynchronousStandbyIsAGap has the primary acknowledge events that the standby does
// not get, and fail.
func TestFailoverToAsynchronousStandbyIsAGap(t *testing.T) {
	t.Parallel()
	primary := ownServer(t)
	standby := newStandby(t, primary)
	cfg := sqllog.Config{}
	nodes := inPostgres.openNodes(t, cfg, either(primary, standby), either(standby, primary))
	readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log), follow(t, nodes[0].log, nodes[1].log)}
	l := startLoad(t, nodes...)
	l.await(t, 200)
	stopSending(t, primary)
	l.await(t, 200)
	began := time.Now()
	if err := primary.kill(); err != nil {
		t.Fatal(err)
	}
	old := readers[0].positions(100)
	old = append(old, readers[0].from)
	promote(t, standby)
	t.Logf("promoted after %v", time.Since(began).Round(time.Millisecond))
	l.recovers(t, 20*time.Second, readers...)
	l.await(t, 200)
	end, rows := l.settle(t)
	for i, r := range readers {
		until(t, "the end at a reader", func() bool { return r.reached(end) })
		r.stop()
		<-r.done
		if len(r.gaps) == 0 || r.gaps[0].reason != eventlog.GapEpoch {
			t.Errorf("reader %d has gaps %v", i, r.gaps)
		}
	}
	l.judge(t, rows, readers...)
	lost := 0
	for n, s := range l.sent {
		if s.fate == stored && n[0] == 't' && !rows[n] {
			lost++
		}
	}
	if t.Logf("%d committed transactions are lost", lost); lost == 0 {
		t.Error("the failover has lost nothing: the test shows nothing")
	}
	fresh := inPostgres.openNodes(t, cfg, either(primary, standby))[0]
	for _, log := range []*sqllog.Log{nodes[0].log, nodes[1].log, fresh.log} {
		for _, at := range old {
			if gap := gapAfter(t, log, at); gap != eventlog.GapEpoch {
				t.Fatalf("position %v from before the failover: gap %q", at, gap)
			}
		}
	}
}

// TestFailoverToSynchronousStandbyLosesNothing has readers go on without a gap.
func TestFailoverToSynchronousStandbyLosesNothing(t *testing.T) {
	t.Parallel()
	primary := ownServer(t)
	standby := newStandby(t, primary)
	waitForStandby(t, primary)
	cfg := sqllog.Config{SynchronousStandby: true}
	nodes := inPostgres.openNodes(t, cfg, either(primary, standby), either(standby, primary))
	readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log), follow(t, nodes[0].log, nodes[1].log)}
	l := startLoad(t, nodes...)
	l.await(t, 400)
	if err := primary.kill(); err != nil {
		t.Fatal(err)
	}
	promote(t, standby)
	l.recovers(t, 20*time.Second, readers...)
	l.await(t, 200)
	l.verify(t, readers...)
	wantNoGaps(t, readers...)
}

// TestStandbyIsRefused opens a log on a standby, with and without tables.
func TestStandbyIsRefused(t *testing.T) {
	t.Parallel()
	primary := ownServer(t)
	log := inPostgres.openNodes(t, sqllog.Config{}, primary.url("postgres"))[0].log
	standby := newStandby(t, primary)
	for _, prefix := range []string{"", "other_"} {
		_, err := sqllog.OpenPostgres(t.Context(), openURL(t, standby.url("postgres")), sqllog.Config{TablePrefix: prefix})
		if err == nil || !strings.Contains(err.Error(), "standby") {
			t.Errorf("a standby, with the prefix %q: %v", prefix, err)
		}
	}
	if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
		t.Error(err)
	}
}

// TestEventThatTheStandbyLacksIsAGap has an event be committed without the standby's answer, because
// the wait for it was given up, and be delivered. Then the primary fails.
func TestEventThatTheStandbyLacksIsAGap(t *testing.T) {
	t.Parallel()
	primary := ownServer(t)
	standby := newStandby(t, primary)
	waitForStandby(t, primary)
	cfg := sqllog.Config{SynchronousStandby: true} // the wait is given up after the AppendTimeout
	nodes := inPostgres.openNodes(t, cfg, either(primary, standby), either(primary, standby))
	readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log)}
	if _, err := nodes[0].log.Append(t.Context(), record("all", "1")); err != nil {
		t.Fatal(err)
	}
	stopSending(t, primary)
	if _, err := nodes[0].log.Append(t.Context(), record("all", "2")); err == nil {
		t.Fatal("an append was acknowledged that the standby has not confirmed")
	}
	for _, r := range readers {
		until(t, "the event", func() bool { return r.count() == 2 })
	}
	if err := primary.kill(); err != nil {
		t.Fatal(err)
	}
	promote(t, standby)
	for range 3 {
		until(t, "an append", func() bool {
			_, err := nodes[1].log.Append(t.Context(), record("all", "3"))
			return err == nil
		})
	}
	for i, r := range readers {
		until(t, "a gap, or an event", func() bool { return r.gapCount() > 0 || r.count() > 2 })
		r.stop()
		<-r.done
		if len(r.gaps) == 0 {
			t.Errorf("reader %d has read %v and gaps %v", i, r.got, r.gaps)
		}
	}
}

// TestFailoverFromFrozenPrimary has the primary stop answering, as a machine that is paused, while
// its connections stay open.
func TestFailoverFromFrozenPrimary(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for timeouts")
	}
	primary := ownServer(t)
	standby := newStandby(t, primary)
	cfg := sqllog.Config{}
	nodes := inPostgres.openNodes(t, cfg, either(primary, standby), either(primary, standby))
	readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log)}
	l := startLoad(t, nodes...)
	l.await(t, 200)
	pids, err := primary.freeze()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := primary.kill(); err != nil { // it does not come back
			t.Error(err)
		}
	}()
	t.Logf("%d processes do not answer", len(pids))
	promote(t, standby)
	l.recovers(t, 30*time.Second, readers...)
	l.await(t, 200)
	l.verify(t, readers...)
	for i, r := range readers {
		if r.gapCount() == 0 {
			t.Errorf("reader %d has no gap", i)
		}
	}
}
