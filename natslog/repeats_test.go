package natslog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

func dedupRecord(n int, dedupKey string) eventlog.Record {
	return eventlog.Record{Subject: alice, DedupKey: dedupKey, Frame: frame(n)}
}

// TestRepeatAfterALostAnswerIsOne has an Append end without an answer, and the caller append again
// on another node.
func TestRepeatAfterALostAnswerIsOne(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.Addr().String())
	here, there := open(t, p.connect(t), natslog.Config{}), open(t, connect(t, s.ClientURL()), natslog.Config{})
	r := newReader(t, there, alice)
	var lost atomic.Bool
	p.OnAnswer(func(_ int, data []byte) nodetest.Verdict {
		if bytes.Contains(data, []byte(`{"stream":`)) {
			lost.Store(true)
			return nodetest.Hold
		}
		return nodetest.Forward
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := here.Append(ctx, dedupRecord(1, "d")); !errors.Is(err, eventlog.ErrUnavailable) || !lost.Load() {
		t.Fatalf("error %v, an answer was lost: %v", err, lost.Load())
	}
	at, err := there.Append(t.Context(), dedupRecord(1, "d"))
	if err != nil {
		t.Fatal(err)
	}
	last := add(t, there, alice, 2)
	r.want(t, 1, 2)
	if at.Seq != last.Seq-1 {
		t.Errorf("the repeat is at %+v, and the next event at %+v", at, last)
	}
}

// TestRepeatOfAnEventThatIsGone has the first event leave the stream and the memory.
func TestRepeatOfAnEventThatIsGone(t *testing.T) {
	t.Parallel()
	nc := connect(t, newServer(t).ClientURL())
	log := open(t, nc, natslog.Config{RecentBytes: 1})
	first, err := log.Append(t.Context(), dedupRecord(1, "d"))
	if err != nil {
		t.Fatal(err)
	}
	add(t, log, bob, 2)
	repeat := func() (at eventlog.Cursor) {
		t.Helper()
		until(t, "the repeat", func() bool { // its place is asked for, and the answer may take more than a second
			at, err = log.Append(t.Context(), dedupRecord(3, "d"))
			return err == nil
		})
		return at
	}
	if at := repeat(); at != first {
		t.Errorf("the first is at %+v, and the repeat got %+v", first, at)
	}
	stream, err := jet(t, nc).Stream(t.Context(), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.Check = 0 // not known any more
	if at := repeat(); at != first {
		t.Errorf("the first is at %+v, and the repeat got %+v", first, at)
	}
	if last := streamInfo(t, jet(t, nc)).State.LastSeq; last != 2 {
		t.Errorf("the stream ends at %d", last)
	}
}

func TestStreamKnowsRepeatsForTheWholeWindow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ maxAge, want time.Duration }{
		"default":     {0, eventlog.DedupWindow},
		"short_lived": {time.Second, time.Second}, // the broker accepts no more
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := connect(t, newServer(t).ClientURL())
			open(t, nc, natslog.Config{MaxAge: test.maxAge})
			if got := streamInfo(t, jet(t, nc)).Config.Duplicates; got != test.want {
				t.Errorf("the stream knows ids for %v, want %v", got, test.want)
			}
			open(t, nc, natslog.Config{MaxAge: test.maxAge}) // the stream exists
		})
	}
}

