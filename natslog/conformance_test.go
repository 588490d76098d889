package natslog_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/logtest"
	"github.com/ginsse/ginsse/natslog"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	conform(t, 0)
}

// TestConformanceWithLittleInMemory has nearly all positions read from the broker.
func TestConformanceWithLittleInMemory(t *testing.T) {
	t.Parallel()
	conform(t, 16<<10)
}

// contents are the contents of logs under test: a stream on a server, which may be restarted.
type contents struct {
	server   single
	stream   string
	restarts int
}

// conformingNode is a log under test.
type conformingNode struct {
	*contents

	nc    *nats.Conn
	proxy *proxy // between the node and its server
	cfg   natslog.Config
}

func conform(t *testing.T, recentBytes int) {
	shared := newServer(t)
	var streams atomic.Int64
	var mu sync.Mutex
	nodes := make(map[eventlog.Log]conformingNode)
	add := func(t *testing.T, n conformingNode) eventlog.Log {
		n.proxy = newProxy(t, n.server.Addr().String())
		n.nc = n.proxy.connect(t)
		log := open(t, n.nc, n.cfg)
		mu.Lock()
		defer mu.Unlock()
		nodes[log] = n
		return log
	}
	find := func(log eventlog.Log) conformingNode {
		mu.Lock()
		defer mu.Unlock()
		return nodes[log]
	}
	unavailable := func(log eventlog.Log) func() bool {
		return func() bool { return errors.Is(log.(*natslog.Log).Ready(), eventlog.ErrUnavailable) }
	}
	logtest.Run(t, logtest.Suite{
		Inexact: true,
		New: func(t *testing.T, b logtest.Bounds) eventlog.Log {
			c := &contents{server: shared, stream: fmt.Sprint("S", streams.Add(1))}
			if strings.Contains(t.Name(), "/reopened_") || strings.Contains(t.Name(), "restart") {
				c.server = newServer(t) // it is going to be restarted
			}
			return add(t, conformingNode{contents: c, cfg: natslog.Config{
				Stream: c.stream, Prefix: c.stream, RecentBytes: recentBytes,
				EventsPerSubject: b.EventsPerSubject, MaxAge: b.MaxAge, MaxBytes: b.MaxBytes,
			}})
		},
		Peer: func(t *testing.T, log eventlog.Log) eventlog.Log { return add(t, find(log)) },
		Reopen: func(t *testing.T, log eventlog.Log) eventlog.Log {
			n := find(log)
			log.(*natslog.Log).Close()
			n.nc.Close()
			n.server = restart(t, n.server)
			return add(t, n)
		},
		Restart: func(t *testing.T, log eventlog.Log) {
			c := find(log).contents
			port, store := c.server.Addr().(*net.TCPAddr).Port, strings.TrimSuffix(c.server.StoreDir(), "/jetstream")
			stopServer(c.server)
			// Every other time for so long that the nodes lose contact.
			if c.restarts++; c.restarts%2 == 0 {
				until(t, "the loss of contact", unavailable(log))
			}
			c.server = startServer(t, port, store)
		},
		Partition: func(t *testing.T, log eventlog.Log) (reconnect func()) {
			p := find(log).proxy
			p.Stall(true)
			until(t, "the loss of contact", unavailable(log))
			return func() { p.Stall(false) }
		},
		Insert: func(t *testing.T, log eventlog.Log, r eventlog.Record) {
			c := find(log).contents
			subject, err := natslog.NATSSubject(c.stream, r.Subject, r.Key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := jet(t, connect(t, c.server.ClientURL())).Publish(t.Context(), subject, r.Frame); err != nil {
				t.Fatal(err)
			}
		},
	})
}
