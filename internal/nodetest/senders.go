package nodetest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Senders have the nodes send numbered events until they are stopped. Each number is used for one
// event, and determines its destination.
type Senders struct {
	fleet *Fleet
	http  *http.Client
	stop  func()
	tried atomic.Int64

	mu       sync.Mutex     // guards the fields below
	acked    map[int]string // ids
	failures []Failure
}

// Failure is a request that has failed. Its event was stored or not.
type Failure struct {
	URL          string // of the node
	Began, Ended time.Time
	Err          error
}

// destinations are the subjects of the events: number n has the one at n modulo their count.
var destinations = [...]string{"user:" + alice, "user:" + bob, "topic:news", all}

// The users. Events are sent to alice and bob alone.
const alice, bob, carol, dave = "alice", "bob", "carol", "dave"

// all is the subject of events for everybody.
const all = "all"

// StartSenders starts six senders. They use the nodes that the balancer chooses, until
// [Senders.Stop] or the end of the test.
func (f *Fleet) StartSenders(t testing.TB) *Senders {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	s := &Senders{
		fleet: f,
		http:  &http.Client{Transport: transport, Timeout: 2 * time.Second},
		acked: make(map[int]string),
	}
	var sending sync.WaitGroup
	over := make(chan struct{})
	s.stop = sync.OnceFunc(func() {
		close(over)
		sending.Wait()
	})
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(s.stop)
	for range 6 {
		sending.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					s.sendNext(t.Context())
				}
			}
		})
	}
	return s
}

func (s *Senders) sendNext(ctx context.Context) {
	n, route := int(s.tried.Add(1)), "/send"
	if s.fleet.cfg.Route != nil {
		route = s.fleet.cfg.Route(n)
	}
	node, began := s.fleet.URL(Roaming), time.Now()
	id, err := s.post(ctx, fmt.Sprintf("%s%s/%s?type=n&n=%d", node, route, destinations[n%len(destinations)], n))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.acked[n] = id
	} else {
		s.failures = append(s.failures, Failure{node, began, time.Now(), err})
	}
}

// post returns the answer: the event's id.
func (s *Senders) post(ctx context.Context, url string) (id string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		return "", err
	}
	return do(s.http, request)
}

// Stop stops the senders and waits for their requests. It may be repeated.
func (s *Senders) Stop() { s.stop() }

// Failures returns the requests that have failed so far.
func (s *Senders) Failures() []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.failures)
}

// acknowledged returns the ids of the events that were acknowledged; after [Senders.Verify], of all
// events that were stored.
func (s *Senders) acknowledged() map[int]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.acked)
}

// Await waits until so many more events were acknowledged.
func (s *Senders) Await(t testing.TB, more int) {
	t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.acked)
	}
	had := count()
	Until(t, fmt.Sprint(more, " events"), func() bool { return count() >= had+more })
}

// mark broadcasts an event through a node. It returns the event's sequence when the tabs have
// received everything up to it.
func (s *Senders) mark(t testing.TB, node int, tabs ...*Tab) (seq uint64) {
	t.Helper()
	Until(t, "an event that is acknowledged", func() bool {
		id, err := s.post(t.Context(), s.fleet.URL(node)+"/send/all?type=mark")
		seq = sequence(id)
		return err == nil
	})
	for _, tb := range tabs {
		Until(t, fmt.Sprintf("event %d for %v", seq, tb), func() bool { return tb.over() || sequence(tb.client.LastEventID()) >= seq })
		if tb.over() {
			t.Errorf("%v has ended: %v", tb, tb.err)
		}
	}
	return seq
}

// sequence returns the sequence in an id; 0 if the id is invalid.
func sequence(id string) uint64 {
	at, _ := eventlog.ParseCursor(id)
	return at.Seq
}

// Verify stops the senders and compares what they sent with what the tabs received. All tabs must
// still have their streams.
func (s *Senders) Verify(t testing.TB, tabs ...*Tab) {
	t.Helper()
	s.Stop()
	end := s.mark(t, Roaming, tabs...)
	acked := s.acknowledged()
	if s.fleet.cfg.Complete != nil {
		s.fleet.cfg.Complete(t, acked, tabs)
		s.mu.Lock()
		s.acked = maps.Clone(acked)
		s.mu.Unlock()
	}
	t.Logf("%d events tried, %d stored, %d failed", s.tried.Load(), len(acked), len(s.Failures()))
	for _, tb := range tabs {
		tb.verify(t, acked, end)
	}
}
