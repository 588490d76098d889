package child

import (
	"errors"
	"fmt"
	"math"
	"net/rpc"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits before it fails.
const patience = 30 * time.Second

// TestMain also runs child processes: [Start] starts the test binary again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := Serve(&methods{name: os.Args[2]}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// methods has the methods of the child that the driver may call.
type methods struct{ name string }

func (m *methods) Name(_ struct{}, name *string) error {
	*name = m.name
	return nil
}

func (*methods) Refuse(text string, _ *struct{}) error { return errors.New(text) }

func (*methods) Print(text string, printed *int) (err error) {
	*printed, err = fmt.Println(text)
	return err
}

func (*methods) Exit(code int, _ *struct{}) error {
	os.Exit(code)
	return nil
}

func (*methods) LowerFiles(soft uint64, before *syscall.Rlimit) error {
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, before); err != nil {
		return err
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: before.Max})
}

func (*methods) Files(streams int, after *syscall.Rlimit) error {
	if err := Files(streams); err != nil {
		return err
	}
	return syscall.Getrlimit(syscall.RLIMIT_NOFILE, after)
}

func (*methods) Hang(struct{}, *struct{}) error { select {} }

// start starts a child that knows its name.
func start(t *testing.T, name string) *Child {
	t.Helper()
	c, err := Start("child", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func TestChildAnswersCalls(t *testing.T) {
	t.Parallel()
	first, second := start(t, "first"), start(t, "second")
	for want, c := range map[string]*Child{"first": first, "second": second} {
		var name string
		if err := c.Call("Name", struct{}{}, &name); err != nil || name != want {
			t.Errorf("its name is %q, %v, want %q", name, err, want)
		}
	}
	if first.cmd.Process.Pid == second.cmd.Process.Pid {
		t.Error("two children share a process")
	}
}

func TestChildErrorsNameTheMethod(t *testing.T) {
	t.Parallel()
	c := start(t, "refusing")
	err := c.Call("Refuse", "not today", new(struct{}))
	var remote rpc.ServerError
	if err == nil || err.Error() != "Child.Refuse: not today" || !errors.As(err, &remote) {
		t.Errorf("the error is %v", err)
	}
	if err := c.Call("NoSuchMethod", struct{}{}, new(struct{})); err == nil || !strings.Contains(err.Error(), "NoSuchMethod") {
		t.Errorf("without such a method the error is %v", err)
	}
}

func (*methods) Grow(bytes int, _ *struct{}) error {
	kept = make([]byte, bytes)
	for i := range kept {
		kept[i] = 1
	}
	return nil
}

var kept []byte // memory of a child

func TestResidentIsOfTheChild(t *testing.T) {
	t.Parallel()
	const more = 64 << 20
	c := start(t, "growing")
	before, err := c.Resident()
	if err != nil || before <= 0 {
		t.Fatalf("%d bytes, %v", before, err)
	}
	if err := c.Call("Grow", more, new(struct{})); err != nil {
		t.Fatal(err)
	}
	// The race detector takes two to four bytes for each byte.
	if after, err := c.Resident(); err != nil || after-before < more*9/10 || after-before > 6*more {
		t.Errorf("%d bytes after growing by %d from %d, %v", after, more, before, err)
	}
}

func TestResidentFailsWhenTheChildHasEnded(t *testing.T) {
	t.Parallel()
	c := start(t, "ending")
	call := c.Go("Exit", 0, new(struct{}))
	<-call.Done
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.Resident(); err != nil {
			return
		}
	}
	t.Error("no error")
}

func TestChildCanPrint(t *testing.T) {
	t.Parallel()
	c := start(t, "printing")
	var printed int
	if err := c.Call("Print", "(printed by a child, which a test expects)", &printed); err != nil || printed == 0 {
		t.Fatalf("%d bytes, %v", printed, err)
	}
	var name string
	if err := c.Call("Name", struct{}{}, &name); err != nil || name != "printing" {
		t.Errorf("after it: %q, %v", name, err)
	}
}

func TestChildThatDoesNotAnswerTimesOut(t *testing.T) {
	t.Parallel()
	c := start(t, "hanging")
	call := c.Go("Hang", struct{}{}, new(struct{}))
	if err := c.Wait(call, 10*time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Fatalf("the error is %v", err)
	}
	// It still answers other calls.
	var name string
	if err := c.Call("Name", struct{}{}, &name); err != nil || name != "hanging" {
		t.Errorf("another call: %q, %v", name, err)
	}
	c.Stop()
	if err := c.Wait(call, patience); err == nil || errors.Is(err, ErrTimeout) {
		t.Errorf("after Stop the error is %v", err)
	}
}

func TestChildStopEndsTheProcess(t *testing.T) {
	t.Parallel()
	c := start(t, "stopped")
	c.Go("Hang", struct{}{}, new(struct{}))
	c.Stop()
	if c.cmd.ProcessState == nil || c.cmd.ProcessState.Success() {
		t.Errorf("its state is %v", c.cmd.ProcessState)
	}
	if err := c.Call("Name", struct{}{}, new(string)); !errors.Is(err, ErrEnded) {
		t.Errorf("a call gives %v", err)
	}
	c.Stop()
}

func TestChildThatDiesFailsItsCalls(t *testing.T) {
	t.Parallel()
	c := start(t, "dying")
	err := c.Wait(c.Go("Exit", 3, new(struct{})), patience)
	if !errors.Is(err, ErrEnded) || err.Error() != "Child.Exit: the process has ended: exit status 3" {
		t.Errorf("the error is %v", err)
	}
	c.Stop()
	if got := c.cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("its exit status is %d", got)
	}
}

