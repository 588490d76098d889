//go:build linux

package sqllog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ownServer starts a server that the test may stop. All have the system identifier of one that was
// copied; see otherServer. Commits are not synced to the disk, which only a power cut would show.
func ownServer(t testing.TB) *server {
	t.Helper()
	bin := postgresBin(t)
	original.once.Do(func() {
		if original.dir, original.err = os.MkdirTemp("", "sqllog"); original.err == nil {
			original.server, original.err = newServer(bin, original.dir)
		}
	})
	if original.err != nil {
		t.Fatal(original.err)
	}
	s := &server{bin: bin, dir: filepath.Join(openDir(t), "data")}
	cmd := exec.Command("cp", "-a", original.server.dir, s.dir)
	if err := asOther(cmd); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("copying: %v: %s", err, out)
	}
	var err error
	if s.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	startServer(t, s, "fsync=off")
	return s
}

// original is what ownServer copies, which is faster than to make one. TestMain removes it.
var original struct {
	once   sync.Once
	server *server
	dir    string
	err    error
}

// otherServer is ownServer with a system identifier of its own.
func otherServer(t testing.TB) *server {
	t.Helper()
	s, err := newServer(postgresBin(t), openDir(t))
	if err != nil {
		t.Fatal(err)
	}
	startServer(t, s, "fsync=off")
	return s
}

// openDir returns a directory that the user postgres may enter, unlike those of t.TempDir.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sqllog")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func startServer(t testing.TB, s *server, settings ...string) {
	t.Helper()
	t.Cleanup(func() { _ = s.kill() })
	if err := s.start(settings...); err != nil {
		t.Fatal(err)
	}
}

// kill ends all processes of the server at once, as a power cut does.
func (s *server) kill() error {
	if s.run == nil {
		return nil
	}
	pids, err := s.freeze()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = s.run.Wait()
	s.run = nil
	for deadline := time.Now().Add(patience); len(pids) > 0; { // until they hold no memory of the server
		if _, state := parent(pids[0]); state == "" || state == "Z" {
			pids = pids[1:]
		} else if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end", pids[0])
		}
	}
	return err
}

// freeze stops all processes of the server, as a virtual machine that is paused. It returns their
// ids, for thaw.
func (s *server) freeze() (pids []int, err error) {
	pids = []int{s.run.Process.Pid}
	if err := s.signal(syscall.SIGSTOP); err != nil { // it starts no more
		return nil, err
	}
	for _, pid := range children(s.run.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err == nil { // it may have ended
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func thaw(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
	}
}

// children returns the processes that a process has started.
func children(of int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if ppid, state := parent(pid); err == nil && ppid == of && state != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent returns the process that has started another one, and the state of that; "" if it has ended.
func parent(pid int) (ppid int, state string) {
	text, err := os.ReadFile(fmt.Sprint("/proc/", pid, "/stat"))
	if err != nil {
		return 0, ""
	}
	fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
	ppid, _ = strconv.Atoi(fields[1])
	return ppid, fields[0]
}
