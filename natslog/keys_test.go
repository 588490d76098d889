package natslog_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

func addKeyed(t *testing.T, log *natslog.Log, subject, key string, n int) eventlog.Cursor {
	t.Helper()
	at, err := log.Append(t.Context(), eventlog.Record{Subject: subject, Key: key, Frame: frame(n)})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// withoutReplicas has reads ask the leader alone.
func withoutReplicas(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	cfg := streamInfo(t, js).Config
	cfg.AllowDirect = false
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// onPaths runs a test on each way on which a page is read.
func onPaths(t *testing.T, test func(t *testing.T, recentBytes int, direct bool)) {
	t.Helper()
	for name, path := range map[string]struct {
		recentBytes int
		direct      bool
	}{
		"from_memory":     {0, true},
		"from_a_replica":  {1, true},
		"from_the_leader": {1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, path.recentBytes, path.direct)
		})
	}
}

// publishLater publishes without waiting for the acknowledgement, unless many are outstanding.
func publishLater(t *testing.T, js jetstream.JetStream, subject string, data []byte) {
	t.Helper()
	if js.PublishAsyncPending() >= 500 {
		<-js.PublishAsyncComplete()
	}
	if _, err := js.PublishAsync(subject, data); err != nil {
		t.Fatal(err)
	}
}

// startOf returns the position before the first entry.
func startOf(t *testing.T, log *natslog.Log) eventlog.Cursor {
	t.Helper()
	return eventlog.Cursor{Epoch: head(t, log).Epoch}
}

// readPages reads from a position to the head.
func readPages(t *testing.T, log *natslog.Log, q eventlog.Query) (list []int) {
	t.Helper()
	for {
		page, err := read(t, log, q)
		if err != nil || page.Gap != "" || page.More && page.Through == q.After {
			t.Fatalf("after %+v: gap %q, through %+v, error %v", q.After, page.Gap, page.Through, err)
		}
		list = append(list, numbers(page.Entries)...)
		if q.After = page.Through; !page.More {
			return list
		}
	}
}

// TestUpdatesOfOneKeyRemoveNoOtherEvents has far more updates than the stream keeps events of one
// subject.
func TestUpdatesOfOneKeyRemoveNoOtherEvents(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, recentBytes int, direct bool) {
		nc := connect(t, newServer(t).ClientURL())
		log := open(t, nc, natslog.Config{RecentBytes: recentBytes, EventsPerSubject: 100})
		js := jet(t, nc)
		if !direct {
			withoutReplicas(t, js)
		}
		r := newReader(t, log, alice)
		first := add(t, log, alice, 1)
		addKeyed(t, log, alice, "other", 2)
		subject, err := natslog.NATSSubject("ginsse", alice, "k")
		if err != nil {
			t.Fatal(err)
		}
		const updates = 10_000
		for n := range updates {
			publishLater(t, js, subject, frame(100+n))
		}
		<-js.PublishAsyncComplete()
		last := add(t, log, alice, 3)
		if got := streamInfo(t, js).State.Msgs; got != 3+101 {
			t.Errorf("the stream has %d messages", got)
		}
		r.want(t, 1, 2, 100+updates-1, 3)
		r.at = first
		r.want(t, 2, 100+updates-1, 3)
		latest := eventlog.Query{Subjects: []string{alice}, After: startOf(t, log), MaxEntries: 1, MaxBytes: 1, Latest: true}
		if got := readPages(t, log, latest); !slices.Equal(got, []int{2, 100 + updates - 1}) {
			t.Errorf("the newest of each key are %v", got)
		}
		r.at = last
		addKeyed(t, log, alice, "k", 4)
		r.want(t, 4)
	})
}

