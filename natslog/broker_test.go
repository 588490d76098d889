package natslog_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/natslog"
)

const patience = nodetest.Patience

// single is a server without a cluster.
type single interface {
	ClientURL() string
	Addr() net.Addr
	StoreDir() string
	Shutdown()
	WaitForShutdown()
}

// startServer runs a server with JetStream on a port and a store.
func startServer(t *testing.T, port int, store string) single {
	t.Helper()
	if path := os.Getenv("NATSLOG_TEST_PROGRAM"); path != "" {
		return startProgram(t, path, port, store)
	}
	return embed(t, &server.Options{Port: port, StoreDir: store})
}

// embed runs a server in this process.
func embed(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.NoSigs, options.NoLog = "127.0.0.1", true, true
	options.JetStream, options.JetStreamMaxStore = options.StoreDir != "", 1<<50 // streams reserve their bound
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return s
}

func stopServer(s single) {
	s.Shutdown()
	s.WaitForShutdown()
}

func newServer(t *testing.T) single {
	t.Helper()
	return startServer(t, freePorts(t, 1)[0], t.TempDir())
}

func connect(t *testing.T, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0), nats.RetryOnFailedConnect(true),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func open(t *testing.T, nc *nats.Conn, cfg natslog.Config) *natslog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	log, err := natslog.Open(ctx, nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

// restart stops a server and runs another one on its port and store.
func restart(t *testing.T, s single) single {
	t.Helper()
	port, store := s.Addr().(*net.TCPAddr).Port, strings.TrimSuffix(s.StoreDir(), "/jetstream")
	stopServer(s)
	return startServer(t, port, store)
}

func jet(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func streamInfo(t *testing.T, js jetstream.JetStream) *jetstream.StreamInfo {
	t.Helper()
	stream, err := js.Stream(patient(t), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo()
}

// patient returns a context for one request. Without a deadline, package jetstream has one of 5 s.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
