//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// proxyCuts has nginx end streams that are silent for 10 s, which is less than the time between heartbeats.
func proxyCuts() *badDay {
	var c *clients
	var proxy *nginxServer
	return &badDay{
		name: "proxy-cuts", fault: "nginx gets a proxy_read_timeout of 10 s, and the heartbeats come every 15 s", remedy: "proxy_read_timeout is an hour again",
		fires: []string{reconnects},
		panels: []panel{
			{"in 1 minute", []line{{"client gone", `sum(increase(ginsse_streams_ended_total{reason="client gone"}[1m]))`}, resumed}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			l := usual
			l.rate = 5
			proxy, c, err = s.beginBehindNginx(ctx, l)
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			if err := proxy.reload("proxy_http_version 1.1; proxy_read_timeout 500ms;"); err != nil {
				return err
			}
			return s.doctorSays(ctx, proxy.address, 5*time.Second, "proxy_read_timeout")
		},
		repair: func(context.Context, *scene) error { return proxy.reload(healthy) },
		check:  nothingLost(&c),
	}
}

// proxyBuffers has nginx keep what it gets until a buffer is full. The node cannot see that: nginx takes
// all bytes at once.
func proxyBuffers() *badDay {
	var c *clients
	var proxy *nginxServer
	return &badDay{
		name: "proxy-buffers", fault: "nginx speaks HTTP/1.0 to the node and ignores X-Accel-Buffering, and so buffers", remedy: "both settings are right again",
		panels: []panel{
			{"99 % of the events are written within so many seconds, to nginx", []line{late99}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			proxy, c, err = s.beginBehindNginx(ctx, usual)
			return err
		},
		cause: func(ctx context.Context, s *scene) error {
			if err := proxy.reload("proxy_http_version 1.0; proxy_read_timeout 1h; proxy_ignore_headers X-Accel-Buffering;"); err != nil {
				return err
			}
			return s.doctorSays(ctx, proxy.address, 5*time.Second, "proxy_buffering")
		},
		repair: func(context.Context, *scene) error { return proxy.reload(healthy) },
		check:  nothingLost(&c),
	}
}

// beginBehindNginx starts a node behind nginx, and clients that connect to nginx.
func (s *scene) beginBehindNginx(ctx context.Context, l load) (*nginxServer, *clients, error) {
	n, err := s.startNode(ctx, nodeConfig{Name: "node-1"})
	if err != nil {
		return nil, nil, err
	}
	proxy, err := s.startNginx(ctx, n.cfg.Address, healthy)
	if err != nil {
		return nil, nil, err
	}
	l.dial = (&balancer{addresses: []string{proxy.address}}).dial
	l.send = (&balancer{addresses: []string{n.cfg.Address}}).dial
	c, err := s.begin(ctx, l, 0, nodeConfig{})
	return proxy, c, err
}

// doctorSays has ssecat doctor look at a proxy, and fails unless it finds a fault and names a setting.
func (s *scene) doctorSays(ctx context.Context, address string, watch time.Duration, setting string) error {
	program := s.dir + "/ssecat"
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/ginsse/ginsse/cmd/ssecat") //nolint:gosec // the repository's
	build.Dir = s.repo
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building ssecat: %w: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, program, "doctor", "-for", watch.String(), "-token", "doctor", "http://"+address+"/events").CombinedOutput() //nolint:gosec // built above
	if err == nil || !strings.Contains(string(out), setting) {
		return fmt.Errorf("ssecat doctor does not name %s: %w\n%s", setting, err, out)
	}
	for text := range strings.Lines(string(out)) {
		if strings.Contains(text, "fault") {
			s.say("ssecat doctor: %s", strings.TrimSpace(text))
		}
	}
	return nil
}

// flood sends far more than the lines of some clients carry.
func flood() *badDay {
	var c *clients
	return &badDay{
		name: "flood", fault: "the application sends 100 events of 2 KB a second to all users, 30 of whom have slow lines",
		remedy: "the events get a key, so that only the newest waits",
		fires:  []string{streamsLag},
		may:    []string{deliveriesLate},
		panels: []panel{
			{"streams with more than 100 events waiting", []line{{"streams", `sum(ginsse_lagging_streams{more_than="100"})`}}},
			{"events that wait for the slowest stream", []line{{"events", `max(ginsse_slowest_stream_lag_events)`}}},
			{"99 % of the events are written within so many seconds", []line{late99}},
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if c, err = s.begin(ctx, usual, 1, nodeConfig{}); err != nil {
				return err
			}
			for i := range 30 {
				s.alongside(ctx, func(ctx context.Context) { slowLine(ctx, s.nodes[0].cfg.Address, fmt.Sprint("phone", i)) })
			}
			return nil
		},
		cause: func(ctx context.Context, s *scene) error {
			s.during(ctx, func(ctx context.Context) { broadcasts(ctx, s.nodes[0].cfg.Address, 100, 2000, "") })
			return nil
		},
		repair: func(ctx context.Context, s *scene) error {
			s.during(ctx, func(ctx context.Context) { broadcasts(ctx, s.nodes[0].cfg.Address, 100, 2000, "?key=price") })
			return nil
		},
		check: nothingLost(&c),
	}
}

// broadcasts sends events to all users until ctx ends.
func broadcasts(ctx context.Context, address string, rate float64, size int, query string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	data := strings.Repeat("x", size)
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = post(ctx, client, address, everybody+query, data)
		case <-ctx.Done():
			return
		}
	}
}

// stalledClients has a network that stops to pass bytes on.
func stalledClients() *badDay {
	var c *clients
	return &badDay{
		name: "slow-clients", fault: "60 clients take nothing any more, and connect again after a minute", remedy: "they are gone",
		fires: []string{slowClients},
		may:   []string{reconnects},
		panels: []panel{
			{"streams ended in 1 minute", []line{{"as slow", `sum(increase(ginsse_streams_ended_total{reason="slow"}[1m]))`}, {"all", `sum(increase(ginsse_streams_ended_total[1m]))`}}},
			openStreams,
		},
		setUp: func(ctx context.Context, s *scene) (err error) {
			if c, err = s.begin(ctx, usual, 1, nodeConfig{}); err != nil {
				return err
			}
			s.alongside(ctx, func(ctx context.Context) { broadcasts(ctx, s.nodes[0].cfg.Address, 20, 16<<10, "") })
			return nil
		},
		cause: func(ctx context.Context, s *scene) error {
			s.during(ctx, func(ctx context.Context) {
				var all sync.WaitGroup
				defer all.Wait()
				for i := range 60 {
					all.Go(func() {
						_ = pause(ctx, time.Duration(i)*scaled(time.Second))
						for ctx.Err() == nil {
							_ = stall(ctx, s.nodes[0].cfg.Address, fmt.Sprint("stalled", i), scaled(time.Minute))
						}
					})
				}
			})
			return nil
		},
		repair: func(context.Context, *scene) error { return nil },
		check:  nothingLost(&c),
	}
}
