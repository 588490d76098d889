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

// DoneID is the last event ID of a stream of one request whose producer has returned. It comes in a
// block of its own that dispatches nothing.
//
// A browser's EventSource reconnects after every end, and would have the work done again. A request
// that names DoneID in Last-Event-ID is answered with 204, which ends an EventSource (section
// 9.2.3). The block also sets the reconnection time to an hour.
//
// Some clients, Firefox and Safari among them, ignore the ID of a block without data. So if the
// request is a GET that accepts text/event-stream, the events of a producer that sets no IDs get IDs
// that begin with "sse.". The process remembers the last ID of some thousands of streams that
// finished, and answers 204 to it too. On another node, or after a restart, the work is done again
// for such a client. A page can always close its EventSource once it has what it waits for. A
// producer that knows its last event can give it DoneID, which works in all clients.
const DoneID = "sse.done"

// job identifies a stream of one request, so that a client that reconnects can show that it has all
// of its events. The zero job gives no IDs.
type job struct {
	key    uint64 // random, so that an ID reveals nothing of other jobs; 0 if its events have no IDs
	events uint64 // given IDs so far
}

const (
	jobPrefix = "sse."
	// maxJobID is more than the length of an ID of a job.
	maxJobID = 48
	// doneRetry is the reconnection time of a client that has got everything.
	doneRetry = time.Hour
	// maxFinished is the number of finished jobs whose last event the process remembers.
	maxFinished = 1 << 13
)

// finishedJobs holds jobs of this process that have sent all their events. A newer one replaces an
// older one.
type finishedJobs struct {
	mu   sync.Mutex
	jobs [maxFinished]job // by key, modulo its length
}

var processJobs finishedJobs

// newJob returns a job for a request whose client may reconnect by itself, and else the zero job.
func newJob(r *http.Request) job {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), contentType) {
		return job{}
	}
	var key [8]byte
	_, _ = rand.Read(key[:]) // never fails
	return job{key: binary.BigEndian.Uint64(key[:]) | 1}
}

// add records that a job has sent all its events.
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

// answerFinished answers a client that reconnects to a stream of which it has everything. It reports
// false for any other client.
func answerFinished(c *gin.Context) bool {
	id := c.GetHeader("Last-Event-ID")
	if id != DoneID && !processJobs.has(id) {
		return false
	}
	answerComplete(c)
	return true
}

// answerComplete tells a client that it has everything. A browser's EventSource ends then.
func answerComplete(c *gin.Context) {
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
}
