package natslog_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is a server of another version, a process of its own.
type program struct {
	cmd   *exec.Cmd
	port  int
	store string
}

func startProgram(t *testing.T, path string, port int, store string) *program {
	t.Helper()
	config := filepath.Join(t.TempDir(), "server.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:%d\"\njetstream { store_dir: %q, max_file_store: %d }\n", port, store, 1<<50)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{exec.Command(path, "-c", config), port, store}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopServer(p) })
	js := jet(t, connect(t, p.ClientURL()))
	until(t, "the server", func() bool {
		_, err := js.AccountInfo(t.Context())
		return err == nil
	})
	return p
}

func (p *program) ClientURL() string { return "nats://" + p.Addr().String() }

func (p *program) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p.port} }

func (p *program) StoreDir() string { return p.store }

func (p *program) Shutdown() { _ = p.cmd.Process.Signal(os.Interrupt) } // it may have ended

func (p *program) WaitForShutdown() { _ = p.cmd.Wait() } // it may have been waited for
