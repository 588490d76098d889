package debug_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/debug"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

func always(debug.View) bool { return true }

func problems(v debug.View) string { return strings.Join(v.Problems, "\n") }

// newNodes returns two nodes that share a log of 10 events for each user.
func newNodes(t *testing.T) (first, second *node) {
	t.Helper()
	logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 10}, 2)
	return newNode(t, ginsse.RegistryConfig{Log: logs[0]}, "web-1"), newNode(t, ginsse.RegistryConfig{Log: logs[1]}, "web-2")
}

func TestPageShowsAllNodes(t *testing.T) {
	t.Parallel()
	first, second := newNodes(t)
	alice, bob := first.open("alice", "?topic=a"), second.open("bob", "?topic=b")
	id := alice.NextOf("sse.open").LastEventID
	bob.NextOf("sse.open")
	for range 20 {
		if _, err := first.registry.SendTo(t.Context(), "bob", ginsse.Event{Type: "n", Data: 1}); err != nil {
			t.Fatal(err)
		}
		bob.NextOf("n")
	}
	if _, err := first.registry.SendTo(t.Context(), "bob", ginsse.Event{Type: "sse.own"}); err == nil {
		t.Fatal("an invalid event was sent")
	}
	second.open("bob", "", ssetest.LastEventID(id)).NextOf("sse.gap")
	v := first.look("", "all that happened", func(v debug.View) bool {
		return len(v.Rows) == 3 && v.Rows[1].Events == 20 && v.Users == 2 && v.Delivery.Count >= 20 && slices.Max(v.Series.Opened) > 0 && strings.Contains(problems(v), "Gaps that clients were told of in the last minute: 1.")
	})
	if v.Streams != 3 || v.Head < 20 || v.Appends.Count < 20 || v.Delivery.P50 <= 0 || v.Delivery.P99 < v.Delivery.P50 {
		t.Errorf("%+v", v)
	}
	if len(v.Nodes) != 2 || !strings.HasPrefix(v.Nodes[0].Name, "web-1 · ") || v.Nodes[1].Streams != 2 || v.Nodes[1].Opened != 2 {
		t.Errorf("the nodes are %+v", v.Nodes)
	}
	newest := v.Rows[0]
	if newest.UserID != "bob" || !strings.HasPrefix(newest.Node, "web-2 · ") || v.Rows[1].Events != 20 || v.Rows[2].Topics[0] != "a" {
		t.Errorf("the streams are %+v", v.Rows)
	}
	if fmt.Sprint(v.Gaps, v.Resumes) != "[{trimmed 1}] [{none 2} {gap 1}]" {
		t.Errorf("gaps %v, opened %v", v.Gaps, v.Resumes)
	}
	if !strings.Contains(problems(v), "Events were not sent in the last minute: 1, at node web-1 · ") || !strings.Contains(problems(v), ". The last error: ginsse: ") {
		t.Errorf("the problems are %q", v.Problems)
	}
}

func TestPageFollowsAUserATopicOrAStream(t *testing.T) {
	t.Parallel()
	first, second := newNodes(t)
	alice := first.open("alice", "?topic=a")
	id := alice.NextOf("sse.open").LastEventID
	for range 20 {
		if _, err := first.registry.SendTo(t.Context(), "bob", ginsse.Event{Type: "n", Data: 1}); err != nil {
			t.Fatal(err)
		}
	}
	second.open("bob", "?topic=b").NextOf("sse.open")
	second.open("bob", "", ssetest.LastEventID(id)).NextOf("sse.gap")
	newest := first.look("", "all streams", func(v debug.View) bool { return len(v.Rows) == 3 }).Rows[0]
	if v := first.look("?only-user=alice", "alice", always); len(v.Rows) != 1 || v.Rows[0].UserID != "alice" || len(v.Entries) != 1 {
		t.Errorf("of alice: %+v, %+v", v.Rows, v.Entries)
	}
	ofOne := func(v debug.View) bool { return len(v.Rows) == 1 } // a view without the other node, which may answer late, has none
	if v := first.look("?only-topic=b", "topic b", ofOne); v.Rows[0].UserID != "bob" {
		t.Errorf("of the topic: %+v", v.Rows)
	}
	if v := first.look("?rows=1", "one row", always); len(v.Rows) != 1 {
		t.Errorf("%d rows", len(v.Rows))
	}
	if _, err := second.registry.Disconnect(t.Context(), "bob", "banned"); err != nil {
		t.Fatal(err)
	}
	const ends = "[{banned 2}]" // bob has two streams, which end one after the other
	v := first.look("?only-stream="+newest.ID, "the ends", func(v debug.View) bool { return len(v.Entries) == 3 && fmt.Sprint(v.Ends) == ends })
	var what []string
	for _, e := range v.Entries {
		what = append(what, e.What)
		if e.Stream != newest.ID || e.User != "bob" || !strings.HasPrefix(e.Node, "web-2") {
			t.Errorf("%+v", e)
		}
	}
	slices.Sort(what)
	if fmt.Sprint(what) != "[ended gap opened]" || !strings.Contains(fmt.Sprint(v.Entries), "cannot resume: trimmed") {
		t.Errorf("%v, ends %v", v.Entries, v.Ends)
	}
	if v := first.look("?only-user=%00", "an invalid name", always); !strings.Contains(problems(v), "No user and no topic can have the name") {
		t.Errorf("the problems are %q", v.Problems)
	}
}

