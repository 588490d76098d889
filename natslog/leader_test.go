package natslog_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// TestErrorsSayThatThereIsNoLeader stops two servers of three. The node stays connected to the
// third one.
func TestErrorsSayThatThereIsNoLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.startAll(t)
	cfg := natslog.Config{Replicas: 3}
	nc := connect(t, c.servers[0].ClientURL(), nats.IgnoreDiscoveredServers())
	log := open(t, nc, cfg)
	add(t, log, alice, 1)
	stopServer(c.servers[1])
	stopServer(c.servers[2])
	appending := func(timeout time.Duration) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := log.Append(ctx, record(alice, 2))
			return err
		}
	}
	saysIt := func(err error) bool {
		return errors.Is(err, eventlog.ErrUnavailable) && strings.Contains(err.Error(), "no leader") && !strings.Contains(err.Error(), "disconnected")
	}
	// On a busy machine the server may not answer the node for a second, which is another reason.
	check := func(what string, call func() error) {
		t.Helper()
		err := call()
		for range 3 {
			if !saysIt(err) {
				err = call()
			}
		}
		if !saysIt(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	until(t, "the reason why there is no leader", func() bool { return saysIt(log.Ready()) })
	check("appending", appending(200*time.Millisecond))
	check("appending for longer", appending(2500*time.Millisecond))
	check("asking for the head", func() error {
		_, err := log.Head(t.Context())
		return err
	})
	check("opening", func() error {
		cfg.AppendTimeout = 3 * time.Second
		_, err := natslog.Open(t.Context(), nc, cfg)
		return err
	})
	until(t, "the node to be connected", nc.IsConnected)
}

// TestAppendOnAClosedConnectionFailsAtOnce does not wait for the default timeout.
func TestAppendOnAClosedConnectionFailsAtOnce(t *testing.T) {
	t.Parallel()
	nc := connect(t, newServer(t).ClientURL())
	log := open(t, nc, natslog.Config{})
	nc.Close()
	until(t, "loss of the broker", func() bool { return errors.Is(log.Ready(), nats.ErrConnectionClosed) })
	begun := time.Now()
	if _, err := log.Append(t.Context(), record(alice, 1)); !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second { // by default, it is 15 s
		t.Errorf("it took %v", took)
	}
}

// TestAppendWithoutDeadlineSurvivesAnElection has the broker acknowledge nothing for as long as an
// election may take.
func TestAppendWithoutDeadlineSurvivesAnElection(t *testing.T) {
	t.Parallel()
	const election = 9 * time.Second
	p := newProxy(t, newServer(t).Addr().String())
	log := open(t, p.connect(t), natslog.Config{})
	r := newReader(t, log, alice)
	p.Stall(true)
	result := make(chan error, 1)
	go func() {
		_, err := log.Append(context.Background(), record(alice, 1))
		result <- err
	}()
	select {
	case err := <-result:
		t.Fatalf("the append failed in the election: %v", err)
	case <-time.After(election):
	}
	p.Stall(false)
	if err := <-result; err != nil {
		t.Errorf("the append failed after the election: %v", err)
	}
	r.want(t, 1)
}

// TestSilentConsumerIsNoticedInASecond partitions the server of the node's consumer. That server is
// not the leader of the stream or of the cluster, nor is the node connected to it.
func TestSilentConsumerIsNoticedInASecond(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs answers within a second: left out with -short")
	}
	t.Parallel()
	c, links := newSplitCluster(t)
	cfg := natslog.Config{Replicas: 3}
	if err := open(t, connect(t, c.urls()), cfg).Close(); err != nil {
		t.Fatal(err)
	}
	leader := -1
	until(t, "a leader", func() bool { leader = c.leader(); return leader >= 0 })
	isolated, other := (leader+1)%len(c.servers), (leader+2)%len(c.servers)
	if c.servers[isolated].JetStreamIsLeader() {
		isolated, other = other, isolated
	}
	logged := new(recorder)
	cfg.Logger = slog.New(logged)
	here := openFollowing(t, c.servers[isolated], func() *natslog.Log {
		return open(t, connect(t, c.servers[other].ClientURL(), nats.IgnoreDiscoveredServers()), cfg)
	})
	r := newReader(t, here, alice)
	add(t, here, alice, 1)
	r.want(t, 1) // the consumer works
	for _, link := range links[isolated] {
		link.Stall(true)
	}
	silent := time.Now()
	until(t, "the end of the silence", func() bool { return len(logged.with("heartbeat")) > 0 })
	took := time.Since(silent)
	t.Logf("noticed after %v", took.Round(time.Millisecond))
	if took > 1800*time.Millisecond {
		t.Errorf("the silence was noticed after %v", took)
	}
	add(t, here, alice, 2)
	r.want(t, 2)
	until(t, "readiness", func() bool { return here.Ready() == nil })
	t.Logf("read on after %v", time.Since(silent).Round(time.Millisecond))

	// Without the leader too, the node's server still answers the node, but not about the stream until
	// it has noticed.
	for _, link := range links[leader] {
		link.Stall(true)
	}
	until(t, "the end of contact", func() bool { return here.Ready() != nil })
	ended := time.Now()
	var reason error
	until(t, "the reason", func() bool {
		reason = here.Ready()
		return reason != nil && strings.Contains(reason.Error(), "no leader")
	})
	took = time.Since(ended)
	t.Logf("the reason was known %v later: %v", took.Round(time.Millisecond), reason)
	if took > 1500*time.Millisecond {
		t.Errorf("the reason was known %v later", took)
	}
}