// TestPagesHaveTheNewestOfEachKey compares pages from all positions with a model.
func TestPagesHaveTheNewestOfEachKey(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, recentBytes int, direct bool) {
		nc := connect(t, newServer(t).ClientURL())
		log := open(t, nc, natslog.Config{RecentBytes: recentBytes})
		if !direct {
			withoutReplicas(t, jet(t, nc))
		}
		type stored struct {
			subject, key string
			at           eventlog.Cursor
		}
		list := []stored{{at: startOf(t, log)}}
		random := rand.New(rand.NewPCG(1, 2))
		for n := 1; n <= 150; n++ {
			e := stored{subject: []string{alice, bob, all}[random.IntN(3)], key: []string{"", "a", "b c", "ü", ""}[random.IntN(5)]}
			e.at = addKeyed(t, log, e.subject, e.key, n)
			list = append(list, e)
		}
		want := func(subjects []string, after int, latest bool) (numbers []int) {
			newest := make(map[[2]string]int)
			for n, e := range list {
				newest[[2]string{e.subject, e.key}] = n
			}
			for n, e := range list[after+1:] {
				n += after + 1
				if slices.Contains(subjects, e.subject) && (e.key == "" && !latest || e.key != "" && newest[[2]string{e.subject, e.key}] == n) {
					numbers = append(numbers, n)
				}
			}
			return numbers
		}
		for after := 0; after < len(list); after += 1 + random.IntN(10) {
			for _, subjects := range [][]string{{alice}, {bob, all}, {alice, bob, all}} {
				for _, latest := range []bool{false, true} {
					q := eventlog.Query{Subjects: subjects, After: list[after].at, MaxEntries: 1 + random.IntN(20), MaxBytes: 1 << 20, Latest: latest}
					if got, want := readPages(t, log, q), want(subjects, after, latest); !slices.Equal(got, want) {
						t.Errorf("%v after %d, latest %v: read %v, want %v", subjects, after, latest, got, want)
					}
				}
			}
		}
	})
}

// TestKeysAreReadWhileTheyAreUpdated reads from the beginning again and again. The stream may have
// newer entries than the node has, and each page has one entry of each key all the same.
func TestKeysAreReadWhileTheyAreUpdated(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, recentBytes int, direct bool) {
		const keys = 5
		if recentBytes > 0 {
			recentBytes = 16 << 10 // the entries that come during a read are in memory
		}
		s := newServer(t)
		nc := connect(t, s.ClientURL())
		log := open(t, nc, natslog.Config{RecentBytes: recentBytes})
		if !direct {
			withoutReplicas(t, jet(t, nc))
		}
		start := startOf(t, log)
		for key := range keys {
			addKeyed(t, log, alice, fmt.Sprint(key), 0)
		}
		there := jet(t, connect(t, s.ClientURL()))
		end := make(chan struct{})
		var updating sync.WaitGroup
		defer updating.Wait()
		defer close(end)
		updating.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-end:
					return
				default:
				}
				subject, _ := natslog.NATSSubject("ginsse", alice, fmt.Sprint(n%keys))
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				_, err := there.Publish(ctx, subject, frame(n))
				if cancel(); err != nil {
					t.Error(err)
					return
				}
			}
		})
		newest := make(map[string]int)
		deadline := time.Now().Add(2 * patience)
		for latest := false; newest["0"] < 500; latest = !latest {
			page, err := read(t, log, eventlog.Query{Subjects: []string{alice}, After: start, MaxEntries: 100, MaxBytes: 1 << 20, Latest: latest})
			if page.More && time.Now().Before(deadline) {
				continue // the machine is slow
			}
			if err != nil || page.Gap != "" || len(page.Entries) != keys {
				t.Fatalf("%d entries, gap %q, error %v", len(page.Entries), page.Gap, err)
			}
			for i, n := range numbers(page.Entries) {
				key := page.Entries[i].Key
				if n < newest[key] {
					t.Errorf("entry %d of key %s was read after entry %d", n, key, newest[key])
				}
				newest[key] = n
			}
		}
	})
}

