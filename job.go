package ginsse

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
)

// DoneID is the last event ID with which a stream of one request ends when its producer
// has returned, in a block of its own that dispatches nothing.
//
// A browser's EventSource comes back after every end, and would have the work done
// again. The block also sets its reconnection time to an hour. A request that names
// DoneID in Last-Event-ID is answered with 204, the standard's way to say that there
// is no more (section 9.2.3).
//
// Some clients, Firefox and Safari among them, do not take up the ID of a block without
// data. So the events of a producer that sets no IDs get IDs that begin with "sse.", if
// the request is a GET that accepts text/event-stream. The process remembers the last
// ID of some thousands of streams that finished lately, and answers 204 to it too. On
// another node, or after a restart, the work is done again for such a client. A page
// can always close its EventSource when it has got what it waits for; and a producer
// that knows its last event can give it DoneID, which works in all clients.
const DoneID = "sse.done"

// job is a stream of one request whose events have IDs by which a client that comes
// back shows that it has got them all. The zero job has none.
type job struct {
	key    uint64 // random, so that an ID says nothing of other jobs; 0 if its events have no IDs
	events uint64 // given IDs so far
}

const (
	jobPrefix = "sse."
	// maxJobID is more than the length of an ID of a job.
	maxJobID = 48
	// doneRetry is the reconnection time of a client that has got everything.
	doneRetry = time.Hour
	// maxFinished is of how many finished jobs the process knows the last event.
	maxFinished = 1 << 13
)

// finishedJobs are jobs of this process that have sent all their events. A newer one
// takes the place of an older one.
type finishedJobs struct {
	mu   sync.Mutex
	jobs [maxFinished]job // by key, modulo its length
}

var processJobs finishedJobs

// newJob returns a job for a request, if its client may come back by itself.
func newJob(r *http.Request) job {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), contentType) {
		return job{}
	}
	var key [8]byte
	_, _ = rand.Read(key[:]) // never fails
	return job{key: binary.BigEndian.Uint64(key[:]) | 1}
}

// add notes that a job has sent all its events.
func (f *finishedJobs) add(done job) {
	if done.key == 0 || done.events == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jobs[done.key/2%maxFinished] = done
}

// has reports whether an ID is that of the last event of a finished job.
func (f *finishedJobs) has(id string) bool {
	text, ok := strings.CutPrefix(id, jobPrefix)
	if !ok || len(id) > maxJobID {
		return false
	}
	text, _, ok = strings.Cut(text, ".")
	key, err := strconv.ParseUint(text, 16, 64)
	if !ok || err != nil || key == 0 {
		return false
	}
	f.mu.Lock()
	done := f.jobs[key/2%maxFinished]
	f.mu.Unlock()
	return done.key == key && done.id() == id
}

// id returns the ID of the newest event of the job.
func (j job) id() string {
	return fmt.Sprintf("%s%016x.%d", jobPrefix, j.key, j.events)
}

// answerFinished answers a client that comes back to a stream of one request of which
// it has got everything, and reports whether it is one.
func answerFinished(c *gin.Context) bool {
	id := c.GetHeader("Last-Event-ID")
	if id != DoneID && !processJobs.has(id) {
		return false
	}
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return true
}
