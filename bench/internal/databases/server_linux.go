package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/ginsse/ginsse/internal/freeport"
)

// server is a PostgreSQL server on loopback, with the settings that Debian's package has, and fsync.
type server struct {
	cmd     *exec.Cmd
	address string // of all databases, with %s for the name
	version string
}

const (
	startLimit = 30 * time.Second
	stopLimit  = 30 * time.Second
)

// postgresBin returns the directory of PostgreSQL's programs, or "" without.
func postgresBin() string {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) > 0 {
		return filepath.Dir(found[len(found)-1])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

// startServer makes a data directory in dir, starts a server and waits until it answers. preload is a
// library for LD_PRELOAD, or "".
func startServer(ctx context.Context, bin, dir, preload string) (_ *server, err error) {
	data, err := os.MkdirTemp(dir, "postgres-")
	if err != nil {
		return nil, err
	}
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() == 0 { // PostgreSQL refuses root
		other, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(other.Uid)
		gid, _ := strconv.Atoi(other.Gid)
		if err := os.Chown(data, uid, gid); err != nil {
			return nil, err
		}
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...) //nolint:gosec,noctx // PostgreSQL's programs; stop ends them
		cmd.Dir, cmd.SysProcAttr = "/", attributes
		return cmd
	}
	if out, err := command("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{address: fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%%s?sslmode=disable", port)}
	s.cmd = command("postgres", "-D", data, "-p", strconv.Itoa(port), "-k", "", "-c", "listen_addresses=127.0.0.1")
	s.cmd.Env = os.Environ()
	if preload != "" {
		s.cmd.Env = append(s.cmd.Env, "LD_PRELOAD="+preload)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	defer db.Close() //nolint:errcheck // nothing is written
	for deadline := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		if err = db.QueryRowContext(ctx, `select current_setting('server_version')`).Scan(&s.version); err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("the server does not answer: %w", err), s.stop())
		}
	}
}

func freePort() (int, error) {
	address, err := freeport.Address()
	return int(address.Port()), err
}

// url returns the address of a database.
func (s *server) url(database string) string { return fmt.Sprintf(s.address, database) }

// stop shuts the server down at once, and waits.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	timer := time.AfterFunc(stopLimit, func() { _ = s.cmd.Process.Signal(syscall.SIGQUIT) })
	defer timer.Stop()
	return s.cmd.Wait()
}

// newDatabase makes an empty database and returns its address.
func (r *run) newDatabase(ctx context.Context, s *server) (url string, err error) {
	db, err := sql.Open("pgx", s.url("postgres"))
	if err != nil {
		return "", err
	}
	defer db.Close() //nolint:errcheck // an error of the statement is enough
	r.count++
	name := fmt.Sprint("bench", r.count)
	_, err = db.ExecContext(ctx, "create database "+name)
	return s.url(name), err
}

// openPool opens a pool that keeps its connections.
func openPool(driver, url string, connections int) (*sql.DB, error) {
	db, err := sql.Open(driver, url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// slowSource has each fsync take 1 ms more.
const slowSource = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
static void pause_ms(void) { struct timespec t = {0, 1000000}; nanosleep(&t, 0); }
int fsync(int fd) { int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync"); pause_ms(); return real(fd); }
int fdatasync(int fd) { int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync"); pause_ms(); return real(fd); }
`

// slowSync compiles a library for LD_PRELOAD that has each fsync take longer.
func slowSync(dir string) (library string, err error) {
	source := filepath.Join(dir, "slow.c")
	library = filepath.Join(dir, "slow.so")
	if err := os.WriteFile(source, []byte(slowSource), 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl").CombinedOutput(); err != nil { //nolint:gosec,noctx // it does not wait
		return "", fmt.Errorf("gcc: %w: %s", err, out)
	}
	return library, os.Chmod(library, 0o755) //nolint:gosec // the server may have another user
}