// TestReplicaThatIsWrongAboutKeysLosesNothing has a replica answer as one may that lags, was rolled
// back, dies, or has too much to send. The reader gets the newest of each key.
func TestReplicaThatIsWrongAboutKeysLosesNothing(t *testing.T) {
	t.Parallel()
	s := embed(t, &server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()})
	for name, test := range map[string]struct {
		change func(answers []*nats.Msg) []*nats.Msg
		upTo   uint64 // the replica lags, and has messages up to there; 0 for all
	}{
		"correct":          {change: func(answers []*nats.Msg) []*nats.Msg { return answers }},
		"lags":             {change: func(answers []*nats.Msg) []*nats.Msg { return answers }, upTo: 35},
		"lags_by_one":      {change: func(answers []*nats.Msg) []*nats.Msg { return answers }, upTo: 40},
		"has_none":         {change: func([]*nats.Msg) []*nats.Msg { return chain(nil) }},
		"stops":            {change: func(answers []*nats.Msg) []*nats.Msg { return chain(answers[:2]) }},
		"lost_on_the_way":  {change: func(answers []*nats.Msg) []*nats.Msg { return slices.Delete(answers, 1, 2) }},
		"lost_the_first":   {change: func(answers []*nats.Msg) []*nats.Msg { return answers[1:] }},
		"silent":           {change: func([]*nats.Msg) []*nats.Msg { return nil }},
		"has_too_many":     {change: func([]*nats.Msg) []*nats.Msg { return []*nats.Msg{status("413")} }},
		"does_not_know_it": {change: func([]*nats.Msg) []*nats.Msg { return []*nats.Msg{status("408")} }},
		"version_2.10": {change: func(answers []*nats.Msg) []*nats.Msg {
			answers[0].Header.Del("Nats-Num-Pending")
			answers[0].Header.Del("Nats-Last-Sequence")
			return answers[:1]
		}},
		"rolled_back": {change: func(answers []*nats.Msg) []*nats.Msg {
			answers[len(answers)-2].Header.Set("Nats-Time-Stamp", time.Now().Add(-time.Second).Format(time.RFC3339Nano))
			return answers
		}},
		"another_subject": {change: func(answers []*nats.Msg) []*nats.Msg {
			answers[1].Header.Set("Nats-Subject", strings.ReplaceAll(answers[1].Header.Get("Nats-Subject"), ".user.", ".topic."))
			return answers
		}},
		"mirror": {change: func(answers []*nats.Msg) []*nats.Msg {
			for _, answer := range answers {
				answer.Header.Set("Nats-Stream", "OTHER")
			}
			return answers
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := strings.ReplaceAll(name, ".", "-")
			log := open(t, connect(t, s.ClientURL()), natslog.Config{Stream: stream, Prefix: stream, RecentBytes: 1})
			start := startOf(t, log)
			newest := make(map[string]int)
			for n := 1; n <= 40; n++ {
				subject, key := []string{alice, bob, all}[n%3], fmt.Sprint(n%7)
				addKeyed(t, log, subject, key, n)
				if subject != bob {
					newest[subject+key] = n
				}
			}
			addKeyed(t, log, bob, "end", 41)
			var asked atomic.Bool
			newReplica(t, s, stream, func(q batchQuery, answers []*nats.Msg) []*nats.Msg {
				if len(q.LastFor) == 0 {
					return answers
				}
				asked.Store(true)
				return test.change(answers)
			}).upTo.Store(test.upTo)
			want := slices.Sorted(maps.Values(newest))
			for _, latest := range []bool{true, false} {
				q := eventlog.Query{Subjects: []string{alice, all}, After: start, MaxEntries: 100, MaxBytes: 1 << 20, Latest: latest}
				if got := readPages(t, log, q); !slices.Equal(got, want) {
					t.Errorf("latest %v: read %v, want %v", latest, got, want)
				}
			}
			if !asked.Load() {
				t.Error("the replica was not asked")
			}
		})
	}
}

// TestLatestTakesFewRequests reads the newest of some keys among many events.
func TestLatestTakesFewRequests(t *testing.T) {
	t.Parallel()
	nc := connect(t, embed(t, &server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()}).ClientURL()) // 2.10 has no batches
	log := open(t, nc, natslog.Config{RecentBytes: 1})
	for n := range 300 {
		addKeyed(t, log, alice, []string{"", "a", "b"}[n%3], n)
	}
	q := eventlog.Query{Subjects: []string{alice, all}, After: startOf(t, log), MaxEntries: 100, MaxBytes: 1 << 20, Latest: true}
	wantFewMessages(t, nc, 10, func(log *natslog.Log) {
		if got := readPages(t, log, q); !slices.Equal(got, []int{298, 299}) {
			t.Errorf("read %v", got)
		}
	})
}

// TestMoreKeysThanAReplicaSearches has so many keys, or so large events, that the leader is asked.
func TestMoreKeysThanAReplicaSearches(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ keys, size int }{"many": {1500, 10}, "large": {25, 180 << 10}} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "large" {
				t.Skip("it needs 9 MiB within four seconds: left out with -short")
			}
			t.Parallel()
			nc := connect(t, newServer(t).ClientURL())
			log := open(t, nc, natslog.Config{RecentBytes: 1})
			js := jet(t, nc)
			for n := range test.keys {
				subject, err := natslog.NATSSubject("ginsse", alice, fmt.Sprint("k", n))
				if err != nil {
					t.Fatal(err)
				}
				text := fmt.Sprintf("data: %d\n:%s\n\n", n, strings.Repeat("x", test.size))
				publishLater(t, js, subject, []byte(text))
			}
			<-js.PublishAsyncComplete()
			add(t, log, bob, 0)
			q := eventlog.Query{Subjects: []string{alice}, After: startOf(t, log), MaxEntries: 500, MaxBytes: 4 << 20, Latest: true}
			got := readPages(t, log, q)
			if len(got) != test.keys {
				t.Fatalf("read %d events", len(got))
			}
			for i, n := range got {
				if i != n {
					t.Fatalf("event %d came in place of %d", n, i)
				}
			}
		})
	}
}

