package servers

import (
	"os"
	"runtime"
	"sync"
	"testing"
)

// stat fails the test on an error.
func stat(t *testing.T, memory bool) (s Stat) {
	t.Helper()
	if err := new(Control).Stat(memory, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// It is not parallel, because memory is shared by the whole process.
func TestStatIsOfThisProcess(t *testing.T) {
	const much = 64 << 20
	before := stat(t, true)
	if before.CPU <= 0 || before.Resident < 100<<10 || before.Peak < before.Resident || before.Goroutines < 1 {
		t.Errorf("at first: %+v", before)
	}
	block := make([]byte, much)
	for i := range block {
		block[i] = 1
	}
	with := stat(t, true)
	if grown := with.Resident - before.Resident; grown < much*9/10 || with.Peak < with.Resident || with.CPU <= before.CPU {
		t.Errorf("with %d bytes more: %+v after %+v", much, with, before)
	}
	runtime.KeepAlive(block)
	after := stat(t, true)
	for range 20 { // tests before this one may have left memory that is freed or taken meanwhile
		if with.Resident-after.Resident >= much*9/10 {
			break
		}
		after = stat(t, true)
	}
	if with.Resident-after.Resident < much*9/10 || after.Peak < with.Resident {
		t.Errorf("without them: %+v after %+v", after, with)
	}
	if got := stat(t, false); got.Resident != 0 {
		t.Errorf("Resident is set without a request: %+v", got)
	}
	if err := new(Control).ResetPeak(struct{}{}, nil); err != nil {
		t.Fatal(err)
	}
	if file, err := os.OpenFile("/proc/self/clear_refs", os.O_WRONLY, 0); err != nil {
		t.Skip("the kernel does not allow it")
	} else {
		_ = file.Close()
	}
	if got := stat(t, false); got.Peak > with.Peak-much/2 || got.Peak < after.Resident/2 {
		t.Errorf("after the reset: %+v, and before it %+v", got, after)
	}
}

// It is not parallel, because goroutines of other tests count too.
func TestStatCountsGoroutines(t *testing.T) {
	const many = 1000
	before := stat(t, false).Goroutines
	end := make(chan struct{})
	var running sync.WaitGroup
	for range many {
		running.Go(func() { <-end })
	}
	with := stat(t, false).Goroutines
	close(end)
	running.Wait()
	if more := with - before; more < many*9/10 || more > many*11/10 {
		t.Errorf("%d goroutines more, after %d were started", more, many)
	}
}

func TestStatusReturnsErrorForMissingFields(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"RssNone", "Name", ""} {
		if n, err := status("VmRSS", name); err == nil {
			t.Errorf("%q is %d", name, n)
		}
	}
}
