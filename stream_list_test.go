package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// listOf returns users and topics of streams, in order.
func listOf(streams []ginsse.StreamInfo) (list []string) {
	for _, s := range streams {
		list = append(list, fmt.Sprint(s.UserID, s.Topics))
	}
	return list
}

func wantList(t *testing.T, r *ginsse.Registry, filter ginsse.StreamFilter, want ...string) {
	t.Helper()
	streams, err := r.ListStreams(t.Context(), filter)
	if got := listOf(streams); err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v: %v, %v, want %v", filter, got, err, want)
	}
}

func wantCount(t *testing.T, r *ginsse.Registry, topic string, want int) {
	t.Helper()
	if got, err := r.CountStreams(t.Context(), topic); got != want || err != nil {
		t.Errorf("%d streams read %s, %v, want %d", got, topic, err, want)
	}
}

func TestListStreamsHasThoseOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, eventlog.MemoryLogConfig{})
		synctest.Wait()
		var ids []string
		for i, open := range []struct{ user, query string }{
			{"alice", "?topic=a"}, {"bob", "?topic=b&topic=a"}, {"alice", ""}, {"carol", "?topic=b"},
		} {
			server := ssetest.NewServer(t, newEngine(t, registries[i%2]))
			s := server.Open(t, "/events"+open.query, as(open.user))
			s.NextOf("sse.open")
			ids = append(ids, registries[i%2].Streams(open.user)[0].ID())
			pass(time.Second)
		}
		for _, r := range registries {
			wantList(t, r, ginsse.StreamFilter{}, "carol[b]", "alice[]", "bob[a b]", "alice[a]")
			wantList(t, r, ginsse.StreamFilter{Limit: 3}, "carol[b]", "alice[]", "bob[a b]")
			wantList(t, r, ginsse.StreamFilter{UserID: "alice"}, "alice[]", "alice[a]")
			wantList(t, r, ginsse.StreamFilter{Topic: "a"}, "bob[a b]", "alice[a]")
			wantList(t, r, ginsse.StreamFilter{UserID: "alice", Topic: "a"}, "alice[a]")
			wantList(t, r, ginsse.StreamFilter{UserID: "dave"})
			wantCount(t, r, "a", 2)
			wantCount(t, r, "c", 0)
		}
		streams, err := registries[0].ListStreams(t.Context(), ginsse.StreamFilter{Limit: 2})
		check(t, err)
		carol, alice := streams[0], streams[1]
		if carol.ID != ids[3] || carol.Node == alice.Node || time.Since(carol.Opened) != time.Second {
			t.Errorf("%+v %+v, want %s", carol, alice, ids[3])
		}
	})
}

func TestListStreamsOfASingleNode(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	server.Open(t, "/events?topic=a", as("alice")).NextOf("sse.open")
	wantList(t, registry, ginsse.StreamFilter{}, "alice[a]")
	wantCount(t, registry, "a", 1)
	for _, filter := range []ginsse.StreamFilter{{UserID: "\x00"}, {Topic: "\x00"}} {
		if _, err := registry.ListStreams(t.Context(), filter); !errors.Is(err, ginsse.ErrInvalidSubject) {
			t.Errorf("%+v: %v", filter, err)
		}
	}
	if _, err := registry.CountStreams(t.Context(), ""); !errors.Is(err, ginsse.ErrInvalidSubject) {
		t.Errorf("no topic: %v", err)
	}
	registry.Close()
	if _, err := registry.ListStreams(t.Context(), ginsse.StreamFilter{}); !errors.Is(err, ginsse.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// An answer that is larger than a message comes in parts, in any order.
func TestLongListComesInParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		recorder := &recordingNode{Node: logs[1]}
		first := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]})
		second := newRegistry(t, ginsse.RegistryConfig{Log: recorder, MaxStreamsPerUser: -1})
		synctest.Wait()
		var topics []string
		for n := range 64 {
			topics = append(topics, fmt.Sprintf("%03d", n)+strings.Repeat(`"`, 253))
		}
		engine := gin.New()
		engine.GET("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
			_ = second.Serve(c, ginsse.WithTopics(topics...))
		})
		server := ssetest.NewServer(t, engine)
		const streams = 9
		for range streams {
			server.Open(t, "/events", as(strings.Repeat(`"`, 256))).NextOf("sse.open")
		}
		got, err := first.ListStreams(t.Context(), ginsse.StreamFilter{})
		if err != nil || len(got) != streams || !slices.Equal(got[8].Topics, topics) {
			t.Errorf("%d streams: %v", len(got), err)
		}
		if n := recorder.answers; n < 2 || recorder.longest > 64<<10 {
			t.Errorf("%d messages of up to %d bytes", n, recorder.longest)
		}
	})
}

// recordingNode counts the answers that it posts, and posts each but the last after the next one.
type recordingNode struct {
	*ssetest.Node

	answers, longest int
	held             []byte
}

