//go:build unix

package eventlog_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// These benchmarks count the CPU time of the process, because it varies less on a shared machine
// than the time does.

// cpuTime returns the CPU time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func mustHead(b *testing.B, log eventlog.Log) eventlog.Cursor {
	b.Helper()
	head, err := log.Head(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return head
}

func mustAppend(b *testing.B, log eventlog.Log, subject string) eventlog.Cursor {
	b.Helper()
	at, err := log.Append(b.Context(), eventlog.Record{Subject: subject, Frame: make([]byte, 100)})
	if err != nil {
		b.Fatal(err)
	}
	return at
}

func userSubject(n int) string { return fmt.Sprintf("user:%d", n) }

// subjectsOf returns what a stream of the n-th user reads.
func subjectsOf(n int) []string {
	return []string{fmt.Sprintf("command:%d", n), userSubject(n), eventlog.SubjectAll}
}

func BenchmarkMemoryLogAppend(b *testing.B) {
	log := newMemoryLog(b, eventlog.MemoryLogConfig{})
	record := eventlog.Record{Subject: "user:alice", Frame: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := log.Append(b.Context(), record); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemoryLogAppendKeys updates keys of one subject, of which each has an entry.
func BenchmarkMemoryLogAppendKeys(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			log := newMemoryLog(b, eventlog.MemoryLogConfig{EventsPerSubject: 2 * keys})
			records := make([]eventlog.Record, keys)
			for n := range records {
				records[n] = eventlog.Record{Subject: "topic:prices", Key: fmt.Sprint("item", n), Frame: make([]byte, 100)}
			}
			random := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := log.Append(b.Context(), records[random.IntN(keys)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemoryLogRead reads on all processors beside a sender. The readers have not read 0 to
// 100 entries: first one for all users, then one of their own, and so on.
//
// Readers share the locks of the map of subjects and of the history of broadcasts. An earlier
// version had 64 maps and took no lock for the newest entry of a subject. With both of 2 cores to
// itself it needed half the CPU for unread=1, and with one core as much. The CPU of a delivered
// event, of which a read is some 3 %, was the same (paced and targeted in bench). It may be worth
// another look on a machine with many cores.
func BenchmarkMemoryLogRead(b *testing.B) {
	const users = 1000
	for _, unread := range []int{0, 1, 2, 100} {
		b.Run(fmt.Sprintf("unread=%d", unread), func(b *testing.B) {
			log := newMemoryLog(b, eventlog.MemoryLogConfig{})
			for range 2000 {
				mustAppend(b, log, eventlog.SubjectAll)
			}
			for n := range users {
				mustAppend(b, log, userSubject(n))
			}
			after := mustHead(b, log)
			for i := range unread {
				if i%2 == 0 {
					mustAppend(b, log, eventlog.SubjectAll)
					continue
				}
				for n := range users {
					mustAppend(b, log, userSubject(n))
				}
			}
			end := make(chan struct{})
			var appending sync.WaitGroup
			appending.Go(func() {
				for timer := time.Tick(20 * time.Microsecond); ; {
					for range 10 {
						mustAppend(b, log, "user:other")
					}
					select {
					case <-timer:
					case <-end:
						return
					}
				}
			})
			var readers atomic.Int64
			b.SetParallelism(4)
			b.ReportAllocs()
			b.ResetTimer()
			used := cpuTime(b)
			b.RunParallel(func(pb *testing.PB) {
				reader := int(readers.Add(1))
				queries := make([]eventlog.Query, 64)
				for i := range queries {
					queries[i] = eventlog.Query{
						Subjects: subjectsOf((reader*len(queries) + i) % users), After: after, MaxEntries: 512, MaxBytes: 64 << 10,
					}
				}
				var dst []*eventlog.Entry
				for i := 0; pb.Next(); i++ {
					page, err := log.Read(b.Context(), queries[i%len(queries)], dst[:0])
					if err != nil || len(page.Entries) != unread {
						b.Errorf("%d entries, gap %q, %v", len(page.Entries), page.Gap, err)
						return
					}
					dst = page.Entries
				}
			})
			b.ReportMetric(float64(cpuTime(b)-used)/float64(b.N), "cpu-ns/op")
			close(end)
			appending.Wait()
		})
	}
}

// BenchmarkMemoryLogReadTopics reads a page of topics that all have much to read.
func BenchmarkMemoryLogReadTopics(b *testing.B) {
	for _, topics := range []int{2, 8, 64} {
		b.Run(fmt.Sprint(topics), func(b *testing.B) {
			log := newMemoryLog(b, eventlog.MemoryLogConfig{})
			q := eventlog.Query{After: mustHead(b, log), MaxEntries: 512, MaxBytes: 1 << 20}
			for n := range topics {
				q.Subjects = append(q.Subjects, fmt.Sprintf("topic:%d", n))
			}
			for n := range 4000 {
				mustAppend(b, log, q.Subjects[n%topics])
			}
			var dst []*eventlog.Entry
			b.ReportAllocs()
			for b.Loop() {
				page, err := log.Read(b.Context(), q, dst[:0])
				if err != nil || len(page.Entries) != q.MaxEntries {
					b.Fatal(len(page.Entries), page.Gap, err)
				}
				dst = page.Entries
			}
		})
	}
}

// BenchmarkMemoryLogStreams is the load of a registry without its network. Each stream has a
// goroutine, which reads when it is woken. The sender lets the streams lag a little. It sends to
// all users, to each in turn, or to both.
func BenchmarkMemoryLogStreams(b *testing.B) {
	for _, to := range []string{"all", "users", "both"} {
		for _, streams := range []int{1, 100, 1000, 10_000} {
			b.Run(fmt.Sprintf("to=%s/streams=%d", to, streams), func(b *testing.B) {
				l := openStreams(b, streams)
				defer l.close()
				l.sent, l.delivered = 0, atomic.Int64{}
				b.ResetTimer()
				used := cpuTime(b)
				for n := range b.N {
					if to == "all" || to == "both" && n%2 == 0 {
						mustAppend(b, l.log, eventlog.SubjectAll)
						l.sent += int64(streams)
					} else {
						l.sendToUsers(b)
					}
					l.wait(int64(4 * streams))
				}
				l.wait(0)
				used = cpuTime(b) - used
				b.ReportMetric(0, "ns/op") // an operation is a delivery to each stream
				b.ReportMetric(float64(used)/float64(l.sent), "cpu-ns/delivery")
			})
		}
	}
}

type logStreams struct {
	log       *eventlog.MemoryLog
	unwatch   func()
	wakes     []chan struct{}
	running   sync.WaitGroup
	sent      int64 // deliveries
	delivered atomic.Int64
	gaps      atomic.Int64
}

func openStreams(b *testing.B, count int) *logStreams {
	b.Helper()
	l := &logStreams{log: newMemoryLog(b, eventlog.MemoryLogConfig{}), wakes: make([]chan struct{}, count)}
	users := make(map[string]chan struct{}, count)
	start := mustHead(b, l.log)
	for n := range l.wakes {
		l.wakes[n] = make(chan struct{}, 1)
		users[userSubject(n)] = l.wakes[n]
		l.running.Go(func() { l.run(b, n, start) })
	}
	wake := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	l.unwatch = l.log.Watch(func(subject string, _ uint64) {
		if c := users[subject]; c != nil {
			wake(c)
			return
		}
		for _, c := range l.wakes {
			wake(c)
		}
	})
	l.sendToUsers(b) // so that each has a history
	l.wait(0)
	return l
}

func (l *logStreams) run(b *testing.B, n int, start eventlog.Cursor) {
	q := eventlog.Query{Subjects: subjectsOf(n), After: start, MaxEntries: 512, MaxBytes: 64 << 10}
	var dst []*eventlog.Entry
	for range l.wakes[n] {
		for more := true; more; {
			page, err := l.log.Read(b.Context(), q, dst[:0])
			if err != nil || page.Gap != "" {
				b.Errorf("gap %q, %v", page.Gap, err)
				l.gaps.Add(1)
				return
			}
			dst, more, q.After = page.Entries, page.More, page.Through
			l.delivered.Add(int64(len(page.Entries)))
		}
	}
}

func (l *logStreams) sendToUsers(b *testing.B) {
	b.Helper()
	for n := range l.wakes {
		mustAppend(b, l.log, userSubject(n))
		l.sent++
	}
}

// wait waits until at most a number of deliveries are missing.
func (l *logStreams) wait(missing int64) {
	for l.sent-l.delivered.Load() > missing && l.gaps.Load() == 0 {
		runtime.Gosched()
	}
}

func (l *logStreams) close() {
	l.unwatch()
	for _, c := range l.wakes {
		close(c)
	}
	l.running.Wait()
}
