package ginsse_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// presencePage follows who is present as a page does.
type presencePage struct {
	stream  *ssetest.Stream
	members map[string]map[string]string // values by topic and user
	counts  map[string]int               // by topic
}

// follow applies the events that have come.
func (p *presencePage) follow(t *testing.T) {
	t.Helper()
	for {
		e, err := p.stream.TryNext(time.Millisecond)
		if err != nil {
			return
		}
		var d struct {
			Topic   string          `json:"topic"`
			Count   int             `json:"count"`
			User    string          `json:"user"`
			Value   json.RawMessage `json:"value"`
			Users   []ginsse.Member `json:"users"`
			Added   []string        `json:"added"`
			Removed []string        `json:"removed"`
		}
		if e.Data != "" {
			check(t, json.Unmarshal([]byte(e.Data), &d))
		}
		switch e.Type {
		case "sse.open", "sse.gap":
			p.members, p.counts = make(map[string]map[string]string), make(map[string]int)
		case "sse.topics":
			for _, topic := range append(d.Added, d.Removed...) {
				delete(p.members, topic)
				delete(p.counts, topic)
			}
		case "sse.present":
			p.members[d.Topic], p.counts[d.Topic] = make(map[string]string), d.Count
			for _, m := range d.Users {
				p.members[d.Topic][m.UserID] = string(m.Value)
			}
		case "sse.join":
			if p.members[d.Topic] == nil {
				p.members[d.Topic] = make(map[string]string)
			}
			p.members[d.Topic][d.User], p.counts[d.Topic] = string(d.Value), d.Count
		case "sse.leave":
			delete(p.members[d.Topic], d.User)
			p.counts[d.Topic] = d.Count
		}
	}
}

// Whatever happens, each page that follows the events has the truth in the end.
func TestPagesAgreeWhoIsPresent(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { followPresence(t, rand.New(rand.NewPCG(seed, 2))) })
		})
	}
}

func followPresence(t *testing.T, random *rand.Rand) {
	logs, registries, servers := presenceNodes(t)
	topics := []string{"board:1", "board:2", "board:3"}
	type person struct {
		stream *ssetest.Stream
		node   int
	}
	people := make(map[int]person)
	var pages []*presencePage
	for step := range 300 {
		switch n := random.IntN(30); random.IntN(10) {
		case 0, 1, 2, 3, 4: // a person comes, leaves, or reloads
			if p, here := people[n]; here {
				p.stream.Close()
				delete(people, n)
				if random.IntN(2) == 0 {
					break
				}
			}
			node := random.IntN(2)
			path := fmt.Sprintf("/events?topic=%s&topic=%s&name=%d", topics[n%3], topics[random.IntN(3)], random.IntN(3))
			people[n] = person{servers[node].Open(t, path, as(fmt.Sprint("person", n))), node}
		case 5, 6: // a page opens
			if len(pages) < 6 {
				query := "topic=" + strings.Join(topics[:1+random.IntN(3)], "&topic=")
				stream := servers[random.IntN(2)].Open(t, "/events?"+query, as(fmt.Sprint("page", len(pages))))
				pages = append(pages, &presencePage{stream: stream})
			}
		case 7: // topics change
			change := registries[random.IntN(2)].Grant
			if random.IntN(2) == 0 {
				change = registries[random.IntN(2)].Revoke
			}
			user := fmt.Sprint("person", n)
			if random.IntN(2) == 0 {
				user = fmt.Sprint("page", random.IntN(6))
			}
			_ = change(t.Context(), user, topics[random.IntN(3)]) // fails on a node that is partitioned
		case 8:
			logs[1].SetPartitioned(random.IntN(4) == 0)
		default:
			pass(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		if step%7 == 0 {
			for _, page := range pages {
				page.follow(t)
			}
		}
	}
	logs[1].SetPartitioned(false)
	pass(30 * time.Second)
	checked := 0
	for n, page := range pages {
		page.follow(t)
		user, other := fmt.Sprint("page", n), registries[0]
		streams := registries[1].Streams(user)
		if len(streams) == 0 {
			streams, other = registries[0].Streams(user), registries[1]
		}
		if len(streams) == 0 {
			continue // it was opened at a node that was partitioned
		}
		for _, topic := range streams[0].Topics() {
			checked++
			want := make(map[string]string)
			for _, m := range other.Present(topic) {
				want[m.UserID] = string(m.Value)
			}
			if got := page.members[topic]; !maps.Equal(got, want) || page.counts[topic] != len(want) {
				t.Errorf("page %d has %v of %d at %s, want %v", n, got, page.counts[topic], topic, want)
			}
		}
	}
	if checked < 3 {
		t.Errorf("%d topics of pages were checked", checked)
	}
}
