// Package promtest runs a real Prometheus on loopback, for tests and for programs that try things out.
//
// [Start] starts one that scrapes given addresses and evaluates given rules, and keeps its data in a
// temporary folder. [Server.Query], [Server.QueryRange] and [Server.Alerts] ask it. [Server.Stop] ends
// it and removes the folder. Tests call [New], which does the same for the time of a test.
//
// Prometheus is the program of this name in PATH. On Debian it comes with the package prometheus.
package promtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ErrNotInstalled is returned by [Start] if there is no Prometheus.
var ErrNotInstalled = errors.New("promtest: there is no program prometheus; Debian has it in the package prometheus")

// Config says what Prometheus scrapes and evaluates.
type Config struct {
	// Jobs have the addresses to scrape, such as 127.0.0.1:9100, by the name of the job. The path is
	// /metrics. An address need not answer yet. It becomes the label instance.
	Jobs map[string][]string
	// Interval is the time between two scrapes of an address, and between two evaluations of the rules.
	// Default: 1 s.
	Interval time.Duration
	// RuleFiles are files with alert rules and recording rules.
	RuleFiles []string
	// Data is a folder with data of earlier, as promtool tsdb writes it, to begin with. Prometheus also writes
	// there, and Stop leaves it. Default: no data.
	Data string
	// File is a configuration file of Prometheus, to use instead of the fields above, except Data.
	File string
}

// Server is a Prometheus that runs.
//
// Concurrency: all methods may be called from several goroutines.
type Server struct {
	// URL is where it answers, such as http://127.0.0.1:41234.
	URL string

	dir     string
	command *exec.Cmd
	client  *http.Client
	ended   chan struct{} // closed when the process has ended
	stop    func() error

	mu  sync.Mutex // guards log
	log []byte     // the last maxLog bytes of what the process has written
}

const (
	maxLog       = 64 << 10
	startTimeout = 30 * time.Second // the machine may be busy
	stopTimeout  = 10 * time.Second
)

// New starts a Prometheus that runs until the end of the test. If none is installed, New skips the test,
// or fails it if the environment has PROMETHEUS_TESTS=required.
func New(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	switch {
	case errors.Is(err, ErrNotInstalled) && os.Getenv("PROMETHEUS_TESTS") != "required":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start starts a Prometheus, and returns when it answers queries. The first scrape is up to 5 s later: so long
// Prometheus waits before it takes its addresses. The caller must stop it; the end of ctx
// does not. It ends with this process in any case, on Linux.
//
// An error about the configuration has what Prometheus says about it.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, ErrNotInstalled
	}
	s := &Server{client: &http.Client{Transport: new(http.Transport)}, ended: make(chan struct{})}
	s.stop = sync.OnceValue(s.end)
	if s.dir, err = os.MkdirTemp("", "promtest"); err != nil {
		return nil, err
	}
	if err := s.start(ctx, program, cfg); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, program string, cfg Config) error {
	file, err := cfg.write(s.dir)
	if err != nil {
		return err
	}
	if cfg.Data == "" {
		cfg.Data = filepath.Join(s.dir, "data")
	}
	//nolint:gosec,noctx // the program in PATH; Stop ends it
	s.command = exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+cfg.Data, "--web.listen-address=127.0.0.1:0")
	s.command.SysProcAttr = processAttributes()
	output, err := s.command.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.command.Start(); err != nil {
		s.command = nil
		return err
	}
	address := make(chan string, 1) // sent once, by readLog
	go s.readLog(bufio.NewReader(output), address)

	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case a := <-address:
			s.URL = "http://" + a
		case <-tick.C:
			if s.URL != "" && s.get(ctx, "/-/ready", nil, nil) == nil {
				return nil
			}
		case <-s.ended:
			return fmt.Errorf("promtest: prometheus has ended:\n%s", s.Log())
		case <-timeout.C:
			return fmt.Errorf("promtest: prometheus is not ready after %v:\n%s", startTimeout, s.Log())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write returns the name of the configuration file, which it writes if the caller has none.
func (cfg Config) write(dir string) (string, error) {
	if cfg.File != "" {
		return cfg.File, nil
	}
	type group struct {
		Targets []string `json:"targets"`
	}
	type job struct {
		Name    string  `json:"job_name"`
		Targets []group `json:"static_configs"`
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Second
	}
	// Prometheus knows no fractions, such as 1.5s.
	interval := fmt.Sprint(cfg.Interval.Milliseconds(), "ms")
	jobs := []job{}
	for name, targets := range cfg.Jobs {
		jobs = append(jobs, job{name, []group{{targets}}})
	}
	rules := []string{}
	for _, name := range cfg.RuleFiles {
		path, err := filepath.Abs(name) // they are relative to the configuration file otherwise
		if err != nil {
			return "", err
		}
		rules = append(rules, path)
	}
	text, err := json.Marshal(map[string]any{ // JSON is YAML, too
		"global":         map[string]string{"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
		"scrape_configs": jobs,
		"rule_files":     rules,
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "prometheus.yml")
	return file, os.WriteFile(file, text, 0o600)
}

// listening is in the line of the log that has the address.
var listening = regexp.MustCompile(`msg="Listening on" .*address=(\S+)`)

// readLog reads what the process writes until it ends.
func (s *Server) readLog(output *bufio.Reader, address chan<- string) {
	defer close(s.ended)
	for found := false; ; {
		line, err := output.ReadBytes('\n')
		if match := listening.FindSubmatch(line); match != nil && !found {
			found = true
			address <- string(match[1])
		}
		s.mu.Lock()
		s.log = append(s.log, line...)
		s.log = bytes.Clone(s.log[max(0, len(s.log)-maxLog):])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Log returns the end of what Prometheus has logged.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimSpace(string(s.log))
}

// Stop ends Prometheus and removes its data. It may be repeated.
func (s *Server) Stop() error { return s.stop() }

func (s *Server) end() error {
	s.client.CloseIdleConnections()
	if s.command != nil {
		_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended
		timeout := time.NewTimer(stopTimeout)
		defer timeout.Stop()
		select {
		case <-s.ended:
		case <-timeout.C:
			_ = s.command.Process.Kill()
			<-s.ended
		}
		_ = s.command.Wait() // its exit status says what the signal was
	}
	return os.RemoveAll(s.dir)
}
