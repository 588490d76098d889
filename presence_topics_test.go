package ginsse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

const presenceGrace = 5 * time.Second

// presenceEngine serves streams at /events for the topics in the query, in which the user is present
// at boards with the name in the query, if there is one.
func presenceEngine(t *testing.T, registry *ginsse.Registry, options ...ginsse.ServeOption) *gin.Engine {
	t.Helper()
	r := gin.New()
	r.GET("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) {
		name := c.Query("name")
		_ = registry.Serve(c, append([]ginsse.ServeOption{
			ginsse.WithTopics(c.QueryArray("topic")...),
			ginsse.WithPresence(func(topic string) any {
				if name == "" || !strings.HasPrefix(topic, "board:") {
					return nil
				}
				return gin.H{"name": name}
			}),
		}, options...)...)
	})
	return r
}

// presenceNodes returns two nodes with a grace, their logs and servers.
func presenceNodes(t *testing.T) (logs []*ssetest.Node, registries [2]*ginsse.Registry, servers [2]*ssetest.Server) {
	t.Helper()
	logs = ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	for i, log := range logs {
		registries[i] = newRegistry(t, ginsse.RegistryConfig{Log: log, PresenceGrace: presenceGrace, ShutdownWindow: -1})
		servers[i] = ssetest.NewServer(t, presenceEngine(t, registries[i]))
	}
	synctest.Wait()
	return logs, registries, servers
}

func wantMembers(t *testing.T, r *ginsse.Registry, topic, want string) {
	t.Helper()
	got, err := json.Marshal(r.Present(topic))
	check(t, err)
	if string(got) != want {
		t.Errorf("present at %s: %s, want %s", topic, got, want)
	}
}

// wantSilence fails the test if an event comes within a time.
func wantSilence(t *testing.T, s *ssetest.Stream, d time.Duration) {
	t.Helper()
	if e, err := s.TryNext(d); err == nil {
		t.Errorf("got %q %s, want nothing", e.Type, e.Data)
	}
}

// Readers of a topic see who is there, comes and leaves, on all nodes.
func TestReadersSeeWhoIsPresent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries, servers := presenceNodes(t)
		servers[0].Open(t, "/events?topic=board:7&topic=feed&name=Alice", as("alice"))
		pass(settled)
		bob := servers[1].Open(t, "/events?topic=board:7&topic=feed", as("bob")) // is not present himself
		bob.NextOf("sse.open")
		wantNext(t, bob, `sse.present {"topic":"board:7","count":1,"users":[{"user":"alice","value":{"name":"Alice"}}]}`)
		carol := servers[0].Open(t, "/events?topic=board:7&name=Carol", as("carol"))
		carol.NextOf("sse.open")
		wantNext(t, carol, `sse.present {"topic":"board:7","count":2,"users":[{"user":"alice","value":{"name":"Alice"}},{"user":"carol","value":{"name":"Carol"}}]}`)
		wantNext(t, bob, `sse.join {"topic":"board:7","user":"carol","value":{"name":"Carol"},"count":2}`)
		for _, r := range registries {
			wantMembers(t, r, "board:7", `[{"user":"alice","value":{"name":"Alice"}},{"user":"carol","value":{"name":"Carol"}}]`)
			wantMembers(t, r, "feed", `[]`)
		}
		carol.Close()
		wantSilence(t, bob, presenceGrace-time.Millisecond)
		wantNext(t, bob, `sse.leave {"topic":"board:7","user":"carol","count":1}`)
		servers[0].Open(t, "/events?topic=board:7&name=Al", as("alice")) // with another value
		wantNext(t, bob, `sse.join {"topic":"board:7","user":"alice","value":{"name":"Al"},"count":1}`)
	})
}

func TestEightTabsOnTwoNodesArePresentOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries, servers := presenceNodes(t)
		bob := servers[1].Open(t, "/events?topic=board:7", as("bob"))
		bob.NextOf("sse.open")
		var tabs []*ssetest.Stream
		for tab := range 8 {
			tabs = append(tabs, servers[tab%2].Open(t, "/events?topic=board:7&name=Alice", as("alice")))
		}
		wantNext(t, bob, `sse.join {"topic":"board:7","user":"alice","value":{"name":"Alice"},"count":1}`)
		for _, tab := range tabs[:7] {
			tab.Close()
		}
		wantSilence(t, bob, time.Minute)
		wantMembers(t, registries[0], "board:7", `[{"user":"alice","value":{"name":"Alice"}}]`)
		tabs[7].Close()
		wantNext(t, bob, `sse.leave {"topic":"board:7","user":"alice","count":0}`)
	})
}

