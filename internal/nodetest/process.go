package nodetest

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Run calls serve if [Start] has started this process with the same variable. It reports whether
// that is so: TestMain then returns.
//
// After serve has returned, Run waits until the process is killed, or the process that started it
// has ended. Run panics with an error of serve.
func Run[O any](variable string, serve func(options O) error) bool {
	text, ok := os.LookupEnv(variable)
	if !ok {
		return false
	}
	var options O
	err := json.Unmarshal([]byte(text), &options)
	if err == nil {
		err = serve(options)
	}
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

// Process is a process that runs the test's program. It lives until Kill, or until the end of the
// test.
type Process struct {
	Stdout io.Reader // what the process writes to standard output

	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer // complete after the process has ended
}

// Start starts the test's program as another process, for [Run]. The options become JSON, in the
// environment variable.
func Start(t testing.TB, variable string, options any) *Process {
	t.Helper()
	text, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{cmd: exec.CommandContext(t.Context(), program)} //nolint:gosec // the test itself
	p.cmd.Env = append(os.Environ(), variable+"="+string(text))
	p.cmd.Stderr = &p.stderr
	if p.Stdout, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if stderr := p.Kill(); strings.Contains(stderr, "DATA RACE") {
			t.Errorf("the process has a race:\n%s", stderr)
		}
	})
	return p
}

// Signal sends the process a signal.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Kill ends the process at once, as a crash does. It returns what the process has written to
// standard error. Kill may be repeated.
func (p *Process) Kill() (stderr string) {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
	return p.stderr.String()
}
