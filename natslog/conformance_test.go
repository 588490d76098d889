package natslog_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
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
	type node struct {
		server *server.Server
		nc     *nats.Conn
		cfg    natslog.Config
	}
	nodes := make(map[ginsse.Log]node)
	add := func(t *testing.T, n node) ginsse.Log {
		n.nc = connect(t, n.server.ClientURL())
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
			if strings.Contains(t.Name(), "/reopened_") {
				s = newServer(t) // it is going to be restarted
			}
			return add(t, node{server: s, cfg: natslog.Config{
				Stream: name, Prefix: name, RecentBytes: recentBytes,
				EventsPerSubject: b.EventsPerSubject, MaxAge: b.MaxAge, MaxBytes: b.MaxBytes,
			}})
		},
		Peer: func(t *testing.T, log ginsse.Log) ginsse.Log { return add(t, find(log)) },
		Reopen: func(t *testing.T, log ginsse.Log) ginsse.Log {
			n := find(log)
			log.(*natslog.Log).Close()
			n.nc.Close()
			n.server = restart(t, n.server)
			return add(t, n)
		},
	}
	logtest.Run(t, suite)
}
