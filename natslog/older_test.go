package natslog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// TestReadingOldEventsTakesFewRequests reads events that are no longer in memory.
func TestReadingOldEventsTakesFewRequests(t *testing.T) {
	t.Parallel()
	nc := connect(t, embed(t, &server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()}).ClientURL()) // 2.10 has no batches
	log := open(t, nc, natslog.Config{RecentBytes: 1})
	r := newReader(t, log, alice, bob)
	const count = 200
	var want []int
	for n := range count {
		add(t, log, []string{alice, bob}[n%2], n)
		want = append(want, n)
	}
	for _, most := range []struct{ events, requests uint64 }{{1000, 20}, {100, 40}, {16, 300}} {
		wantFewMessages(t, nc, most.requests, func(log *natslog.Log) {
			var got []int
			for at := r.at; len(got) < count; {
				page, err := read(t, log, eventlog.Query{Subjects: r.subjects, After: at, MaxEntries: int(most.events), MaxBytes: 1 << 20})
				if err != nil || page.Gap != "" || page.Through == at {
					t.Fatalf("at %+v: gap %q, error %v", page.Through, page.Gap, err)
				}
				at, got = page.Through, append(got, numbers(page.Entries)...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d events a page: read %v", most.events, got)
			}
		})
	}
}

// TestReadWithoutWaitingSendsNoRequest reads events in memory, and asks for others.
func TestReadWithoutWaitingSendsNoRequest(t *testing.T) {
	t.Parallel()
	nc := connect(t, newServer(t).ClientURL())
	log := open(t, nc, natslog.Config{RecentBytes: 1})
	r := newReader(t, log, alice)
	positions := []eventlog.Cursor{r.at}
	for n := range 10 {
		positions = append(positions, add(t, log, alice, n))
	}
	// The node also asks how the stream is, every now and then. Reads by the hundred do not.
	before := nc.Stats().OutMsgs
	const times = 100
	for range times {
		for after, at := range positions {
			page, err := read(t, log, eventlog.Query{Subjects: r.subjects, After: at, MaxEntries: 100, MaxBytes: 1 << 20, NoWait: true})
			if after < 9 { // the newest event is always in memory
				if !errors.Is(err, eventlog.ErrWouldWait) || errors.Is(err, eventlog.ErrUnavailable) {
					t.Fatalf("after %d events: error %v", after, err)
				}
			} else if err != nil || page.Gap != "" || len(page.Entries) != 10-after {
				t.Fatalf("after %d events: %d in memory, gap %q, error %v", after, len(page.Entries), page.Gap, err)
			}
		}
	}
	if sent := nc.Stats().OutMsgs - before; sent >= times {
		t.Errorf("%d requests", sent)
	}
	r.want(t, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
}

// TestOldEventsOnServers reads events that are no longer in memory, with bounds on the page.
func TestOldEventsOnServers(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, s single, cfg natslog.Config) {
		nc := connect(t, s.ClientURL())
		cfg.RecentBytes = 1
		log := open(t, nc, cfg)
		r := newReader(t, log, alice, bob, all)
		var want []int
		for n := range 300 {
			subject := []string{alice, "user:carol", bob, all}[n%4]
			add(t, log, subject, n)
			if subject != "user:carol" {
				want = append(want, n)
			}
		}
		r.want(t, want...)
	})
}

// replica answers requests for batches instead of the servers.
type replica struct {
	nc    *nats.Conn
	asked atomic.Int64  // for batches of one subject
	upTo  atomic.Uint64 // the last message that it has; 0 for all
}

type batchQuery struct {
	Seq      uint64   `json:"seq"`
	NextFor  string   `json:"next_by_subj"`
	LastFor  []string `json:"multi_last"`
	UpTo     uint64   `json:"up_to_seq"`
	Batch    int      `json:"batch"`
	MaxBytes int      `json:"max_bytes"`
}

