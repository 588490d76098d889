package servers

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// Stat is what a server process has used.
type Stat struct {
	CPU time.Duration // since the start
	// Peak is the most bytes that were in memory since ResetPeak, with the pages of the
	// program's own file.
	Peak int64
	// Resident is the bytes that the process itself has in memory, without those of
	// files, after a collection; only if it was asked for.
	Resident int64
}

// Stat answers with what the process has used. With memory it gives what is not in
// use back to the system first.
func (c *Control) Stat(memory bool, stat *Stat) (err error) {
	if stat.CPU, err = child.CPU(); err != nil {
		return err
	}
	if stat.Peak, err = status("VmHWM"); err != nil || !memory {
		return err
	}
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what the first one's finalizers and pools let go
	stat.Resident, err = status("RssAnon", "RssShmem")
	return err
}

// ResetPeak makes the peak that of what follows. What is in memory now counts; a
// Stat with memory before it gives back what is not in use. Where the kernel does
// not let it, the peak stays that of the whole process.
func (c *Control) ResetPeak(struct{}, *struct{}) error {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // proc(5): to the current resident set size
	return nil
}

// status adds up fields of /proc/self/status that are in kB, in bytes.
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
