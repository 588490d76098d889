package ginsse_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// Whoever may write to the table or the subjects of the log may forge an entry of a run.
func TestForgedNumberInARunDoesNotPanic(t *testing.T) {
	t.Parallel()
	var subject string
	node := &changedNode{Node: ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 1)[0], onAppend: func(_ context.Context, r eventlog.Record) error {
		if strings.HasPrefix(r.Subject, "run:") && strings.HasPrefix(string(r.Frame), ":begin") {
			subject = r.Subject
		}
		return nil
	}}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: node})
	goOn := make(chan struct{})
	defer close(goOn)
	run := startRun(t, registry, func(_ context.Context, run *ginsse.Run) error {
		err := sendNumbers(run, 1, 1)
		<-goOn
		return err
	})
	for range registry.RunEvents(t.Context(), "alice", run.ID(), "") {
		break // it is in the log
	}
	for _, frame := range []string{":events -9223372036854775808\ndata: forged\n\n", ":end 1 done\n\n"} {
		_, err := node.Append(t.Context(), eventlog.Record{Subject: subject, Frame: []byte(frame)})
		check(t, err)
	}
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panic: %v", p)
		}
	}()
	for _, err := range registry.RunEvents(t.Context(), "alice", run.ID(), "") {
		if err != nil && !errors.Is(err, ginsse.ErrRunGone) {
			t.Error(err)
		}
	}
}