func TestChildEndsWhenTheDriverClosesTheConnection(t *testing.T) {
	t.Parallel()
	c := start(t, "left")
	if err := c.client.Close(); err != nil {
		t.Fatal(err)
	}
	// The process ends when Serve returns.
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("the process is still running")
		_ = c.cmd.Process.Kill()
		<-done
	}
}

func TestCPUIsOfThisProcess(t *testing.T) {
	t.Parallel()
	before, err := CPU()
	if err != nil || before <= 0 || before > time.Hour {
		t.Fatalf("%v, %v", before, err)
	}
	for after := before; after <= before; {
		if after, err = CPU(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesRaisesTheSoftLimit(t *testing.T) {
	t.Parallel()
	c := start(t, "limited") // the limit is for a whole process
	var before, after syscall.Rlimit
	if err := c.Call("LowerFiles", uint64(128), &before); err != nil {
		t.Fatal(err)
	}
	if err := c.Call("Files", 16, &after); err != nil || after.Cur != 128 || after.Max != before.Max {
		t.Errorf("with enough the limits are %+v, %v, and were 128 and %d", after, err, before.Max)
	}
	if err := c.Call("Files", 256, &after); err != nil || after.Cur != before.Max || after.Max != before.Max {
		t.Errorf("with too few they become %+v, %v, want %d for both", after, err, before.Max)
	}
}

func TestMostStreamsIsWhatFilesAllows(t *testing.T) {
	t.Parallel()
	most, err := MostStreams()
	if err != nil || most <= 0 {
		t.Fatalf("%d, %v", most, err)
	}
	var after syscall.Rlimit
	c := start(t, "many") // raising the soft limit is for a whole process
	if err := c.Call("Files", most, &after); err != nil {
		t.Errorf("%d streams: %v", most, err)
	}
	if most == math.MaxInt32-otherFiles {
		t.Skip("there is no limit")
	}
	if err := c.Call("Files", most+1, &after); err == nil {
		t.Errorf("a process may have %d streams, more than %d", most+1, most)
	}
}

func TestFilesReportsTheLimit(t *testing.T) {
	t.Parallel()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max > math.MaxInt32 {
		t.Skip("there is no limit")
	}
	err := Files(int(limit.Max))
	want := fmt.Sprintf("RLIMIT_NOFILE: %d files are needed for %d streams, and the hard limit is %d", limit.Max+64, limit.Max, limit.Max)
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %v, want %s", err, want)
	}
}
