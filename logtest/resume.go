package logtest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// client is a page of a user, at one node or another.
type client struct {
	user   string
	stream *ssetest.Stream
	got    []ssetest.Event // what it has dealt with
}

// registriesUnderFire has clients cut off again and again, and come back to the other
// node, while both nodes send: what join_under_fire is for a log.
func registriesUnderFire(t *testing.T, s Suite) {
	const most = 25 // events between two cuts
	v := &volley{each: 100, lag: 4 * most, events: make(map[string][]ssetest.Event)}
	if testing.Short() {
		v.each = 50
	}
	v.moved.L = &v.mu
	sites := newSites(t, s, fireBounds)
	var clients []*client
	for i := range 6 {
		c := &client{user: []string{aliceID, bobID}[i%2]}
		c.stream = sites[i/2%2].open(t, s, c.user)
		clients = append(clients, c)
	}
	// A user gets what one sender sends to that user, and two to all.
	total := 3 * v.each
	var sending sync.WaitGroup
	for i, to := range []string{aliceID, bobID, "", ""} {
		sending.Go(func() { v.send(t, sites[i%2].registry, to, i*v.each) })
	}
	defer sending.Wait()
	defer v.giveUp()
	for slowest, cut := 0, 0; slowest < total; cut++ {
		for i, c := range clients {
			wanted := min(1+rand.IntN(most), slowest+most-len(c.got), total-len(c.got))
			for range wanted {
				e, err := c.stream.TryNext(s.patience)
				if err != nil || e.Type != eventType {
					t.Fatalf("client %d, after %d events of %d: %q, %v", i, len(c.got), total, e, err)
				}
				c.got = append(c.got, e)
			}
			if wanted <= 0 {
				continue // the others catch up
			}
			// What it was sent and has not dealt with is sent again.
			c.stream.Close()
			c.stream = sites[(cut+i)%2].open(t, s, c.user, ssetest.LastEventID(c.got[len(c.got)-1].LastEventID))
		}
		slowest = len(slices.MinFunc(clients, func(a, b *client) int { return len(a.got) - len(b.got) }).got)
		v.reached(slowest)
	}
	sending.Wait()
	for i, c := range clients {
		want := sorted(t, v.events[c.user])
		for n, e := range c.got {
			if n >= len(want) || e != want[n] {
				t.Fatalf("client %d: event %d of %d is %q, and not what was sent there", i, n, len(want), e)
			}
		}
	}
}

// volley is what senders send, to the end or until something has failed.
type volley struct {
	each, lag int // events of one sender; and ahead of the slowest client

	mu      sync.Mutex // guards the fields below
	moved   sync.Cond  // slowest or over has changed
	slowest int        // events that all clients have got
	over    bool
	events  map[string][]ssetest.Event // by user
}

func (v *volley) send(t *testing.T, from *ginsse.Registry, to string, first int) {
	for n := range v.each {
		if !v.begin(n) {
			return
		}
		var receipt ginsse.Receipt
		var err error
		users := []string{to}
		if to == "" {
			users = []string{aliceID, bobID}
			receipt, err = from.Broadcast(t.Context(), numbered(first+n))
		} else {
			receipt, err = from.SendTo(t.Context(), to, numbered(first+n))
		}
		if err != nil {
			t.Errorf("sending event %d to %q: %v", first+n, to, err)
			return
		}
		v.mu.Lock()
		for _, user := range users {
			v.events[user] = append(v.events[user], sent(t, first+n, receipt, nil))
		}
		v.mu.Unlock()
	}
}

// begin waits until the clients are near enough, and reports whether to go on.
func (v *volley) begin(n int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for !v.over && 3*n >= v.slowest+v.lag {
		v.moved.Wait()
	}
	return !v.over
}

func (v *volley) reached(slowest int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.slowest = slowest
	v.moved.Broadcast()
}

func (v *volley) giveUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	v.moved.Broadcast()
}
