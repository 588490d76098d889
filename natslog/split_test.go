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

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// newSplitCluster returns a cluster whose servers connect to each other through proxies. links[i]
// are the proxies to and from server i.
func newSplitCluster(t *testing.T) (c *cluster, links [3][]*proxy) {
	t.Helper()
	c = newCluster(t)
	for i, options := range c.options {
		options.Routes = nil
		options.Cluster.Advertise = "127.0.0.1:1" // a port without a server, so that no connection bypasses the proxies
		for j := range c.options {
			if j == i {
				continue
			}
			p := newProxy(t, fmt.Sprint("127.0.0.1:", c.options[j].Cluster.Port))
			links[i], links[j] = append(links[i], p), append(links[j], p)
			options.Routes = append(options.Routes, &url.URL{Scheme: "nats", Host: p.Address()})
		}
	}
	c.startAll(t)
	return c, links
}

// TestSplitBetweenServersLosesNothing partitions one server of three, and with it a node that is
// connected to no other. Messages on the way arrive when the partition ends.
func TestSplitBetweenServersLosesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		leader bool // the leader is partitioned, with the consumer of the node
		ends   bool // the partition lasts until the leader has stepped down
	}{
		"follower":                   {false, false},
		"leader":                     {true, false},
		"leader_until_it_steps_down": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, links := newSplitCluster(t)
			cfg := natslog.Config{Replicas: 3, EventsPerSubject: 1 << 20} // a partition lasts long enough for many events
			// Creates the stream, so that it has a leader.
			if err := open(t, connect(t, c.urls()), cfg).Close(); err != nil {
				t.Fatal(err)
			}
			isolated := -1
			until(t, "a leader", func() bool { isolated = c.leader(); return isolated >= 0 })
			if !test.leader {
				isolated = (isolated + 1) % len(c.servers)
			}
			only := func(i int) *nats.Conn {
				return connect(t, c.servers[i].ClientURL(), nats.IgnoreDiscoveredServers())
			}
			there := open(t, only((isolated+1)%len(c.servers)), cfg)
			here := openFollowing(t, c.servers[isolated], func() *natslog.Log { return open(t, only(isolated), cfg) })
			reader, other := newReader(t, here, alice, all), newReader(t, there, alice, all)
			s := newSenders(t, here, there)
			s.await(t, 200)

			stall := func(stalled bool) {
				for _, link := range links[isolated] {
					link.Stall(stalled)
				}
			}
			stall(true)
			split := time.Now()
			before := s.acknowledged(there)
			var read []int // by the reader of the partitioned node, meanwhile
			noteDisconnected := sync.OnceFunc(func() {
				t.Logf("contact was lost %v after the partition", time.Since(split).Round(time.Millisecond))
			})
			follow := func() {
				events, gap, err := reader.page(t.Context())
				if read = append(read, events...); gap != "" {
					t.Errorf("gap %q in the partition, error %v", gap, err)
				}
				if here.Ready() != nil {
					noteDisconnected()
				}
			}
			// A client that moves to the partitioned node is ahead of it, and has to wait there.
			moved := func() {
				head, err := there.Head(t.Context())
				if err != nil {
					return
				}
				q := eventlog.Query{Subjects: other.subjects, After: head, MaxEntries: 1}
				if page, err := here.Read(t.Context(), q, nil); err == nil && (page.Gap != "" || page.Through != q.After) {
					t.Errorf("from %v to %v with gap %q", q.After, page.Through, page.Gap)
				}
			}
			until(t, "the others continuing", func() bool { follow(); return s.acknowledged(there) >= before+200 })
			t.Logf("the others continued %v after the partition", time.Since(split).Round(time.Millisecond))
			if test.ends {
				until(t, "the leader stepping down", func() bool {
					follow()
					return !c.servers[isolated].JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "GINSSE")
				})
				t.Logf("the leader stepped down %v after the partition", time.Since(split).Round(time.Millisecond))
			}
			moved()
			was := s.acknowledged(here)
			s.refused(t, here)
			until(t, "the loss of contact", func() bool { follow(); moved(); return !here.Stats().Store.Connected })
			follow()
			at := reader.at
			before = s.acknowledged(there)
			until(t, "the others continuing", func() bool { return s.acknowledged(there) >= before+100 })
			if follow(); reader.at != at {
				t.Errorf("from %v to %v without contact", at, reader.at)
			}
			if now := s.acknowledged(here); now != was {
				t.Errorf("%d events were acknowledged by a minority of the servers", now-was)
			}

			stall(false)
			reconnected := time.Now()
			until(t, "contact", func() bool { return here.Ready() == nil })
			t.Logf("contact was regained %v after the partition ended", time.Since(reconnected).Round(time.Millisecond))
			until(t, "acknowledgements", func() bool { return s.acknowledged(here) > was+100 })
			t.Logf("continued %v after the partition ended", time.Since(reconnected).Round(time.Millisecond))
			s.stop()
			one, two := s.verify(t, reader, read...), s.verify(t, other)
			if s.failed > 0 {
				t.Errorf("%d events failed before their deadline", s.failed)
			}
			if count := min(len(one), len(two)); !slices.Equal(one[:count], two[:count]) {
				t.Error("the nodes have different orders")
			}
		})
	}
}

// openFollowing opens logs until the consumer of one is on the given server.
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
	for range 50 { // each time, the server is one of three
		before := names()
		log = open()
		for _, name := range names() {
			if !slices.Contains(before, name) && s.JetStreamIsConsumerLeader(server.DEFAULT_GLOBAL_ACCOUNT, "GINSSE", name) {
				return log
			}
		}
		log.Close()
	}
	t.Fatal("no consumer is on the server")
	return nil
}

// refused appends an event that no server can acknowledge. It may be delivered later or not.
func (s *senders) refused(t *testing.T, log *natslog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond) // enough for more than one attempt
	defer cancel()
	begun := time.Now()
	at, err := log.Append(ctx, record(alice, int(s.tried.Add(1))))
	if !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("appended at %v with error %v", at, err)
	}
	if took := time.Since(begun); took > 10*time.Second { // by default, it is 15 s
		t.Errorf("it took %v", took)
	}
}
