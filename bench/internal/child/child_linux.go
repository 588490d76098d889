// Package child runs parts of the benchmarks in processes of their own, so that
// what one uses is not counted for another. The driver calls them by [net/rpc]
// over their standard input and output.
package child

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Serve is the child's side: it lets the driver call the methods of receiver until
// the driver hangs up.
func Serve(receiver any) error {
	server := rpc.NewServer()
	if err := server.RegisterName("Child", receiver); err != nil {
		return err
	}
	conn := duplex{os.Stdin, os.Stdout}
	os.Stdout = os.Stderr // a library that prints would break the protocol
	server.ServeConn(conn)
	return nil
}

// Child is the driver's side. Several goroutines may call it, but for Stop.
type Child struct {
	client *rpc.Client
	cmd    *exec.Cmd
}

// Start runs this program anew, with the arguments given. What the child writes to
// its standard error goes to the driver's.
func Start(args ...string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...) //nolint:gosec,noctx // it is this program; Stop ends it
	cmd.Stderr = os.Stderr
	// A driver that is killed takes its children along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &Child{client: rpc.NewClient(duplex{out, in}), cmd: cmd}, nil
}

// ErrTimeout is a child that did not answer in time.
var ErrTimeout = errors.New("no answer in time")

// Call calls a method and waits for its answer, for two minutes at most.
func (c *Child) Call(method string, args, reply any) error {
	return c.Wait(c.Go(method, args, reply), 2*time.Minute)
}

// Go calls a method and does not wait.
func (c *Child) Go(method string, args, reply any) *rpc.Call {
	return c.client.Go("Child."+method, args, reply, make(chan *rpc.Call, 1))
}

// Wait waits for what Go began.
func (c *Child) Wait(call *rpc.Call, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-call.Done:
		if call.Error != nil {
			return fmt.Errorf("%s: %w", call.ServiceMethod, call.Error)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: %w", call.ServiceMethod, ErrTimeout)
	}
}

// Stop ends the child, whatever it is doing, and waits until it has. What is under
// way fails. It may be repeated.
func (c *Child) Stop() {
	_ = c.cmd.Process.Kill()
	_ = c.client.Close()
	_ = c.cmd.Wait() // says that it was killed
}

// duplex makes one connection of two pipes.
type duplex struct {
	io.ReadCloser
	io.WriteCloser
}

// Close closes both.
func (d duplex) Close() error { return errors.Join(d.ReadCloser.Close(), d.WriteCloser.Close()) }

// Usage returns the CPU time that this process has used, in its own code and in the
// kernel's, and the most memory it has had, in bytes.
func Usage() (cpu time.Duration, peak int64, err error) {
	var usage syscall.Rusage
	err = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), usage.Maxrss << 10, err
}