func TestPageSaysWhichNodesAreMissing(t *testing.T) {
	t.Parallel()
	logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
	first := newNode(t, ginsse.RegistryConfig{Log: logs[0]}, "web-1")
	newNode(t, ginsse.RegistryConfig{Log: logs[1]}, "web-2")
	other, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: logs[2]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	first.look("", "a node without a page", func(v debug.View) bool {
		return len(v.Nodes) == 3 && strings.Contains(problems(v), "has no figures: the page is not mounted there")
	})
	logs[1].SetPartitioned(true)
	first.look("", "a node that is away", func(v debug.View) bool {
		return strings.Contains(problems(v), "nodes have not answered: 1 of 2")
	})
}

// brokenLog is a log that can be broken.
type brokenLog struct {
	*eventlog.MemoryLog

	broken atomic.Bool
}

func (l *brokenLog) Ready() error {
	if l.broken.Load() {
		return errors.New("the database does not answer")
	}
	return nil
}

func (l *brokenLog) Head(ctx context.Context) (eventlog.Cursor, error) {
	if err := l.Ready(); err != nil {
		return eventlog.Cursor{}, err
	}
	return l.MemoryLog.Head(ctx)
}

// The page opens although no stream of the registry can, and says why not.
func TestPageOpensWhileTheLogDoesNot(t *testing.T) {
	t.Parallel()
	log := &brokenLog{MemoryLog: newLog(t, eventlog.MemoryLogConfig{})}
	n := newNode(t, ginsse.RegistryConfig{Log: log}, "web")
	log.broken.Store(true)
	n.open("alice", "").NextOf("sse.reconnect")
	v := n.look("", "the log is broken", func(v debug.View) bool {
		return strings.Contains(problems(v), "The log has not served node web for ") && strings.Contains(problems(v), "Streams were refused in the last minute: 1.")
	})
	if v.Nodes[0].LogError != "the database does not answer" || v.Nodes[0].LogSince.IsZero() || fmt.Sprint(v.Refusals) != "[{log unavailable 1}]" {
		t.Errorf("%+v, refusals %v", v.Nodes, v.Refusals)
	}
	log.broken.Store(false)
	n.look("", "the log is back", func(v debug.View) bool { return !strings.Contains(problems(v), "The log") && v.Nodes[0].LogError == "" })
}

func TestPageSaysThatItIsNoObserver(t *testing.T) {
	t.Parallel()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	n := newNodeOf(t, registry, debug.NewPage(debug.Config{}))
	n.look("", "no figures", func(v debug.View) bool {
		return strings.Contains(problems(v), "put page.Observer() into RegistryConfig.Observers")
	})
}

