package natslog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// TestOpenWaitsForACluster opens a log when one server of three runs.
func TestOpenWaitsForACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start(t, 0)
	nc := connect(t, c.servers[0].ClientURL())
	cfg := natslog.Config{Replicas: 3, AppendTimeout: 2 * time.Second}
	begun := time.Now()
	_, err := natslog.Open(t.Context(), nc, cfg)
	if !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(begun); took < cfg.AppendTimeout || took > cfg.AppendTimeout+8*time.Second {
		t.Errorf("it took %v", took)
	}
	t.Log(err)
	opening := opener(t, nc, cfg)
	c.start(t, 1)
	c.start(t, 2)
	log := opening()
	r := newReader(t, log, alice)
	add(t, log, alice, 1)
	r.want(t, 1)
}

// TestOpenWaitsForALeader opens a log while the servers elect the stream's leader.
func TestOpenWaitsForALeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.startAll(t)
	cfg := natslog.Config{Replicas: 3}
	first := open(t, connect(t, c.urls()), cfg)
	r := newReader(t, first, alice)
	add(t, first, alice, 1)
	leader := -1
	until(t, "a leader", func() bool { leader = c.leader(); return leader >= 0 })
	nc := connect(t, c.servers[(leader+1)%3].ClientURL(), nats.IgnoreDiscoveredServers())
	stopServer(c.servers[leader])
	log := opener(t, nc, cfg)()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := log.Append(ctx, record(alice, 2)); err != nil {
		t.Fatal(err)
	}
	r.want(t, 1, 2)
}

// opener opens a log concurrently. It returns a function that waits for the log.
func opener(t *testing.T, nc *nats.Conn, cfg natslog.Config) func() *natslog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	type opened struct {
		log *natslog.Log
		err error
	}
	result := make(chan opened, 1) // the test may have ended before it is received
	go func() {
		log, err := natslog.Open(ctx, nc, cfg)
		result <- opened{log, err}
	}()
	return func() *natslog.Log {
		t.Helper()
		defer cancel()
		o := <-result
		if o.err != nil {
			t.Fatal(o.err)
		}
		t.Cleanup(func() { o.log.Close() })
		return o.log
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	closed := connect(t, s.ClientURL())
	closed.Close()
	begun := time.Now()
	if _, err := natslog.Open(t.Context(), closed, natslog.Config{}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("with a closed connection: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second { // by default, Open waits for 15 s
		t.Errorf("it took %v", took)
	}
	lost := connect(t, s.ClientURL())
	stopServer(s)
	until(t, "the loss of the connection", func() bool { return !lost.IsConnected() })
	cfg := natslog.Config{AppendTimeout: 200 * time.Millisecond}
	if _, err := natslog.Open(t.Context(), lost, cfg); !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, nats.ErrDisconnected) {
		t.Errorf("without a server: %v", err)
	}
	alone := connect(t, newServer(t).ClientURL())
	if _, err := natslog.Open(t.Context(), alone, natslog.Config{Replicas: 3}); err == nil || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("three replicas on one server: %v", err)
	}
}
