package logtest

import (
	"sync"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// registriesShare has two nodes send at the same time, to users who are at both.
func registriesShare(t *testing.T, s Suite) {
	const each = 30 // events, of each sender
	sites := newSites(t, s, Bounds{})
	streams := make(map[string][]*ssetest.Stream)
	for _, at := range sites {
		for _, user := range []string{aliceID, aliceID, bobID} {
			streams[user] = append(streams[user], at.open(t, s, user))
		}
	}
	var mu sync.Mutex
	received := make(map[string][]ssetest.Event) // by user: what is to be
	var sending sync.WaitGroup
	for i, at := range sites {
		for j, send := range []func(e ginsse.Event) (ginsse.Receipt, error){
			func(e ginsse.Event) (ginsse.Receipt, error) { return at.registry.SendTo(t.Context(), aliceID, e) },
			func(e ginsse.Event) (ginsse.Receipt, error) { return at.registry.Broadcast(t.Context(), e) },
			func(e ginsse.Event) (ginsse.Receipt, error) { return at.registry.Publish(t.Context(), topic, e) },
		} {
			sending.Go(func() {
				for n := range each {
					n += each * (3*i + j)
					receipt, err := send(numbered(n))
					if err != nil {
						t.Errorf("event %d: %v", n, err)
						return
					}
					e := sent(t, n, receipt, nil)
					mu.Lock()
					received[aliceID] = append(received[aliceID], e)
					if j > 0 {
						received[bobID] = append(received[bobID], e)
					}
					mu.Unlock()
				}
			})
		}
	}
	sending.Wait()
	for user, list := range received {
		for _, stream := range streams[user] {
			wantNext(t, stream, sorted(t, list)...)
		}
	}
	// What follows shows that nothing came twice.
	for i, at := range sites {
		last := at.send(t, aliceID, 1000+i)
		other := at.send(t, bobID, 1000+i)
		for _, stream := range streams[aliceID] {
			wantNext(t, stream, last)
		}
		for _, stream := range streams[bobID] {
			wantNext(t, stream, other)
		}
	}
}

// registriesKeep has a client be away while events are sent, and come back to the other
// node.
func registriesKeep(t *testing.T, s Suite) {
	sites := newSites(t, s, Bounds{})
	id, n := "", 0
	for round := range 6 {
		at := sites[round%2]
		var missed []ssetest.Event
		if round > 0 {
			for range 10 {
				n++
				missed = append(missed, sites[n/3%2].send(t, aliceID, n))
				sites[n%2].send(t, bobID, n)
			}
		}
		stream := at.open(t, s, aliceID, ssetest.LastEventID(id))
		wantNext(t, stream, missed...)
		n++
		live := sites[n%2].send(t, aliceID, n)
		wantNext(t, stream, live)
		id = live.LastEventID
		stream.Close()
	}
}
