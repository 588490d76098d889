package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	postgres.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
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
