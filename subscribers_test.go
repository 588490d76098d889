package ginsse_test

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

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

// A user with another stream keeps the list of streams alive. The list must not hold the ended one.
func TestMemoryOfAnEndedStreamIsFreed(t *testing.T) {
	t.Parallel()
	for name, ends := range map[string]int{"first_of_two": 0, "second_of_two": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{})
			server := ssetest.NewServer(t, newEngine(t, registry))
			var streams []*ssetest.Stream
			var pointers []weak.Pointer[ginsse.Stream]
			for n := range 2 {
				streams = append(streams, server.Open(t, "/events", as("alice")))
				streams[n].NextOf("sse.open")
				for _, s := range registry.Streams("alice") {
					if p := weak.Make(s); n == 0 || p != pointers[0] {
						pointers = append(pointers, p)
					}
				}
			}
			streams[ends].Close()
			for len(registry.Streams("alice")) > 1 {
				pass(time.Millisecond)
			}
			deadline := time.Now().Add(time.Minute)
			for pointers[ends].Value() != nil {
				if time.Now().After(deadline) {
					t.Fatal("the ended stream is still in memory")
				}
				runtime.GC()
				pass(time.Millisecond)
			}
			if pointers[1-ends].Value() == nil {
				t.Error("the open stream is not in memory, so the test has shown nothing")
			}
		})
	}
}
