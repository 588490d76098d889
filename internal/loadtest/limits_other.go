//go:build !unix

package loadtest

import "time"

// cpuTime returns the CPU time of the process, which is unknown here.
func cpuTime() time.Duration { return 0 }

// OpenFiles returns how many files and connections the process may have open; ok is false if that
// is unknown.
func OpenFiles() (limit uint64, ok bool) { return 0, false }
