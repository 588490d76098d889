package databases

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/redislog"
)

// redisProgram is the server. Debian's package of this name has it.
const redisProgram = "redis-server"

// redisServer is a Redis server on loopback, which appends its commands to a file and syncs it every
// second.
type redisServer struct {
	cmd     *exec.Cmd
	address string
	client  *redis.Client
}

// hasRedis reports whether Redis is installed.
func hasRedis() bool {
	_, err := exec.LookPath(redisProgram)
	return err == nil
}

// withRedis does something with a new server. Without Redis, do gets nil.
func (r *run) withRedis(ctx context.Context, do func(s *redisServer) error) (err error) {
	if !hasRedis() {
		r.notef("There is no Redis (Debian's package %s), so nothing is measured on it.", redisProgram)
		return do(nil)
	}
	s, err := r.startRedis(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	return do(s)
}

// startRedis starts a server and waits until it answers.
func (r *run) startRedis(ctx context.Context) (*redisServer, error) {
	dir, err := os.MkdirTemp(r.dir, "redis-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &redisServer{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	s.cmd = exec.Command(redisProgram, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, //nolint:gosec,noctx // stop ends it
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.client = s.connect()
	for deadline := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		if r.report.Redis, err = s.info(ctx, "server", "redis_version"); err == nil {
			return s, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("Redis does not answer: %w", err), s.stop()) //nolint:staticcheck // a name
		}
	}
}

func (s *redisServer) connect() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.address})
}

// info returns a field of what the server says about itself.
func (s *redisServer) info(ctx context.Context, section, field string) (string, error) {
	text, err := s.client.Info(ctx, section).Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return value, nil
		}
	}
	return "", fmt.Errorf("INFO %s has no %s", section, field)
}

// usedMemory returns how many bytes the server has allocated.
func (s *redisServer) usedMemory(ctx context.Context) (float64, error) {
	text, err := s.info(ctx, "memory", "used_memory")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

// stop shuts the server down at once, and waits.
func (s *redisServer) stop() error {
	if s.client != nil {
		_ = s.client.Close()
	}
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = s.cmd.Wait() // it was killed
	return nil
}

// openLogs opens a log for each of a number of nodes, each with a client of its own. The server is
// empty at first. The caller must call stop, even after an error.
func (s *redisServer) openLogs(ctx context.Context, nodes int, cfg redislog.Config) (logs []eventlog.SharedLog, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
	if err := s.client.FlushAll(ctx).Err(); err != nil {
		return nil, stop, err
	}
	for range nodes {
		client := s.connect()
		stops = append(stops, func() { _ = client.Close() })
		log, err := redislog.Open(ctx, client, cfg)
		if err != nil {
			return nil, stop, err
		}
		stops = append(stops, func() { _ = log.Close() })
		logs = append(logs, log)
	}
	return logs, stop, nil
}

// onRedis measures the parts on Redis alone.
func (r *run) onRedis(ctx context.Context) error {
	if !r.wants("memory") && !r.wants("resume") {
		return nil
	}
	return r.withRedis(ctx, func(s *redisServer) error {
		if s == nil {
			return nil
		}
		return errors.Join(
			r.part("memory", func() error { return r.redisMemory(ctx, s) }),
			r.part("resume", func() error { return r.resumeRedis(ctx, s) }),
		)
	})
}

// fill appends events to a log, each for a subject.
func fill(ctx context.Context, log eventlog.Log, count int, subject func(n int64) string) error {
	var last atomic.Int64
	failures := make([]error, senders)
	var group sync.WaitGroup
	for i := range senders {
		group.Go(func() {
			for n := last.Add(1); failures[i] == nil && n <= int64(count); n = last.Add(1) {
				_, failures[i] = log.Append(ctx, eventlog.Record{Subject: subject(n), Frame: frame(n)})
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// redisMemory measures what an event takes in Redis.
func (r *run) redisMemory(ctx context.Context, s *redisServer) error {
	count := 100_000
	if r.Quick {
		count /= 10
	}
	return r.measure(&Table{
		Title:   "Memory of Redis",
		About:   fmt.Sprintf("How much `used_memory` grows by %d events of 100 bytes to 1,000 users.", count),
		Figures: []Figure{{Name: "an event", Unit: "bytes"}},
		Aims:    []Aim{{Text: "An event in Redis: at most 200 bytes", Row: 0, Over: -1, Most: 200}},
	}, []testCase{{"redislog", func() ([]float64, error) {
		logs, stop, err := s.openLogs(ctx, 1, redislog.Config{})
		defer stop()
		if err != nil {
			return nil, err
		}
		before, err := s.usedMemory(ctx)
		if err != nil {
			return nil, err
		}
		if err := fill(ctx, logs[0], count, func(n int64) string { return "user:" + userID(n) }); err != nil {
			return nil, err
		}
		after, err := s.usedMemory(ctx)
		return []float64{(after - before) / float64(count)}, err
	}}})
}

// resumeRedis measures reading for a client that resumes, with a log of fewer events than elsewhere:
// appending is the only way to fill it.
func (r *run) resumeRedis(ctx context.Context, s *redisServer) error {
	_, far := r.rows()
	logs, stop, err := s.openLogs(ctx, 1, redislog.Config{})
	defer stop()
	if err != nil {
		return err
	}
	recent := logs[0]
	if err := fill(ctx, recent, 2*far, subject); err != nil {
		return err
	}
	client := s.connect()
	defer client.Close() //nolint:errcheck // nothing is written
	old, err := redislog.Open(ctx, client, redislog.Config{RecentBytes: 1 << 20})
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // always nil
	// The check of a position is in the ID of its entry.
	back := func(at eventlog.Cursor) (eventlog.Cursor, error) {
		found, err := client.XRangeN(ctx, "{ginsse}:log", strconv.FormatUint(at.Seq, 10), "+", 1).Result()
		if err != nil || len(found) == 0 {
			return at, fmt.Errorf("there is no entry %d: %w", at.Seq, err)
		}
		_, err = fmt.Sscanf(found[0].ID, "%d-%d", &at.Seq, &at.Check)
		return at, err
	}
	of := resuming{title: "Resuming on Redis", events: 2 * far, recent: recent, old: old, check: back}
	if err := r.resume(ctx, of); err != nil {
		return err
	}
	all := func(log eventlog.Log) func() ([]float64, error) {
		return func() ([]float64, error) { return of.toHead(ctx, log, far) }
	}
	return r.measure(&Table{
		Title:   "Resuming 100,000 behind on Redis, up to the head",
		About:   fmt.Sprintf("`log.Read` of all pages of %d for a user, a topic and all, one client after another.", resumePage),
		Figures: latencies(),
		Aims:    []Aim{{Text: "Resuming on Redis, 100,000 behind, up to the head: p50 at most 200 ms", Row: 1, Over: -1, Most: 200}},
	}, []testCase{{"in memory", all(recent)}, {"from Redis", all(old)}})
}