// newReplica has a replica answer for a stream. A function changes its correct answers before they
// are sent.
func newReplica(t *testing.T, s *server.Server, stream string, change func(q batchQuery, answers []*nats.Msg) []*nats.Msg) *replica {
	t.Helper()
	subject := "replica." + stream
	if err := s.GlobalAccount().AddMapping("$JS.API.DIRECT.GET."+stream, subject); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, s.ClientURL())
	asking := connect(t, s.ClientURL())
	r := &replica{nc: asking}
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
		var q batchQuery
		if err := json.Unmarshal(m.Data, &q); err != nil {
			t.Error(err)
		}
		if q.NextFor != "" {
			r.asked.Add(1)
		}
		answers, err := r.correct(stream, q)
		if err != nil {
			t.Error(err)
			return
		}
		for _, answer := range change(q, answers) {
			answer.Subject = m.Reply
			if err := nc.PublishMsg(answer); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return r
}

// correct returns the answers of a replica that has all of the stream.
func (r *replica) correct(stream string, q batchQuery) (answers []*nats.Msg, err error) {
	type message struct {
		Subject string `json:"subject"`
		Seq     uint64 `json:"seq"`
		Data    []byte `json:"data"`
		Time    string `json:"time"`
	}
	var pending []*message
	filter := q.NextFor
	if len(q.LastFor) > 0 {
		filter = ">"
	}
	for seq := q.Seq; ; {
		text := fmt.Sprintf(`{"seq":%d,"next_by_subj":%q}`, seq, filter)
		m, err := r.nc.Request("$JS.API.STREAM.MSG.GET."+stream, []byte(text), patience)
		if err != nil {
			return nil, err
		}
		var answer struct {
			Message *message `json:"message"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return nil, err
		}
		if answer.Message == nil {
			break
		}
		found := answer.Message
		seq = found.Seq + 1
		if len(q.LastFor) > 0 {
			if most := r.upTo.Load(); found.Seq > q.UpTo || most > 0 && found.Seq > most {
				break
			}
			if !slices.ContainsFunc(q.LastFor, func(filter string) bool { return natslog.MatchesFilter(filter, found.Subject) }) {
				continue
			}
			pending = slices.DeleteFunc(pending, func(m *message) bool { return m.Subject == found.Subject })
		}
		pending = append(pending, found)
	}
	for i, m := range pending[:min(len(pending), q.Batch)] {
		answer := nats.NewMsg("")
		answer.Data = m.Data
		answer.Header.Set("Nats-Stream", stream)
		answer.Header.Set("Nats-Subject", m.Subject)
		answer.Header.Set("Nats-Sequence", fmt.Sprint(m.Seq))
		answer.Header.Set("Nats-Time-Stamp", m.Time)
		answer.Header.Set("Nats-Num-Pending", fmt.Sprint(len(pending)-1-i))
		answers = append(answers, answer)
	}
	return chain(answers), nil
}

// chain sets in each answer the number of the one before it, and appends the end of the batch.
func chain(answers []*nats.Msg) []*nats.Msg {
	previous := "0"
	for _, answer := range answers {
		answer.Header.Set("Nats-Last-Sequence", previous)
		previous = answer.Header.Get("Nats-Sequence")
	}
	end := status("204")
	if len(answers) == 0 {
		end = status("404")
	}
	end.Header.Set("Nats-Last-Sequence", previous)
	return append(answers, end)
}

// withoutSome removes some answers between others, if there are enough.
func withoutSome(answers []*nats.Msg) []*nats.Msg {
	if len(answers) < 5 {
		return answers
	}
	return chain(slices.Delete(answers[:len(answers)-1], 1, 3))
}

func status(code string) *nats.Msg {
	m := nats.NewMsg("")
	m.Header.Set("Status", code)
	return m
}

// TestReplicaThatIsWrongLosesNothing has a replica answer as one may that lags, was rolled back,
// dies, or is of another version. The reader gets each event, in order, with the leader's cursors.
func TestReplicaThatIsWrongLosesNothing(t *testing.T) {
	t.Parallel()
	s := embed(t, &server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()})
	set := func(header, value string, of func(answers []*nats.Msg) *nats.Msg) func(answers []*nats.Msg) []*nats.Msg {
		return func(answers []*nats.Msg) []*nats.Msg {
			of(answers).Header.Set(header, value)
			return answers
		}
	}
	at := func(i int) func(answers []*nats.Msg) *nats.Msg {
		return func(answers []*nats.Msg) *nats.Msg { return answers[i] }
	}
	last := func(answers []*nats.Msg) *nats.Msg { return answers[len(answers)-2] }
	long := time.Now().Add(-time.Second).Format(time.RFC3339Nano)
	for name, change := range map[string]func(answers []*nats.Msg) []*nats.Msg{
		"correct":          func(answers []*nats.Msg) []*nats.Msg { return answers },
		"lags":             func(answers []*nats.Msg) []*nats.Msg { return chain(answers[:3]) },
		"lags_by_most":     func(answers []*nats.Msg) []*nats.Msg { return chain(answers[:1]) },
		"has_none":         func([]*nats.Msg) []*nats.Msg { return chain(nil) },
		"lacks_the_first":  func(answers []*nats.Msg) []*nats.Msg { return chain(answers[2 : len(answers)-1]) },
		"lost_the_first":   func(answers []*nats.Msg) []*nats.Msg { return answers[1:] },
		"lost_on_the_way":  func(answers []*nats.Msg) []*nats.Msg { return slices.Delete(answers, 2, 3) },
		"lost_the_last":    func(answers []*nats.Msg) []*nats.Msg { return slices.Delete(answers, len(answers)-2, len(answers)-1) },
		"lost_the_end":     func(answers []*nats.Msg) []*nats.Msg { return answers[:len(answers)-1] },
		"died":             func(answers []*nats.Msg) []*nats.Msg { return answers[:3] },
		"silent":           func([]*nats.Msg) []*nats.Msg { return nil },
		"twice":            func(answers []*nats.Msg) []*nats.Msg { return slices.Insert(answers, 2, answers[1]) },
		"in_another_order": func(answers []*nats.Msg) []*nats.Msg { answers[1], answers[2] = answers[2], answers[1]; return answers },
		"not_subscribed":   func([]*nats.Msg) []*nats.Msg { return []*nats.Msg{status("503")} },
		"error_in_between": func(answers []*nats.Msg) []*nats.Msg { return append(answers[:3], status("500")) },
		"version_2.10": func(answers []*nats.Msg) []*nats.Msg {
			answers[0].Header.Del("Nats-Num-Pending")
			answers[0].Header.Del("Nats-Last-Sequence")
			return answers[:1]
		},
		"mirror": func(answers []*nats.Msg) []*nats.Msg {
			answers = slices.Delete(answers[:len(answers)-1], 2, 3)
			for _, answer := range answers {
				answer.Header.Set("Nats-Stream", "OTHER")
			}
			return chain(answers)
		},
		"another_subject": func(answers []*nats.Msg) []*nats.Msg {
			answers[2].Header.Set("Nats-Subject", "other")
			answers[2].Data = frame(1000)
			return answers
		},
		"rolled_back":                set("Nats-Time-Stamp", long, last),
		"rolled_back_from_the_first": set("Nats-Time-Stamp", long, at(0)),
		"no_time":                    set("Nats-Time-Stamp", "", at(2)),
		"no_number":                  set("Nats-Sequence", "x", at(2)),
		"no_count":                   set("Nats-Num-Pending", "-1", at(2)),
		"headers_of_the_publisher": func(answers []*nats.Msg) []*nats.Msg {
			for _, header := range []string{"Nats-Sequence", "Nats-Time-Stamp", "Nats-Subject", "Nats-Stream", "Nats-Num-Pending", "Nats-Last-Sequence"} {
				answers[2].Header[header] = slices.Insert(answers[2].Header[header], 0, "77")
			}
			answers[2].Header.Set("Status", "204")
			return answers
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logged := new(recorder)
			stream := strings.ReplaceAll(name, ".", "-")
			nc := connect(t, s.ClientURL())
			log := open(t, nc, natslog.Config{Stream: stream, Prefix: stream, RecentBytes: 1, Logger: slog.New(logged)})
			r := newReader(t, log, alice, all)
			var want []int
			for n := range 40 {
				subject := []string{alice, bob, all}[n%3]
				add(t, log, subject, n)
				if subject != bob {
					want = append(want, n)
				}
			}
			by := newReplica(t, s, stream, func(_ batchQuery, answers []*nats.Msg) []*nats.Msg {
				if len(answers) < 5 {
					return answers // too few to change
				}
				return change(answers)
			})
			old, sent := r.at, nc.Stats().OutMsgs
			r.want(t, want...)
			sent = nc.Stats().OutMsgs - sent
			if by.asked.Load() == 0 {
				t.Error("the replica was not asked")
			}
			// The positions are those of the leader: a reader goes on from each.
			for _, e := range readAll(t, log, old, alice, all) {
				page, err := read(t, log, eventlog.Query{Subjects: []string{alice}, After: e.At, MaxEntries: 1, MaxBytes: 1})
				if err != nil || page.Gap != "" {
					t.Fatalf("from %+v: gap %q, error %v", e.At, page.Gap, err)
				}
			}
			if testing.Short() {
				return // the rest needs answers within a second
			}
			if used := name == "correct" || name == "headers_of_the_publisher"; used && sent > 20 {
				t.Errorf("%d requests, as many as without batches", sent)
			}
			unanswered := slices.Contains([]string{"silent", "died", "lost_the_end", "not_subscribed", "version_2.10"}, name)
			if lines := logged.with("one by one"); (len(lines) == 1) != unanswered {
				t.Errorf("logged %q", lines)
			}
			if asked := by.asked.Load(); unanswered && asked != 1 {
				t.Errorf("the replica was asked %d times and does not answer", asked)
			}
		})
	}
}

// TestEventsRemovedDuringABatchAreAGap has events leave the stream when a batch is requested. The
// replica sends the events that it still has.
func TestEventsRemovedDuringABatchAreAGap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg    natslog.Config
		remove func(t *testing.T, stream jetstream.Stream, js jetstream.JetStream)
		want   eventlog.GapReason
	}{
		"purged": {natslog.Config{}, func(t *testing.T, stream jetstream.Stream, _ jetstream.JetStream) {
			if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(15)); err != nil {
				t.Error(err)
			}
		}, eventlog.GapTrimmed},
		"count": {natslog.Config{EventsPerSubject: 100}, func(t *testing.T, _ jetstream.Stream, js jetstream.JetStream) {
			for n := range 90 { // all within the second that an answer may take
				if _, err := js.PublishAsync("ginsse.user.YWxpY2U", frame(n)); err != nil {
					t.Error(err)
				}
			}
			<-js.PublishAsyncComplete()
		}, eventlog.GapTrimmed},
		"recreated": {natslog.Config{}, func(t *testing.T, stream jetstream.Stream, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), "GINSSE"); err != nil {
				t.Error(err)
			}
			if _, err := js.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
				t.Error(err)
			}
		}, eventlog.GapEpoch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embed(t, &server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()})
			nc := connect(t, s.ClientURL())
			test.cfg.RecentBytes = 1
			log := open(t, nc, test.cfg)
			r := newReader(t, log, alice)
			for n := range 30 {
				add(t, log, alice, n)
			}
			js := jet(t, connect(t, s.ClientURL()))
			stream, err := js.Stream(t.Context(), "GINSSE")
			if err != nil {
				t.Fatal(err)
			}
			var once sync.Once
			newReplica(t, s, "GINSSE", func(_ batchQuery, answers []*nats.Msg) []*nats.Msg {
				once.Do(func() {
					test.remove(t, stream, js)
					answers = chain(slices.Delete(answers[:len(answers)-1], 1, 14))
				})
				return answers
			})
			r.wantGap(t, test.want)
		})
	}
}

// TestBatchesOfEventsAboutToBeRemovedAreNotUsed has a replica lack events between others, as one
// may that removes old events while it sends them. The leader still has them.
func TestBatchesOfEventsAboutToBeRemovedAreNotUsed(t *testing.T) {
	t.Parallel()
	const count = 33
	for name, test := range map[string]struct {
		cfg   natslog.Config
		late  time.Duration // from the first event to the read
		asked int64         // how often a read from the beginning asks the replica
	}{
		"count": {natslog.Config{EventsPerSubject: 39}, 0, 1},
		"age":   {natslog.Config{MaxAge: 4 * time.Second}, 3100 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embed(t, &server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()})
			test.cfg.RecentBytes = 1
			log := open(t, connect(t, s.ClientURL()), test.cfg)
			r := newReader(t, log, alice)
			add(t, log, alice, 0)
			first := time.Now() // or earlier
			for n := 1; n < count; n++ {
				add(t, log, alice, n)
			}
			var asked atomic.Int64 // from the beginning
			newReplica(t, s, "GINSSE", func(q batchQuery, answers []*nats.Msg) []*nats.Msg {
				// If a page has ended early, few events are left, and the replica removes none of them.
				if q.NextFor == "" || q.Seq > 1 {
					return answers
				}
				asked.Add(1)
				return withoutSome(answers)
			})
			time.Sleep(time.Until(first.Add(test.late))) // the events have to reach an age
			events, gap := r.follow(t, func(events []int) bool { return len(events) >= count })
			reads := 1 + int64(log.Stats().Store.ReadErrors) // a read that fails is repeated
			if count := asked.Load(); count < test.asked || count > test.asked*reads {
				t.Errorf("the replica was asked %d times", count)
			}
			if gap == eventlog.GapTrimmed && test.late > 0 {
				return // the machine is slow, and the events are gone
			}
			for i, n := range events {
				if n != i {
					t.Fatalf("event %d came in place of %d", n, i)
				}
			}
			if gap != "" {
				t.Errorf("gap %q", gap)
			}
		})
	}
}

// TestPositionThatGetsOldDuringABatch delays the answer until the position is too old for batches.
// No event may be missing.
func TestPositionThatGetsOldDuringABatch(t *testing.T) {
	t.Parallel()
	s := embed(t, &server.Options{Port: server.RANDOM_PORT, StoreDir: t.TempDir()})
	log := open(t, connect(t, s.ClientURL()), natslog.Config{RecentBytes: 1, MaxAge: 2 * time.Second})
	var late atomic.Int64 // when the position is too old
	by := newReplica(t, s, "GINSSE", func(_ batchQuery, answers []*nats.Msg) []*nats.Msg {
		time.Sleep(time.Until(time.UnixMilli(late.Load())))
		return withoutSome(answers)
	})
	until(t, "a read that the replica was asked for", func() bool {
		position := addPatiently(t, log, record(alice, 0))
		late.Store(time.Now().Add(1600 * time.Millisecond).UnixMilli())
		for n := 1; n <= 10; n++ {
			if _, err := log.Append(t.Context(), record(alice, n)); err != nil {
				return false // the machine is slow
			}
		}
		time.Sleep(time.Until(time.UnixMilli(late.Load() - 500))) // the answer takes less than a second
		asked := by.asked.Load()
		page, err := log.Read(t.Context(), eventlog.Query{Subjects: []string{alice}, After: position, MaxEntries: 100, MaxBytes: 1 << 20}, nil)
		if got := numbers(page.Entries); err == nil && page.Gap == "" && page.Through != position && len(got) != 10 {
			t.Errorf("read %v", got)
		}
		return by.asked.Load() > asked
	})
}
