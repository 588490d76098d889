package presence_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

func TestMessagesHaveAtMost64KiB(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"a", `"`, `""`, "\u2028", strings.Repeat(`\`, 256), strings.Repeat("\u2029", 85), strings.Repeat("<", 256)} {
		people := make([]presence.Person, 15_000)
		for i := range people {
			people[i].User = user
		}
		changes, parts := presence.EncodePeople(strings.Repeat("Z", 32), people)
		if len(changes) < 2 {
			t.Fatalf("%d messages for 15,000 users %.4q", len(changes), user)
		}
		for _, message := range append(changes, parts...) {
			if len(message) > 64<<10 {
				t.Fatalf("a message with users %.4q has %d bytes", user, len(message))
			}
		}
	}
}

func TestMessagesWithMembersHaveAtMost64KiB(t *testing.T) {
	t.Parallel()
	value := `"` + strings.Repeat("x", presence.MaxValueBytes-2) + `"`
	for _, name := range []string{"a", `""`, "\u2028", strings.Repeat(`\`, 256), strings.Repeat("\u2029", 85)} {
		people := make([]presence.Person, 2000)
		for i := range people {
			people[i] = presence.Person{Topic: name, User: name, Value: value[:2] + value[2+i%510:]}
		}
		changes, parts := presence.EncodePeople(strings.Repeat("Z", 32), people)
		if len(changes) < 2 {
			t.Fatalf("%d messages for 2,000 members %.4q", len(changes), name)
		}
		for _, message := range append(changes, parts...) {
			if len(message) > 64<<10 {
				t.Fatalf("a message with members %.4q has %d bytes", name, len(message))
			}
		}
	}
}

func TestInvalidMessagesAreIgnored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a", "b")
		nodes[0].Join("alice")
		pass(gathered)
		for _, message := range []string{
			"", "x", "{}", "[]", "null", `{"node":1}`, `{"node":"z","joined":"bob"}`, `{"node":"","number":1,"joined":["bob"]}`,
			`{"goodbye":true}`, `{"node":"unknown","goodbye":true}`,
			`{"node":"z","streams":-1}`, `{"node":"z","streams":9223372036854775807}`, `{"node":"z","streams":1e30}`,
			`{"node":"z","streams":0.5}`, `{"node":"z","number":-1}`, `{"node":"z","number":18446744073709551616}`,
			`{"node":"z","list":1}`, `{"node":"z","list":{}}`, `{"node":"z","list":{"part":0,"parts":1}}`,
			`{"node":"z","list":{"id":-1,"part":1,"parts":1}}`, `{"node":"z","list":{"part":-1,"parts":1}}`,
			`{"node":"z","list":{"part":2,"parts":1}}`, `{"node":"z","list":{"part":1,"parts":-1}}`,
			`{"node":"z","list":{"part":1,"parts":9223372036854775807}}`,
			`{"node":"a b","streams":1}`, `{"node":"a.b","streams":1}`, `{"node":"é","streams":1}`, `{"node":"@","streams":1}`,
			`{"node":"` + strings.Repeat("z", 33) + `","streams":1}`,
		} {
			m.deliver("", []byte(message))
			synctest.Wait()
			for _, n := range nodes {
				if got, want := n.Stats(), (presence.Stats{Nodes: 2, Streams: 1, Users: 1}); got != want {
					t.Fatalf("after %s node %s counts %+v, want %+v", message, n.name, got, want)
				}
			}
		}
		wantOnline(t, nodes[1], "alice")
	})
}

func TestInvalidUsersAreLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a")
		const users = `["","bob","bob","a\u0000","` + "%s" + `"]`
		long := strings.Repeat("x", 257)
		m.deliver("", fmt.Appendf(nil, `{"node":"y","number":1,"streams":1,"joined":`+users+`}`, long))
		m.deliver("", fmt.Appendf(nil, `{"node":"z","number":1,"streams":1,"list":{"part":1,"parts":1},"joined":`+users+`}`, long))
		synctest.Wait()
		wantOnline(t, nodes[0], "bob")
		wantStats(t, nodes[0], presence.Stats{Nodes: 3, Streams: 2, Users: 1})
		m.deliver("", []byte(`{"node":"y","number":2,"left":["","bob","bob","alice"]}`))
		m.deliver("", []byte(`{"node":"z","number":2,"left":["bob"]}`))
		synctest.Wait()
		wantStats(t, nodes[0], presence.Stats{Nodes: 3})
	})
}

func TestInvalidMembersAreLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a")
		large, longest := strings.Repeat("x", presence.MaxValueBytes), strings.Repeat("x", presence.MaxValueBytes-2)
		members := `"present":[{"topic":"t","user":"alice","value":"` + longest + `","at":1},` +
			`{"topic":"t","user":"a\u0000","value":1,"at":1},{"topic":"","user":"bob","value":1,"at":1},` +
			`{"topic":"t","user":"large","value":"` + large + `","at":1},{"topic":"t","user":"never","value":1},` +
			`{"topic":"t","user":"late","value":1,"at":9000000000000000},{"topic":"t","user":"past","value":1,"at":-1},` +
			`{"topic":"t","user":"bytes","value":"` + "\xff" + `","at":1},{"topic":"t","user":"bob","at":1}]`
		m.deliver("", []byte(`{"node":"y","number":1,`+members+`}`))
		m.deliver("", []byte(`{"node":"z","number":1,"list":{"part":1,"parts":1},`+members+`}`))
		synctest.Wait()
		wantPresent(t, nodes[0].Tracker, "t", `alice:"`+longest+`"`, "bob:")
		m.deliver("", []byte(`{"node":"y","number":2,"absent":[{"topic":"t","user":"bob"},{"topic":"u","user":"bob"},{"topic":"t","user":"carol"}]}`))
		m.deliver("", []byte(`{"node":"z","number":2,"absent":[{"topic":"t","user":"bob"},{"topic":"t","user":"bob"}]}`))
		synctest.Wait()
		wantPresent(t, nodes[0].Tracker, "t", `alice:"`+longest+`"`)
	})
}

// Forged people beyond the bound are ignored, in changes, in lists, and in lists that never end.
// Those of this node are not affected.
func TestForgedPeopleAreBounded(t *testing.T) {
	t.Parallel()
	const bound = 64 << 10
	forge := func(t *testing.T) (a *node, count func() int) {
		t.Helper()
		m, nodes := startAllWith(t, func(cfg *presence.Config) { cfg.MaxRemoteBytes = bound }, "a")
		a = nodes[0]
		a.Join("alice")
		a.JoinTopic("t", "alice", "1")
		for n := range 20 {
			for number := range 40 {
				name := fmt.Sprint(n, "-", number, strings.Repeat("x", 200))
				people := fmt.Sprintf(`"joined":[%q,%q],"present":[{"topic":"t","user":%[1]q,"value":1,"at":1}]`, name, name+"y")
				m.deliver("", fmt.Appendf(nil, `{"node":"y%d","number":%d,%s}`, n, number+1, people))
				m.deliver("", fmt.Appendf(nil, `{"node":"z%d","number":1,"list":{"id":%d,"part":1,"parts":%d},%s}`, n, number, 1+n%2, people))
			}
			synctest.Wait()
		}
		return a, func() int { return a.Stats().Users + a.PresentCount("t") - 2 }
	}
	remoteBytes := func(a *node) int64 {
		a.stop()
		<-a.Done()
		return a.RemoteBytes()
	}
	synctest.Test(t, func(t *testing.T) {
		a, count := forge(t)
		if n := count(); n == 0 || n > bound/300 {
			t.Errorf("%d forged people", n)
		}
		if n := remoteBytes(a); n > bound || n < bound*9/10 {
			t.Errorf("forged people and lists take %d bytes of %d", n, bound)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a, count := forge(t)
		pass(25 * time.Second) // the forged nodes are silent
		if n := count(); n != 0 {
			t.Errorf("in the end, there are %d forged people", n)
		}
		wantPresent(t, a.Tracker, "t", "alice:1")
		if n := remoteBytes(a); n != 0 {
			t.Errorf("in the end, forged people take %d bytes", n)
		}
	})
}

// A goodbye that a node has not sent takes its people away for no longer than to its next message.
func TestForgedGoodbyeIsUndone(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]func(*presence.Config){"at_once": func(*presence.Config) {}, "with_grace": withGrace} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, nodes := startAllWith(t, option, "a", "b")
				a, b := nodes[0], nodes[1]
				b.Join("bob")
				b.JoinTopic("t", "bob", "1")
				pass(gathered)
				m.deliver("a", []byte(`{"node":"b","goodbye":true}`))
				pass(2 * heartbeat)
				wantOnline(t, a, "bob")
				wantPresent(t, a.Tracker, "t", "bob:1")
				wantStats(t, a, presence.Stats{Nodes: 2, Streams: 1, Users: 1})
			})
		})
	}
}

// Each forged node reports as many streams as a node may have.
func TestForgedNodesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, nodes := startAll(t, "a", "b")
		for n := range 3 * presence.MaxPeers {
			m.deliver("", fmt.Appendf(nil, `{"node":"z%d","streams":%d}`, n, presence.MaxStreams))
			synctest.Wait()
		}
		if got := nodes[0].Stats(); got.Nodes != presence.MaxPeers+1 || got.Streams < math.MaxInt/2 {
			t.Errorf("the node counts %+v", got)
		}
		pass(25 * time.Second) // the forged nodes are silent
		wantStats(t, nodes[0], presence.Stats{Nodes: 2})
	})
}

// Messages of real nodes come again with other numbers and people, and under other names. In the
// end all nodes agree with the truth.
func TestForgedMessagesMakeNoCountNegative(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			option := withGrace
			if seed%2 == 0 {
				option = func(*presence.Config) {}
			}
			synctest.Test(t, func(t *testing.T) { forgeMessages(t, rand.New(rand.NewPCG(seed, 1)), option) })
		})
	}
}

func forgeMessages(t *testing.T, random *rand.Rand, option func(*presence.Config)) {
	m, nodes := startAllWith(t, option, "a", "b")
	var local [2][]string // users of the streams at each node
	check := func() {
		t.Helper()
		synctest.Wait()
		for i, n := range nodes {
			if s := n.Stats(); s.Nodes < 1 || s.Streams < len(local[i]) || s.Users < 0 {
				t.Fatalf("node %s has %d streams and counts %+v", n.name, len(local[i]), s)
			}
		}
	}
	for range 400 {
		i := random.IntN(2)
		switch random.IntN(6) {
		case 0:
			user := fmt.Sprint("u", random.IntN(5))
			nodes[i].Join(user)
			nodes[i].JoinTopic("t", user, fmt.Sprint(random.IntN(3)))
			local[i] = append(local[i], user)
		case 1:
			if last := len(local[i]) - 1; last >= 0 {
				nodes[i].Leave(local[i][last])
				nodes[i].LeaveTopic("t", local[i][last])
				local[i] = local[i][:last]
			}
		case 2:
			pass(time.Duration(random.IntN(1000)) * time.Millisecond)
		default:
			recorded := nodes[i].messages()
			m.deliver("", forge(t, random, recorded[random.IntN(len(recorded))].message))
		}
		check()
	}
	for i, n := range nodes {
		for _, user := range local[i] {
			n.Leave(user)
			n.LeaveTopic("t", user)
		}
		local[i] = nil
	}
	pass(20 * time.Second) // the forged nodes are silent
	check()
	for _, n := range nodes {
		if s := n.Stats(); s.Nodes != 2 || s.Streams != 0 {
			t.Errorf("in the end node %s counts %+v", n.name, s)
		}
		pass(heartbeat)
		wantPresent(t, n.Tracker, "t")
		wantStats(t, n, presence.Stats{Nodes: 2})
	}
}

// forge returns a message with some fields changed.
func forge(t *testing.T, random *rand.Rand, recorded string) []byte {
	t.Helper()
	pick := func(values ...any) any { return values[random.IntN(len(values))] }
	users := func() any { return pick([]string{"u0", "u1", "u0"}, []string{"u2", "u3", "u4"}, []string{""}, nil) }
	forged := make(map[string]any)
	if err := json.Unmarshal([]byte(recorded), &forged); err != nil {
		t.Fatal(err)
	}
	for range 1 + random.IntN(3) {
		switch pick("node", "streams", "number", "users", "members", "list", "flags") {
		case "node":
			forged["node"] = pick("x", "y", "")
		case "streams":
			forged["streams"] = pick(-1, -1000, math.MinInt, math.MaxInt, presence.MaxStreams, 0, 7)
		case "number":
			forged["number"] = pick(0, 1, 2, 3, uint64(math.MaxUint64), -1)
		case "users":
			forged[pick("joined", "left").(string)] = users()
		case "members":
			member := func(topic string) any {
				return map[string]any{"topic": topic, "user": pick("u0", "u1", "u2"), "value": pick(1, 2, nil), "at": pick(1, 2, 1<<50)}
			}
			forged[pick("present", "absent").(string)] = []any{member("t"), member("u"), member("t")}
		case "list":
			forged["list"] = map[string]any{"id": pick(1, 2, 9), "part": pick(1, 2, 0, -1), "parts": pick(1, 2, -1)}
			forged["joined"] = users()
		default:
			forged[pick("request", "goodbye").(string)] = pick(true, false)
		}
	}
	encoded, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// Each line of the input is a message.
func FuzzMessages(f *testing.F) {
	for _, seed := range []string{
		`{"node":"z","number":1,"streams":-5,"joined":["bob"]}`,
		`{"node":"z","streams":9223372036854775807}` + "\n" + `{"node":"y","streams":9223372036854775807}`,
		`{"node":"z","number":1,"joined":["bob","alice"]}` + "\n" + `{"node":"z","number":2,"left":["bob","bob"]}` + "\n" + `{"node":"z","goodbye":true}`,
		`{"node":"z","number":1,"present":[{"topic":"t","user":"bob","value":1,"at":1}]}` + "\n" + `{"node":"z","number":2,"absent":[{"topic":"t","user":"bob"}]}`,
		`{"node":"z","list":{"id":1,"part":1,"parts":2},"joined":["bob"]}` + "\n" + `{"node":"z","list":{"id":1,"part":2,"parts":2}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, messages string) {
		synctest.Test(t, func(t *testing.T) {
			m, nodes := startAll(t, "a", "b")
			a := nodes[0]
			a.Join("alice")
			a.JoinTopic("t", "alice", "1")
			pass(gathered)
			for message := range strings.SplitSeq(messages, "\n") {
				m.deliver("", []byte(message))
				synctest.Wait()
				if s := a.Stats(); s.Nodes < 1 || s.Streams < 1 || s.Users < 1 || !a.Online("alice") || a.PresentCount("t") < 1 {
					t.Fatalf("after %q the node counts %+v", message, s)
				}
			}
			pass(25 * time.Second)
			if s := a.Stats(); s.Nodes != 2 || s.Streams != 1 || !a.Online("alice") {
				t.Errorf("in the end the node counts %+v", s)
			}
		})
	})
}
