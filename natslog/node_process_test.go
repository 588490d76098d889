package natslog_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/natslog"
)

// nodeVariable makes the test's program a node of an application, with options in JSON.
const nodeVariable = "NATSLOG_TEST_NODE"

type nodeOptions struct {
	Brokers     string `json:"brokers"`
	RecentBytes int    `json:"recentBytes"` // as in natslog.Config
}

// serveNode runs until it is killed, or until the process that started it has ended. It writes its
// address to standard output, and only failures to standard error.
func serveNode(text string) {
	var o nodeOptions
	must(json.Unmarshal([]byte(text), &o))
	nc, err := nats.Connect(o.Brokers, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	must(err)
	log, err := natslog.Open(context.Background(), nc, natslog.Config{
		Replicas: 3, RecentBytes: o.RecentBytes, EventsPerSubject: 100_000, // no gap, however fast the machine
	})
	must(err)
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log, Stream: ginsse.StreamConfig{
		HeartbeatInterval: 250 * time.Millisecond, ReconnectionTime: 50 * time.Millisecond,
		Compact: os.Getenv("GINSSE_TEST_COMPACT") != "",
	}})
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(listener.Addr())
	go func() { must(http.Serve(listener, nodeEngine(registry))) }()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// nodeEngine has no Recovery, so that a panic fails the test.
func nodeEngine(registry *ginsse.Registry) *gin.Engine {
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	must(err)
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithTopics(c.QueryArray("topic")...))
	})
	// The subject is as the log has it. The answer is the event's id, once it is acknowledged.
	r.POST("/send/:subject", func(c *gin.Context) {
		ctx, e := c.Request.Context(), ginsse.Event{Type: c.Query("type"), Data: c.Query("n")}
		var receipt ginsse.Receipt
		var err error
		switch kind, name, _ := strings.Cut(c.Param("subject"), ":"); kind {
		case "user":
			receipt, err = registry.SendTo(ctx, name, e)
		case "topic":
			receipt, err = registry.Publish(ctx, name, e)
		default:
			receipt, err = registry.Broadcast(ctx, e)
		}
		if err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
			return
		}
		c.String(http.StatusOK, "%s", receipt.ID)
	})
	r.DELETE("/streams/:user", func(c *gin.Context) {
		if _, err := registry.Disconnect(c.Request.Context(), c.Param("user"), "signed out"); err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
		}
	})
	return r
}

// fleet has the nodes of an application, each a process, and balances requests between them.
type fleet struct {
	options string // of the nodes
	nodes   [3]*nodeProcess

	mu   sync.Mutex // guards the fields below
	urls [3]string  // also of a node that was killed, until it is started again
	out  [3]bool    // the balancer leaves the node out
	turn int
}

// nodeProcess is a node from its start to its end.
type nodeProcess struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer // complete after the process has ended
}

// newFleet starts the nodes on a cluster of their own.
func newFleet(t *testing.T, recentBytes int) *fleet {
	t.Helper()
	c := newCluster(t)
	c.startAll(t)
	options, err := json.Marshal(nodeOptions{c.urls(), recentBytes})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{options: string(options)}
	for i := range f.nodes {
		t.Cleanup(func() { f.kill(t, i) })
		f.start(t, i)
	}
	return f
}

// start returns when the node serves.
func (f *fleet) start(t *testing.T, i int) {
	t.Helper()
	p := &nodeProcess{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), nodeVariable+"="+f.options)
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.nodes[i] = p
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		f.kill(t, i)
		t.Fatalf("node %d does not start: %v", i, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.urls[i] = "http://" + strings.TrimSpace(address)
}

// kill ends a node at once, as a crash does. It may be repeated.
func (f *fleet) kill(t *testing.T, i int) {
	t.Helper()
	p := f.nodes[i]
	if p == nil {
		return
	}
	f.nodes[i] = nil
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
	if text := p.stderr.String(); text != "" {
		t.Errorf("node %d wrote to standard error:\n%s", i, text)
	}
}

// signal sends a signal to a node: to stop it and to continue it.
func (f *fleet) signal(t *testing.T, i int, signal os.Signal) {
	t.Helper()
	if err := f.nodes[i].cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// setOut sets whether the balancer leaves a node out.
func (f *fleet) setOut(i int, out bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out[i] = out
}

// roaming stands for the node that the balancer chooses.
const roaming = -1

// url returns the URL of a node; for roaming, of the next one in turn. The balancer does not notice
// that a node was killed.
func (f *fleet) url(i int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i != roaming {
		return f.urls[i]
	}
	for f.turn++; f.out[f.turn%len(f.urls)]; {
		f.turn++
	}
	return f.urls[f.turn%len(f.urls)]
}

// disconnect ends the streams of a user by a request to one node.
func (f *fleet) disconnect(t *testing.T, node int, user string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, f.url(node)+"/streams/"+user, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(response.Body)
		t.Fatalf("status %d: %s, %v", response.StatusCode, body, err)
	}
}