// TestKeysOutliveTheFirstEvent has the first events leave the stream. The newest of each key that
// it still has are no gap.
func TestKeysOutliveTheFirstEvent(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, recentBytes int, direct bool) {
		nc := connect(t, newServer(t).ClientURL())
		js := jet(t, nc)
		log := open(t, nc, natslog.Config{RecentBytes: recentBytes})
		if !direct {
			withoutReplicas(t, js)
		}
		start := startOf(t, log)
		gone := addKeyed(t, log, alice, "a", 1)
		addKeyed(t, log, alice, "b", 2)
		addKeyed(t, log, alice, "c", 3)
		addKeyed(t, log, alice, "b", 4)
		add(t, log, bob, 0)
		stream, err := js.Stream(t.Context(), "GINSSE")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(3)); err != nil {
			t.Fatal(err)
		}
		log = open(t, connect(t, nc.ConnectedUrl()), natslog.Config{RecentBytes: recentBytes}) // it has not seen them
		for _, after := range []eventlog.Cursor{start, gone} {
			q := eventlog.Query{Subjects: []string{alice}, After: after, MaxEntries: 1, MaxBytes: 1, Latest: true}
			if got := readPages(t, log, q); !slices.Equal(got, []int{3, 4}) {
				t.Errorf("after %+v: read %v", after, got)
			}
			q.Latest = false
			if page, err := read(t, log, q); err != nil || page.Gap != eventlog.GapTrimmed {
				t.Errorf("after %+v: gap %q, error %v", after, page.Gap, err)
			}
		}
	})
}

// TestForeignMessageReplacesTheEventOfItsKey has another publisher write a message that is not an
// event. All ways to read agree.
func TestForeignMessageReplacesTheEventOfItsKey(t *testing.T) {
	t.Parallel()
	onPaths(t, func(t *testing.T, recentBytes int, direct bool) {
		nc := connect(t, newServer(t).ClientURL())
		js := jet(t, nc)
		log := open(t, nc, natslog.Config{RecentBytes: recentBytes})
		if !direct {
			withoutReplicas(t, js)
		}
		start := startOf(t, log)
		addKeyed(t, log, alice, "a", 1)
		addKeyed(t, log, alice, "b", 2)
		subject, err := natslog.NATSSubject("ginsse", alice, "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), subject, []byte("nothing")); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), subject+".x", frame(9)); err != nil {
			t.Fatal(err)
		}
		add(t, log, alice, 3)
		for _, latest := range []bool{false, true} {
			q := eventlog.Query{Subjects: []string{alice}, After: start, MaxEntries: 10, MaxBytes: 1 << 20, Latest: latest}
			want := []int{2, 3}
			if latest {
				want = want[:1] // the other one has no key
			}
			if got := readPages(t, log, q); !slices.Equal(got, want) {
				t.Errorf("latest %v: read %v", latest, got)
			}
		}
	})
}

// TestKeysOnServers reads entries with keys that are no longer in memory, of any replica.
func TestKeysOnServers(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, s single, cfg natslog.Config) {
		cfg.RecentBytes = 1
		log, peer := open(t, connect(t, s.ClientURL()), cfg), open(t, connect(t, s.ClientURL()), cfg)
		start := startOf(t, log)
		newest := make(map[string]int)
		for n := range 200 {
			subject, key := []string{alice, bob, all}[n%3], fmt.Sprint(n%5)
			addKeyed(t, log, subject, key, n)
			if subject != bob {
				newest[subject+key] = n
			}
			if n%20 != 19 {
				continue
			}
			head(t, peer) // Read sees all entries then
			for _, latest := range []bool{false, true} {
				q := eventlog.Query{Subjects: []string{alice, all}, After: start, MaxEntries: 3, MaxBytes: 1 << 20, Latest: latest}
				if got, want := readPages(t, peer, q), slices.Sorted(maps.Values(newest)); !slices.Equal(got, want) {
					t.Errorf("latest %v: read %v, want %v", latest, got, want)
				}
			}
		}
	})
}
