// Package child runs parts of the benchmarks in separate processes, so that the CPU time
// and memory of each can be measured. The driver calls them by [net/rpc] over their
// standard input and output.
package child

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/rpc"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Serve is the child's side. The driver can call the methods of receiver until it closes
// the connection.
func Serve(receiver any) error {
	server := rpc.NewServer()
	if err := server.RegisterName("Child", receiver); err != nil {
		return err
	}
	conn := duplex{os.Stdin, os.Stdout}
	os.Stdout = os.Stderr // output of a library would break the protocol
	server.ServeConn(conn)
	return nil
}

// Child is the driver's side. Several goroutines may use it.
type Child struct {
	client *rpc.Client
	cmd    *exec.Cmd
	end    sync.Once
}

// Start starts this program as a child, with the given arguments. Its standard error is the
// driver's.
func Start(args ...string) (*Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...) //nolint:gosec,noctx // it is this program; Stop ends it
	cmd.Stderr = os.Stderr
	// The child ends when the driver is killed.
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

// ErrTimeout means that the child did not answer in time.
var ErrTimeout = errors.New("no answer in time")

// ErrEnded means that the child's process has ended.
var ErrEnded = errors.New("the process has ended")

// Call calls a method and waits for its reply, for two minutes at most.
func (c *Child) Call(method string, args, reply any) error {
	return c.Wait(c.Go(method, args, reply), 2*time.Minute)
}

// Go starts a call of a method and does not wait for its reply.
func (c *Child) Go(method string, args, reply any) *rpc.Call {
	return c.client.Go("Child."+method, args, reply, make(chan *rpc.Call, 1))
}

// Wait waits for the reply to a call that Go started.
func (c *Child) Wait(call *rpc.Call, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-call.Done:
		switch {
		case call.Error == nil:
			return nil
		case errors.Is(call.Error, rpc.ErrShutdown), errors.Is(call.Error, io.ErrUnexpectedEOF):
			c.Stop()
			return fmt.Errorf("%s: %w: %v", call.ServiceMethod, ErrEnded, c.cmd.ProcessState)
		default:
			return fmt.Errorf("%s: %w", call.ServiceMethod, call.Error)
		}
	case <-timer.C:
		return fmt.Errorf("%s: %w", call.ServiceMethod, ErrTimeout)
	}
}

// Stop kills the child and waits until it has ended. Pending calls fail. Stop may be called
// again.
func (c *Child) Stop() {
	c.end.Do(func() {
		_ = c.cmd.Process.Kill() // has no effect if the process has ended
		_ = c.client.Close()
		_ = c.cmd.Wait() // sets ProcessState
	})
}

// Resident returns how many bytes of memory the child uses, with the pages of the program's
// own file. It returns an error if the process has ended. Do not call it after Stop,
// because another process may have the process ID then.
func (c *Child) Resident() (bytes int64, err error) {
	file, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, resident int64 // in pages
	if _, err := fmt.Sscan(string(file), &size, &resident); err != nil {
		return 0, fmt.Errorf("statm: %w", err)
	}
	if size == 0 {
		return 0, ErrEnded
	}
	return resident * int64(os.Getpagesize()), nil
}

// duplex combines two pipes into one connection.
type duplex struct {
	io.ReadCloser
	io.WriteCloser
}

// Close closes both pipes.
func (d duplex) Close() error { return errors.Join(d.ReadCloser.Close(), d.WriteCloser.Close()) }

// CPU returns the CPU time that this process has used, in user mode and in the kernel.
func CPU() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}

// MachineCPU returns the CPU time that all processes have used, and other machines on the
// same host. It leaves out interrupts, because they are mostly the benchmark's own
// network traffic.
func MachineCPU() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	ticks := 0
	for i, field := range strings.Fields(line) {
		n, _ := strconv.Atoi(field)
		switch i {
		case 1, 2, 3, 8: // user, nice, system and steal, which other machines used
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// otherFiles is how many files a process needs beside those of its streams: pipes, the listener,
// epoll, a profile, a broker.
const otherFiles = 64

// MostStreams returns how many streams a process may have by its hard limit of open files.
func MostStreams() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	return int(min(limit.Max, math.MaxInt32)) - otherFiles, nil
}

// Files makes sure that this process may open a file for each of so many streams, and the
// few others that it needs. It raises the soft limit to the hard one if necessary.
func Files(streams int) error {
	needed := uint64(streams + otherFiles)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE: %w", err)
	}
	switch {
	case limit.Cur >= needed:
		return nil
	case limit.Max < needed:
		return fmt.Errorf("RLIMIT_NOFILE: %d files are needed for %d streams, and the hard limit is %d (ulimit -Hn)",
			needed, streams, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE: raising the soft limit to %d: %w", limit.Max, err)
	}
	return nil
}
