package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/natslog"
)

// newSplitCluster is a cluster whose servers reach each other by proxies: links[i] are
// those to and from server i.
func newSplitCluster(t *testing.T) (c *cluster, links [3][]*proxy) {
	t.Helper()
	c = newCluster(t)
	for i, options := range c.options {
		options.Routes = nil
		options.Cluster.Advertise = "127.0.0.1:1" // where nobody is, so that there is no way past the proxies
		for j := range c.options {
			if j == i {
				continue
			}
			p := newProxy(t, fmt.Sprint("127.0.0.1:", c.options[j].Cluster.Port))
			links[i], links[j] = append(links[i], p), append(links[j], p)
			options.Routes = append(options.Routes, &url.URL{Scheme: "nats", Host: p.listener.Addr().String()})
		}
	}
	c.startAll(t)
	return c, links
}

// TestSplitBetweenServersLosesNothing cuts one server of three off from the others, and
// with it a node that knows no other. What was under way arrives when the split ends.
func TestSplitBetweenServersLosesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		leader bool // is cut off, with the consumer of the node
		ends   bool // the split lasts until the leader knows that it is none
	}{
		"follower":                {false, false},
		"leader":                  {true, false},
		"leader_until_it_is_none": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, links := newSplitCluster(t)
			cfg := natslog.Config{Replicas: 3, EventsPerSubject: 1 << 20} // a split leaves time for many
			// There is a stream, which has a leader.
			if err := open(t, connect(t, c.urls()), cfg).Close(); err != nil {
				t.Fatal(err)
			}
			lone := -1
			until(t, "a leader", func() bool { lone = c.leader(); return lone >= 0 })
			if !test.leader {
				lone = (lone + 1) % len(c.servers)
			}
			only := func(i int) *nats.Conn {
				return connect(t, c.servers[i].ClientURL(), nats.IgnoreDiscoveredServers())
			}
			there := open(t, only((lone+1)%len(c.servers)), cfg)
			here := openFollowing(t, c.servers[lone], func() *natslog.Log { return open(t, only(lone), cfg) })
			lonely, other := newReader(t, here, alice, all), newReader(t, there, alice, all)
			s := newSenders(t, here, there)
			s.await(t, 200)

			stall := func(stalled bool) {
				for _, link := range links[lone] {
					link.stall(stalled)
				}
			}
			stall(true)
			split := time.Now()
			before := s.acknowledged(there)
			var read []int // by the lone node's reader, in the split
			untouched := sync.OnceFunc(func() {
				t.Logf("out of touch %v after the split", time.Since(split).Round(time.Millisecond))
			})
			follow := func() {
				events, gap, err := lonely.page(t.Context())
				if read = append(read, events...); gap != "" {
					t.Errorf("gap %q in the split, error %v", gap, err)
				}
				if here.Ready() != nil {
					untouched()
				}
			}
			// A client that changes nodes is ahead of the lone one, and has to wait there.
			moved := func() {
				page, err := there.Read(t.Context(), ginsse.Query{}, nil)
				if err != nil {
					return
				}
				q := ginsse.Query{Subjects: other.subjects, After: page.Through, MaxEvents: 1}
				if page, err := here.Read(t.Context(), q, nil); err == nil && (page.Gap != "" || page.Through != q.After) {
					t.Errorf("from %v to %v with gap %q", q.After, page.Through, page.Gap)
				}
			}
			until(t, "the others going on", func() bool { follow(); return s.acknowledged(there) >= before+200 })
			t.Logf("the others went on %v after the split", time.Since(split).Round(time.Millisecond))
			if test.ends {
				until(t, "the end of the leader", func() bool {
					follow()
					return !c.servers[lone].JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "GINSSE")
				})
				t.Logf("the leader was none %v after the split", time.Since(split).Round(time.Millisecond))
			}
			moved()
			was := s.acknowledged(here)
			s.refused(t, here)
			until(t, "loss of touch", func() bool { follow(); moved(); return here.Ready() != nil })
			follow()
			at := lonely.at
			before = s.acknowledged(there)
			until(t, "the others going on", func() bool { return s.acknowledged(there) >= before+100 })
			if follow(); lonely.at != at {
				t.Errorf("from %v to %v without touch", at, lonely.at)
			}
			if now := s.acknowledged(here); now != was {
				t.Errorf("%d events were acknowledged by less than half of the servers", now-was)
			}

			stall(false)
			healed := time.Now()
			until(t, "touch", func() bool { return here.Ready() == nil })
			t.Logf("in touch %v after the split", time.Since(healed).Round(time.Millisecond))
			until(t, "acknowledgements", func() bool { return s.acknowledged(here) > was+100 })
			t.Logf("went on %v after the split", time.Since(healed).Round(time.Millisecond))
			s.stop()
			one, two := s.judge(t, lonely, read...), s.judge(t, other)
			if s.failed > 0 {
				t.Errorf("%d events were given up, though there was time", s.failed)
			}
			if count := min(len(one), len(two)); !slices.Equal(one[:count], two[:count]) {
				t.Error("the two nodes have different orders")
			}
		})
	}
}

// openFollowing opens logs until the consumer of one is on a server.
func openFollowing(t *testing.T, s *server.Server, open func() *natslog.Log) (log *natslog.Log) {
	t.Helper()
	stream, err := jet(t, connect(t, s.ClientURL())).Stream(t.Context(), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	names := func() (names []string) {
		for name := range stream.ConsumerNames(t.Context()).Name() {
			names = append(names, name)
		}
		return names
	}
	until(t, "a consumer on the server", func() bool {
		before := names()
		log = open()
		for _, name := range names() {
			if !slices.Contains(before, name) && s.JetStreamIsConsumerLeader(server.DEFAULT_GLOBAL_ACCOUNT, "GINSSE", name) {
				return true
			}
		}
		log.Close()
		return false
	})
	return log
}

// refused appends an event that nobody can acknowledge. Whether it comes later is open.
func (s *senders) refused(t *testing.T, log *natslog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // for more than one attempt
	defer cancel()
	begun := time.Now()
	at, err := log.Append(ctx, alice, frame(int(s.tried.Add(1))))
	if !errors.Is(err, natslog.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("appended at %v with error %v", at, err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}
