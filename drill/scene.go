//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ginsse/ginsse/internal/promtest"
)

// interval is the time between two scrapes, and between two evaluations of the rules. Prometheus'
// default would be 3 s here, which is too coarse for rules that wait for 3 s.
const interval = 500 * time.Millisecond

// job is the name of the nodes' job in Prometheus.
const job = "app"

// scene is where a bad day happens: its processes, and the Prometheus that looks at the nodes.
type scene struct {
	dir   string // for files of the processes
	repo  string // the root of the repository
	prom  *promtest.Server
	say   func(format string, args ...any)
	nodes []*node

	history []byte // what Prometheus knows from before, in OpenMetrics; nil for nothing

	fault     sync.WaitGroup     // of what during has started
	stopFault context.CancelFunc // ends it
	cleanups  []func()
}

// close ends all processes, the last one first.
func (s *scene) close() {
	s.endFault()
	for _, cleanup := range slices.Backward(s.cleanups) {
		cleanup()
	}
}

func (s *scene) atEnd(cleanup func()) { s.cleanups = append(s.cleanups, cleanup) }

// during calls fn on a goroutine until the remedy: then its context ends.
func (s *scene) during(ctx context.Context, fn func(ctx context.Context)) {
	ctx, s.stopFault = context.WithCancel(ctx)
	s.fault.Go(func() { fn(ctx) })
}

// alongside calls fn on a goroutine until the end of the scene, or until stop is called.
func (s *scene) alongside(ctx context.Context, fn func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { fn(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	s.atEnd(stop)
	return stop
}

// endFault ends what during has started, and waits for it.
func (s *scene) endFault() {
	if s.stopFault != nil {
		s.stopFault()
	}
	s.fault.Wait()
}

// node is a process that serves streams.
type node struct {
	cfg nodeConfig
	run *process
}

// startNode starts a node. Its addresses are chosen unless they are set.
func (s *scene) startNode(ctx context.Context, cfg nodeConfig) (*node, error) {
	for _, address := range []*string{&cfg.Address, &cfg.Metrics} {
		if *address == "" {
			var err error
			if *address, err = freeAddress(); err != nil {
				return nil, err
			}
		}
	}
	n := &node{cfg: cfg}
	s.nodes = append(s.nodes, n)
	s.atEnd(func() {
		if n.run != nil {
			n.run.kill()
		}
	})
	return n, s.restartNode(ctx, n)
}

// restartNode starts a node that has ended.
func (s *scene) restartNode(ctx context.Context, n *node) error {
	settings, err := json.Marshal(n.cfg)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(program) //nolint:gosec,noctx // the drill itself; kill ends it
	cmd.Env = append(os.Environ(), nodeVariable+"="+string(settings), "GIN_MODE=release")
	if n.run, err = startProcess(s.dir, n.cfg.Name, cmd); err != nil {
		return err
	}
	return n.run.await(ctx, dials(n.cfg.Address))
}

// stopNode ends a node as a deploy does.
func (n *node) stopNode() error { return n.run.stop(syscall.SIGTERM) }

// startPrometheus starts a Prometheus with the scaled rules, and returns when it has scraped all nodes.
func (s *scene) startPrometheus(ctx context.Context) error {
	rules, err := readRules(filepath.Join(s.repo, "promginsse", "alerts.yml"))
	if err != nil {
		return err
	}
	ruleFile := filepath.Join(s.dir, "alerts.json")
	if err := os.WriteFile(ruleFile, rules, 0o600); err != nil {
		return err
	}
	cfg := promtest.Config{Jobs: map[string][]string{job: {}}, Interval: interval, RuleFiles: []string{ruleFile}}
	for _, n := range s.nodes {
		cfg.Jobs[job] = append(cfg.Jobs[job], n.cfg.Metrics)
	}
	if s.history != nil {
		if cfg.Data, err = s.backfill(); err != nil {
			return err
		}
	}
	if s.prom, err = promtest.Start(ctx, cfg); err != nil {
		return err
	}
	s.atEnd(func() { _ = s.prom.Stop() })
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = s.prom.Await(ctx, fmt.Sprintf(`count(up{job=%q} == 1) == %d`, job, len(s.nodes)))
	return err
}

// backfill writes the history into a folder that Prometheus begins with.
func (s *scene) backfill() (dir string, err error) {
	dir = filepath.Join(s.dir, "history")
	file := filepath.Join(s.dir, "history.txt")
	if err := os.WriteFile(file, s.history, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("promtool", "tsdb", "create-blocks-from", "openmetrics", file, dir) //nolint:gosec,noctx // it takes a second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("promtool: %w: %s", err, out)
	}
	return dir, nil
}

// awaitQuery waits until an expression of Prometheus has a result, for a limited time.
func (s *scene) awaitQuery(ctx context.Context, expr string, atMost time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	_, err := s.prom.Await(ctx, scaleDurations(expr))
	return err
}

// balancer chooses a node for each connection, in turn, and leaves out those that do not answer.
type balancer struct {
	mu        sync.Mutex
	addresses []string
	turn      int
}

func (s *scene) balance() *balancer {
	b := &balancer{}
	for _, n := range s.nodes {
		b.addresses = append(b.addresses, n.cfg.Address)
	}
	return b
}

func (b *balancer) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	return b.addresses[b.turn%len(b.addresses)]
}

func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var err error
	for range b.addresses {
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, network, b.next()); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// post sends an event to a user, or to all.
func post(ctx context.Context, client *http.Client, address, user, data string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/send/"+user, strings.NewReader(data))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return errors.New(response.Status)
	}
	return nil
}