// The pages that look are no streams of the registry, and there are not too many of them.
func TestPageBoundsViewers(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{MaxStreams: 1}, "web")
	n.open("alice", "").NextOf("sse.open")
	var responses []*http.Response
	for range debug.MaxViewers {
		response, err := n.server.Client().Do(n.request(http.MethodGet, "/debug/events/stream", nil))
		if err != nil {
			t.Fatal(err)
		}
		responses = append(responses, response)
		t.Cleanup(func() { _ = response.Body.Close() })
		if response.StatusCode != http.StatusOK {
			t.Fatalf("status %d", response.StatusCode)
		}
	}
	if response, _ := n.do(n.request(http.MethodGet, "/debug/events/stream", nil)); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many gets status %d", response.StatusCode)
	}
	if stats := n.registry.Stats(); stats.Streams != 1 || stats.Opened != 1 {
		t.Errorf("%+v", stats)
	}
	_ = responses[0].Body.Close()
	deadline := time.Now().Add(20 * time.Second)
	for status := 0; status != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("a viewer that has left keeps its place")
		}
		response, err := n.server.Client().Do(n.request(http.MethodGet, "/debug/events/stream", nil))
		if err != nil {
			t.Fatal(err)
		}
		status = response.StatusCode
		_ = response.Body.Close()
	}
}

