package ginsse_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// These tests cover code whose removal would only cost memory, time or a rare event.

// A sender in a tight loop takes the processors from the goroutines that write. It must yield to
// readers that keep up, or they would meet gaps.
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

func TestMemoryOfSubscribersShrinks(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStreamsPerUser: -1})
	server := ssetest.NewServer(t, newEngine(t, registry))
	first := server.Open(t, "/events", as("alice"))
	var others []*ssetest.Stream
	for range 300 {
		others = append(others, server.Open(t, "/events", as("alice")))
	}
	most := registry.SubscriberCap("alice")
	for _, stream := range others {
		stream.Close()
	}
	for len(registry.Streams("alice")) > 1 {
		pass(time.Millisecond)
	}
	if least := registry.SubscriberCap("alice"); least > 100 || most < 301 {
		t.Errorf("room for %d streams, and for %d when there is one", most, least)
	}
	send(t, registry, "alice", 1)
	wantNumbers(t, first, 1, 1)
}

func TestMemoryOfASendQueueIsFreed(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	stream := ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as("alice"))
	stream.NextOf("sse.open")
	s := registry.Streams("alice")[0]
	for _, size := range []int{100, 1 << 20} {
		if err := s.Send(t.Context(), ginsse.Event{Type: "big", Data: strings.Repeat("x", size/2)}); err != nil {
			t.Fatal(err)
		}
		stream.NextOf("big")
		if kept := s.QueueCap(); kept > 4<<10 {
			t.Errorf("an idle stream keeps %d bytes of what was sent", kept)
		}
	}
}

// A log may notify after Append has returned. So a stream that has just written and then finds that
// it has ended reads once more: an event may have been sent in between.
func TestEndedStreamReadsOnceMore(t *testing.T) {
	t.Parallel()
	log := &silentLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
	var armed atomic.Bool
	unlocks := make(chan func(), 1)
	hook := func(c *gin.Context) {
		c.Writer = &writeHook{c.Writer, func() {
			if !armed.CompareAndSwap(true, false) {
				return
			}
			s := registry.Streams("alice")[0]
			log.silent.Store(true)
			send(t, registry, "alice", 1)
			unlocks <- registry.Lock() // the end is seen before its wake-up comes
			go s.Disconnect("bye")
			<-s.Done()
		}}
	}
	stream := ssetest.NewServer(t, serveAt(registry.Handler(), hook, ginsse.Middleware(headerAuth(t)))).Open(t, "/", as("alice"))
	stream.NextOf("sse.open")
	armed.Store(true)
	send(t, registry, "alice", 0)
	unlock := within(t, "the write", unlocks)
	first, second := stream.Next(), stream.Next()
	unlock()
	if first.Data != "0" || second.Data != "1" {
		t.Errorf("got %+v and %+v, though two events were sent before the end", first, second)
	}
	wantClose(t, stream, "bye")
}

// silentLog does not notify while it is silent.
type silentLog struct {
	*eventlog.MemoryLog

	silent atomic.Bool
}

func (l *silentLog) Watch(fn func(subject string, seq uint64)) (stop func()) {
	return l.MemoryLog.Watch(func(subject string, seq uint64) {
		if !l.silent.Load() {
			fn(subject, seq)
		}
	})
}

// A last event ID in the query may contain characters that a header cannot.
func TestLastEventIDWithControlCharactersIsAGap(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	engine := newEngine(t, registry)
	for _, id := range []string{"%01%7F%20%C3%A9", "%00", "%0D%0Aevent:%20x", "%FF%FE"} {
		request := httptest.NewRequest(http.MethodGet, "/events?lastEventId="+id, http.NoBody)
		request.Header.Set("X-User", "alice")
		w := httptest.NewRecorder()
		go func() {
			for len(registry.Streams("alice")) == 0 {
				runtime.Gosched()
			}
			_, _ = registry.Disconnect(t.Context(), "alice", "")
		}()
		engine.ServeHTTP(w, request)
		events := ssetest.Parse(w.Body.Bytes())
		if len(events) != 3 || events[1].Type != "sse.gap" || events[1].Data != fmt.Sprintf(`{"reason":%q}`, "unknown") {
			t.Errorf("%s: got %+v", id, events)
		}
	}
}
