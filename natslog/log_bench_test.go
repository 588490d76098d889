package natslog_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

func benchmarkServer(b *testing.B) (*server.Server, *nats.Conn) {
	b.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: b.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(patience) {
		b.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	return s, nc
}

func benchmarkLog(b *testing.B, nc *nats.Conn) *natslog.Log {
	b.Helper()
	log, err := natslog.Open(context.Background(), nc, natslog.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	return log
}

// BenchmarkAppend has one sender append. Each append waits until the event is visible.
func BenchmarkAppend(b *testing.B) {
	_, nc := benchmarkServer(b)
	log := benchmarkLog(b, nc)
	for b.Loop() {
		if _, err := log.Append(context.Background(), record(alice, 1)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendParallel(b *testing.B) {
	_, nc := benchmarkServer(b)
	log := benchmarkLog(b, nc)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := log.Append(context.Background(), record(alice, 1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkReadNearTheHead reads one event of a user, as a stream does when it was woken.
func BenchmarkReadNearTheHead(b *testing.B) {
	_, nc := benchmarkServer(b)
	log := benchmarkLog(b, nc)
	head, err := log.Head(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := log.Append(context.Background(), record(alice, 1)); err != nil {
		b.Fatal(err)
	}
	q := eventlog.Query{Subjects: []string{alice, all}, After: head, MaxEntries: 512, MaxBytes: 64 << 10}
	var dst []*eventlog.Entry
	b.ReportAllocs()
	for b.Loop() {
		page, err := log.Read(context.Background(), q, dst[:0])
		if err != nil || len(page.Entries) != 1 {
			b.Fatal(page, err)
		}
		dst = page.Entries
	}
}

// BenchmarkOpen reads 100,000 events of 200 bytes into memory.
func BenchmarkOpen(b *testing.B) {
	_, nc := benchmarkServer(b)
	benchmarkLog(b, nc).Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	frame := append(bytes.Repeat([]byte("x"), 198), "\n\n"...)
	for n := range 100_000 {
		if _, err := js.PublishAsync("ginsse.topic."+string(rune('a'+n%25)), frame); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	for b.Loop() {
		benchmarkLog(b, nc).Close()
	}
}

// BenchmarkReadFromTheBroker reads a page of 200 events that are not in the node's memory,
// of one subject and of three. It also counts the messages that the node sends for a page.
func BenchmarkReadFromTheBroker(b *testing.B) {
	for name, subjects := range map[string][]string{
		"one_subject":    {alice},
		"three_subjects": {alice, bob, all},
	} {
		b.Run(name, func(b *testing.B) {
			_, nc := benchmarkServer(b)
			log, err := natslog.Open(context.Background(), nc, natslog.Config{RecentBytes: 1})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { log.Close() })
			var after eventlog.Cursor
			const events = 200
			for n := range events + 1 {
				at, err := log.Append(context.Background(), record(subjects[n%len(subjects)], n))
				if err != nil {
					b.Fatal(err)
				}
				if n == 0 {
					after = at
				}
			}
			q := eventlog.Query{Subjects: subjects, After: after, MaxEntries: 512, MaxBytes: 64 << 10}
			var dst []*eventlog.Entry
			before, reads := nc.Stats().OutMsgs, uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				page, err := log.Read(context.Background(), q, dst[:0])
				if err != nil || page.Gap != "" || len(page.Entries) != events {
					b.Fatal(page, err)
				}
				dst = page.Entries
				reads++
			}
			b.ReportMetric(float64(nc.Stats().OutMsgs-before)/float64(reads), "messages/op")
		})
	}
}
