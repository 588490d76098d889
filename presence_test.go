package ginsse_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// settled is when what has changed is known everywhere.
const settled = 200 * time.Millisecond

// wantOnline fails unless a registry holds exactly these of some users for online.
func wantOnline(t *testing.T, r *ginsse.Registry, users ...string) {
	t.Helper()
	online := make(map[string]bool)
	for _, user := range users {
		online[user] = true
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		if r.Online(user) != online[user] {
			t.Errorf("%s is online: %v", user, r.Online(user))
		}
	}
}

func wantCluster(t *testing.T, r *ginsse.Registry, want ginsse.ClusterStats) {
	t.Helper()
	if got := r.Stats().Cluster; got != want {
		t.Errorf("the cluster has %+v, want %+v", got, want)
	}
}

func TestOnlineOnAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, registries := nodes(t, ginsse.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		both := func(want ginsse.ClusterStats, users ...string) {
			t.Helper()
			pass(settled)
			synctest.Wait()
			for _, r := range registries {
				wantOnline(t, r, users...)
				wantCluster(t, r, want)
			}
		}
		both(ginsse.ClusterStats{Nodes: 2})
		alice := here.Open(t, "/events", as("alice"))
		bob := there.Open(t, "/events", as("bob"))
		both(ginsse.ClusterStats{Nodes: 2, Streams: 2, Users: 2}, "alice", "bob")

		// A user who is at both is counted once, and online until gone from both.
		alice2 := there.Open(t, "/events", as("alice"))
		both(ginsse.ClusterStats{Nodes: 2, Streams: 3, Users: 2}, "alice", "bob")
		alice.Close()
		both(ginsse.ClusterStats{Nodes: 2, Streams: 2, Users: 2}, "alice", "bob")
		alice2.Close()
		both(ginsse.ClusterStats{Nodes: 2, Streams: 1, Users: 1}, "bob")
		bob.Close()
		both(ginsse.ClusterStats{Nodes: 2})
	})
}

// Without other nodes the counts are this one's.
func TestClusterOfOne(t *testing.T) {
	registry := newRegistry(t, ginsse.RegistryConfig{})
	server := ssetest.NewServer(t, newEngine(t, registry))
	server.Open(t, "/events", as("alice"))
	server.Open(t, "/events", as("alice"))
	wantCluster(t, registry, ginsse.ClusterStats{Nodes: 1, Streams: 2, Users: 1})
}

// A node that has just started is told by the others.
func TestOnlineOnANewNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 3)
		for i, user := range []string{"alice", "bob"} {
			registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[i]})
			ssetest.NewServer(t, newEngine(t, registry)).Open(t, "/events", as(user))
		}
		pass(time.Minute)
		registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[2]})
		synctest.Wait()
		wantOnline(t, registry, "alice", "bob")
		wantCluster(t, registry, ginsse.ClusterStats{Nodes: 3, Streams: 2, Users: 2})
	})
}

// Who comes, is told of to a node that asks, and goes, all within the time in which
// changes gather, has gone for that node too.
func TestOnlineForAShortTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		server := ssetest.NewServer(t, newEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: logs[0]})))
		alice := server.Open(t, "/events", as("alice"))
		registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
		synctest.Wait()
		wantOnline(t, registry, "alice")
		alice.Close()
		pass(settled)
		wantOnline(t, registry)
	})
}

// A node that leaves is forgotten at once, one that is silent in 15 s, and when it is back
// it has missed nothing.
func TestOnlineWhenNodesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		here.Open(t, "/events", as("alice"))
		bob := there.Open(t, "/events", as("bob"))
		pass(settled)
		logs[1].SetAway(true)
		pass(9 * time.Second)
		wantOnline(t, registries[0], "alice", "bob")
		pass(11 * time.Second)
		wantOnline(t, registries[0], "alice")
		wantOnline(t, registries[1], "bob")
		wantCluster(t, registries[0], ginsse.ClusterStats{Nodes: 1, Streams: 1, Users: 1})

		bob.Close()
		pass(time.Minute)
		logs[1].SetAway(false)
		there.Open(t, "/events", as("carol"))
		pass(6 * time.Second)
		for _, r := range registries {
			wantOnline(t, r, "alice", "carol")
			wantCluster(t, r, ginsse.ClusterStats{Nodes: 2, Streams: 2, Users: 2})
		}
		registries[1].Close()
		logs[1].SetAway(true) // the others know by now
		synctest.Wait()
		wantOnline(t, registries[0], "alice")
		wantCluster(t, registries[0], ginsse.ClusterStats{Nodes: 1, Streams: 1, Users: 1})
	})
}