func (n *recordingNode) Post(to string, message []byte) error {
	n.longest = max(n.longest, len(message))
	if message[0] != 'A' {
		return n.Node.Post(to, message)
	}
	n.answers++
	if n.held == nil && !strings.Contains(string(message), `"part":9,`) {
		n.held = slices.Clone(message)
		return nil
	}
	if err := n.Node.Post(to, message); err != nil {
		return err
	}
	held := n.held
	if n.held = nil; held == nil {
		return nil
	}
	return n.Node.Post(to, held)
}

// The answers that are there come with an error that says how many are not.
func TestListStreamsSaysHowManyNodesAreMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
		var registries []*ginsse.Registry
		for i, user := range []string{"alice", "bob", "carol"} {
			registries = append(registries, newRegistry(t, ginsse.RegistryConfig{Log: logs[i]}))
			ssetest.NewServer(t, newEngine(t, registries[i])).Open(t, "/events?topic=a", as(user)).NextOf("sse.open")
		}
		synctest.Wait()
		logs[2].SetPartitioned(true)
		start := time.Now()
		streams, err := registries[0].ListStreams(t.Context(), ginsse.StreamFilter{})
		if !errors.Is(err, ginsse.ErrIncomplete) || !strings.Contains(err.Error(), "1 of 2") || len(streams) != 2 {
			t.Errorf("%v, %v", listOf(streams), err)
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBrokerAway)
		defer cancel()
		count, err := registries[0].CountStreams(ctx, "a")
		if count != 2 || !errors.Is(err, ginsse.ErrIncomplete) || !errors.Is(err, errBrokerAway) {
			t.Errorf("%d, %v", count, err)
		}
		streams, err = registries[2].ListStreams(t.Context(), ginsse.StreamFilter{}) // the partitioned node
		if len(streams) != 1 || !errors.Is(err, ginsse.ErrIncomplete) || !errors.Is(err, ssetest.ErrPartitioned) {
			t.Errorf("%v, %v", listOf(streams), err)
		}
		pass(20 * time.Second) // the node counts as gone
		wantList(t, registries[0], ginsse.StreamFilter{UserID: "alice"}, "alice[a]")
	})
}

// A node that ends while others wait for its answer has no streams.
func TestListStreamsDoesNotWaitForANodeThatEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		deaf := &deafNode{Node: logs[1]}
		first, second := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]}), newRegistry(t, ginsse.RegistryConfig{Log: deaf})
		synctest.Wait()
		time.AfterFunc(500*time.Millisecond, second.Close)
		start := time.Now()
		wantList(t, first, ginsse.StreamFilter{})
		if took := time.Since(start); took > 700*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// deafNode gets no questions.
type deafNode struct{ *ssetest.Node }

func (n *deafNode) Receive(name string, fn func(message []byte)) (stop func()) {
	return n.Node.Receive(name, func(message []byte) {
		if message[0] != 'Q' {
			fn(message)
		}
	})
}

// Another client of the broker may forge questions and answers. What a node cannot have sent has no
// effect, and streams of names that Serve refuses are left out.
func TestForgedQuestionsAndAnswersAreHarmless(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 3)
		first := newRegistry(t, ginsse.RegistryConfig{Log: logs[0]})
		second := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		ssetest.NewServer(t, newEngine(t, second)).Open(t, "/events?topic=a", as("alice")).NextOf("sse.open")
		synctest.Wait()
		for _, message := range []string{
			"Q", "Q{}", `Q{"id":"1","node":"a b","limit":1}`, `Q{"id":"1","node":"z","limit":-1}`, `Q{"id":"1","node":"z","limit":99999}`,
			`Q{"id":"1","node":"z","topic":"\u0000"}`, "A", "A\n", "Ax\n{}", `Ax` + "\n" + `{"node":"z","part":1,"parts":1}`,
		} {
			check(t, logs[2].Post("", []byte(message)))
		}
		logs[2].Receive("spy", func(message []byte) { // answers each question at once
			if message[0] != 'Q' {
				return
			}
			id := strings.Split(string(message), `"`)[3]
			for _, answer := range []string{
				"", "x", `{"node":"z","count":-1}`, `{"node":"","part":1,"parts":1,"streams":[{"user":"mallory"}]}`,
				`{"node":"z","part":1,"parts":9,"count":5,"streams":[{"user":"a\u0000"},{"user":""},{"user":"bob","stream":"` + strings.Repeat("x", 65) + `"}]}`,
				`{"node":"z","part":1,"parts":9,"count":5,"streams":[{"user":"again"}]}`,
			} {
				_ = logs[2].Post("", []byte("A"+id+"\n"+answer))
			}
		})
		wantList(t, first, ginsse.StreamFilter{}, "alice[a]")
		// 5 of 6 are forged: a node can say anything of itself, if it says so before the others.
		if n, err := second.CountStreams(t.Context(), "a"); err != nil || n != 1 && n != 6 {
			t.Errorf("%d streams read a, %v, want 1 or 6", n, err)
		}
	})
}
