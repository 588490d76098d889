//go:build !race

// Under the race detector, pools drop some of what they have.

package promginsse_test

import (
	"errors"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/promginsse"
)

// Counting allocates nothing.
//
// Not parallel: the test counts the allocations of the whole process.
func TestHooksAllocateNothing(t *testing.T) {
	o := promginsse.New().Observer()
	failed := errors.New("failed")
	ctx := t.Context()
	hooks := map[string]func(){
		"Opened":              func() { o.Opened(nil, ginsse.Opening{Resume: ginsse.ResumeStore}) },
		"Refused":             func() { o.Refused(ginsse.Refusal{Cause: "their own", Err: failed}) },
		"Ended":               func() { o.Ended(nil, ginsse.Ending{Reason: "their own", Lasted: time.Minute}) },
		"Gap":                 func() { o.Gap(nil, eventlog.GapEpoch) },
		"Commanded":           func() { o.Commanded(nil, "grant") },
		"Sent":                func() { o.Sent(ctx, ginsse.Sent{Kind: eventlog.KindTopic}) },
		"Sent, failed":        func() { o.Sent(ctx, ginsse.Sent{Kind: eventlog.KindTopic, Err: failed}) },
		"Appended":            func() { o.Appended(ginsse.Appended{Kind: eventlog.KindRun, Bytes: 100, Took: time.Millisecond}) },
		"Appended, transient": func() { o.Appended(ginsse.Appended{Kind: eventlog.KindUser, Transient: true, Bytes: 100}) },
		"Appended, failed":    func() { o.Appended(ginsse.Appended{Kind: "unknown", Err: failed}) },
		"Written":             func() { o.Written(nil, ginsse.Written{Events: 1, Bytes: 100, Delay: time.Millisecond}) },
		"LogReady":            func() { o.LogReady(failed) },
	}
	for name, hook := range hooks {
		if n := testing.AllocsPerRun(1000, hook); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if o.Sending != nil || o.Delivered != nil {
		t.Error("a function is set that the registry has to work for, and that counts nothing")
	}
}