// createFirstVersion creates the stream as v0.1.0 did.
func createFirstVersion(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	_, err := js.CreateStream(patient(t), jetstream.StreamConfig{
		Name: "GINSSE", Subjects: []string{"ginsse.all", "ginsse.user.*", "ginsse.topic.*", "ginsse.command.*"},
		Replicas: max(1, replicas), MaxMsgsPerSubject: 4097, MaxAge: time.Hour, MaxBytes: 1 << 30, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStreamOfTheFirstVersionIsUpgraded opens a stream without the subjects of keys, on two nodes
// at the same time. Its events stay readable.
func TestStreamOfTheFirstVersionIsUpgraded(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, s single, cfg natslog.Config) {
		js := jet(t, connect(t, s.ClientURL()))
		createFirstVersion(t, js, cfg.Replicas)
		for n := 1; n <= 3; n++ {
			if _, err := js.Publish(patient(t), "ginsse.user.YWxpY2U", frame(n)); err != nil {
				t.Fatal(err)
			}
		}
		created := streamInfo(t, js).Created
		logs := make([]*natslog.Log, 2)
		var opening sync.WaitGroup
		for i := range logs {
			nc, ctx := connect(t, s.ClientURL()), patient(t)
			opening.Go(func() {
				var err error
				if logs[i], err = natslog.Open(ctx, nc, cfg); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
		if t.Failed() {
			return
		}
		for _, log := range logs {
			t.Cleanup(func() { log.Close() })
		}
		for n, subject := range []string{alice, "revoke:x", "command:alice", "topic:x", all} {
			addKeyed(t, logs[0], subject, "k", 4+n)
		}
		r := newReader(t, logs[1], alice, all)
		r.at = startOf(t, logs[1])
		r.want(t, 1, 2, 3, 4, 8)
		if !streamInfo(t, js).Created.Equal(created) {
			t.Error("the stream was recreated")
		}
	})
}

func TestAppendRefusesInvalidKeys(t *testing.T) {
	t.Parallel()
	log := open(t, connect(t, newServer(t).ClientURL()), natslog.Config{})
	long := strings.Repeat("x", eventlog.MaxNameBytes)
	for _, r := range []eventlog.Record{
		{Subject: alice, Key: "a\nb"}, {Subject: alice, Key: long + "x"}, {Subject: alice, DedupKey: "a\x00b"}, {Subject: alice, DedupKey: long + "x"},
	} {
		r.Frame = frame(1)
		if _, err := log.Append(t.Context(), r); !errors.Is(err, eventlog.ErrInvalidRecord) {
			t.Errorf("key %q, DedupKey %q: %v", r.Key, r.DedupKey, err)
		}
	}
	r := newReader(t, log, "user:"+long)
	if _, err := log.Append(t.Context(), eventlog.Record{Subject: "user:" + long, Key: long, DedupKey: long, Frame: frame(1)}); err != nil {
		t.Fatal(err)
	}
	r.want(t, 1)
}

// updater updates one key. It appends each event until that succeeds, on one node or another.
type updater struct {
	stop    func()
	done    atomic.Int64 // events
	repeats atomic.Int64 // attempts after the first one of an event
}

const updated = "user:updated"

func newUpdater(t *testing.T, logs ...*natslog.Log) *updater {
	u := new(updater)
	end := make(chan struct{})
	var updating sync.WaitGroup
	u.stop = sync.OnceFunc(func() {
		close(end)
		updating.Wait()
	})
	t.Cleanup(u.stop)
	updating.Go(func() {
		for n, try := 1, 0; ; try++ {
			select {
			case <-end:
				return
			default:
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
			_, err := logs[try%len(logs)].Append(ctx, eventlog.Record{Subject: updated, Key: "k", DedupKey: fmt.Sprint(n), Frame: frame(n)})
			cancel()
			if err != nil {
				u.repeats.Add(1)
				continue
			}
			u.done.Store(int64(n))
			n++
		}
	})
	return u
}

// verify has a reader read everything. It may miss events that were replaced, and gets the newest.
// The stream has stored each once.
func (u *updater) verify(t *testing.T, r *reader, js jetstream.JetStream) {
	t.Helper()
	last := int(u.done.Load())
	stream, err := js.Stream(patient(t), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	subject, err := natslog.NATSSubject("ginsse", updated, "k")
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(patient(t), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	// The one in progress at the end may be stored, too.
	if stored := int(info.State.Subjects[subject]); stored < last || stored > last+1 {
		t.Errorf("of %d updates, %d are stored", last, stored)
	}
	events, gap := r.follow(t, func(events []int) bool { return len(events) > 0 && events[len(events)-1] >= last })
	if gap != "" {
		t.Errorf("gap %q", gap)
	}
	for i := 1; i < len(events); i++ {
		if events[i] <= events[i-1] {
			t.Errorf("update %d came after update %d", events[i], events[i-1])
		}
	}
	t.Logf("%d updates, %d of them read, %d repeats", last, len(events), u.repeats.Load())
}
