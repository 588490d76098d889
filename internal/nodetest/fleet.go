package nodetest

import (
	"bufio"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// Nodes is the number of nodes of a [Fleet].
const Nodes = 3

// Roaming stands for the node that the balancer chooses, where a node's index is expected.
const Roaming = -1

// Config says what the nodes of a [Fleet] are.
type Config struct {
	Variable string             // of the environment, as for [Start]
	Options  func(node int) any // of each node

	// Proxies are between the nodes and the log's server, for [Cut]. Other faults need none.
	Proxies [Nodes]*Proxy

	// Route returns the path to which [Senders] post an event. Each number is used for one event.
	// Nil is /send, a route of [ServeNode].
	Route func(n int) string

	// Complete adds the events to acked that were stored although their senders do not know it. The
	// values are ids. Senders.Verify calls Complete when all tabs have received all events. Nil adds
	// nothing.
	Complete func(t testing.TB, acked map[int]string, tabs []*Tab)
}

// Fleet has the nodes of an application, each a process, and balances requests between them.
type Fleet struct {
	cfg   Config
	nodes [Nodes]*Process

	mu   sync.Mutex    // guards the fields below
	urls [Nodes]string // also of a node that was killed, until it is started again
	out  [Nodes]bool   // the balancer leaves the node out
	turn int
}

// NewFleet starts the nodes. They are killed at the end of the test, which fails if one has written
// to standard error.
func NewFleet(t testing.TB, cfg Config) *Fleet {
	t.Helper()
	f := &Fleet{cfg: cfg}
	for i := range f.nodes {
		t.Cleanup(func() { f.Kill(t, i) })
		f.Start(t, i)
	}
	return f
}

// Start starts a node that was killed, and returns when it serves.
func (f *Fleet) Start(t testing.TB, i int) {
	t.Helper()
	f.nodes[i] = Start(t, f.cfg.Variable, f.cfg.Options(i))
	address, err := bufio.NewReader(f.nodes[i].Stdout).ReadString('\n')
	if err != nil {
		f.Kill(t, i)
		t.Fatalf("node %d does not start: %v", i, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.urls[i] = "http://" + strings.TrimSpace(address)
}

// Kill ends a node at once. It may be repeated.
func (f *Fleet) Kill(t testing.TB, i int) {
	t.Helper()
	p := f.nodes[i]
	if p == nil {
		return
	}
	f.nodes[i] = nil
	if text := p.Kill(); text != "" {
		t.Errorf("node %d wrote to standard error:\n%s", i, text)
	}
}

// Signal sends a signal to a node: to stop it and to continue it.
func (f *Fleet) Signal(t testing.TB, i int, signal os.Signal) {
	t.Helper()
	if err := f.nodes[i].Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// SetOut sets whether the balancer leaves a node out.
func (f *Fleet) SetOut(i int, out bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out[i] = out
}

// URL returns the URL of a node; for [Roaming], of the next one in turn. The balancer does not
// notice that a node was killed.
func (f *Fleet) URL(i int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i != Roaming {
		return f.urls[i]
	}
	for f.turn++; f.out[f.turn%len(f.urls)]; {
		f.turn++
	}
	return f.urls[f.turn%len(f.urls)]
}

// disconnect ends the streams of a user by a request to one node. It returns how long the request
// took.
func (f *Fleet) disconnect(t testing.TB, node int, user string) time.Duration {
	t.Helper()
	began := time.Now()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, f.URL(node)+"/streams/"+user, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	if _, err := do(&http.Client{Transport: transport, Timeout: Patience}, request); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}
