package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/ginsse/ginsse/internal/promtest"
	"github.com/ginsse/ginsse/ssetest"
)

const composeFolder = "compose"

// service is a service of the compose file.
type service struct {
	Image       string
	Build       map[string]string
	Command     []string
	Ports       []string
	Volumes     []string
	Healthcheck map[string]any
}

func composeServices(t *testing.T) map[string]service {
	t.Helper()
	var file struct {
		Services map[string]service
		Volumes  map[string]any
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The stack starts on any machine with Docker: every file that it mounts is there, every image has a
// version, every service says when it is well, and nobody else can reach a port.
func TestComposeFileIsComplete(t *testing.T) {
	t.Parallel()
	services := composeServices(t)
	if len(services) != 6 {
		t.Errorf("there are %d services", len(services))
	}
	version := regexp.MustCompile(`:v?\d+\.\d+[^:]*$`)
	for name, s := range services {
		if len(s.Build) == 0 && !version.MatchString(s.Image) {
			t.Errorf("%s has the image %q, without a version", name, s.Image)
		}
		if s.Build != nil {
			if _, err := os.Stat(filepath.Join(composeFolder, s.Build["context"], s.Build["dockerfile"])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(s.Healthcheck) == 0 {
			t.Errorf("%s has no health check", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s has the port %s on all addresses", name, port)
			}
		}
		for _, volume := range s.Volumes {
			path, _, _ := strings.Cut(volume, ":")
			if !strings.HasPrefix(path, ".") {
				continue // a volume with a name
			}
			if info, err := os.Stat(filepath.Join(composeFolder, path)); err != nil || info.IsDir() {
				t.Errorf("%s mounts %s, which is no file: %v", name, path, err)
			}
		}
	}
}

// stack is what the compose file starts, on this machine: two nodes of the example on Postgres, nginx
// and Prometheus, each with its configuration from the compose folder. Names of services are replaced by
// addresses of loopback.
type stack struct {
	t          *testing.T
	nodes      []*process
	url        string // of nginx
	prometheus *promtest.Server
}

func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t}
	database := newPostgres(t)
	addresses := make(map[string]string)
	services := composeServices(t)
	for _, name := range []string{"app1", "app2"} {
		for _, port := range []string{":8080", ":9100"} {
			addresses[name+port] = freeAddress(t)
		}
		flags := slices.Clone(services[name].Command)
		for i := range flags {
			flags[i] = replace(t, flags[i], map[string]string{
				"-addr=0.0.0.0:8080":                               "-addr=" + addresses[name+":8080"],
				"-metrics=0.0.0.0:9100":                            "-metrics=" + addresses[name+":9100"],
				"-postgres=postgres://postgres@postgres:5432/feed": "-postgres=" + database,
			}, false)
		}
		s.nodes = append(s.nodes, newProcess(t, "the last flag counts", database, flags...))
	}
	s.startNginx(addresses)

	alerts, err := filepath.Abs("../../promginsse/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := replace(t, readFile(t, "prometheus.yml"), map[string]string{
		"app1:9100": addresses["app1:9100"], "app2:9100": addresses["app2:9100"],
		"- alerts.yml":         "- " + alerts,
		"scrape_interval: 5s":  "scrape_interval: 200ms\n  scrape_timeout: 200ms",
		"evaluation_interval:": "evaluation_interval: 200ms #",
	}, true)
	s.prometheus = promtest.New(t, promtest.Config{File: writeFile(t, "prometheus.yml", text)})
	return s
}

// replace replaces texts. If all are required, the test fails unless each is there.
func replace(t *testing.T, text string, by map[string]string, required bool) string {
	t.Helper()
	for old, value := range by {
		if required && !strings.Contains(text, old) {
			t.Fatalf("there is no %q in\n%s", old, text)
		}
		text = strings.ReplaceAll(text, old, value)
	}
	return text
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *stack) startNginx(addresses map[string]string) {
	s.t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			if os.Getenv("PROXY_TESTS") == "required" {
				s.t.Fatal("PROXY_TESTS is required, and there is no nginx")
			}
			s.t.Skip("there is no nginx: install Debian's package of it")
		}
	}
	folder, address := s.t.TempDir(), freeAddress(s.t)
	paths := ""
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		paths += fmt.Sprintf("\n    %s_temp_path %s/%s;", name, folder, name)
	}
	file := writeFile(s.t, "nginx.conf", replace(s.t, readFile(s.t, "nginx.conf"), map[string]string{
		"app1:8080": addresses["app1:8080"], "app2:8080": addresses["app2:8080"],
		"listen 8080": "listen " + address,
		"http {":      "http {" + paths,
	}, true))
	directives := "daemon off; pid " + folder + "/pid;"
	if os.Getuid() == 0 {
		directives += " user root;" // the folder is this user's
	}
	var output strings.Builder
	cmd := exec.Command(program, "-p", folder, "-e", "stderr", "-c", file, "-g", directives)
	cmd.Stderr = &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if s.t.Failed() {
			s.t.Logf("nginx wrote:\n%s", output.String())
		}
	})
	s.url = "http://" + address
	for deadline := time.After(30 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			s.t.Fatalf("nginx has ended:\n%s", output.String())
		case <-deadline:
			s.t.Fatal("nginx does not answer")
		case <-time.After(10 * time.Millisecond): // a poll; nothing tells that it is ready
		}
	}
}

