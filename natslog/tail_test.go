package natslog

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

// TestHoleCountsAsRemovedByCountOnlyIfNothingElseCanHaveRemovedIt decides on a hole from 10 to 12. A
// wrong yes would be silent loss.
func TestHoleCountsAsRemovedByCountOnlyIfNothingElseCanHaveRemovedIt(t *testing.T) {
	t.Parallel()
	recently, long := time.Now().Add(-time.Minute), time.Now().Add(-50*time.Minute)
	for name, test := range map[string]struct {
		first  uint64 // sequence of the stream
		bound  int64  // of a subject in the stream
		maxAge time.Duration
		before time.Time // when the event before the hole was stored
		want   bool
	}{
		"begins_before":              {9, 101, time.Hour, recently, true},
		"begins_in_the_hole":         {10, 101, time.Hour, recently, false},
		"begins_after":               {13, 101, time.Hour, recently, false},
		"no_bound_of_a_subject":      {9, -1, time.Hour, recently, false},
		"another_bound":              {9, 51, time.Hour, recently, false},
		"event_before_it_is_old":     {9, 101, time.Hour, long, false},
		"event_before_it_is_unknown": {9, 101, time.Hour, time.Time{}, false},
		"no_bound_of_age":            {9, 101, 0, time.Time{}, true},
	} {
		tail := tail{perSubject: 100}
		if test.bound < 0 {
			tail.perSubject = test.bound - 1
		}
		hole := eventlog.Hole{First: 10, Last: 12, Before: test.before}
		info := &jetstream.StreamInfo{
			Config: jetstream.StreamConfig{MaxMsgsPerSubject: test.bound, MaxAge: test.maxAge},
			State:  jetstream.StreamState{FirstSeq: test.first, LastSeq: 20},
		}
		if got := tail.removedByCount(hole, info); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
