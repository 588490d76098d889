package debug

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// recorder keeps what the observer of one node is told.
//
// Concurrency: all methods may be called from several goroutines.
type recorder struct {
	window  window
	journal journal

	mu       sync.Mutex       // guards the fields below
	ends     counts           // by reason, since the start
	refusals counts           // by cause
	noted    map[string]int64 // the second of the last entry of a refusal, by cause
	gaps     counts           // by reason
	resumes  counts           // by outcome
	logError string           // "" while the log is ready
	logSince time.Time        // since when that is so; the zero Time if it has never changed
	failure  string           // the last event that was not sent
	head     uint64           // of the log, when a page asked last
	headAt   time.Time        // when a page has first seen that
}

// counts are numbers by name.
type counts map[string]uint64

// An application may have reasons of its own, of any length.
const (
	maxNames     = 40
	maxNameBytes = 64
)

// add adds to a count. It returns the name under which that is counted.
func (c counts) add(name string, n uint64) (counted string) {
	name = clip(name, maxNameBytes)
	if _, known := c[name]; !known && len(c) >= maxNames {
		name = "others"
	}
	c[name] += n
	return name
}

func newRecorder() *recorder {
	return &recorder{
		ends: make(counts), refusals: make(counts), gaps: make(counts), resumes: make(counts), noted: make(map[string]int64),
	}
}

func (r *recorder) count(to counts, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to.add(name, 1)
}

func (r *recorder) opened(s *ginsse.Stream, o ginsse.Opening) {
	r.window.add(countOpened, 1)
	if o.Resume != ginsse.ResumeNone {
		r.window.add(countReturned, 1)
	}
	r.count(r.resumes, string(o.Resume))
	detail := map[ginsse.Resume]string{
		ginsse.ResumeNone:   "new",
		ginsse.ResumeMemory: "resumes, from memory",
		ginsse.ResumeStore:  "resumes, from the store",
		ginsse.ResumeGap:    "cannot resume: " + string(o.Gap),
	}[o.Resume]
	r.journal.add(entry{Stream: s.ID(), User: s.UserID(), What: "opened", Detail: fmt.Sprintf("%s; took %s", detail, short(o.Took))})
}

func (r *recorder) refused(refusal ginsse.Refusal) {
	r.window.add(countRefused, 1)
	if cause := string(refusal.Cause); r.countRefusal(cause) {
		r.journal.add(entry{User: refusal.UserID, What: "refused", Detail: cause})
	}
}

// countRefusal counts a refusal. It reports whether it is the first one in this second with its cause:
// a client may be refused thousands of times, and entries of all would leave no room for others.
func (r *recorder) countRefusal(cause string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	cause = r.refusals.add(cause, 1)
	before, now := r.noted[cause], time.Now().Unix()
	r.noted[cause] = now
	return before != now
}

func (r *recorder) ended(s *ginsse.Stream, e ginsse.Ending) {
	second := r.window.at(time.Now().Unix())
	second.counts[countEnded].Add(1)
	second.lasted.add(e.Lasted)
	r.count(r.ends, string(e.Reason))
	detail := fmt.Sprintf("%s; after %s and %d events", string(e.Reason), short(e.Lasted), e.Events)
	if e.Lag > 10 { // some events are always on their way
		detail += fmt.Sprintf(", %d behind", e.Lag)
	}
	if e.Err != nil {
		if cause, found := strings.CutPrefix(e.Err.Error(), e.Reason.Error()+": "); found {
			detail += "; " + cause
		}
	}
	r.journal.add(entry{Stream: s.ID(), User: s.UserID(), What: "ended", Detail: detail})
}

func (r *recorder) gap(s *ginsse.Stream, reason eventlog.GapReason) {
	r.window.add(countGaps, 1)
	r.count(r.gaps, string(reason))
	r.journal.add(entry{Stream: s.ID(), User: s.UserID(), What: "gap", Detail: string(reason)})
}

func (r *recorder) commanded(s *ginsse.Stream, command string) {
	r.journal.add(entry{Stream: s.ID(), User: s.UserID(), What: "command", Detail: command})
}

func (r *recorder) sent(_ context.Context, s ginsse.Sent) {
	if s.Err == nil {
		r.window.add(countSent, 1)
		return
	}
	r.window.add(countFailed, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = clip(s.Err.Error(), maxDetail)
}

func (r *recorder) appended(a ginsse.Appended) {
	if a.Err == nil && !a.Transient {
		r.window.at(time.Now().Unix()).appends.add(a.Took)
	}
}

func (r *recorder) written(_ *ginsse.Stream, w ginsse.Written) {
	if w.Events == 0 {
		return
	}
	s := r.window.at(time.Now().Unix())
	s.counts[countDelivered].Add(uint64(w.Events))
	if w.Delay > 0 {
		s.delivery.add(w.Delay)
	}
}

func (r *recorder) logReady(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logError, r.logSince = "", time.Now().Round(0)
	if err != nil {
		r.logError = clip(err.Error(), maxDetail)
	}
}

// short rounds a duration to what a reader wants to know.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
