package natslog_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

func TestCloseEndsAllMethods(t *testing.T) {
	t.Parallel()
	log := open(t, connect(t, newServer(t).ClientURL()), natslog.Config{})
	until(t, "readiness", func() bool { return log.Ready() == nil })
	for range 2 {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
	_, appending := log.Append(t.Context(), record(alice, 1))
	_, reading := log.Read(t.Context(), eventlog.Query{}, nil)
	_, asking := log.Head(t.Context())
	for _, err := range []error{appending, reading, asking, log.Ready()} {
		if !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("error is %v", err)
		}
	}
}

func TestLogServesARegistry(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: open(t, connect(t, s.ClientURL()), natslog.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	there := newReader(t, open(t, connect(t, s.ClientURL()), natslog.Config{}), alice, all)
	for n := 1; n <= 3; n++ {
		if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: n}); err != nil {
			t.Fatal(err)
		}
	}
	there.want(t, 1, 2, 3)
	var ids []string
	for n := 4; n <= 5; n++ {
		receipt, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: n, Key: "k", DedupKey: "d"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, receipt.ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("the repeat has ID %s, the event has %s", ids[1], ids[0])
	}
	if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: 6, Key: "k"}); err != nil {
		t.Fatal(err)
	}
	head(t, there.log) // Read sees both then
	there.want(t, 6)
}

func TestPartitionedNodeServesNothingUntilItReconnects(t *testing.T) {
	t.Parallel()
	onServers(t, partition)
}

func partition(t *testing.T, s single, cfg natslog.Config) {
	p := newProxy(t, s.Addr().String())
	here, there := open(t, p.connect(t), cfg), open(t, connect(t, s.ClientURL()), cfg)
	r := newReader(t, here, alice)
	add(t, there, alice, 1)
	r.want(t, 1)
	p.Stall(true)
	stalled := time.Now()
	until(t, "the loss of contact", func() bool { return here.Ready() != nil })
	if took := time.Since(stalled); took > 6*time.Second {
		t.Errorf("the partition was noticed after %v", took)
	}
	if err := here.Ready(); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("not ready for %v", err)
	}
	add(t, there, alice, 2)
	at := r.at
	if events, gap, err := r.page(t.Context()); len(events) > 0 || gap != "" || err != nil || r.at != at {
		t.Errorf("read %v, gap %q, error %v, from %v to %v", events, gap, err, at, r.at)
	}
	until(t, "a head that does not wait for an answer", func() bool { // on a slow machine, at another attempt
		asked := time.Now()
		_, err := here.Head(t.Context())
		if !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("asking for the head: %v", err)
		}
		return time.Since(asked) <= 100*time.Millisecond
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := here.Append(ctx, record(bob, 0)); !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("appending: %v", err)
	}
	p.Stall(false)
	reconnected := time.Now()
	r.want(t, 2)
	t.Logf("read on %v after the partition", time.Since(reconnected).Round(time.Millisecond))
	until(t, "contact", func() bool { return here.Ready() == nil })
}

// TestLostConsumerIsReplaced deletes the consumer of an idle node. The node notices that it
// receives nothing.
func TestLostConsumerIsReplaced(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	nc := connect(t, s.ClientURL())
	here := open(t, connect(t, s.ClientURL()), natslog.Config{})
	r := newReader(t, here, alice)
	stream, err := jet(t, nc).Stream(t.Context(), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if err := stream.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	there := open(t, connect(t, s.ClientURL()), natslog.Config{})
	lost := time.Now()
	add(t, there, alice, 1)
	r.want(t, 1)
	if took := time.Since(lost); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAppendWithoutConnectionStoresNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	nc := connect(t, s.ClientURL())
	log := open(t, nc, natslog.Config{})
	r := newReader(t, log, alice)
	port, store := s.Addr().(*net.TCPAddr).Port, strings.TrimSuffix(s.StoreDir(), "/jetstream")
	lost := nc.StatusChanged(nats.RECONNECTING)
	stopServer(s)
	<-lost // before, the client may send the event when it is connected again
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := log.Append(ctx, record(alice, 1)); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second { // by default, it is 15 s
		t.Errorf("it took %v", took)
	}
	startServer(t, port, store)
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := log.Append(ctx, record(alice, 2)); err != nil {
		t.Fatal(err)
	}
	r.want(t, 2)
}

func TestServerRestartLosesNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	log := open(t, connect(t, s.ClientURL()), natslog.Config{})
	r := newReader(t, log, alice)
	add(t, log, alice, 1)
	for n := 2; n <= 4; n++ {
		s = restart(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := log.Append(ctx, record(alice, n)); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	r.want(t, 1, 2, 3, 4)
}

func TestLostAcknowledgementCausesNoRepeat(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.Addr().String())
	log := open(t, p.connect(t), natslog.Config{})
	r := newReader(t, log, alice)
	var lost atomic.Int64
	p.OnAnswer(func(_ int, data []byte) nodetest.Verdict {
		if lost.Load() < 3 && bytes.Contains(data, []byte(`{"stream":`)) {
			lost.Add(1)
			return nodetest.Drop
		}
		return nodetest.Forward
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := log.Append(ctx, record(alice, 1)); err != nil {
		t.Fatal(err)
	}
	add(t, log, alice, 2)
	r.want(t, 1, 2)
	if lost.Load() != 3 {
		t.Errorf("%d acknowledgements were lost", lost.Load())
	}
}

// TestLossDuringAPartitionIsAGap has events leave the stream while a node is partitioned.
func TestLossDuringAPartitionIsAGap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg   natslog.Config
		other string // subject of the events by which others are removed
		size  int    // of each
	}{
		"count": {natslog.Config{EventsPerSubject: 10}, alice, 1},
		"age":   {natslog.Config{MaxAge: 200 * time.Millisecond}, bob, 1},
		"bytes": {natslog.Config{MaxBytes: 32 << 10}, bob, 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onServers(t, func(t *testing.T, s single, cfg natslog.Config) {
				test.cfg.Replicas = cfg.Replicas
				loss(t, s, test.cfg, test.other, test.size)
			})
		})
	}
}

