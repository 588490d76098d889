package ginsse_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
)

// A sender in a tight loop takes the processors from the goroutines that write. It must yield to
// readers that keep up, or they would meet gaps.
//
// Not parallel: other tests would take processors from the readers.
func TestSenderAtFullSpeedYieldsToReaders(t *testing.T) {
	const streams, events = 100, 30_000
	registry, written := manyStreams(t, streams)
	e := ginsse.Event{Type: "comment", Data: strings.Repeat("x", 100)}
	for range events {
		if _, err := registry.Broadcast(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if gaps := registry.Stats().Gaps; gaps > streams/10 {
		t.Errorf("%d streams had gaps, of %d", gaps, streams)
	}
	if written.Load() < streams {
		t.Error("nothing was written")
	}
}

// A writer that finds more than one event yields to the sender before it writes, so that one write
// takes more events.
//
// Not parallel: the test sets GOMAXPROCS.
func TestWriterGathersEventsBeforeItWrites(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the sender and the writer take turns
	registry, written := manyStreams(t, 1)
	const pairs = 2000
	before := written.Load()
	for range pairs {
		for range 2 {
			send(t, registry, "alice", 1)
		}
		runtime.Gosched()
	}
	for registry.Streams("alice")[0].Unread() > 0 {
		runtime.Gosched()
	}
	// Without gathering, the writer writes at each of its turns.
	if n := written.Load() - before; n > pairs/2 {
		t.Errorf("%d writes for %d pairs of events", n, pairs)
	}
}

// A sender in a tight loop keeps the only processor from the stream. Without pauses the stream lags
// by more events than the history holds.
func TestSenderPausesForStreamThatLags(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	registry, written := manyStreams(t, 1)
	for range 50_000 {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	for registry.Streams("alice")[0].Unread() > 0 {
		runtime.Gosched()
	}
	if gaps := registry.Stats().Gaps; gaps > 0 || written.Load() < 10 {
		t.Errorf("%d gaps in %d writes", gaps, written.Load())
	}
}
