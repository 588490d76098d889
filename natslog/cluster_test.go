package natslog_test

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/freeport"
	"github.com/ginsse/ginsse/natslog"
)

// cluster is three servers.
type cluster struct {
	servers [3]*server.Server
	options [3]*server.Options
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := new(cluster)
	ports := freePorts(t, 6)
	var routes []*url.URL
	for _, port := range ports[3:] {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", port)})
	}
	for i := range c.options {
		c.options[i] = &server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: ports[i],
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[3+i]}, Routes: routes,
			JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 50, NoSigs: true, NoLog: true,
		}
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			if s != nil {
				stopServer(s)
			}
		}
	})
	return c
}

// onServers runs a test on one server, and on three that replicate the stream.
func onServers(t *testing.T, test func(t *testing.T, s single, cfg natslog.Config)) {
	t.Helper()
	t.Run("one_server", func(t *testing.T) {
		t.Parallel()
		test(t, newServer(t), natslog.Config{})
	})
	t.Run("three_replicas", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t)
		c.startAll(t)
		test(t, c.servers[0], natslog.Config{Replicas: len(c.servers)})
	})
}

// freePorts returns ports of the loopback that are free, each only once.
func freePorts(t *testing.T, count int) (ports []int) {
	t.Helper()
	for range count {
		address, err := freeport.Address()
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, int(address.Port()))
	}
	return ports
}

func (c *cluster) start(t *testing.T, i int) {
	t.Helper()
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		t.Fatal(err)
	}
	c.servers[i] = s
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("a server does not start")
	}
}

func (c *cluster) startAll(t *testing.T) {
	t.Helper()
	for i := range c.servers {
		c.start(t, i)
	}
	until(t, "a leader of the cluster", func() bool {
		for _, s := range c.servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.servers) {
				return true
			}
		}
		return false
	})
}

func (c *cluster) urls() string {
	var list []string
	for _, s := range c.servers {
		list = append(list, s.ClientURL())
	}
	return strings.Join(list, ",")
}

// leader returns the index of the server that leads the stream; -1 if there is none.
func (c *cluster) leader() int {
	for i, s := range c.servers {
		if s.Running() && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, "GINSSE") {
			return i
		}
	}
	return -1
}

// TestLossOfTheLeaderLosesNothing has four senders append, and one key be updated, while the stream
// loses its leader.
func TestLossOfTheLeaderLosesNothing(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, c *cluster, leader int){
		"steps_down": func(t *testing.T, c *cluster, leader int) {
			nc := connect(t, c.urls())
			if _, err := nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.GINSSE", nil, patience); err != nil {
				t.Error(err)
			}
		},
		"is_killed": func(t *testing.T, c *cluster, leader int) {
			stopServer(c.servers[leader])
		},
		"is_restarted": func(t *testing.T, c *cluster, leader int) {
			stopServer(c.servers[leader])
			c.start(t, leader)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.startAll(t)
			cfg := natslog.Config{Replicas: 3, EventsPerSubject: 1 << 20} // no gap, however long it takes
			here, there := open(t, connect(t, c.urls()), cfg), open(t, connect(t, c.urls()), cfg)
			readers := []*reader{newReader(t, here, alice, all), newReader(t, there, alice, all)}
			ofKey := []*reader{newReader(t, here, updated), newReader(t, there, updated)}
			s, u := newSenders(t, here, there), newUpdater(t, here, there)
			for range 2 {
				s.await(t, s.sent.Load()+200)
				if leader := c.leader(); leader >= 0 {
					lose(t, c, leader)
				}
				if name == "is_killed" {
					break // of three servers, two must live
				}
			}
			s.await(t, s.sent.Load()+200)
			s.stop()
			u.stop()
			js := jet(t, connect(t, c.urls()))
			for i, r := range readers {
				s.verify(t, r)
				u.verify(t, ofKey[i], js)
			}
		})
	}
}

// senders append numbered events until they are stopped.
type senders struct {
	stop  func()
	tried atomic.Int64 // events
	sent  atomic.Int64 // of which acknowledged

	mu     sync.Mutex // guards the fields below
	acked  map[int]eventlog.Cursor
	by     map[*natslog.Log]int // how many of them
	failed int
}

func newSenders(t *testing.T, logs ...*natslog.Log) *senders {
	s := &senders{acked: make(map[int]eventlog.Cursor), by: make(map[*natslog.Log]int)}
	var sending sync.WaitGroup
	stopped := make(chan struct{})
	s.stop = sync.OnceFunc(func() {
		close(stopped)
		sending.Wait()
	})
	t.Cleanup(s.stop)
	for i := range 4 {
		log, subject := logs[i%len(logs)], []string{alice, all}[i/2]
		sending.Go(func() {
			for i := range math.MaxInt {
				select {
				case <-stopped:
					return
				case <-time.After(time.Duration(i/1000) * time.Millisecond): // bounds the events of a long test
				}
				n := int(s.tried.Add(1))
				ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
				at, err := log.Append(ctx, record(subject, n))
				cancel()
				s.mu.Lock()
				if err != nil {
					t.Logf("event %d: %v", n, err)
					s.failed++
				} else {
					s.acked[n] = at
					s.by[log]++
				}
				s.mu.Unlock()
				s.sent.Add(1)
			}
		})
	}
	return s
}

func (s *senders) await(t *testing.T, count int64) {
	t.Helper()
	until(t, fmt.Sprint(count, " events"), func() bool { return s.sent.Load() >= count })
}

// acknowledged returns how many events a log has acknowledged.
func (s *senders) acknowledged(log *natslog.Log) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[log]
}

// verify has a reader read everything, and compares. It returns the events read, before and now.
func (s *senders) verify(t *testing.T, r *reader, before ...int) []int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var last uint64
	for _, at := range s.acked {
		last = max(last, at.Seq)
	}
	events, gap := r.follow(t, func([]int) bool { return r.at.Seq >= last })
	events = append(before, events...)
	if gap != "" {
		t.Errorf("gap %q", gap)
	}
	place := make(map[int]int)
	for i, n := range events {
		if _, ok := place[n]; ok {
			t.Errorf("event %d came twice", n)
		}
		place[n] = i
	}
	positions := make(map[int]uint64) // sequences by place
	for n, at := range s.acked {
		i, ok := place[n]
		if !ok {
			t.Errorf("event %d was acknowledged at %d and did not come", n, at.Seq)
		}
		positions[i] = at.Seq
	}
	previous := uint64(0)
	for i := range events {
		if seq, ok := positions[i]; ok {
			if seq <= previous {
				t.Errorf("sequence %d came after %d", seq, previous)
			}
			previous = seq
		}
	}
	t.Logf("%d events tried, %d acknowledged, %d failed, %d read", s.tried.Load(), len(s.acked), s.failed, len(events))
	return events
}
