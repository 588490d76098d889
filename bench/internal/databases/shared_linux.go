package databases

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/bench/internal/broker"
	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
	"github.com/ginsse/ginsse/redislog"
)

const replicas = 3

// sharedLogs opens logs that nodes share, for the tables that compare them.
type sharedLogs struct {
	*run

	postgres *server
	nats     []string     // the servers' addresses
	redis    *redisServer // nil without
}

// onSharedLogs starts the servers that are not running yet, and measures.
func (r *run) onSharedLogs(ctx context.Context, s *server, measure func(on sharedLogs) error) error {
	cluster, err := child.Start("-child", "broker")
	if err != nil {
		return err
	}
	defer cluster.Stop()
	on := sharedLogs{run: r, postgres: s}
	r.count++
	dir := filepath.Join(r.dir, fmt.Sprint("nats", r.count))
	if err := cluster.Call("Start", broker.StartArgs{Servers: replicas, Dir: dir}, &on.nats); err != nil {
		return err
	}
	return r.withRedis(ctx, func(redis *redisServer) error {
		on.redis = redis
		return measure(on)
	})
}

// measureLogs measures a function of the logs of a number of nodes, which share contents that are
// empty at first.
type measureLogs func(ctx context.Context, logs []eventlog.SharedLog) ([]float64, error)

// onSQL returns a test case of sqllog.
func (on sharedLogs) onSQL(ctx context.Context, nodes int, do measureLogs) func() ([]float64, error) {
	return func() ([]float64, error) {
		url, err := on.newDatabase(ctx, on.postgres)
		if err != nil {
			return nil, err
		}
		var logs []eventlog.SharedLog
		for range nodes {
			n, err := openNode(ctx, url, true)
			defer n.close()
			if err != nil {
				return nil, err
			}
			logs = append(logs, n.log)
		}
		return do(ctx, logs)
	}
}

// onNATS returns a test case of natslog.
func (on sharedLogs) onNATS(ctx context.Context, nodes int, do measureLogs) func() ([]float64, error) {
	return func() ([]float64, error) {
		on.count++
		name := fmt.Sprint("bench", on.count)
		var logs []eventlog.SharedLog
		for i := range nodes {
			nc, err := nats.Connect(on.nats[i%len(on.nats)])
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
		return do(ctx, logs)
	}
}

// onRedis returns a test case of redislog.
func (on sharedLogs) onRedis(ctx context.Context, nodes int, do measureLogs) func() ([]float64, error) {
	return func() ([]float64, error) {
		logs, stop, err := on.redis.openLogs(ctx, nodes, redislog.Config{})
		defer stop()
		if err != nil {
			return nil, err
		}
		return do(ctx, logs)
	}
}

const (
	tailRate  = 300 // a second
	tailLimit = 15 * time.Second
)

// tailed is events that were appended at a rate, and when each node had them.
type tailed struct {
	begun   []time.Time
	arrived [][]atomic.Int64 // of each node, for each event: Unix nanoseconds
}

// watch notes when a node has each event.
func (p *tailed) watch(log eventlog.Log, node int) (stop func()) {
	return log.Watch(func(subject string, _ uint64) {
		if text, ok := strings.CutPrefix(subject, "user:tail-"); ok {
			if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < len(p.begun) {
				p.arrived[node][n].CompareAndSwap(0, time.Now().UnixNano())
			}
		}
	})
}

// last returns how long after its beginning the last node had an event, and whether all nodes have it.
func (p *tailed) last(n int) (took time.Duration, all bool) {
	for node := range p.arrived {
		at := p.arrived[node][n].Load()
		if at == 0 {
			return 0, false
		}
		took = max(took, time.Duration(at-p.begun[n].UnixNano()))
	}
	return took, true
}

// tail appends events at one node, at random times, and measures until all nodes can read them.
func (r *run) tail(ctx context.Context, logs []eventlog.SharedLog) ([]float64, error) {
	length := r.span(measureTime)
	ctx, cancel := context.WithTimeout(ctx, length+tailLimit)
	defer cancel()
	count := max(1, int(tailRate*length.Seconds()))
	p := &tailed{begun: make([]time.Time, count)}
	for i, log := range logs {
		p.arrived = append(p.arrived, make([]atomic.Int64, count))
		defer p.watch(log, i)()
	}
	failures := make([]error, deliveryClients)
	due := make(chan int, count)
	var group sync.WaitGroup
	for i := range deliveryClients {
		group.Go(func() {
			for n := range due {
				p.begun[n] = time.Now()
				_, err := logs[0].Append(ctx, eventlog.Record{Subject: fmt.Sprint("user:tail-", n), Frame: frame(int64(n))})
				failures[i] = errors.Join(failures[i], err)
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	next := time.Now()
	for n := range count {
		next = next.Add(time.Duration(random.ExpFloat64() * float64(time.Second) / tailRate))
		time.Sleep(time.Until(next))
		due <- n
	}
	close(due)
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	list := make([]time.Duration, count)
	for n := range list {
		for all := false; !all; {
			if list[n], all = p.last(n); !all {
				if err := ctx.Err(); err != nil {
					return nil, fmt.Errorf("event %d has not reached all nodes: %w", n, err)
				}
				time.Sleep(time.Millisecond)
			}
		}
	}
	return []float64{quantile(list, 0.5), quantile(list, 0.99)}, nil
}

// tails measures how soon the nodes of each log have an event.
func (r *run) tails(ctx context.Context, s *server) error {
	return r.onSharedLogs(ctx, s, func(on sharedLogs) error {
		t := &Table{
			Title:   "From Append until two nodes have the event",
			About:   fmt.Sprintf("%d events a second of 100 bytes, at random times, appended at one of two nodes, without streams. The time is until `Watch` has called at both. natslog has three replicas.", tailRate),
			Figures: latencies(),
		}
		cases := []testCase{{"sqllog", on.onSQL(ctx, 2, r.tail)}, {"natslog", on.onNATS(ctx, 2, r.tail)}}
		if on.redis != nil {
			cases = append(cases, testCase{"redislog", on.onRedis(ctx, 2, r.tail)})
			t.Aims = append(t.Aims, Aim{Text: "redislog, from Append until two nodes have the event, 300/s: p50 at most 1 ms", Row: 2, Over: -1, Most: 1})
		}
		return r.measure(t, cases)
	})
}
