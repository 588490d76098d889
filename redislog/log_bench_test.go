//go:build linux

package redislog_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

const benchmarkFrame = "event: comment\ndata: {\"post\":17,\"text\":\"What a good photo of the lake in the morning\"}\n\n"

func benchmarkLog(b *testing.B, s *redistest.Server, cfg redislog.Config) *redislog.Log {
	b.Helper()
	log, err := redislog.Open(context.Background(), s.Client(b), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	return log
}

func benchmarkRecord(n int) eventlog.Record {
	return eventlog.Record{Subject: "user:" + strconv.Itoa(n%10_000), Frame: []byte(benchmarkFrame)}
}

// BenchmarkAppend has senders append through two nodes. Each append waits until the event is visible.
// It also reports what Redis needs for an event.
func BenchmarkAppend(b *testing.B) {
	for _, senders := range []int{1, 64} {
		b.Run(fmt.Sprint("senders=", senders), func(b *testing.B) {
			s := redistest.Start(b, "appendonly yes", "appendfsync everysec")
			logs := []*redislog.Log{benchmarkLog(b, s, redislog.Config{}), benchmarkLog(b, s, redislog.Config{})}
			before, _ := strconv.Atoi(s.Info(b, "used_memory_dataset"))
			start := time.Now()
			var sending sync.WaitGroup
			for i := range senders {
				sending.Go(func() {
					for n := i; n < b.N; n += senders {
						if _, err := logs[i%2].Append(context.Background(), benchmarkRecord(n)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			sending.Wait()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "events/s")
			after, _ := strconv.Atoi(s.Info(b, "used_memory_dataset"))
			b.ReportMetric(float64(after-before)/float64(b.N), "redis-B/event")
		})
	}
}

// BenchmarkDelivery sends 300 events a second on one node, and waits for each on two.
func BenchmarkDelivery(b *testing.B) {
	s := redistest.Start(b, "appendonly yes", "appendfsync everysec")
	here, there := benchmarkLog(b, s, redislog.Config{}), benchmarkLog(b, s, redislog.Config{})
	arrived := make(chan time.Time, 2)
	for _, log := range []*redislog.Log{here, there} {
		b.Cleanup(log.Watch(func(string, uint64) { arrived <- time.Now() }))
	}
	ticks := time.NewTicker(time.Second / 300)
	defer ticks.Stop()
	var took []time.Duration
	for n := range b.N {
		<-ticks.C
		start := time.Now()
		if _, err := here.Append(context.Background(), benchmarkRecord(n)); err != nil {
			b.Fatal(err)
		}
		last := <-arrived
		if other := <-arrived; other.After(last) {
			last = other
		}
		took = append(took, last.Sub(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkReadOlder has a client resume that is 100,000 events behind, on a node that holds few.
func BenchmarkReadOlder(b *testing.B) {
	s := redistest.Start(b)
	log := benchmarkLog(b, s, redislog.Config{RecentBytes: 1 << 20})
	const events = 100_000
	start, err := log.Head(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	var sending sync.WaitGroup
	for i := range 64 {
		sending.Go(func() {
			for n := i; n < events; n += 64 {
				if _, err := log.Append(context.Background(), benchmarkRecord(n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	sending.Wait()
	b.ResetTimer()
	for n := range b.N {
		q := eventlog.Query{Subjects: []string{"user:" + strconv.Itoa(n), "all"}, After: start, MaxEntries: 200, MaxBytes: 1 << 20}
		var page eventlog.Page
		for page.More = true; page.More; q.After = page.Through {
			if page, err = log.Read(context.Background(), q, page.Entries); err != nil || page.Gap != "" {
				b.Fatal(err, page.Gap)
			}
		}
		if len(page.Entries) != events/10_000 {
			b.Fatal(len(page.Entries), "events")
		}
	}
}
