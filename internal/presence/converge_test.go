package presence_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// Users and members of topics move between nodes while messages are lost, repeated and reordered.
// Once messages arrive again, all nodes agree with the truth, and on the values.
func TestNodesAgreeAfterMessagesAreLostAndReordered(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]func(*presence.Config){"at_once": func(*presence.Config) {}, "with_grace": withGrace} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { converge(t, rand.New(rand.NewPCG(seed, 0)), option) })
			})
		}
	}
}

func converge(t *testing.T, random *rand.Rand, option func(*presence.Config)) {
	const users, steps = 700, 300
	var mu sync.Mutex // guards random
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	lossy := func(_ string, _ []byte, deliver func()) {
		for range []int{0, 1, 1, 2}[chance(4)] {
			time.AfterFunc(time.Duration(chance(400))*time.Millisecond, deliver)
		}
	}
	name := func(user int) string { return fmt.Sprint(user, strings.Repeat("x", 240)) } // a list takes several messages
	_, nodes := startAllWith(t, option, "a", "b", "c")
	for _, n := range nodes {
		n.setCarry(lossy)
	}
	joined := make([][users]bool, len(nodes))
	topicOf := func(user int) string { return fmt.Sprint("topic", user%30) }
	for step := range len(nodes)*users + steps {
		i, user := chance(len(nodes)), chance(users)
		if step < len(nodes)*users { // first, each user joins at some nodes
			if i, user = step/users, step%users; chance(2) == 0 {
				continue
			}
		}
		if joined[i][user] = !joined[i][user]; joined[i][user] {
			nodes[i].Join(name(user))
			nodes[i].JoinTopic(topicOf(user), name(user), fmt.Sprint(step))
		} else {
			nodes[i].Leave(name(user))
			nodes[i].LeaveTopic(topicOf(user), name(user))
		}
		if step%10 == 0 {
			pass(time.Duration(chance(300)) * time.Millisecond)
		}
	}
	pass(time.Second)
	for _, n := range nodes {
		n.setCarry(nil)
	}
	pass(30 * time.Second)
	want := presence.Stats{Nodes: len(nodes)}
	for user := range users {
		streams := 0
		for i := range nodes {
			if joined[i][user] {
				streams++
			}
		}
		want.Streams += streams
		if streams > 0 {
			want.Users++
		}
		for _, n := range nodes {
			if n.Online(name(user)) != (streams > 0) {
				t.Errorf("user %d has %d streams; online at node %s: %v", user, streams, n.name, streams == 0)
			}
		}
	}
	for _, n := range nodes {
		wantStats(t, n, want)
	}
	members := 0
	for topic := range 30 {
		first := texts(nodes[0].Present(topicOf(topic)))
		members += len(first)
		for _, n := range nodes {
			wantPresent(t, n.Tracker, topicOf(topic), first...)
		}
	}
	if members != want.Users {
		t.Errorf("%d members, want %d", members, want.Users)
	}
	for _, n := range nodes {
		if load := n.Load(); load.Members != members {
			t.Errorf("node %s counts %+v, and there are %d members", n.name, load, members)
		}
	}
}