// loss appends events to another subject until those that a partitioned node has missed are
// removed.
func loss(t *testing.T, s single, cfg natslog.Config, other string, size int) {
	p := newProxy(t, s.Addr().String())
	nc := connect(t, s.ClientURL())
	here, there := open(t, p.connect(t), cfg), open(t, nc, cfg)
	r := newReader(t, here, alice)
	p.Stall(true)
	until(t, "the loss of contact", func() bool { return here.Ready() != nil })
	p.DropAll() // messages on the way are lost, too
	first := addPatiently(t, there, record(alice, 1))
	for range 20 {
		frame := append(bytes.Repeat([]byte("x"), size), "\n\n"...)
		addPatiently(t, there, eventlog.Record{Subject: other, Frame: frame})
	}
	until(t, "loss", func() bool { return streamInfo(t, jet(t, nc)).State.FirstSeq > first.Seq })
	p.Stall(false)
	r.wantGap(t, eventlog.GapTrimmed)
	last := addPatiently(t, there, record(alice, 2))
	for _, gap := range r.reach(t, last) { // further ones are allowed
		if gap != eventlog.GapTrimmed {
			t.Fatalf("gap is %q", gap)
		}
	}
}

// addPatiently appends a record again until that succeeds. The record may be there more than once then. An
// append to a stream that keeps events briefly does not try again by itself.
func addPatiently(t *testing.T, log *natslog.Log, r eventlog.Record) (at eventlog.Cursor) {
	t.Helper()
	until(t, "an append", func() bool {
		var err error
		at, err = log.Append(t.Context(), r)
		return err == nil
	})
	return at
}

func TestPurgedStreamIsAGapForReadersThatLag(t *testing.T) {
	t.Parallel()
	onServers(t, purge)
}

