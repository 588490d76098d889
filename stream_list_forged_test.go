package ginsse_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// The list of streams is for the page of an administrator. Names in it that no stream can have
// are left out, those of topics and streams too.
func TestForgedTopicsAreNotListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
		registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]})
		other := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		logs[2].Receive("spy", func(message []byte) { // answers each question at once
			if message[0] != 'Q' {
				return
			}
			id := strings.Split(string(message), `"`)[3]
			_ = logs[2].Post("", []byte("A"+id+"\n"+`{"node":"z","part":1,"parts":1,"streams":[`+
				`{"user":"bob","stream":"s\u001b[2J"},{"user":"bob","stream":"s","topics":["a\u0000","`+strings.Repeat("x", 10_000)+`"]}]}`))
		})
		streams, err := registry.ListStreams(t.Context(), ginsse.StreamFilter{})
		check(t, err)
		for _, s := range streams {
			if strings.ContainsAny(s.ID, "\x1b") {
				t.Errorf("the ID %q was listed", s.ID)
			}
			for _, topic := range s.Topics {
				if eventlog.CheckName(topic) != nil {
					t.Errorf("a topic of %d bytes was listed: %.10q", len(topic), topic)
				}
			}
		}
		_ = other
	})
}

// JSON reads times that it cannot write. A page that writes the list as JSON would fail for one forged stream.
func TestForgedTimesAreNotListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
		registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]})
		newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		forged := 0
		logs[2].Receive("spy", func(message []byte) { // answers each question at once
			if message[0] != 'Q' {
				return
			}
			forged++
			id := strings.Split(string(message), `"`)[3]
			_ = logs[2].Post("", []byte("A"+id+"\n"+`{"node":"z","part":1,"parts":1,"streams":[`+
				`{"user":"bob","stream":"s","opened":"2020-01-01T00:00:00+24:00"}]}`))
		})
		streams, err := registry.ListStreams(t.Context(), ginsse.StreamFilter{})
		check(t, err)
		if _, err := json.Marshal(streams); err != nil || forged != 1 {
			t.Errorf("%d answers were forged: %v", forged, err)
		}
	})
}
