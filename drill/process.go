//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/ginsse/ginsse/internal/freeport"
)

// process is a program that the drill has started. It ends with the drill.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string        // the file with what it writes
	ended chan struct{} // closed when it has ended
}

// startProcess starts a program. What it writes goes to a file in dir.
func startProcess(dir, name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	file, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the process has its own
	cmd.Stdout, cmd.Stderr = file, file
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A group of its own: an interrupt at the terminal ends the drill, which ends the process.
	cmd.SysProcAttr.Pdeathsig, cmd.SysProcAttr.Setpgid = syscall.SIGKILL, true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = cmd.Wait() // its exit status says what the signal was
		close(p.ended)
	}()
	return p, nil
}

// stopTimeout is how long a process may take to end after a signal.
const stopTimeout = 20 * time.Second

// stop sends a signal and waits for the end of the process. After a timeout it kills the process, and
// returns an error.
func (p *process) stop(signal os.Signal) error {
	_ = p.cmd.Process.Signal(signal) // it may have ended
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timeout.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("%s has not ended within %v after the signal %v", p.name, stopTimeout, signal)
}

// kill ends the process at once, as a crash does. It may be repeated.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// await waits until a process serves, which ready reports.
func (p *process) await(ctx context.Context, ready func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s has ended: %s", p.name, lastBytes(text, 2000))
		case <-ctx.Done():
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s does not start: %w: %s", p.name, err, lastBytes(text, 2000))
		}
	}
}

func lastBytes(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// freeAddress returns an address of loopback that nothing listens on.
func freeAddress() (string, error) {
	address, err := freeport.Address()
	return address.String(), err
}

// dials returns a function that reports whether an address accepts connections.
func dials(address string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// asPostgres has a command run as the user of [postgresUser].
func asPostgres(cmd *exec.Cmd) error {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	var err error
	cmd.SysProcAttr.Credential, err = postgresUser()
	return err
}

// giveToPostgres makes the user of [postgresUser] the owner of files.
func giveToPostgres(names ...string) error {
	owner, err := postgresUser()
	if err != nil || owner == nil {
		return err
	}
	for _, name := range names {
		if err := os.Chown(name, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return nil
}

// postgresUser returns the user postgres if this one is root, whom PostgreSQL refuses; else nil.
func postgresUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil //nolint:nilnil // no other user
	}
	other, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(other.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(other.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err, err2)
}