// The stream of the page ends with the registry, so that a shutdown does not wait for it.
func TestPageEndsWithItsRegistry(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{}, "web")
	response, err := n.server.Client().Do(n.request(http.MethodGet, "/debug/events/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	n.registry.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 1<<10)
		for {
			if _, err := response.Body.Read(buffer); err != nil {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream is still open")
	}
}

// An answer of another node may be forged at the broker. It is bounded, and does no harm.
func TestForgedReportsAreHarmless(t *testing.T) {
	t.Parallel()
	logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	n := newNode(t, ginsse.RegistryConfig{Log: logs[0]}, "web")
	ends := make(map[string]int)
	for i := range 500 {
		ends[fmt.Sprint("reason ", i)] = i
	}
	var answers []json.RawMessage
	for _, report := range []any{
		nil, 1, "x", []int{}, map[string]any{"series": map[string]any{"opened": []int{-1}}},
		map[string]any{
			"name": strings.Repeat("n", 5000), "ends": ends, "delivery": map[string]int{"-1": 1, "100000": 1, "3": 2},
			"series": map[string]any{"opened": make([]int, 1000)}, "entries": make([]map[string]any, 1000),
		},
	} {
		text, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, text)
	}
	var next atomic.Int64
	forger, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: logs[1], Observers: []*ginsse.Observer{{
		Answer: func(string) json.RawMessage { return answers[int(next.Add(1)-1)%len(answers)] },
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(forger.Close)
	v := n.look("", "the last report", func(v debug.View) bool { return len(v.Ends) > 0 })
	if len(v.Ends) > 50 || len(v.Entries) > debug.MaxShown || v.Delivery.Count != 2 || len(v.Series.Opened) != 120 || len(v.Nodes[1].Name) > 220 {
		t.Errorf("%d ends, %d entries, %d deliveries, %d seconds", len(v.Ends), len(v.Entries), v.Delivery.Count, len(v.Series.Opened))
	}
}

// A node's log is full. The page shows what it holds, and what has left it.
func TestPageShowsTheMemoryOfTheLog(t *testing.T) {
	t.Parallel()
	log := newLog(t, eventlog.MemoryLogConfig{MaxBytes: 16 << 10})
	n := newNode(t, ginsse.RegistryConfig{Log: log}, "web")
	for i := range 100 {
		if _, err := n.registry.SendTo(t.Context(), fmt.Sprint("user", i), ginsse.Event{Type: "n", Data: i}); err != nil {
			t.Fatal(err)
		}
	}
	v := n.look("", "the log of the node", func(v debug.View) bool { return v.Nodes[0].Log != nil })
	s := v.Nodes[0].Log
	if s.Entries == 0 || s.Evicted.Size == 0 || s.Entries+int(s.Evicted.Size) != 100 || s.Bytes == 0 || s.Bytes > 16<<10 || s.MaxBytes != 16<<10 || s.Since.IsZero() {
		t.Errorf("%+v", s)
	}
}

// laggingLog is a log that says that it is behind its store.
type laggingLog struct{ *eventlog.MemoryLog }

func (laggingLog) Stats() eventlog.Stats {
	return eventlog.Stats{Store: &eventlog.StoreStats{Connected: true, Behind: 1001, Inbox: 4001}}
}

func TestPageSaysThatTheStoreHasMore(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{Log: laggingLog{newLog(t, eventlog.MemoryLogConfig{})}}, "web")
	n.look("", "what waits", func(v debug.View) bool {
		return strings.Contains(problems(v), "Node web is up to 1,001 events behind the store of the log.") &&
			strings.Contains(problems(v), "Events that transactions have committed wait in the inbox: 4,001 or more.")
	})
}

func TestPageSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	late, early := debug.BucketOf(2*time.Second), debug.BucketOf(time.Millisecond)
	inbox := func(count int, moved time.Duration) string {
		return fmt.Sprintf(`{"stats":{"log":{"store":{"inbox":%d}}},"head_at":%q}`, count, now.Add(-moved).Format(time.RFC3339))
	}
	many := map[string]string{"zzz": `{"minute":{"failed":5,"failure":"e"}}`}
	for i := range 300 {
		many[fmt.Sprintf("node%d", i)] = `{}`
	}
	for name, test := range map[string]struct {
		reports map[string]string
		want    string
	}{
		"not_listed": {many, "Events were not sent in the last minute: 5, at nodes that are not listed. The last error: e"},
		"nothing":    {map[string]string{"a": `{"minute":{"returned":10}}`, "b": inbox(3, 5*time.Second)}, ""},
		"slow_node": {
			map[string]string{"a": fmt.Sprintf(`{"delivery":{"%d":1000}}`, early), "b": fmt.Sprintf(`{"delivery":{"%d":1,"-7":9,"9999":9}}`, late)},
			"Deliveries are late at node b: in the last minute, 1 of 100 took longer than 2.1s.",
		},
		"slow_nodes": {
			map[string]string{"a": fmt.Sprintf(`{"delivery":{"%d":1}}`, late), "b": fmt.Sprintf(`{"delivery":{"%d":1}}`, late)},
			"Deliveries are late at nodes a, b: in the last minute, 1 of 100 took longer than 2.1s.",
		},
		"failures": {
			map[string]string{"a": `{"minute":{"failed":1,"failure":"e"}}`, "b": `{"minute":{"failed":2}}`, "c": `{"minute":{"failed":3}}`, "d": `{"minute":{"failed":4}}`, "e": `{"minute":{"failed":5}}`, "f": `{}`},
			"Events were not sent in the last minute: 15, at a, b, c and 2 other nodes. The last error: e",
		},
		"cut": {
			map[string]string{"a": fmt.Sprintf(`{"stats":{"streams":100},"minute":{"returned":21},"lasted":{"%d":20,"%d":1}}`, late, early)},
			"Clients came back 21 times in the last minute, to 100 streams. Half of the streams that ended had lasted less than 2.1s.",
		},
		"node_gone": {
			map[string]string{"a": `{"stats":{"streams":100},"minute":{"returned":21}}`},
			"Clients came back 21 times in the last minute, to 100 streams. After a deploy that is soon over;",
		},
		"old_streams": {
			map[string]string{"a": fmt.Sprintf(`{"stats":{"streams":100},"minute":{"returned":21},"lasted":{"%d":21}}`, debug.BucketOf(10*time.Hour))},
			"to 100 streams. Half of the streams that ended had lasted for hours. After a deploy",
		},
		"stuck_inbox":   {map[string]string{"a": inbox(3, 11*time.Second)}, "are not delivered: 3 or more wait in the inbox, and none has got its place in the log for 11s."},
		"moving_inbox":  {map[string]string{"a": inbox(3, 11*time.Second), "b": inbox(3, time.Second)}, ""},
		"large_inbox":   {map[string]string{"a": inbox(4001, time.Second)}, "wait in the inbox: 4,001 or more."},
		"older_version": {map[string]string{"a": `{"stats":{"log":{"store":{"inbox":3}}}}`}, ""},
		"empty_inbox":   {map[string]string{"a": inbox(0, time.Hour)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if v := debug.NewView(now, test.reports); len(v.Problems) > 1 || !strings.Contains(problems(*v), test.want) || test.want == "" && len(v.Problems) > 0 {
				t.Errorf("the problems are %q, want %q", v.Problems, test.want)
			}
		})
	}
}