// visitor returns a demo user who comes through nginx.
func (s *stack) visitor(name string) *visitor {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	s.t.Cleanup(client.CloseIdleConnections)
	v := &visitor{t: s.t, url: s.url, client: client}
	v.signIn(name, demoPassword)
	return v
}

// await waits until Prometheus has scraped what makes an expression true.
func (s *stack) await(expr string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	if _, err := s.prometheus.Await(ctx, expr); err != nil {
		s.t.Fatal(err)
	}
}

// target is one query of a panel of the dashboard.
type target struct {
	panel, expr string
}

// dashboardQueries returns the queries of all panels, of the annotations and of the variables. The
// variables have their default, all, and rates are over 5 minutes.
func dashboardQueries(t *testing.T) (targets []target) {
	t.Helper()
	text, err := os.ReadFile("../../promginsse/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
		Annotations struct {
			List []struct {
				Name string `json:"name"`
				Expr string `json:"expr"`
			} `json:"list"`
		} `json:"annotations"`
		Templating struct {
			List []struct {
				Name       string `json:"name"`
				Type       string `json:"type"`
				Definition string `json:"definition"`
				AllValue   string `json:"allValue"`
			} `json:"list"`
		} `json:"templating"`
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	replacements := []string{"$__rate_interval", "5m"}
	for _, v := range dashboard.Templating.List {
		replacements = append(replacements, "$"+v.Name, v.AllValue)
	}
	fill := strings.NewReplacer(replacements...)
	add := func(panel, expr string) {
		expr = fill.Replace(expr)
		if strings.Contains(expr, "$") {
			t.Errorf("%s: there is a variable in %s", panel, expr)
		}
		targets = append(targets, target{panel, expr})
	}
	for _, p := range dashboard.Panels {
		for _, query := range p.Targets {
			add(p.Title, query.Expr)
		}
	}
	for _, a := range dashboard.Annotations.List {
		if a.Expr != "" {
			add("annotation "+a.Name, a.Expr)
		}
	}
	values := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range dashboard.Templating.List {
		if v.Type == "query" {
			match := values.FindStringSubmatch(v.Definition)
			if match == nil {
				t.Fatalf("variable %s has the query %s", v.Name, v.Definition)
			}
			add("variable "+v.Name, "group by ("+match[2]+") ("+match[1]+")")
		}
	}
	return targets
}

// mayBeEmpty says of which queries the traffic of the test makes no series, and why.
var mayBeEmpty = map[string]string{
	"Alerts":                 "nothing is wrong",
	"annotation Restarts":    "no node is restarted",
	"Not sent, not appended": "the log takes everything",
	"Evicted, by reason":     "the memory has room for all events",
}

// Every query of the dashboard has an answer from the nodes of the compose file, behind its proxy and with
// its Prometheus.
func TestDashboardShowsTheNodesOfTheComposeFile(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.await(`count(up == 1) == 2`) // before anything happens: a rate needs two values
	s.await(`count(ginsse_cluster_nodes == 2) == 2`)
	s.makeTraffic()

	for _, target := range dashboardQueries(t) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		ask := s.prometheus.Await
		if mayBeEmpty[target.panel] != "" {
			ask = s.prometheus.Query
		}
		series, err := ask(ctx, target.expr)
		if err != nil {
			t.Errorf("%s: %s: %v", target.panel, target.expr, err)
		}
		for _, line := range series {
			if math.IsNaN(line.Points[0].Value) {
				t.Errorf("%s: %s: %v has no number", target.panel, target.expr, line.Labels)
			}
		}
		if _, err := s.prometheus.QueryRange(ctx, target.expr, time.Now().Add(-time.Minute), time.Now(), time.Second); err != nil {
			t.Errorf("%s: %s: %v", target.panel, target.expr, err)
		}
		cancel()
	}
}

// makeTraffic has users do what the dashboard shows.
func (s *stack) makeTraffic() {
	s.t.Helper()
	alice, bob, carol := s.visitor("alice"), s.visitor("bob"), s.visitor("carol")
	streams := []*ssetest.Stream{alice.open("/events?topic=post:1"), alice.open("/events?topic=post:1"), carol.open("/events?topic=feed"), carol.open("/events?topic=feed")}
	s.await(`sum by (instance) (ginsse_streams) > 0`)
	id := streamID(s.t, streams[0])
	alice.want(http.StatusAccepted, "POST", "/events", control{Stream: id, Add: []string{"feed"}})
	streams[0].NextOf("sse.topics")
	for range 3 {
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"hello"})
		for _, stream := range streams[:2] {
			stream.NextOf("post.comment")
		}
		bob.want(http.StatusNoContent, "POST", "/api/posts/1/typing", nil)
		for _, stream := range streams[:2] {
			stream.NextOf("typing")
		}
	}
	position := streams[1].LastEventID()
	streams[1].Close()
	alice.open("/events?topic=post:1", ssetest.LastEventID(position)).NextOf("sse.open")
	carol.open("/events", ssetest.LastEventID("of-another-log")).NextOf("sse.gap")
	carol.want(http.StatusBadRequest, "GET", "/events?topic=%0A", nil)
	bob.want(http.StatusNoContent, "DELETE", "/api/session", nil)
}