// A page that is reloaded, and the people of a node that shuts down, do not leave.
func TestReloadAndDeployAreNoAbsence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, registries, servers := presenceNodes(t)
		alice := servers[0].Open(t, "/events?topic=board:7&name=Alice", as("alice"))
		pass(time.Second)
		bob := servers[1].Open(t, "/events?topic=board:7", as("bob"))
		bob.NextOf("sse.present")
		for range 3 { // on either node
			for i := range 2 {
				alice.Close()
				pass(presenceGrace - time.Second)
				alice = servers[i].Open(t, "/events?topic=board:7&name=Alice", as("alice"))
			}
		}
		alice.Close()
		alice = servers[0].Open(t, "/events?topic=board:7&name=Alice", as("alice"))
		pass(time.Minute)
		registries[0].Close()
		logs[0].SetPartitioned(true)
		_, _ = alice.WaitEnd()
		pass(presenceGrace - time.Second)
		if !registries[1].Online("alice") {
			t.Error("a user of a node that shut down is offline")
		}
		servers[1].Open(t, "/events?topic=board:7&name=Alice", as("alice"))
		wantSilence(t, bob, time.Minute)
		wantMembers(t, registries[1], "board:7", `[{"user":"alice","value":{"name":"Alice"}}]`)
	})
}

// The people of a node that crashed leave when its lease has ended.
func TestPeopleOfACrashedNodeLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logs, _, servers := presenceNodes(t)
		servers[0].Open(t, "/events?topic=board:7&name=Alice", as("alice"))
		pass(time.Second)
		bob := servers[1].Open(t, "/events?topic=board:7", as("bob"))
		bob.NextOf("sse.present")
		logs[0].SetPartitioned(true)
		wantSilence(t, bob, 9*time.Second)
		start := time.Now()
		wantNext(t, bob, `sse.leave {"topic":"board:7","user":"alice","count":0}`)
		if took := time.Since(start); took > 12*time.Second {
			t.Errorf("left after %v more", took)
		}
	})
}

// A user becomes present with a grant, and is gone after a revocation.
func TestPresenceFollowsGrants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, registries, servers := presenceNodes(t)
		bob := servers[1].Open(t, "/events?topic=board:7&name=Bob", as("bob"))
		bob.NextOf("sse.present")
		alice := servers[0].Open(t, "/events?name=Alice", as("alice"))
		alice.NextOf("sse.open")
		pass(settled)
		check(t, registries[1].Grant(t.Context(), "alice", "board:7"))
		wantNext(t, alice, `sse.topics {"topics":["board:7"],"added":["board:7"]}`,
			`sse.present {"topic":"board:7","count":2,"users":[{"user":"alice","value":{"name":"Alice"}},{"user":"bob","value":{"name":"Bob"}}]}`)
		bob.NextOf("sse.join") // himself
		wantNext(t, bob, `sse.join {"topic":"board:7","user":"alice","value":{"name":"Alice"},"count":2}`)
		check(t, registries[1].Revoke(t.Context(), "alice", "board:7"))
		wantNext(t, bob, `sse.leave {"topic":"board:7","user":"alice","count":1}`)
		alice.NextOf("sse.topics")
		wantSilence(t, alice, time.Second)
		alice.Close()
		pass(time.Minute)
		wantMembers(t, registries[0], "board:7", `[{"user":"bob","value":{"name":"Bob"}}]`)
	})
}