func purge(t *testing.T, s single, cfg natslog.Config) {
	nc := connect(t, s.ClientURL())
	cfg.RecentBytes = 1 // so that only the newest event is held
	log := open(t, nc, cfg)
	early := newReader(t, log, alice)
	for n := 1; n <= 5; n++ {
		add(t, log, alice, n)
	}
	live := newReader(t, log, alice)
	stream, err := jet(t, nc).Stream(t.Context(), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	early.wantGap(t, eventlog.GapTrimmed)
	add(t, log, alice, 6)
	live.want(t, 6)
	early.want(t, 6)
}

func TestRecreatedStreamIsAnEpochGap(t *testing.T) {
	t.Parallel()
	onServers(t, recreate)
}

func recreate(t *testing.T, s single, cfg natslog.Config) {
	nc := connect(t, s.ClientURL())
	log := open(t, nc, cfg)
	r := newReader(t, log, alice)
	add(t, log, alice, 1)
	r.want(t, 1)
	if err := jet(t, nc).DeleteStream(t.Context(), "GINSSE"); err != nil {
		t.Fatal(err)
	}
	peer := open(t, connect(t, s.ClientURL()), cfg)
	r.wantGap(t, eventlog.GapEpoch)
	add(t, peer, alice, 2)
	r.want(t, 2)
	add(t, log, alice, 3)
	r.want(t, 3)
}

// TestRolledBackStreamIsAGap restores an old copy of the store, as a restored disk or a power cut
// does, and writes other events under the same sequences.
func TestRolledBackStreamIsAGap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		again int // events written after the copy
		cfg   natslog.Config
	}{
		"shorter":            {1, natslog.Config{}},
		"as_long":            {5, natslog.Config{}},
		"longer":             {9, natslog.Config{}},
		"longer_than_memory": {9, natslog.Config{RecentBytes: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			port, store := s.Addr().(*net.TCPAddr).Port, strings.TrimSuffix(s.StoreDir(), "/jetstream")
			log := open(t, connect(t, s.ClientURL()), test.cfg)
			for n := 1; n <= 5; n++ {
				add(t, log, alice, n)
			}
			stopServer(s)
			old := t.TempDir()
			if err := os.CopyFS(old, os.DirFS(store)); err != nil {
				t.Fatal(err)
			}
			s = startServer(t, port, store)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for n := 6; n <= 10; n++ {
				if _, err := log.Append(ctx, record(alice, n)); err != nil {
					t.Fatal(err)
				}
			}
			r := newReader(t, log, alice)
			stopServer(s)
			s = startServer(t, port, old)
			js := jet(t, connect(t, s.ClientURL()))
			for range test.again {
				if _, err := js.Publish(ctx, "ginsse.user.YWxpY2U", frame(100)); err != nil {
					t.Fatal(err)
				}
			}
			r.wantGap(t, eventlog.GapUnknown)
			if _, err := js.Publish(ctx, "ginsse.user.YWxpY2U", frame(200)); err != nil {
				t.Fatal(err)
			}
			_, gap := r.follow(t, func(events []int) bool { return len(events) > 0 && events[len(events)-1] == 200 })
			if gap != "" {
				t.Errorf("gap %q after the gap", gap)
			}
		})
	}
}

func TestOpenRefusesAStreamItCannotUse(t *testing.T) {
	t.Parallel()
	nc := connect(t, newServer(t).ClientURL())
	js := jet(t, nc)
	subjects := func(name string) []string {
		return []string{name + ".all", name + ".all.*", name + ".user.>", name + ".topic.>", name + ".command.>", name + ".revoke.>", name + ".run.>"}
	}
	for field, cfg := range map[string]jetstream.StreamConfig{
		"Subjects":    {Subjects: []string{"other.>"}},
		"Retention":   {Retention: jetstream.InterestPolicy},
		"Discard":     {Discard: jetstream.DiscardNew},
		"NoAck":       {NoAck: true},
		"AllowRollup": {AllowRollup: true},
		"AllowMsgTTL": {AllowMsgTTL: true},
		"Duplicates":  {Duplicates: time.Minute},
	} {
		t.Run(field, func(t *testing.T) {
			cfg.Name = field
			if cfg.Subjects == nil {
				cfg.Subjects = subjects(field)
			}
			stream, err := js.CreateStream(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.AllowMsgTTL && !stream.CachedInfo().Config.AllowMsgTTL {
				t.Skip("the server does not know it yet")
			}
			if log, err := natslog.Open(t.Context(), nc, natslog.Config{Stream: field, Prefix: field}); err == nil || !strings.Contains(err.Error(), field+" is") {
				t.Errorf("opened %v with error %v", log, err)
			}
		})
	}
}

func TestOpenNamesTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]natslog.Config{
		"Stream":           {Stream: "a.b"},
		"Prefix":           {Prefix: "a.>"},
		"Replicas":         {Replicas: 6},
		"EventsPerSubject": {EventsPerSubject: -1},
		"MaxAge":           {MaxAge: time.Millisecond},
		"MaxBytes":         {MaxBytes: -1},
		"RecentBytes":      {RecentBytes: -1},
		"AppendTimeout":    {AppendTimeout: -1},
	} {
		if _, err := natslog.Open(t.Context(), nil, cfg); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: error is %v", field, err)
		}
	}
}

func TestAppendRefusesInvalidRecords(t *testing.T) {
	t.Parallel()
	log := open(t, connect(t, newServer(t).ClientURL()), natslog.Config{})
	for _, subject := range []string{"", "alice", "user:", "group:x", "control", "command", "user:a\nb"} {
		if _, err := log.Append(t.Context(), record(subject, 1)); !errors.Is(err, eventlog.ErrInvalidRecord) {
			t.Errorf("subject %q: %v", subject, err)
		}
	}
	large := append(bytes.Repeat([]byte("x"), 2<<20), "\n\n"...)
	if _, err := log.Append(t.Context(), eventlog.Record{Subject: alice, Frame: large}); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("2 MiB: %v", err)
	}
	for name, frame := range invalidFrames {
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: alice, Frame: []byte(frame)}); !errors.Is(err, eventlog.ErrInvalidRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
