//go:build linux

package sqllog_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/ginsse/ginsse/internal/freeport"
)

// server is a PostgreSQL server of the tests' own, on loopback.
type server struct {
	bin, dir string
	port     int
	settings []string // of the last start: a start without settings has the same
	run      *exec.Cmd
}

// required says that tests which need a server of Debian's packages must not be skipped.
func required() bool { return os.Getenv("SERVER_TESTS") == "required" }

func skipWithout(t testing.TB, what string) {
	t.Helper()
	if required() {
		t.Fatalf("SERVER_TESTS is required, and there is no %s", what)
	}
	t.Skipf("there is no %s: install Debian's package of it", what)
}

// postgresBin returns the directory of PostgreSQL's programs.
func postgresBin(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	skipWithout(t, "postgresql")
	return ""
}

// asOther has a command run as the user postgres if the test's user is root, whom PostgreSQL
// refuses.
func asOther(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Getuid() != 0 {
		return nil
	}
	other, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(other.Uid)
	gid, _ := strconv.Atoi(other.Gid)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

func freePort() (int, error) {
	address, err := freeport.Address()
	return int(address.Port()), err
}

// newServer makes a data directory. The server runs after start.
func newServer(bin, dir string) (*server, error) {
	s := &server{bin: bin, dir: filepath.Join(dir, "data")}
	var err error
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, err
	}
	return s, s.command("initdb", "-D", s.dir, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N")
}

// command runs one of PostgreSQL's programs.
func (s *server) command(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = "/"
	if err := asOther(cmd); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// start starts the server and waits until it answers. A test's settings are name=value. Without any
// they are those of the last start.
func (s *server) start(settings ...string) error {
	if len(settings) == 0 {
		settings = s.settings
	}
	s.settings = settings
	args := []string{"-D", s.dir, "-p", strconv.Itoa(s.port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	s.run = exec.Command(filepath.Join(s.bin, "postgres"), args...)
	s.run.Dir = "/"
	if name := os.Getenv("PGLOG"); name != "" {
		f, _ := os.Create(name)
		s.run.Stdout, s.run.Stderr = f, f
	}
	if err := asOther(s.run); err != nil {
		return err
	}
	if err := s.run.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		db, err := sql.Open("pgx", s.url("postgres"))
		if err != nil {
			return err
		}
		err = db.Ping()
		_ = db.Close()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("the server does not answer: %w", err), s.kill())
		}
		time.Sleep(20 * time.Millisecond) // a poll; nothing tells that it is ready
	}
}

// signal sends a signal to the server: SIGINT shuts it down at once, SIGQUIT crashes it.
func (s *server) signal(sig syscall.Signal) error { return s.run.Process.Signal(sig) }

// stop shuts the server down and waits.
func (s *server) stop(sig syscall.Signal) error {
	if s.run == nil {
		return nil
	}
	if err := s.signal(sig); err != nil {
		return err
	}
	_ = s.run.Wait() // its exit status says what the signal was
	s.run = nil
	return nil
}

// url returns the address of a database.
func (s *server) url(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// shared is the server of all tests that do not stop it. TestMain stops it.
var shared struct {
	once   sync.Once
	server *server
	dir    string
	err    error
	count  atomic.Int64
}

func stopShared() {
	if shared.server != nil {
		_ = shared.server.stop(syscall.SIGINT)
	}
	for _, dir := range []string{shared.dir, original.dir} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
}

// newDatabase makes an empty database on the shared server and returns its address.
func newDatabase(t testing.TB) string {
	t.Helper()
	bin := postgresBin(t)
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "sqllog"); shared.err != nil {
			return
		}
		if shared.server, shared.err = newServer(bin, shared.dir); shared.err == nil {
			shared.err = shared.server.start("fsync=off", "log_min_duration_statement=800", "log_lock_waits=on", "log_connections=off")
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	name := fmt.Sprintf("test%d", shared.count.Add(1))
	createDatabase(t, shared.server, name)
	return shared.server.url(name)
}

func createDatabase(t testing.TB, s *server, name string) {
	t.Helper()
	db := openURL(t, s.url("postgres"))
	if _, err := db.ExecContext(t.Context(), "create database "+name); err != nil {
		t.Fatal(err)
	}
}

// openURL opens a pool that is closed with the test.
func openURL(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(8)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
