package ginsse

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

// DoneID is the last event ID with which a stream of one request ends, in a block of
// its own that dispatches nothing.
//
// A browser's EventSource comes back after every end, and would have the work done
// again. The block also sets its reconnection time to an hour. A request that names DoneID in Last-Event-ID is answered with 204, the
// standard's way to say that there is no more (section 9.2.3). Some clients, Firefox
// and Safari among them, do not take up the ID of a block without data. So on a stream
// that asks for text/event-stream with GET, the events of a producer that sets no IDs
// get IDs that begin with "sse.": the process that served the stream knows the last one
// of each of its newest 8,192 finished streams, and answers 204 to it too. On another
// node, or after a restart, the work is done again for such a client. A page can
// always close its EventSource when it has got what it waits for; and a producer
// that knows its last event can give it DoneID, which works in all of them.
const DoneID = "sse.done"

// job is a stream of one request whose events have IDs by which a client that comes
// back shows that it has got them all. The zero job has none.
type job struct {
	number uint64 // 0 if its events have no IDs
	events uint64 // given IDs so far
}

const (
	jobPrefix = "sse."
	// doneRetry is the reconnection time of a client that has got everything.
	doneRetry = time.Hour
	// maxFinished is of how many finished jobs the process knows the last event.
	maxFinished = 1 << 13
)

// jobs numbers the jobs of this process and knows which have finished. Its epoch tells
// them from those of other processes.
type jobs struct {
	epoch uint32
	last  atomic.Uint64 // the newest number

	mu       sync.Mutex
	finished [maxFinished]job // by number, modulo its length
}

var processJobs = jobs{epoch: rand.Uint32()}

// start returns a job for a request, if its client may come back by itself.
func (j *jobs) start(r *http.Request) job {
	if r.Method != http.MethodGet || !strings.Contains(r.Header.Get("Accept"), contentType) {
		return job{}
	}
	return job{number: j.last.Add(1)}
}

// finish notes that a job has sent all its events.
func (j *jobs) finish(done job) {
	if done.number == 0 || done.events == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finished[done.number%maxFinished] = done
}

// isLast reports whether an ID is that of the last event of a finished job.
func (j *jobs) isLast(id string) bool {
	parts := strings.Split(strings.TrimPrefix(id, jobPrefix), ".")
	if len(parts) != 3 {
		return false
	}
	number, err := strconv.ParseUint(parts[1], 36, 64)
	if err != nil || number == 0 {
		return false
	}
	j.mu.Lock()
	done := j.finished[number%maxFinished]
	j.mu.Unlock()
	return done.number == number && j.id(done) == id
}

// id returns the ID of the newest event of a job.
func (j *jobs) id(of job) string {
	return fmt.Sprintf("%s%08x.%s.%d", jobPrefix, j.epoch, strconv.FormatUint(of.number, 36), of.events)
}

// answerFinished answers a client that comes back to a stream of one request of which
// it has got everything, and reports whether it is one.
func answerFinished(c *gin.Context) bool {
	id := c.GetHeader("Last-Event-ID")
	if id != DoneID && !processJobs.isLast(id) {
		return false
	}
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return true
}
