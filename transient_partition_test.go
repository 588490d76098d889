package ginsse_test

import (
	"bufio"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// A node that has lost its log gives streams no entries. A stream that has not read a revocation
// by then must not get transient events from after it.
func TestTransientEventsAfterARevocationWaitForALogThatIsAway(t *testing.T) {
	t.Parallel()
	nodes := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	a := newRegistry(t, ginsse.RegistryConfig{Log: nodes[0]})
	b := newRegistry(t, ginsse.RegistryConfig{Log: nodes[1], Stream: ginsse.StreamConfig{HeartbeatInterval: 50 * time.Millisecond}})
	response := openBody(t, ssetest.NewServer(t, newEngine(t, b)), "/events?topic=board")
	lines := bufio.NewReader(response.Body)
	readTo := func(want string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			check(t, err)
			switch strings.TrimSuffix(line, "\n") {
			case "event: secret":
				t.Fatal("got a transient event of the topic from after its revocation")
			case want:
				return
			}
		}
	}
	readTo("event: sse.open")
	// The client takes no more, so that the stream waits in its write.
	_, err := a.SendTo(t.Context(), "alice", ginsse.Event{Type: "large", Data: strings.Repeat("x", 256<<10)})
	check(t, err)
	readTo("event: large")
	check(t, a.Revoke(t.Context(), "alice", "board"))
	_, err = a.Publish(t.Context(), "board", ginsse.Event{Type: "secret", Transient: true})
	check(t, err)
	nodes[1].SetPartitioned(true)
	for range 3 { // the first one may be from before
		readTo("event: sse.heartbeat")
	}
	nodes[1].SetPartitioned(false)
	readTo("event: sse.topics")
}