// A stream whose value is not valid is refused as a whole.
func TestInvalidPresenceRefusesTheStream(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 511) // and two quotes
	for name, value := range map[string]func() any{
		"panics":    func() any { panic("no") },
		"no_JSON":   func() any { return math.NaN() },
		"too_large": func() any { return large },
		"not_UTF-8": func() any { return json.RawMessage("\"\xff\"") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := newRegistry(t, ginsse.RegistryConfig{})
			var err error
			engine := serveAt(func(c *gin.Context) {
				err = registry.Serve(c, ginsse.WithTopics("a", "b"), ginsse.WithPresence(func(topic string) any {
					if topic == "a" {
						return large[:509]
					}
					return value()
				}))
			}, ginsse.Middleware(headerAuth(t)))
			request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
			request.Header.Set("X-User", "alice")
			response := httptest.NewRecorder()
			engine.ServeHTTP(response, request)
			if response.Code != http.StatusInternalServerError || !errors.Is(err, ginsse.ErrInvalidPresence) {
				t.Errorf("status %d, %v", response.Code, err)
			}
			wantMembers(t, registry, "a", `[]`)
			if s := registry.Stats(); s.Streams != 0 || registry.Online("alice") {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A value that is not valid for a topic that was granted leaves the user out there, and nothing else.
func TestInvalidPresenceAfterAGrantIsLogged(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	engine := serveAt(func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithPresence(func(topic string) any {
			if topic == "bad" {
				panic("no")
			}
			return 1
		}))
	}, ginsse.Middleware(headerAuth(t)))
	s := ssetest.NewServer(t, engine).Open(t, "/", as("alice"))
	s.NextOf("sse.open")
	for _, topic := range []string{"bad", "good"} {
		check(t, registry.Grant(t.Context(), "alice", topic))
	}
	s.NextOf("sse.present")
	wantMembers(t, registry, "bad", `[]`)
	wantMembers(t, registry, "good", `[{"user":"alice","value":1}]`)
}

// From 100 users on, readers get a list of 100 and the count, every 5 s.
func TestCrowdIsSentAsAList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, servers := presenceNodes(t)
		bob := servers[1].Open(t, "/events?topic=board:7", as("bob"))
		bob.NextOf("sse.open")
		for n := range 130 {
			servers[0].Open(t, "/events?topic=board:7&name=x", as(fmt.Sprint("user", n)))
			pass(100 * time.Millisecond)
		}
		pass(5 * time.Second)
		counts := make(map[int]int)
		last := 0
		for {
			e, err := bob.TryNext(time.Millisecond)
			if err != nil {
				break
			}
			var data struct {
				Count int             `json:"count"`
				Users []ginsse.Member `json:"users"`
			}
			check(t, json.Unmarshal([]byte(e.Data), &data))
			if e.Type == "sse.present" && len(data.Users) != min(data.Count, 100) || e.Type == "sse.join" && data.Count >= 100 {
				t.Errorf("%s with %d of %d users", e.Type, len(data.Users), data.Count)
			}
			counts[data.Count/100]++
			last = data.Count
		}
		if last != 130 || counts[0] < 50 || counts[0] > 99 || counts[1] > 3 {
			t.Errorf("the last count is %d, after %v events below and above 100", last, counts)
		}
	})
}

// Many changes at a time come as one list.
func TestManyChangesAreSentAsAList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, servers := presenceNodes(t)
		bob := servers[1].Open(t, "/events?topic=board:7", as("bob"))
		bob.NextOf("sse.open")
		for n := range 50 {
			servers[0].Open(t, "/events?topic=board:7&name=x", as(fmt.Sprint("user", n)))
		}
		if e := bob.Next(); e.Type != "sse.present" || !strings.Contains(e.Data, `"count":50,`) || strings.Count(e.Data, "name") != 50 {
			t.Errorf("got %q %s", e.Type, e.Data)
		}
	})
}

// A stream that could not take events of presence in time gets the list: here it waits for its state
// for longer than they are kept.
func TestStreamThatMissedPresenceGetsTheList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := newRegistry(t, ginsse.RegistryConfig{})
		release := make(chan struct{})
		server := ssetest.NewServer(t, presenceEngine(t, registry))
		slow := ssetest.NewServer(t, presenceEngine(t, registry, ginsse.WithState(func(context.Context, *ginsse.State) error {
			<-release
			return nil
		})))
		alice := server.Open(t, "/events?topic=board:7&name=Alice", as("alice"))
		alice.NextOf("sse.open")
		bob := slow.Open(t, "/events?topic=board:7", as("bob"))
		bob.NextOf("sse.open")
		wantNext(t, bob, `sse.present {"topic":"board:7","count":1,"users":[{"user":"alice","value":{"name":"Alice"}}]}`)
		alice.Close()
		pass(8 * time.Second)
		close(release)
		if e := bob.NextOf("sse.present"); e.Data != `{"topic":"board:7","count":0,"users":[]}` {
			t.Errorf("got %s", e.Data)
		}
	})
}

// A client that resumes, with a gap or without, has missed who came and left.
func TestPresenceIsSentToClientsThatResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, _, servers := presenceNodes(t)
		servers[0].Open(t, "/events?topic=board:7&name=Alice", as("alice"))
		pass(settled)
		const present = `sse.present {"topic":"board:7","count":1,"users":[{"user":"alice","value":{"name":"Alice"}}]}`
		bob := servers[1].Open(t, "/events?topic=board:7", as("bob"))
		id := bob.Next().LastEventID
		wantNext(t, bob, present)
		bob.Close()
		bob = servers[1].Open(t, "/events?topic=board:7", as("bob"), ssetest.LastEventID(id))
		bob.NextOf("sse.open")
		wantNext(t, bob, present)
		bob.Close()
		bob = servers[1].Open(t, "/events?topic=board:7", as("bob"), ssetest.LastEventID("x"))
		bob.NextOf("sse.gap")
		wantNext(t, bob, present)
		wantSilence(t, bob, time.Second)
	})
}
