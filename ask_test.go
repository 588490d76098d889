package ginsse_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// answering returns an observer that answers one question.
func answering(question, answer string) *ginsse.Observer {
	return &ginsse.Observer{Answer: func(q string) json.RawMessage {
		if q != question {
			return nil
		}
		return json.RawMessage(answer)
	}}
}

func wantAnswers(t *testing.T, r *ginsse.Registry, question string, want ...string) []ginsse.NodeAnswer {
	t.Helper()
	answers, err := r.AskNodes(t.Context(), question)
	var got []string
	for _, a := range answers {
		got = append(got, string(a.Data))
	}
	if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q is answered by %q, %v, want %q", question, got, err, want)
	}
	return answers
}

func TestAskNodesAsksTheObserversOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		long := `"` + strings.Repeat("x", 48<<10-2) + `"`
		first := newRegistry(t, ginsse.RegistryConfig{Log: logs[0], Observers: []*ginsse.Observer{
			{}, answering("who", `"first"`), answering("what", `1`), answering("what", `2`),
			answering("broken", `{`), answering("large", long+" "), answering("long", long),
		}})
		second := newRegistry(t, ginsse.RegistryConfig{Log: logs[1], Observers: []*ginsse.Observer{answering("who", `"second"`)}})
		synctest.Wait()
		answers := wantAnswers(t, first, "who", `"first"`, `"second"`)
		if answers[0].Node == "" || answers[0].Node == answers[1].Node {
			t.Errorf("the nodes are %q and %q", answers[0].Node, answers[1].Node)
		}
		wantAnswers(t, second, "who", `"second"`, `"first"`)
		wantAnswers(t, second, "what", "", "1")
		wantAnswers(t, second, "broken", "", "")
		wantAnswers(t, second, "large", "", "")
		wantAnswers(t, second, "long", "", long)

		logs[1].SetPartitioned(true)
		answers, err := first.AskNodes(t.Context(), "who")
		if !errors.Is(err, ginsse.ErrIncomplete) || len(answers) != 1 || string(answers[0].Data) != `"first"` {
			t.Errorf("%v, %v", answers, err)
		}
	})
}

func TestAskNodesOfASingleNode(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{Observers: []*ginsse.Observer{answering("who", `"me"`)}})
	wantAnswers(t, registry, "who", `"me"`)
	wantAnswers(t, newRegistry(t, ginsse.RegistryConfig{}), "who", "")
	for _, question := range []string{"", strings.Repeat("x", 2049)} {
		if _, err := registry.AskNodes(t.Context(), question); err == nil {
			t.Errorf("a question of %d bytes was asked", len(question))
		}
	}
	registry.Close()
	if _, err := registry.AskNodes(t.Context(), "who"); !errors.Is(err, ginsse.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestListStreamsHasCounts lists what streams of two nodes have written, and how far each is behind.
func TestListStreamsHasCounts(t *testing.T) {
	t.Parallel()
	logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	var registries []*ginsse.Registry
	for _, log := range logs {
		registries = append(registries, newRegistry(t, ginsse.RegistryConfig{
			Log: log, Stream: ginsse.StreamConfig{WriteTimeout: time.Minute},
		}))
	}
	openBody(t, ssetest.NewServer(t, newEngine(t, registries[0])), "/events") // alice takes nothing
	bob := ssetest.NewServer(t, newEngine(t, registries[1])).Open(t, "/events", as("bob"))
	bob.NextOf("sse.open")
	data := strings.Repeat("x", 2000)
	for range 3000 {
		if _, err := registries[0].SendTo(t.Context(), "alice", ginsse.Event{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := registries[0].SendTo(t.Context(), "bob", ginsse.Event{Type: "n", Data: data}); err != nil {
		t.Fatal(err)
	}
	bob.NextOf("n")
	var streams []ginsse.StreamInfo
	until(t, "the lag to be listed", func() bool {
		var err error
		streams, err = registries[1].ListStreams(t.Context(), ginsse.StreamFilter{Slowest: true})
		return err == nil && len(streams) == 2 && streams[0].Lag > 1000 && streams[1].Events == 1 && streams[1].Bytes >= 2000
	})
	if a, b := streams[0], streams[1]; a.UserID != "alice" || b.UserID != "bob" || b.Lag != 0 || a.Compact != allCompact() {
		t.Errorf("%+v", streams)
	}
	until(t, "the answer of the other node", func() bool {
		var err error
		streams, err = registries[1].ListStreams(t.Context(), ginsse.StreamFilter{})
		return err == nil
	})
	if len(streams) != 2 || streams[0].UserID != "bob" {
		t.Errorf("the newest is not first: %+v", streams)
	}
	for _, r := range registries {
		if head := r.Stats().Head; head < 3001 {
			t.Errorf("the head is %d", head)
		}
	}
}

// A node with more streams than are asked for chooses among all of them.
func TestListStreamsChoosesAmongMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		server := ssetest.NewServer(t, newEngine(t, registry))
		var newestFirst []string
		for i := range 20 {
			user := string(rune('a' + i))
			server.Open(t, "/events", as(user)).NextOf("sse.open")
			pass(time.Second)
			newestFirst = append([]string{user + "[]"}, newestFirst...)
		}
		for _, limit := range []int{1, 2, 3, 10, 19} {
			wantList(t, registry, ginsse.StreamFilter{Limit: limit}, newestFirst[:limit]...)
			wantList(t, registry, ginsse.StreamFilter{Limit: limit, Slowest: true}, newestFirst[:limit]...)
		}
	})
}

// TestAskNodesAnswersManyQuestionsAtATime has several pages of operators ask at the same time, and a node
// that takes a while for each answer.
func TestAskNodesAnswersManyQuestionsAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		newRegistry(t, ginsse.RegistryConfig{Log: logs[0], Observers: []*ginsse.Observer{{Answer: func(string) json.RawMessage {
			pass(10 * time.Millisecond)
			return json.RawMessage(`"answer"`)
		}}}})
		second := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		const pages = 16
		begun := time.Now()
		var asking sync.WaitGroup
		for range pages {
			asking.Go(func() { wantAnswers(t, second, "who", "", `"answer"`) })
		}
		asking.Wait()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("%d questions took %v", pages, took)
		}
	})
}
