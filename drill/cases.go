//go:build linux

package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The alerts.
const (
	logDown          = "GinsseLogDown"
	appendsFail      = "GinsseAppendsFail"
	inboxWaits       = "GinsseInboxWaits"
	deliveriesLate   = "GinsseDeliveriesLate"
	streamsLag       = "GinsseStreamsLag"
	slowClients      = "GinsseSlowClients"
	gaps             = "GinsseGaps"
	streamsRefused   = "GinsseStreamsRefused"
	clientsThrottled = "GinsseClientsThrottled"
	reconnects       = "GinsseReconnects"
	nearMaxStreams   = "GinsseNearMaxStreams"
	noEvents         = "GinsseNoEvents"
	nodeDown         = "GinsseNodeDown"
	restarts         = "GinsseRestarts"
	descriptors      = "GinsseDescriptors"
)

// allCases returns all bad days, new ones at each call.
func allCases() []*badDay {
	return []*badDay{
		storeGone(), failover(), inboxStuck(), deploy(), deployInMemory(), killed(), crashLoop(), frozen(), starved(), descriptorsRunOut(), full(),
		connectLoop(), proxyCuts(), proxyBuffers(), flood(), stalledClients(), shortHistory(), silent(),
	}
}

// usual is the load of a usual day: as many users as streams, and events to them in turn.
var usual = load{streams: 60, rate: 20, body: strings.Repeat(".", 200)}

// Lines of graphs.
var (
	delivered = line{"written", `sum(rate(ginsse_written_events_total[1m]))`}
	resumed   = line{"reconnects", `sum(increase(ginsse_streams_opened_total{resume!="none"}[1m]))`}
	gapsTold  = line{"gaps", `sum(increase(ginsse_gaps_total[1m]))`}
	late99    = line{"seconds", `histogram_quantile(0.99, sum by (le) (rate(ginsse_delivery_latency_seconds_bucket[1m]))) or vector(0)`}
)

// Panels of several graphs.
var (
	openStreams = panel{"open streams", []line{{"streams", `sum(ginsse_streams)`}}}
	readyNodes  = panel{"nodes whose log is ready", []line{{"ready", `sum(ginsse_log_ready)`}}}
)

