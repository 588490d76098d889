//go:build linux

package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// memoryLimit stops a server that uses more memory than its scenario allows. The
// machine is shared, and must not run out of memory because of one contestant.
type memoryLimit struct {
	bytes    int64
	exceeded atomic.Bool
	stop     chan struct{} // closed by end
	done     chan struct{} // closed when check has returned
}

// memoryInterval is how often the limit is checked. A server that touches new memory
// at 4 GB/s exceeds it by 40 MB before it is stopped.
const memoryInterval = 10 * time.Millisecond

// limitMemory starts to check a server. Call end before the server is stopped.
func limitMemory(server *child.Child, bytes int64) *memoryLimit {
	m := &memoryLimit{bytes: bytes, stop: make(chan struct{}), done: make(chan struct{})}
	go m.check(server)
	return m
}

func (m *memoryLimit) check(server *child.Child) {
	defer close(m.done)
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-ticker.C:
		}
		resident, err := server.Resident()
		if err != nil { // the server has ended
			return
		}
		if resident > m.bytes {
			m.exceeded.Store(true)
			server.Stop()
			return
		}
	}
}

// end stops checking.
func (m *memoryLimit) end() {
	close(m.stop)
	<-m.done
}

// failure says that the server was stopped, or "".
func (m *memoryLimit) failure() string {
	if m == nil || !m.exceeded.Load() {
		return ""
	}
	return fmt.Sprintf("stopped when it used more than %.3g GB of memory", float64(m.bytes)/1e9)
}
