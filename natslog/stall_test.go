package natslog_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

// TestAppendsOnAStalledConnectionEndInTime stalls the connection while many senders append. Each
// append returns by its deadline. With -short the machine may pause meanwhile.
func TestAppendsOnAStalledConnectionEndInTime(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.Addr().String())
	log := open(t, p.connect(t), natslog.Config{})
	p.Stall(true)
	large := fmt.Appendf(nil, "data: %s\n\n", strings.Repeat("x", 1<<10))
	var sending sync.WaitGroup
	for range 200 {
		sending.Go(func() {
			for begun := time.Now(); time.Since(begun) < 8*time.Second; {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				start := time.Now()
				_, err := log.Append(ctx, eventlog.Record{Subject: alice, Frame: large})
				if cancel(); err == nil {
					t.Error("it was acknowledged")
				}
				if took := time.Since(start); took > 2*time.Second && !testing.Short() {
					t.Errorf("an append with a second took %v", took)
				}
				select {
				case <-t.Context().Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	sending.Wait()
	p.Stall(false)
	until(t, "contact", func() bool { return log.Ready() == nil })
}

// TestNodeLeavesADeadServer stalls a server. The node connects to another one earlier than the
// client itself would.
func TestNodeLeavesADeadServer(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.Addr().String())
	log := open(t, connect(t, p.url()+","+s.ClientURL(), nats.DontRandomize()), natslog.Config{})
	there := open(t, connect(t, s.ClientURL()), natslog.Config{})
	r := newReader(t, log, alice)
	p.Stall(true)
	add(t, there, alice, 1)
	if events, gap := r.follow(t, func(events []int) bool { return len(events) == 1 }); gap != "" || events[0] != 1 {
		t.Errorf("gap %q, %v", gap, events)
	}
}

// TestAppendThatIsRolledBackFails has the stream lose an event that was acknowledged, and another
// node append one that gets its sequence, before the first node has read either.
func TestAppendThatIsRolledBackFails(t *testing.T) {
	t.Parallel()
	port, store := freePorts(t, 1)[0], t.TempDir()
	s := embed(t, &server.Options{Port: port, StoreDir: store}) // 2.10 cannot pause a consumer
	log := open(t, connect(t, s.ClientURL()), natslog.Config{})
	add(t, log, alice, 1)
	log.Close()
	stopServer(s)
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	s = embed(t, &server.Options{Port: port, StoreDir: store})
	p := newProxy(t, s.Addr().String())
	node := p.connect(t)
	log = open(t, node, natslog.Config{})
	var acknowledged atomic.Bool
	p.OnAnswer(func(_ int, data []byte) nodetest.Verdict {
		if bytes.Contains(data, []byte(`"seq":2}`)) {
			acknowledged.Store(true)
		}
		return nodetest.Forward
	})
	// Its consumer is paused, so that the node reads nothing for a while.
	nc := connect(t, s.ClientURL())
	stream, err := jet(t, nc).Stream(t.Context(), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if _, err := stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	result := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := log.Append(ctx, record(alice, 2))
		result <- err
	}()
	until(t, "the event", func() bool { return streamInfo(t, jet(t, nc)).State.LastSeq == 2 })
	until(t, "the acknowledgement", acknowledged.Load)
	if err := node.FlushTimeout(patience); err != nil { // the node has received it before this answer
		t.Fatal(err)
	}
	p.Stall(true)
	p.DropAll()
	select {
	case err := <-result:
		if err == nil {
			t.Skip("the machine is slow: the node has replaced its consumer, and has read the event")
		}
		t.Fatalf("it returned too early: %v", err)
	default:
	}
	stopServer(s)
	s = embed(t, &server.Options{Port: port, StoreDir: old})
	if _, err := jet(t, connect(t, s.ClientURL())).Publish(t.Context(), "ginsse.user.Ym9i", frame(100)); err != nil {
		t.Fatal(err)
	}
	p.Stall(false)
	if err := <-result; err == nil {
		t.Error("it succeeded")
	}
}