// begin starts nodes with a log, and clients that use all of them.
func (s *scene) begin(ctx context.Context, l load, nodes int, cfg nodeConfig) (*clients, error) {
	for i := range nodes {
		cfg.Name = fmt.Sprint("node-", i+1)
		if _, err := s.startNode(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if l.dial == nil {
		l.dial = s.balance().dial
	}
	return s.startClients(ctx, l)
}

// nothingLost checks that each event has arrived once, in order, without a gap.
func nothingLost(c **clients) func(context.Context, *scene) ([]string, error) {
	return func(context.Context, *scene) ([]string, error) {
		result, err := (*c).end()
		if err != nil {
			return nil, err
		}
		found := problems(result)
		for reason, n := range result.Gaps {
			found = append(found, fmt.Sprintf("%d streams were told of a gap, by the reason %s", n, reason))
		}
		return found, nil
	}
}

// lostIsTold checks that each stream has had at least so many gaps of a reason, and none of another one.
func lostIsTold(c **clients, reason string) func(context.Context, *scene) ([]string, error) {
	return func(context.Context, *scene) ([]string, error) {
		result, err := (*c).end()
		if err != nil {
			return nil, err
		}
		found := problems(result)
		if told := result.Gaps[reason]; told < result.Streams.Asked {
			found = append(found, fmt.Sprintf("%d of %d streams were told of a gap by the reason %s", told, result.Streams.Asked, reason))
		}
		for other, n := range result.Gaps {
			if other != reason {
				found = append(found, fmt.Sprintf("%d streams were told of a gap by the reason %s", n, other))
			}
		}
		return found, nil
	}
}

func storeGone() *badDay {
	var c *clients
	var r *redisServer
	return &badDay{
		name: "store-gone", fault: "Redis is stopped", remedy: "Redis is started again, with its append-only file",
		fires: []string{logDown, appendsFail},
		may:   []string{streamsRefused},
		panels: []panel{
			readyNodes,
			{"events a second", []line{delivered, {"failed sends", `sum(rate(ginsse_send_errors_total[1m]))`}}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if r, err = s.startRedis(ctx); err == nil {
				c, err = s.begin(ctx, usual, 2, nodeConfig{Redis: r.url()})
			}
			return err
		},
		cause:  func(context.Context, *scene) error { return r.run.stop(syscall.SIGTERM) },
		repair: func(ctx context.Context, _ *scene) error { return r.start(ctx) },
		check:  nothingLost(&c),
	}
}

func failover() *badDay {
	var c *clients
	var primary, standby *postgresServer
	return &badDay{
		name: "failover", fault: "the database's primary is gone", remedy: "its standby is promoted",
		fires: []string{logDown, appendsFail},
		may:   []string{streamsRefused},
		panels: []panel{
			readyNodes,
			{"gaps and reconnects in 1 minute", []line{{"gaps, reason epoch", `sum(increase(ginsse_gaps_total{reason="epoch"}[1m]))`}, resumed}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if primary, err = s.startPostgres(ctx, "primary", nil); err != nil {
				return err
			}
			if standby, err = s.startPostgres(ctx, "standby", primary); err != nil {
				return err
			}
			url := fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%s,127.0.0.1:%s/postgres?sslmode=disable&target_session_attrs=read-write&connect_timeout=2", primary.password, primary.port, standby.port)
			c, err = s.begin(ctx, usual, 2, nodeConfig{Postgres: url})
			return err
		},
		cause:  func(context.Context, *scene) error { return primary.stop() },
		repair: func(ctx context.Context, _ *scene) error { return standby.query(ctx, "select pg_promote()") },
		check:  lostIsTold(&c, "epoch"),
	}
}

// inboxStuck has a session hold the lock of the log in a transaction.
func inboxStuck() *badDay {
	var c *clients
	var database *postgresServer
	return &badDay{
		name: "inbox", fault: "a session of the database holds the lock of the log", remedy: "the session is ended",
		fires: []string{inboxWaits},
		may:   []string{deliveriesLate}, // afterwards, of what has waited
		panels: []panel{
			{"events in the inbox", []line{{"events", `max(ginsse_log_inbox_events)`}}},
			{"events a second", []line{{"sent", `sum(rate(ginsse_sends_total[1m]))`}, delivered}},
			readyNodes,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if database, err = s.startPostgres(ctx, "postgres", nil); err != nil {
				return err
			}
			c, err = s.begin(ctx, usual, 2, nodeConfig{Postgres: database.url(), Transactions: true})
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			db, err := sql.Open("pgx", database.url())
			if err != nil {
				return err
			}
			s.atEnd(func() { _ = db.Close() })
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			s.during(ctx, func(ctx context.Context) {
				<-ctx.Done()
				_ = tx.Rollback()
			})
			_, err = tx.ExecContext(ctx, `select pg_advisory_xact_lock(7451600000000000000 + 'ginsse_steps'::regclass::oid::bigint)`)
			return err
		},
		repair: func(context.Context, *scene) error { return nil },
		check:  nothingLost(&c),
	}
}

func deploy() *badDay {
	var c *clients
	var r *redisServer
	return &badDay{
		name: "deploy", fault: "a deploy restarts three nodes, one after another", remedy: "the deploy is over",
		panels: []panel{
			openStreams,
			{"streams in 1 minute", []line{{"ended by shutdown", `sum(increase(ginsse_streams_ended_total{reason="shutdown"}[1m]))`}, resumed, gapsTold}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if r, err = s.startRedis(ctx); err == nil {
				c, err = s.begin(ctx, usual, 3, nodeConfig{Redis: r.url()})
			}
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			for _, n := range s.nodes {
				if err := n.stopNode(); err != nil {
					return err
				}
				if err := s.restartNode(ctx, n); err != nil {
					return err
				}
				if err := pause(ctx, scaled(2*time.Minute)); err != nil {
					return err
				}
			}
			return nil
		},
		repair: func(context.Context, *scene) error { return nil },
		check:  nothingLost(&c),
	}
}

func deployInMemory() *badDay {
	var c *clients
	return &badDay{
		name: "deploy-memory", fault: "a deploy restarts the only node, whose log is in memory", remedy: "the deploy is over",
		panels: []panel{
			openStreams,
			{"gaps and reconnects in 1 minute", []line{{"gaps, reason epoch", `sum(increase(ginsse_gaps_total{reason="epoch"}[1m]))`}, resumed}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			c, err = s.begin(ctx, usual, 1, nodeConfig{})
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			if err := s.nodes[0].stopNode(); err != nil {
				return err
			}
			return s.restartNode(ctx, s.nodes[0])
		},
		repair: func(context.Context, *scene) error { return nil },
		check:  lostIsTold(&c, "epoch"),
	}
}

func killed() *badDay {
	var c *clients
	var r *redisServer
	return &badDay{
		name: "killed", fault: "one of two nodes is killed", remedy: "it is started again",
		fires: []string{nodeDown},
		panels: []panel{
			{"nodes that answer Prometheus", []line{{"up", `sum(up{job="app"})`}}},
			openStreams,
			{"in 1 minute", []line{resumed, gapsTold}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if r, err = s.startRedis(ctx); err == nil {
				c, err = s.begin(ctx, usual, 2, nodeConfig{Redis: r.url()})
			}
			return err
		},
		cause: func(_ context.Context, s *scene) error {
			s.nodes[0].run.kill()
			return nil
		},
		repair: func(ctx context.Context, s *scene) error { return s.restartNode(ctx, s.nodes[0]) },
		check:  nothingLost(&c),
	}
}

func crashLoop() *badDay {
	var c *clients
	return &badDay{
		name: "crash-loop", fault: "the only node, whose log is in memory, is killed every two minutes, and started again",
		remedy: "it is left alone",
		fires:  []string{restarts},
		may:    []string{gaps, reconnects},
		panels: []panel{
			openStreams,
			{"restarts in 15 minutes", []line{{"restarts", `sum(changes(process_start_time_seconds{job="app"}[15m]))`}}},
			{"gaps and reconnects in 5 minutes", []line{{"gaps", `sum(increase(ginsse_gaps_total[5m]))`}, {"reconnects", `sum(increase(ginsse_streams_opened_total{resume!="none"}[5m]))`}}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			c, err = s.begin(ctx, usual, 1, nodeConfig{})
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			s.during(ctx, func(ctx context.Context) {
				for ctx.Err() == nil {
					s.nodes[0].run.kill()
					if err := s.restartNode(context.WithoutCancel(ctx), s.nodes[0]); err != nil {
						s.say("%v", err)
						return
					}
					_ = pause(ctx, scaled(2*time.Minute))
				}
			})
			return nil
		},
		repair: func(context.Context, *scene) error { return nil },
		check:  lostIsTold(&c, "epoch"),
	}
}

func frozen() *badDay {
	var c *clients
	var r *redisServer
	return &badDay{
		name: "frozen", fault: "one of two nodes stops to run, as its machine is paused", remedy: "it goes on",
		fires: []string{nodeDown},
		may:   []string{reconnects},
		panels: []panel{
			{"nodes that answer Prometheus", []line{{"up", `sum(up{job="app"})`}}},
			{"events written a second", []line{delivered}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if r, err = s.startRedis(ctx); err == nil {
				c, err = s.begin(ctx, usual, 2, nodeConfig{Redis: r.url()})
			}
			return err
		},
		cause:  func(_ context.Context, s *scene) error { return s.nodes[0].run.cmd.Process.Signal(syscall.SIGSTOP) },
		repair: func(_ context.Context, s *scene) error { return s.nodes[0].run.cmd.Process.Signal(syscall.SIGCONT) },
		check:  nothingLost(&c),
	}
}

// starved stops one node again and again, as a limit on the CPU of a container does: for 1.3 of each 1.6 s.
func starved() *badDay {
	var c *clients
	var r *redisServer
	return &badDay{
		name: "no-cpu", fault: "one of two nodes gets the processor for a fifth of the time, in pieces", remedy: "it gets all of the time",
		fires: []string{deliveriesLate},
		may:   []string{appendsFail}, // it does not get the answers of Redis in time
		panels: []panel{
			{"99 % of the events are written within so many seconds", []line{late99}},
			{"share of scrapes that were answered", []line{{"answered", `avg(avg_over_time(up{job="app"}[1m]))`}}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if r, err = s.startRedis(ctx); err == nil {
				c, err = s.begin(ctx, usual, 2, nodeConfig{Redis: r.url()})
			}
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			run := s.nodes[0].run.cmd.Process
			s.during(ctx, func(ctx context.Context) {
				for ctx.Err() == nil {
					_ = run.Signal(syscall.SIGSTOP)
					_ = pause(ctx, 1300*time.Millisecond)
					_ = run.Signal(syscall.SIGCONT)
					_ = pause(ctx, 300*time.Millisecond)
				}
			})
			return nil
		},
		repair: func(context.Context, *scene) error { return nil },
		check:  nothingLost(&c),
	}
}

func descriptorsRunOut() *badDay {
	var c *clients
	return &badDay{
		name: "descriptors", fault: "more clients come than the node has descriptors for", remedy: "the node is started with a higher limit",
		fires: []string{descriptors},
		may:   []string{nodeDown},
		panels: []panel{
			{"descriptors", []line{{"open", `sum(process_open_fds{job="app"})`}, {"limit", `sum(last_over_time(process_max_fds{job="app"}[1h]) < 10000)`}}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			c, err = s.begin(ctx, usual, 1, nodeConfig{MaxFiles: 150})
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			s.during(ctx, func(ctx context.Context) { crowd(ctx, s.nodes[0].cfg.Address, 120) })
			return nil
		},
		repair: func(ctx context.Context, s *scene) error {
			n := s.nodes[0]
			n.run.kill()
			n.cfg.MaxFiles = 0
			return s.restartNode(ctx, n)
		},
		check: lostIsTold(&c, "epoch"),
	}
}

func full() *badDay {
	var c *clients
	return &badDay{
		name: "full", fault: "more clients come than MaxStreams", remedy: "the node is restarted with a higher MaxStreams",
		fires: []string{nearMaxStreams, streamsRefused},
		panels: []panel{
			{"places of MaxStreams", []line{{"taken", `sum(ginsse_stream_places_used)`}, {"MaxStreams", `sum(ginsse_stream_places_limit < 1000)`}}},
			{"requests in 1 minute", []line{{"refused as overloaded", `sum(increase(ginsse_streams_refused_total{cause="overloaded"}[1m]))`}}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			c, err = s.begin(ctx, usual, 1, nodeConfig{MaxStreams: 100})
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			s.during(ctx, func(ctx context.Context) { crowd(ctx, s.nodes[0].cfg.Address, 80) })
			return nil
		},
		repair: func(ctx context.Context, s *scene) error {
			n := s.nodes[0]
			if err := n.stopNode(); err != nil {
				return err
			}
			n.cfg.MaxStreams = 0
			return s.restartNode(ctx, n)
		},
		check: lostIsTold(&c, "epoch"),
	}
}

// crowd opens so many streams that do not reconnect at once, each of another user, until ctx ends.
func crowd(ctx context.Context, address string, streams int) {
	var all sync.WaitGroup
	defer all.Wait()
	for i := range streams {
		all.Go(func() {
			for ctx.Err() == nil {
				_ = visit(ctx, address, fmt.Sprint("visitor", i))
				_ = pause(ctx, scaled(20*time.Second))
			}
		})
	}
}

// connectLoop has the page of one user open a stream again and again.
func connectLoop() *badDay {
	var c *clients
	return &badDay{
		name: "connect-loop", fault: "a page opens streams in a loop", remedy: "the page is closed",
		fires: []string{clientsThrottled},
		panels: []panel{
			{"requests in 1 minute", []line{{"throttled", `sum(increase(ginsse_streams_refused_total{cause="throttled"}[1m]))`}, {"opened", `sum(increase(ginsse_streams_opened_total[1m]))`}}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			c, err = s.begin(ctx, usual, 1, nodeConfig{})
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			s.during(ctx, func(ctx context.Context) {
				for ctx.Err() == nil {
					brief, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
					_ = visit(brief, s.nodes[0].cfg.Address, "mallory")
					cancel()
				}
			})
			return nil
		},
		repair: func(context.Context, *scene) error { return nil },
		check:  nothingLost(&c),
	}
}

// shortHistory has clients that are away for a minute come back to a log that keeps 40 s.
func shortHistory() *badDay {
	var c *clients
	restart := func(ctx context.Context, s *scene, events int) error {
		n := s.nodes[0]
		if err := n.stopNode(); err != nil {
			return err
		}
		n.cfg.EventsPerSubject = events
		return s.restartNode(ctx, n)
	}
	return &badDay{
		name: "short-history", fault: "a deploy sets EventsPerSubject to 20, and some clients sleep for a minute at a time",
		remedy: "a deploy removes the setting",
		fires:  []string{gaps},
		lasts:  13 * time.Minute, // the rule alone takes ten
		panels: []panel{
			{"gaps in 5 minutes", []line{
				{"trimmed", `sum(increase(ginsse_gaps_total{reason="trimmed"}[5m]))`}, {"epoch", `sum(increase(ginsse_gaps_total{reason="epoch"}[5m]))`},
			}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if c, err = s.begin(ctx, usual, 1, nodeConfig{}); err != nil {
				return err
			}
			address := s.nodes[0].cfg.Address
			for i := range 6 {
				s.alongside(ctx, func(ctx context.Context) { sleeper(ctx, address, fmt.Sprint("phone", i)) })
			}
			s.alongside(ctx, func(ctx context.Context) { broadcasts(ctx, address, 10, 200, "") })
			return nil
		},
		cause:  func(ctx context.Context, s *scene) error { return restart(ctx, s, 20) },
		repair: func(ctx context.Context, s *scene) error { return restart(ctx, s, 0) },
		check:  lostIsTold(&c, "epoch"),
	}
}

func silent() *badDay {
	var stop func()
	work := func(ctx context.Context, s *scene) {
		stop = s.alongside(ctx, func(ctx context.Context) { broadcasts(ctx, s.nodes[0].cfg.Address, 5, 200, "") })
	}
	return &badDay{
		name: "silent", fault: "the application sends nothing any more", remedy: "it sends again",
		fires: []string{noEvents},
		lasts: 33 * time.Minute, // the rule alone takes half an hour
		panels: []panel{
			{"events sent per second", []line{{"now", `sum(rate(ginsse_sends_total[1m]))`}, {"a day ago", `sum(rate(ginsse_sends_total[1m] offset 1d))`}}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			s.history = yesterday(time.Now())
			if _, err = s.begin(ctx, load{streams: 20, rate: 0.001}, 1, nodeConfig{}); err != nil {
				return err
			}
			work(ctx, s)
			return nil
		},
		cause: func(context.Context, *scene) error {
			stop()
			return nil
		},
		repair: func(ctx context.Context, s *scene) error {
			work(ctx, s)
			return nil
		},
	}
}

// yesterday returns what Prometheus has of the day before: 5 events a second.
func yesterday(now time.Time) []byte {
	var b strings.Builder
	fmt.Fprintln(&b, "# TYPE ginsse_sends counter")
	begin := now.Add(-scaled(24*time.Hour) - 2*time.Minute)
	for i := range 8 * 60 {
		fmt.Fprintf(&b, "ginsse_sends_total{job=%q,instance=\"yesterday\",kind=\"all\"} %d %d\n", job, 5*i, begin.Unix()+int64(i))
	}
	fmt.Fprintln(&b, "# EOF")
	return []byte(b.String())
}
