package servers

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// Stat is what a server process has used.
type Stat struct {
	CPU time.Duration // since the start
	// Peak is the most bytes in memory since ResetPeak, with the pages of the program's own
	// file.
	Peak int64
	// Resident is the bytes in memory after a garbage collection, without the pages of
	// files. It is 0 unless it was requested.
	Resident   int64
	Goroutines int
}

// Stat returns what the process has used. With memory set it returns Resident too, and
// releases unused memory to the system first.
func (c *Control) Stat(memory bool, stat *Stat) (err error) {
	if stat.CPU, err = child.CPU(); err != nil {
		return err
	}
	stat.Goroutines = runtime.NumGoroutine()
	if stat.Peak, err = status("VmHWM"); err != nil || !memory {
		return err
	}
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what finalizers and pools released after the first one
	stat.Resident, err = status("RssAnon", "RssShmem")
	return err
}

// ResetPeak sets Peak to what is in memory now. Call Stat with memory set before it to
// release unused memory. If the kernel does not allow it, Peak stays that of the whole
// process.
func (c *Control) ResetPeak(struct{}, *struct{}) error {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // proc(5): to the current resident set size
	return nil
}

// status returns the sum, in bytes, of fields of /proc/self/status that are in kB.
func status(names ...string) (bytes int64, err error) {
	file, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		_, rest, ok := strings.Cut("\n"+string(file), "\n"+name+":")
		var kb int64
		if _, err := fmt.Sscanf(rest, "%d kB", &kb); !ok || err != nil {
			return 0, fmt.Errorf("no %s in /proc/self/status", name)
		}
		bytes += kb << 10
	}
	return bytes, nil
}
