//go:build linux

package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/internal/freeport"
)

// The programs that [StartProgram] can start.
const (
	Redis  = "redis-server"
	Valkey = "valkey-server"
)

// Settings of a server that tests often need.
const (
	// AOF has the server write each change into a file before it answers. The file is not synced to the
	// disk, which only a power cut would show.
	AOF = "appendonly yes\nappendfsync no"
	// InMemory has the server begin empty after a restart. It is the default of these tests.
	InMemory = "appendonly no"
)

// patience is when a test gives up. It is no demand on speed. A Sentinel that was paused for 2 s does
// nothing for 30 s.
const patience = 90 * time.Second

// Server is one server. It lives until Kill or Stop, or until the end of the test.
type Server struct {
	program  string
	dir      string
	port     int
	password string
	run      *exec.Cmd // nil if it does not run
	frozen   bool
	log      bytes.Buffer // of the current process; complete after it has ended
}

// Start starts a server with settings: lines of redis.conf. Without settings it keeps its contents
// in memory alone.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return StartProgram(t, Redis, settings...)
}

// StartProgram starts the server of a program, [Redis] or [Valkey].
func StartProgram(t testing.TB, program string, settings ...string) *Server {
	t.Helper()
	s := newServer(t, program, settings...)
	s.Restart(t)
	return s
}

// Programs returns the programs that tests can use: Redis, and Valkey if it is installed.
func Programs(t testing.TB) []string {
	t.Helper()
	find(t, Redis)
	if _, err := exec.LookPath(Valkey); err != nil {
		return []string{Redis}
	}
	return []string{Redis, Valkey}
}

// find returns the path of a program. Without the program, the test is skipped or fails.
func find(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("SERVER_TESTS") == "required" {
		t.Fatalf("SERVER_TESTS is required, and there is no %s", program)
	}
	t.Skipf("there is no %s: install Debian's package of it", program)
	return ""
}

// newServer writes the configuration of a server. The server runs after Restart.
func newServer(t testing.TB, program string, settings ...string) *Server {
	t.Helper()
	s := &Server{program: find(t, program), dir: t.TempDir(), port: freePort(t)}
	lines := append([]string{
		fmt.Sprint("port ", s.port), "bind 127.0.0.1", "dir " + s.dir, `save ""`,
		// Replication begins at once, and again at once when the connection is lost.
		"repl-diskless-sync-delay 0", "repl-ping-replica-period 1",
	}, settings...)
	text := strings.Join(lines, "\n") + "\n"
	for line := range strings.Lines(text) {
		if password, ok := strings.CutPrefix(strings.TrimSpace(line), "requirepass "); ok {
			s.password = password
		}
	}
	s.configure(t, text)
	return s
}

func (s *Server) configure(t testing.TB, text string) {
	t.Helper()
	if err := os.WriteFile(s.config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) config() string { return filepath.Join(s.dir, "server.conf") }

// freePort returns a port of loopback that is free, each only once.
func freePort(t testing.TB) int {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return int(address.Port())
}

// Restart starts the server in the same directory and on the same port, and waits until it answers.
// If the server runs, Restart kills it first.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill(t)
	s.start(t)
	until(t, "an answer of the server", func() bool {
		if s.ended() {
			t.Fatalf("the server has ended:\n%s", s.stopped())
		}
		return s.try(t, "PING").Err() == nil
	})
}

// start starts the process.
func (s *Server) start(t testing.TB, args ...string) {
	t.Helper()
	s.log.Reset()
	s.run = exec.Command(s.program, append([]string{s.config()}, args...)...) //nolint:gosec,noctx // a server of the test; see Kill
	s.run.Stdout, s.run.Stderr = &s.log, &s.log
	// A group of its own: an interrupt at the terminal ends the test, which ends the server.
	s.run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := s.run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.end(t, syscall.SIGKILL) })
}

// ended reports whether the process has ended by itself.
func (s *Server) ended() bool {
	state, err := os.ReadFile(fmt.Sprint("/proc/", s.run.Process.Pid, "/stat"))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(state), ") ")
	return strings.HasPrefix(rest, "Z")
}

