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

	"github.com/ginsse/ginsse"
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

func conform(t *testing.T, recentBytes int) {
	shared := newServer(t)
	var streams atomic.Int64
	var mu sync.Mutex
	// broker is what a log is on, and its peers: the server may be another one later.
	type broker struct {
		server   single
		restarts int
	}
	type node struct {
		broker *broker
		nc     *nats.Conn
		cfg    natslog.Config
	}
	nodes := make(map[ginsse.Log]node)
	add := func(t *testing.T, n node) ginsse.Log {
		n.nc = connect(t, n.broker.server.ClientURL())
		log := open(t, n.nc, n.cfg)
		mu.Lock()
		defer mu.Unlock()
		nodes[log] = n
		return log
	}
	find := func(log ginsse.Log) node {
		mu.Lock()
		defer mu.Unlock()
		return nodes[log]
	}
	suite := logtest.Suite{
		Inexact: true,
		New: func(t *testing.T, b logtest.Bounds) ginsse.Log {
			name := fmt.Sprint("S", streams.Add(1))
			s := shared
			if strings.Contains(t.Name(), "/reopened_") || strings.Contains(t.Name(), "restart") {
				s = newServer(t) // it is going to be restarted
			}
			return add(t, node{broker: &broker{server: s}, cfg: natslog.Config{
				Stream: name, Prefix: name, RecentBytes: recentBytes,
				EventsPerSubject: b.EventsPerSubject, MaxAge: b.MaxAge, MaxBytes: b.MaxBytes,
			}})
		},
		Peer: func(t *testing.T, log ginsse.Log) ginsse.Log { return add(t, find(log)) },
		Reopen: func(t *testing.T, log ginsse.Log) ginsse.Log {
			n := find(log)
			log.(*natslog.Log).Close()
			n.nc.Close()
			n.broker.server = restart(t, n.broker.server)
			return add(t, n)
		},
		Restart: func(t *testing.T, log ginsse.Log) {
			b := find(log).broker
			port, store := b.server.Addr().(*net.TCPAddr).Port, strings.TrimSuffix(b.server.StoreDir(), "/jetstream")
			stopServer(b.server)
			// Every other time for so long that the nodes lose touch.
			if b.restarts++; b.restarts%2 == 0 {
				until(t, "loss of touch", func() bool { return errors.Is(log.(*natslog.Log).Ready(), natslog.ErrUnavailable) })
			}
			b.server = startServer(t, port, store)
		},
	}
	logtest.Run(t, suite)
}