// Changes that were told while a node could not hear them are made good, though it was
// away for too short a time to be forgotten.
func TestOnlineAfterLostMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		here, there := ssetest.NewServer(t, newEngine(t, registries[0])), ssetest.NewServer(t, newEngine(t, registries[1]))
		bob := there.Open(t, "/events", as("bob"))
		pass(settled)
		logs[0].SetAway(true)
		bob.Close()
		there.Open(t, "/events", as("carol"))
		pass(settled)
		logs[0].SetAway(false)
		wantOnline(t, registries[0], "bob") // it is not known yet
		here.Open(t, "/events", as("alice"))
		pass(6 * time.Second)
		wantOnline(t, registries[0], "alice", "carol")
		wantOnline(t, registries[1], "alice", "carol")
		// Nor is it when the next change is told before the next beat.
		logs[0].SetAway(true)
		there.Open(t, "/events", as("bob"))
		pass(settled)
		logs[0].SetAway(false)
		there.Open(t, "/events", as("dave"))
		pass(settled)
		wantOnline(t, registries[0], "alice", "bob", "carol")
	})
}

// More users than one message takes, with long names that JSON makes longer.
func TestOnlineOfManyUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
		first := newRegistry(t, ginsse.RegistryConfig{Log: limited{logs[0]}})
		server := ssetest.NewServer(t, newEngine(t, first))
		const count = 2500
		name := func(n int) string {
			if n%2 == 0 {
				return fmt.Sprint(n, strings.Repeat(`"\`, 120))
			}
			return fmt.Sprint(n)
		}
		for n := range count {
			server.Open(t, "/events", as(name(n)))
		}
		pass(settled)
		second := newRegistry(t, ginsse.RegistryConfig{Log: limited{logs[1]}})
		check := func() {
			t.Helper()
			pass(settled)
			synctest.Wait()
			for n := range count {
				if !second.Online(name(n)) {
					t.Fatalf("%s is not online", name(n))
				}
			}
			wantCluster(t, second, ginsse.ClusterStats{Nodes: 2, Streams: count, Users: count})
		}
		check() // all were told because the second asked
		third := newRegistry(t, ginsse.RegistryConfig{Log: limited{logs[1]}})
		server = ssetest.NewServer(t, newEngine(t, third))
		first.Close()
		for n := range count {
			server.Open(t, "/events", as(name(n)))
		}
		check() // all were told because they came
	})
}

// limited refuses messages that a node need not take.
type limited struct{ *ssetest.Node }

func (l limited) Post(to string, message []byte) error {
	if len(message) > 64<<10 {
		panic(fmt.Sprint("a message of ", len(message), " bytes"))
	}
	return l.Node.Post(to, message)
}

// What is no message of a registry does nothing.
func TestMessagesOfOthersAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		server := ssetest.NewServer(t, newEngine(t, registries[0]))
		server.Open(t, "/events", as("alice"))
		pass(settled)
		for _, message := range []string{
			"", "x", "{}", "[]", `{"node":1}`, `{"node":"z","here":"bob"}`, `{"node":"","seq":1,"here":["bob"]}`,
			`{"leaves":true}`, `{"node":"nobody","leaves":true}`,
			`{"node":"z","streams":-1}`, `{"node":"z","streams":9223372036854775807}`, `{"node":"z","streams":1e30}`,
			`{"node":"z","streams":0.5}`, `{"node":"z","seq":-1}`, `{"node":"z","seq":18446744073709551616}`,
			`{"node":"z","list":-1}`, `{"node":"z","list":1,"part":0,"parts":1}`, `{"node":"z","list":1,"part":-1,"parts":1}`,
			`{"node":"z","list":1,"part":2,"parts":1}`, `{"node":"z","list":1,"part":1,"parts":-1}`,
			`{"node":"z","list":1,"part":1,"parts":9223372036854775807}`, `{"node":"z","list":1,"part":1,"parts":1,"gone":["alice"]}`,
			`{"node":"a b","streams":1}`, `{"node":"a.b","streams":1}`, `{"node":"é","streams":1}`,
			`{"node":"` + strings.Repeat("z", 33) + `","streams":1}`,
		} {
			if err := logs[1].Post("", []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for _, r := range registries {
			wantOnline(t, r, "alice")
			wantCluster(t, r, ginsse.ClusterStats{Nodes: 2, Streams: 1, Users: 1})
		}
	})
}

// posting counts messages, and changes what becomes of them.
type posting struct {
	*ssetest.Node

	posted atomic.Int64
	way    atomic.Pointer[func(post func())] // nil: at once
}

func (p *posting) Post(to string, message []byte) error {
	p.posted.Add(1)
	way := p.way.Load()
	if way == nil {
		return p.Node.Post(to, message)
	}
	message = bytes.Clone(message)
	(*way)(func() { _ = p.Node.Post(to, message) })
	return nil
}

// A page that is reloaded is nothing to tell.
func TestReloadIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &posting{Node: ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 1)[0]}
		server := ssetest.NewServer(t, newEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: log})))
		stream := server.Open(t, "/events", as("alice"))
		pass(settled)
		before := log.posted.Load()
		stream.Close()
		synctest.Wait()
		server.Open(t, "/events", as("alice"))
		server.Open(t, "/events", as("alice"))
		pass(settled)
		if n := log.posted.Load() - before; n != 0 {
			t.Errorf("%d messages", n)
		}
	})
}

// Whatever becomes of messages, and however users move between nodes meanwhile: when
// messages come through again, all nodes agree with what is.
func TestOnlineIsRightInTheEnd(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { onlineIsRightInTheEnd(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func onlineIsRightInTheEnd(t *testing.T, random *rand.Rand) {
	const nodes, users, steps = 3, 700, 300
	var mu sync.Mutex // guards random
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	rough := func(post func()) {
		for range []int{0, 1, 1, 2}[chance(4)] { // it is lost, or comes twice
			time.AfterFunc(time.Duration(chance(400))*time.Millisecond, post)
		}
	}
	name := func(user int) string { return fmt.Sprint(user, strings.Repeat("x", 240)) } // many to a message
	var logs [nodes]*posting
	var registries [nodes]*ginsse.Registry
	var servers [nodes]*ssetest.Server
	for i, node := range ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, nodes) {
		logs[i] = &posting{Node: node}
		logs[i].way.Store(&rough)
		registries[i] = newRegistry(t, ginsse.RegistryConfig{Log: logs[i]})
		servers[i] = ssetest.NewServer(t, newEngine(t, registries[i]))
	}
	var open [nodes][users]*ssetest.Stream
	for step := range nodes*users + steps {
		node, user := chance(nodes), chance(users)
		if step < nodes*users { // first, each user comes to some
			if node, user = step/users, step%users; chance(2) == 0 {
				continue
			}
		}
		if stream := open[node][user]; stream != nil {
			stream.Close()
			open[node][user] = nil
		} else {
			open[node][user] = servers[node].Open(t, "/events", as(name(user)))
		}
		if step%10 == 0 {
			pass(time.Duration(chance(300)) * time.Millisecond)
		}
	}
	pass(time.Second)
	for _, log := range logs {
		log.way.Store(nil)
	}
	pass(30 * time.Second)
	synctest.Wait()
	want := ginsse.ClusterStats{Nodes: nodes}
	for user := range users {
		online := false
		for node := range nodes {
			if open[node][user] != nil {
				online = true
				want.Streams++
			}
		}
		if online {
			want.Users++
		}
		for node, r := range registries {
			if r.Online(name(user)) != online {
				t.Errorf("node %d: user %d is online: %v", node, user, !online)
			}
		}
	}
	for _, r := range registries {
		wantCluster(t, r, want)
	}
}

// TestForgedNamesAreNotUsers has a node name users whom no registry lets in.
func TestForgedNamesAreNotUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		pass(settled)
		message := fmt.Sprintf(`{"node":"z","seq":1,"streams":1,"here":["","bob","bob","a\u0000","%s"]}`, strings.Repeat("x", ginsse.MaxNameBytes+1))
		if err := logs[1].Post("", []byte(message)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantOnline(t, registries[0], "bob")
		wantCluster(t, registries[0], ginsse.ClusterStats{Nodes: 3, Streams: 1, Users: 1})
	})
}

// TestForgedNodesAreBounded has more nodes speak than there may be, each with as many
// streams as it may have.
func TestForgedNodesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, registries := nodes(t, ginsse.MemoryLogConfig{})
		pass(settled)
		for n := range 3000 {
			message := fmt.Sprintf(`{"node":"z%d","streams":%d}`, n, math.MaxInt/1001)
			if err := logs[1].Post("", []byte(message)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := registries[0].Stats().Cluster; got.Nodes != 1001 || got.Streams < math.MaxInt/2 {
			t.Errorf("the cluster has %+v", got)
		}
		pass(25 * time.Second) // they are silent
		wantCluster(t, registries[0], ginsse.ClusterStats{Nodes: 2})
	})
}

// recording keeps the messages of a node.
type recording struct {
	*ssetest.Node

	mu       sync.Mutex // guards messages
	messages []string
}

func (r *recording) Post(to string, message []byte) error {
	r.mu.Lock()
	r.messages = append(r.messages, string(message))
	r.mu.Unlock()
	return r.Node.Post(to, message)
}

func (r *recording) any(random *rand.Rand) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages[random.IntN(len(r.messages))]
}

// TestCountsAreNeverNegative has the messages of real nodes come again, with other numbers
// and users, under real names and made-up ones.
func TestCountsAreNeverNegative(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { countsAreNeverNegative(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func countsAreNeverNegative(t *testing.T, random *rand.Rand) {
	logs := ssetest.NewNodes(t, ginsse.MemoryLogConfig{}, 2)
	recorded := &recording{Node: logs[0]}
	servers := []*ssetest.Server{
		ssetest.NewServer(t, newEngine(t, newRegistry(t, ginsse.RegistryConfig{Log: recorded}))), nil,
	}
	registry := newRegistry(t, ginsse.RegistryConfig{Log: logs[1]})
	servers[1] = ssetest.NewServer(t, newEngine(t, registry))
	pick := func(values ...any) any { return values[random.IntN(len(values))] }
	var streams []*ssetest.Stream
	check := func() {
		t.Helper()
		synctest.Wait()
		s := registry.Stats()
		if c := s.Cluster; c.Nodes < 1 || c.Streams < s.Streams || c.Users < s.Users {
			t.Fatalf("here are %d streams of %d users, and the cluster has %+v", s.Streams, s.Users, c)
		}
	}
	pass(settled)
	for range 400 {
		switch random.IntN(6) {
		case 0:
			streams = append(streams, servers[random.IntN(2)].Open(t, "/events", as(fmt.Sprint("u", random.IntN(5)))))
		case 1:
			if n := len(streams); n > 0 {
				streams[n-1].Close()
				streams = streams[:n-1]
			}
		case 2:
			pass(time.Duration(random.IntN(1000)) * time.Millisecond)
		default:
			forged := make(map[string]any)
			if err := json.Unmarshal([]byte(recorded.any(random)), &forged); err != nil {
				t.Fatal(err)
			}
			for range 1 + random.IntN(3) {
				switch pick("node", "streams", "seq", "names", "list", "flags") {
				case "node":
					forged["node"] = pick("x", "y", "")
				case "streams":
					forged["streams"] = pick(-1, -1000, math.MinInt, math.MaxInt, math.MaxInt/1001, 0, 7)
				case "seq":
					forged["seq"] = pick(0, 1, 2, 3, uint64(math.MaxUint64), -1)
				case "names":
					forged[pick("here", "gone").(string)] = pick([]string{"u0", "u1", "u0"}, []string{"u2", "u3", "u4"}, []string{""}, nil)
				case "list":
					forged["list"], forged["part"], forged["parts"] = pick(1, 2, 9), pick(1, 2, 0, -1), pick(1, 2, -1)
				default:
					forged[pick("ask", "leaves").(string)] = pick(true, false)
				}
			}
			message, err := json.Marshal(forged)
			if err != nil {
				t.Fatal(err)
			}
			if err := logs[0].Post("", message); err != nil {
				t.Fatal(err)
			}
		}
		check()
	}
	for _, stream := range streams {
		stream.Close()
	}
	pass(20 * time.Second) // those that were made up are silent
	check()
	if c := registry.Stats().Cluster; c.Nodes != 2 || c.Streams != 0 {
		t.Errorf("in the end the cluster has %+v", c)
	}
}

// FuzzMessagesOfOthers has another node send anything.
func FuzzMessagesOfOthers(f *testing.F) {
	for _, seed := range []string{
		`{"node":"z","seq":1,"streams":-5,"here":["bob"]}`,
		`{"node":"z","streams":9223372036854775807}` + "\n" + `{"node":"y","streams":9223372036854775807}`,
		`{"node":"z","seq":1,"here":["bob","alice"]}` + "\n" + `{"node":"z","seq":2,"gone":["bob","bob"]}` + "\n" + `{"node":"z","leaves":true}`,
		`{"node":"z","list":1,"part":1,"parts":2,"here":["bob"]}` + "\n" + `{"node":"z","list":1,"part":2,"parts":2}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, messages string) {
		synctest.Test(t, func(t *testing.T) {
			logs, registries := nodes(t, ginsse.MemoryLogConfig{})
			server := ssetest.NewServer(t, newEngine(t, registries[0]))
			server.Open(t, "/events", as("alice"))
			pass(settled)
			for message := range strings.SplitSeq(messages, "\n") {
				if err := logs[1].Post("", []byte(message)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if c := registries[0].Stats().Cluster; c.Nodes < 2 || c.Streams < 1 || c.Users < 1 {
					t.Fatalf("after %q the cluster has %+v", message, c)
				}
			}
			pass(25 * time.Second)
			wantCluster(t, registries[0], ginsse.ClusterStats{Nodes: 2, Streams: 1, Users: 1})
		})
	})
}
