package databases

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/bench/internal/broker"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
	"github.com/ginsse/ginsse/sqllog"
)

const (
	senders  = 64
	replicas = 3
)

// frame is the frame of an event of 100 bytes.
func frame(n int64) []byte { return append(append([]byte("data: "), data(n)...), "\n\n"...) }

// appendRate returns the events a second that senders append to the logs of the nodes.
func (r *run) appendRate(ctx context.Context, logs []eventlog.Log) ([]float64, error) {
	var last atomic.Int64
	do := func(ctx context.Context, n int64) error {
		_, err := logs[n%int64(len(logs))].Append(ctx, eventlog.Record{Subject: "user:" + userID(n), Frame: frame(n)})
		return err
	}
	if _, err := clients(ctx, senders, &last, r.span(warmUpTime), do); err != nil {
		return nil, err
	}
	before := used()
	done, err := clients(ctx, senders, &last, r.span(measureTime), do)
	own, servers := used().sub(before).per(done)
	return []float64{float64(done) / r.span(measureTime).Seconds(), own, servers}, err
}

// appends measures Append of logs that nodes share.
func (r *run) appends(ctx context.Context, s *server) (err error) {
	cluster, err := child.Start("-child", "broker")
	if err != nil {
		return err
	}
	defer cluster.Stop()
	var urls []string
	if err := cluster.Call("Start", broker.StartArgs{Servers: replicas, Dir: filepath.Join(r.dir, "nats")}, &urls); err != nil {
		return err
	}
	onPostgres := func(nodes int) func() ([]float64, error) {
		return func() ([]float64, error) {
			url, err := r.newDatabase(ctx, s)
			if err != nil {
				return nil, err
			}
			var logs []eventlog.Log
			for range nodes {
				n, err := openNode(ctx, url, true)
				defer n.close()
				if err != nil {
					return nil, err
				}
				logs = append(logs, n.log)
			}
			return r.appendRate(ctx, logs)
		}
	}
	onNATS := func(nodes int) func() ([]float64, error) {
		return func() ([]float64, error) {
			r.count++
			name := fmt.Sprint("bench", r.count)
			var logs []eventlog.Log
			for i := range nodes {
				nc, err := nats.Connect(urls[i%len(urls)])
				if err != nil {
					return nil, err
				}
				defer nc.Close()
				log, err := natslog.Open(ctx, nc, natslog.Config{Stream: name, Prefix: name, Replicas: replicas})
				if err != nil {
					return nil, err
				}
				defer log.Close() //nolint:errcheck // nothing is lost
				logs = append(logs, log)
			}
			return r.appendRate(ctx, logs)
		}
	}
	t := &Table{
		Title: fmt.Sprintf("Append, %d senders", senders),
		About: "Events of 100 bytes to 1,000 users. Each sender waits for its event before the next. The senders are spread over the nodes, which listen. " +
			"natslog is on three servers in one process, with three replicas and their defaults: the servers sync their files every 2 minutes, and PostgreSQL each commit.",
		Figures: []Figure{{Name: "events", Unit: "1/s"}, {Name: "CPU of the nodes for each", Unit: "µs"}, {Name: "CPU of the servers for each", Unit: "µs"}},
	}
	for i, nodes := range []string{"1 node", "2 nodes"} {
		t.Aims = append(t.Aims,
			Aim{Text: "Append, 64 senders, " + nodes + ": at least 15,000/s", Row: i, Over: -1, Least: 15_000},
			Aim{Text: "… at least 0.7 of natslog with three replicas", Row: i, Over: i + 2, Least: 0.7})
	}
	return errors.Join(err, r.measure(t, []testCase{
		{"sqllog, 1 node", onPostgres(1)},
		{"sqllog, 2 nodes", onPostgres(2)},
		{"natslog, 1 node", onNATS(1)},
		{"natslog, 2 nodes", onNATS(2)},
	}))
}

var _ eventlog.Log = (*sqllog.Log)(nil)
