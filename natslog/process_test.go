package natslog_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

// processVariable makes the test's program a server, with processOptions.
const processVariable = "NATSLOG_TEST_SERVER"

// processOptions are the options of a server that is a process of its own. It can be killed, as by
// a crash.
type processOptions struct {
	Name        string   `json:"name"`
	Store       string   `json:"store"`
	Port        int      `json:"port"`
	ClusterPort int      `json:"clusterPort"`
	Routes      []string `json:"routes"`
}

func serveProcess(p processOptions) error {
	options := &server.Options{
		ServerName: p.Name, Host: "127.0.0.1", Port: p.Port,
		JetStream: true, StoreDir: p.Store, JetStreamMaxStore: 1 << 50, NoSigs: true, NoLog: true,
	}
	if p.ClusterPort != 0 {
		options.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: p.ClusterPort}
		for _, route := range p.Routes {
			u, err := url.Parse(route)
			if err != nil {
				return err
			}
			options.Routes = append(options.Routes, u)
		}
	}
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.Start()
	return nil
}

// startProcess starts a server. It returns a function that kills it.
func startProcess(t *testing.T, o processOptions) (kill func()) {
	t.Helper()
	p := nodetest.Start(t, processVariable, o)
	kill = sync.OnceFunc(func() {
		if text := p.Kill(); text != "" {
			t.Logf("server %s wrote to standard error:\n%s", o.Name, text)
		}
	})
	t.Cleanup(kill)
	return kill
}

// TestKilledServerLosesNothing kills the only server while four senders append.
func TestKilledServerLosesNothing(t *testing.T) {
	port := freePorts(t, 1)[0]
	p := processOptions{Name: "s", Store: t.TempDir(), Port: port}
	kill := startProcess(t, p)
	address := fmt.Sprint("nats://127.0.0.1:", port)
	log := openPatiently(t, connect(t, address), natslog.Config{EventsPerSubject: 1 << 20}) // no gap, however long it takes
	r := newReader(t, log, alice, all)
	s := newSenders(t, log)
	for range 2 {
		s.await(t, s.sent.Load()+200)
		kill()
		kill = startProcess(t, p)
	}
	s.await(t, s.sent.Load()+200)
	s.stop()
	s.verify(t, r)
}

// TestKilledLeaderLosesNothing kills the leader of three servers, starts it again, and kills the
// next leader.
func TestKilledLeaderLosesNothing(t *testing.T) {
	ports := freePorts(t, 6)
	var routes []string
	var urls string
	for i := range 3 {
		urls += fmt.Sprintf("nats://127.0.0.1:%d,", ports[i])
		routes = append(routes, fmt.Sprint("nats://127.0.0.1:", ports[3+i]))
	}
	urls = urls[:len(urls)-1]
	processes := make(map[string]processOptions)
	kill := make(map[string]func())
	for i := range 3 {
		p := processOptions{Name: fmt.Sprint("s", i), Store: t.TempDir(), Port: ports[i], ClusterPort: ports[3+i], Routes: routes}
		processes[p.Name], kill[p.Name] = p, startProcess(t, p)
	}
	cfg := natslog.Config{Replicas: 3, EventsPerSubject: 1 << 20} // no gap, however long it takes
	here, there := openPatiently(t, connect(t, urls), cfg), openPatiently(t, connect(t, urls), cfg)
	readers := []*reader{newReader(t, here, alice, all), newReader(t, there, alice, all)}
	js := jet(t, connect(t, urls))
	s := newSenders(t, here, there)
	for range 2 {
		s.await(t, s.sent.Load()+200)
		leader := ""
		until(t, "a leader, and both others with all of the stream", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			stream, err := js.Stream(ctx, "GINSSE")
			if err != nil {
				return false
			}
			cluster := stream.CachedInfo().Cluster
			if leader = cluster.Leader; leader == "" || len(cluster.Replicas) != 2 {
				return false
			}
			for _, replica := range cluster.Replicas {
				if replica.Offline || !replica.Current {
					return false
				}
			}
			return true
		})
		kill[leader]()
		s.await(t, s.sent.Load()+200)
		kill[leader] = startProcess(t, processes[leader])
	}
	s.await(t, s.sent.Load()+200)
	s.stop()
	for _, r := range readers {
		s.verify(t, r)
	}
}

// openPatiently opens a log on servers that are still starting.
func openPatiently(t *testing.T, nc *nats.Conn, cfg natslog.Config) (log *natslog.Log) {
	t.Helper()
	until(t, "a log", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var err error
		log, err = natslog.Open(ctx, nc, cfg)
		return err == nil
	})
	t.Cleanup(func() { log.Close() })
	return log
}