// stopped waits for the end of the process and returns what it has logged.
func (s *Server) stopped() string {
	_ = s.run.Wait()
	s.run = nil
	return s.log.String()
}

// Kill ends the server at once, as a crash does. It may be repeated.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(t, syscall.SIGKILL)
}

// Stop shuts the server down, as an administrator does, and waits for its end.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.Thaw(t)
	s.end(t, syscall.SIGTERM)
}

func (s *Server) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if s.run == nil {
		return
	}
	if err := s.run.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	if text := s.stopped(); t.Failed() {
		t.Logf("the server at %s wrote:\n%s", s.Addr(), lastLines(text, 12))
	}
	s.frozen = false
}

func lastLines(text string, count int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// Freeze stops the server's process, as a machine that is paused. Its connections stay open. It may
// be repeated.
func (s *Server) Freeze(t testing.TB) {
	t.Helper()
	s.frozen = true
	s.signal(t, syscall.SIGSTOP)
}

// Thaw has a frozen server go on. It may be repeated.
func (s *Server) Thaw(t testing.TB) {
	t.Helper()
	if s.frozen {
		s.frozen = false
		s.signal(t, syscall.SIGCONT)
	}
}

func (s *Server) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := s.run.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// Addr returns the server's address: host and port.
func (s *Server) Addr() string { return fmt.Sprint("127.0.0.1:", s.port) }

// Client returns a client of the server. It is closed with the test.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: s.password})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// do sends a command to the server and returns the answer. The test fails after an error.
func (s *Server) do(t testing.TB, command ...any) *redis.Cmd {
	t.Helper()
	answer := s.send(t, patience, command...)
	if err := answer.Err(); err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return answer
}

// try sends a command to a server that may not answer.
func (s *Server) try(t testing.TB, command ...any) *redis.Cmd {
	t.Helper()
	return s.send(t, time.Second, command...)
}

// send sends a command to the server once, and waits for the answer until the timeout.
func (s *Server) send(t testing.TB, timeout time.Duration, command ...any) *redis.Cmd {
	t.Helper()
	client := redis.NewClient(&redis.Options{
		Addr: s.Addr(), Password: s.password, MaxRetries: -1, DialerRetries: 1, ReadTimeout: timeout,
	})
	defer func() { _ = client.Close() }()
	return client.Do(t.Context(), command...)
}

// Set changes a setting of the server while it runs.
func (s *Server) Set(t testing.TB, name, value string) {
	t.Helper()
	s.do(t, "CONFIG", "SET", name, value)
}

// Follow makes the server a replica of the one at an address, which may be that of a proxy. It
// returns when the replica has the contents of the other server.
func (s *Server) Follow(t testing.TB, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	s.do(t, "REPLICAOF", host, port)
	s.AwaitLink(t)
}

// AwaitLink waits until a replica is connected to its master and has its contents.
func (s *Server) AwaitLink(t testing.TB) {
	t.Helper()
	until(t, "the replica's link", func() bool { return s.Info(t, "master_link_status") == "up" })
}

// AwaitReplica waits until the server is a replica.
func (s *Server) AwaitReplica(t testing.TB) {
	t.Helper()
	until(t, "the server to be a replica", func() bool { return s.Info(t, "role") == "slave" })
}

// Promote makes a replica a master.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.do(t, "REPLICAOF", "NO", "ONE")
}

// Info returns a field of the server's INFO; "" if the server does not answer.
func (s *Server) Info(t testing.TB, field string) string {
	t.Helper()
	text, _ := s.try(t, "INFO", "everything").Text()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return value
		}
	}
	return ""
}

// Backup copies the files of a server that does not run. The function that it returns puts the copy
// in their place, while the server does not run.
func (s *Server) Backup(t testing.TB) (restore func()) {
	t.Helper()
	if s.run != nil {
		t.Fatal("the server runs")
	}
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if s.run != nil {
			t.Fatal("the server runs")
		}
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(s.dir, os.DirFS(backup)); err != nil {
			t.Fatal(err)
		}
	}
}

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}
