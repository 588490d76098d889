package main

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/internal/freeport"
)

// postgres is a PostgreSQL server of the tests' own, on loopback. TestMain stops it.
var postgres struct {
	once      sync.Once
	dir       string
	port      int
	server    *exec.Cmd
	err       error
	databases atomic.Int64
}

// newPostgres makes an empty database and returns its address. Without PostgreSQL the test is
// skipped, or fails with SERVER_TESTS=required.
func newPostgres(t *testing.T) (address string) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		if os.Getenv("SERVER_TESTS") == "required" {
			t.Fatal("SERVER_TESTS is required, and there is no postgresql")
		}
		t.Skip("there is no postgresql: install Debian's package of it")
	}
	postgres.once.Do(func() { postgres.err = startPostgres(filepath.Dir(found[len(found)-1])) })
	if postgres.err != nil {
		t.Fatal(postgres.err)
	}
	db, err := sql.Open("pgx", postgresAddress("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := fmt.Sprintf("feed%d", postgres.databases.Add(1))
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return postgresAddress(name)
}

// postgresPassword is in the addresses, so that tests can look for it. The server does not ask for it.
const postgresPassword = "se-cret"

func postgresAddress(database string) string {
	return fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%d/%s?sslmode=disable", postgresPassword, postgres.port, database)
}

func startPostgres(bin string) error {
	address, err := freeport.Address()
	if err != nil {
		return err
	}
	postgres.port = int(address.Port())
	if postgres.dir, err = os.MkdirTemp("", "gin-app"); err != nil {
		return err
	}
	if err := os.Chmod(postgres.dir, 0o777); err != nil {
		return err
	}
	data := filepath.Join(postgres.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N")
	if err := asPostgres(initdb); err != nil {
		return err
	}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(postgres.port), "-k", "",
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "fsync=off")
	if err := asPostgres(server); err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	postgres.server = server
	db, err := sql.Open("pgx", postgresAddress("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for deadline := time.Now().Add(30 * time.Second); ; {
		if err = db.Ping(); err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond) // a poll; nothing tells that it is ready
	}
}

// asPostgres has a command run as the user postgres if the test's user is root, whom PostgreSQL
// refuses. The command ends with the tests.
func asPostgres(cmd *exec.Cmd) error {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() != 0 {
		return nil
	}
	other, err := osuser.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(other.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(other.Gid, 10, 32)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return err
}

func stopPostgres() error {
	var err error
	if postgres.server != nil {
		err = postgres.server.Process.Signal(syscall.SIGINT)
		_ = postgres.server.Wait() // its exit status says what the signal was
	}
	if postgres.dir != "" {
		err = errors.Join(err, os.RemoveAll(postgres.dir))
	}
	return err
}

// redisServer is the Redis server of a test, on loopback. It keeps its data when it is stopped.
type redisServer struct {
	address string
	dir     string
	port    int
	process *exec.Cmd // nil while it is stopped
}

// newRedis starts a server that ends with the test. Without Redis the test is skipped, or fails with
// SERVER_TESTS=required.
func newRedis(t *testing.T) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("SERVER_TESTS") == "required" {
			t.Fatal("SERVER_TESTS is required, and there is no redis-server")
		}
		t.Skip("there is no redis-server: install Debian's package of it")
	}
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	s := &redisServer{dir: t.TempDir(), port: int(address.Port())}
	s.address = fmt.Sprintf("redis://127.0.0.1:%d/0", s.port)
	t.Cleanup(func() { s.stop(t) })
	s.start(t)
	return s
}

// start starts the server, and waits until it answers.
func (s *redisServer) start(t *testing.T) {
	t.Helper()
	s.process = exec.Command("redis-server", "--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--appendonly", "yes", "--save", "")
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(s.address)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	for deadline := time.Now().Add(30 * time.Second); ; {
		if err = client.Ping(t.Context()).Err(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // a poll; nothing tells that it is ready
	}
}

// stop stops the server as an administrator does. It may be repeated.
func (s *redisServer) stop(t *testing.T) {
	t.Helper()
	if s.process == nil {
		return
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := s.process.Wait(); err != nil {
		t.Errorf("redis-server: %v", err)
	}
	s.process = nil
}
