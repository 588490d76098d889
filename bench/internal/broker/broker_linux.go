// Package broker runs NATS servers with JetStream in a separate process, and counts their
// traffic.
package broker

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/bench/internal/child"
)

// Control has the methods of a broker's process that the driver may call, one call at a time.
type Control struct {
	servers []*server.Server
	taps    []*nats.Conn // nil without a tap

	mu       sync.Mutex // guards the field below
	requests map[string]int
}

// StartArgs says which servers to start.
type StartArgs struct {
	Servers int    // 1, or the size of a cluster
	Dir     string // for their data
}

const startLimit = 20 * time.Second

// Start starts the servers, with the defaults of nats-server. It returns their addresses
// when they are ready.
func (c *Control) Start(args StartArgs, urls *[]string) error {
	if err := child.Files(args.Servers); err != nil {
		return err
	}
	options, err := clusterOptions(args)
	if err != nil {
		return err
	}
	for _, o := range options {
		s, err := server.NewServer(o)
		if err != nil {
			return err
		}
		s.Start()
		c.servers = append(c.servers, s)
	}
	deadline := time.Now().Add(startLimit)
	for _, s := range c.servers {
		if !s.ReadyForConnections(time.Until(deadline)) {
			return errors.New("a server did not start in time")
		}
		*urls = append(*urls, s.ClientURL())
	}
	for !c.led() {
		if time.Now().After(deadline) {
			return errors.New("the cluster has no leader")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// led reports whether there is one server, or a cluster that is complete and has a leader.
func (c *Control) led() bool {
	for _, s := range c.servers {
		if len(c.servers) == 1 || s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.servers) {
			return true
		}
	}
	return false
}

func clusterOptions(args StartArgs) (list []*server.Options, err error) {
	var routes []*url.URL
	var ports []int
	for i := range args.Servers {
		list = append(list, &server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			JetStream: true, StoreDir: filepath.Join(args.Dir, strconv.Itoa(i)), JetStreamMaxStore: 1 << 40,
			NoSigs: true, NoLog: true,
		})
	}
	if args.Servers == 1 {
		return list, nil
	}
	for range args.Servers {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }() // only after the last one is open, so that the ports differ
		addr, err := netip.ParseAddrPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, int(addr.Port()))
		routes = append(routes, &url.URL{Scheme: "nats", Host: addr.String()})
	}
	for i, o := range list {
		o.Cluster, o.Routes = server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: ports[i]}, routes
	}
	return list, nil
}

// Count counts messages, and their bytes as NATS does: headers and data, without subjects
// and protocol lines.
type Count struct{ Msgs, Bytes int64 }

// Sub returns the difference.
func (c Count) Sub(other Count) Count { return Count{c.Msgs - other.Msgs, c.Bytes - other.Bytes} }

// Traffic is the traffic of the servers since they were started.
type Traffic struct {
	In, Out Count // from and to the connections that are open now, without those of the tap
	Routes  Count // from server to server
	CPU     time.Duration
}

// Sub returns the difference.
func (t Traffic) Sub(other Traffic) Traffic {
	return Traffic{t.In.Sub(other.In), t.Out.Sub(other.Out), t.Routes.Sub(other.Routes), t.CPU - other.CPU}
}

const tapName = "tap"

// Traffic returns the traffic so far.
func (c *Control) Traffic(_ struct{}, t *Traffic) (err error) {
	*t = Traffic{}
	for _, s := range c.servers {
		conns, err := s.Connz(nil)
		if err != nil {
			return err
		}
		for _, conn := range conns.Conns {
			if conn.Name == tapName {
				continue
			}
			t.In.Msgs, t.In.Bytes = t.In.Msgs+conn.InMsgs, t.In.Bytes+conn.InBytes
			t.Out.Msgs, t.Out.Bytes = t.Out.Msgs+conn.OutMsgs, t.Out.Bytes+conn.OutBytes
		}
		routes, err := s.Routez(nil)
		if err != nil {
			return err
		}
		for _, route := range routes.Routes {
			t.Routes.Msgs, t.Routes.Bytes = t.Routes.Msgs+route.OutMsgs, t.Routes.Bytes+route.OutBytes
		}
	}
	t.CPU, err = child.CPU()
	return err
}

// Tap starts counting the requests to JetStream by kind, or stops and returns the counts.
// The servers send one more message for each request meanwhile.
func (c *Control) Tap(on bool, requests *map[string]int) error {
	if !on {
		for _, nc := range c.taps {
			if err := nc.Drain(); err != nil {
				return err
			}
			for !nc.IsClosed() {
				time.Sleep(time.Millisecond)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.taps, *requests = nil, c.requests
		return nil
	}
	c.requests = make(map[string]int)
	// Subscribe at each server, because the others of a cluster learn of a subscription
	// later. The subscriptions share a queue, so each request is counted once.
	for _, s := range c.servers {
		nc, err := nats.Connect(s.ClientURL(), nats.Name(tapName))
		if err != nil {
			return err
		}
		c.taps = append(c.taps, nc)
		if _, err := nc.QueueSubscribe("$JS.API.>", tapName, func(m *nats.Msg) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.requests[kind(m.Subject)]++
		}); err != nil {
			return err
		}
		if err := nc.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// kind returns the operation in the subject of a request: STREAM.INFO for
// $JS.API.STREAM.INFO.X.
func kind(subject string) string {
	subject = strings.TrimPrefix(subject, "$JS.API.")
	tokens := strings.Split(subject, ".")
	n := min(2, len(tokens))
	if strings.HasPrefix(subject, "STREAM.MSG.") || strings.HasPrefix(subject, "CONSUMER.MSG.") {
		n = 3
	}
	return strings.Join(tokens[:n], ".")
}

// stop stops the servers. It is for tests: the end of the process stops them too.
func (c *Control) stop() {
	for _, s := range c.servers {
		s.Shutdown()
	}
	for _, s := range c.servers {
		s.WaitForShutdown()
	}
}
