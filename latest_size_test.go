package ginsse_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// A member who fills one topic must not keep others from their streams.
func TestTopicWithTooManyKeysIsAGapOfThatTopic(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxStateBytes: 1000})
	for _, key := range []string{"a", "b", "c"} {
		_, err := registry.Publish(t.Context(), "board", ginsse.Event{Type: "card", Key: key, Data: strings.Repeat("x", 400)})
		check(t, err)
	}
	stream := ssetest.NewServer(t, stateEngine(t, registry, ginsse.WithLatest())).Open(t, "/events?topic=board", as("alice"))
	stream.NextOf("sse.open")
	wantNext(t, stream, `sse.gap {"reason":"trimmed","topic":"board"}`)
	send(t, registry, "alice", 1)
	wantNumbers(t, stream, 1, 1)
}
