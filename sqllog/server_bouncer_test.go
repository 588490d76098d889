//go:build linux

package sqllog_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// bouncer is a pgbouncer in transaction mode in front of the shared server.
type bouncer struct {
	port int
}

// newBouncer starts a pgbouncer, which ends with the test. It has few connections to the server for
// each database, so that nodes share them.
func newBouncer(t testing.TB) *bouncer {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			skipWithout(t, "pgbouncer")
		}
	}
	newDatabase(t) // starts the server
	b := new(bouncer)
	if b.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(openDir(t), "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 6
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
`, shared.server.port, b.port)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(path, "-q", config)
	run.Dir = "/"
	if err := asOther(run); err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGKILL)
		_ = run.Wait()
	})
	until(t, "pgbouncer", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", b.port))
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return b
}

// through returns the address of a database through pgbouncer, for a mode of pgx.
func (b *bouncer) through(address, mode string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	u.Host = fmt.Sprint("127.0.0.1:", b.port)
	query := u.Query()
	if mode != "" {
		query.Set("default_query_exec_mode", mode)
	}
	u.RawQuery = query.Encode()
	return u.String()
}
