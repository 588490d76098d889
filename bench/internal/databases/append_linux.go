package databases

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/ginsse/ginsse/eventlog"
)

const senders = 64

// frame is the frame of an event of 100 bytes.
func frame(n int64) []byte { return append(append([]byte("data: "), data(n)...), "\n\n"...) }

// appendRate returns the events a second that senders append to the logs of the nodes.
func (r *run) appendRate(ctx context.Context, logs []eventlog.SharedLog) ([]float64, error) {
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
func (r *run) appends(ctx context.Context, s *server) error {
	return r.onSharedLogs(ctx, s, func(on sharedLogs) error {
		t := &Table{
			Title: fmt.Sprintf("Append, %d senders", senders),
			About: "Events of 100 bytes to 1,000 users. Each sender waits for its event before the next. The senders are spread over the nodes, which listen. " +
				"natslog is on three servers in one process, with three replicas and their defaults: the servers sync their files every 2 minutes, and PostgreSQL each commit. " +
				"redislog is on one server, which syncs its file every second.",
			Figures: []Figure{{Name: "events", Unit: "1/s"}, {Name: "CPU of the nodes for each", Unit: "µs"}, {Name: "CPU of the servers for each", Unit: "µs"}},
		}
		for i, nodes := range []string{"1 node", "2 nodes"} {
			t.Aims = append(t.Aims,
				Aim{Text: "Append, 64 senders, " + nodes + ": at least 15,000/s", Row: i, Over: -1, Least: 15_000},
				Aim{Text: "… at least 0.7 of natslog with three replicas", Row: i, Over: i + 2, Least: 0.7})
		}
		cases := []testCase{
			{"sqllog, 1 node", on.onSQL(ctx, 1, r.appendRate)},
			{"sqllog, 2 nodes", on.onSQL(ctx, 2, r.appendRate)},
			{"natslog, 1 node", on.onNATS(ctx, 1, r.appendRate)},
			{"natslog, 2 nodes", on.onNATS(ctx, 2, r.appendRate)},
		}
		if on.redis != nil {
			cases = append(cases,
				testCase{"redislog, 1 node", on.onRedis(ctx, 1, r.appendRate)},
				testCase{"redislog, 2 nodes", on.onRedis(ctx, 2, r.appendRate)})
			t.Aims = append(t.Aims, Aim{Text: "redislog, Append, 64 senders, 2 nodes: at least 60,000/s", Row: 5, Over: -1, Least: 60_000})
		}
		return r.measure(t, cases)
	})
}
