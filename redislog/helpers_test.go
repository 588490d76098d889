//go:build linux

package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/redislog"
	"github.com/ginsse/ginsse/redislog/internal/redistest"
)

const patience = nodetest.Patience

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	nodetest.Until(t, what, ok)
}

func record(subject, data string) eventlog.Record {
	return eventlog.Record{Subject: subject, Frame: []byte("event: e\ndata: " + data + "\n\n")}
}

func dataOf(e *eventlog.Entry) string {
	_, data, _ := strings.Cut(string(e.Block), "data: ")
	data, _, _ = strings.Cut(data, "\n")
	return data
}

func unavailable(log *redislog.Log) func() bool {
	return func() bool { return errors.Is(log.Ready(), eventlog.ErrUnavailable) }
}

// prefixes counts the logs of the test's process.
var prefixes atomic.Int64

// newPrefix returns a prefix that no other log has.
func newPrefix() string { return fmt.Sprintf("{log%d}:", prefixes.Add(1)) }

// network is what a node sends to servers through: a proxy for each.
type network struct {
	proxies map[string]*nodetest.Proxy // by the server's address
}

func newNetwork(t testing.TB, servers ...string) *network {
	t.Helper()
	n := &network{make(map[string]*nodetest.Proxy)}
	for _, address := range servers {
		n.proxies[address] = nodetest.NewProxy(t, address)
	}
	return n
}

// dial connects to the proxy of a server.
func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	p, ok := n.proxies[address]
	if !ok {
		return nil, fmt.Errorf("no proxy for %s", address)
	}
	return new(net.Dialer).DialContext(ctx, kind, p.Address())
}

func (n *network) stall(stalled bool) {
	for _, p := range n.proxies {
		p.Stall(stalled)
	}
}

func (n *network) dropAll() {
	for _, p := range n.proxies {
		p.DropAll()
	}
}

// switchTo has all connections to a server replaced by connections to another one.
func (n *network) switchTo(from, to string) {
	n.proxies[from].SetServer(to)
	n.proxies[from].DropAll()
}

// client returns a client of one server.
func (n *network) client(t testing.TB, server string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server, Dialer: n.dial, ReadTimeout: patience, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// clusterClient returns a client of a cluster.
func (n *network) clusterClient(t testing.TB, servers ...string) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: servers, Dialer: n.dial})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// node is a log and its client, as a process of an application has them.
type node struct {
	log     *redislog.Log
	client  redis.UniversalClient
	network *network // nil without proxies
	prefix  string   // of the log's keys
}

// openLog opens a log that is closed with the test, before its client.
func openLog(t testing.TB, client redis.UniversalClient, cfg redislog.Config) *redislog.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	log, err := redislog.Open(ctx, client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

// openNodes opens logs on one server, each with a client and a proxy of its own.
func openNodes(t testing.TB, s *redistest.Server, cfg redislog.Config, count int) (nodes []node) {
	t.Helper()
	for range count {
		network := newNetwork(t, s.Addr())
		client := network.client(t, s.Addr())
		nodes = append(nodes, node{openLog(t, client, cfg), client, network, cfg.Prefix})
	}
	return nodes
}

// appendAll appends records with this data, in order.
func appendAll(t testing.TB, log *redislog.Log, list ...string) (at []eventlog.Cursor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, data := range list {
		cursor, err := log.Append(ctx, record("all", data))
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, cursor)
	}
	return at
}

// appendPatiently appends a record until the log takes it.
func appendPatiently(t testing.TB, log *redislog.Log, data string) (at eventlog.Cursor) {
	t.Helper()
	until(t, "an append", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), operationTimeout)
		defer cancel()
		var err error
		at, err = log.Append(ctx, record("all", data))
		return err == nil
	})
	return at
}

// read reads a page, and again after an error. It does not return the empty page of a node without
// contact, which a busy machine may lose for a moment.
func read(t testing.TB, log *redislog.Log, q eventlog.Query) (page eventlog.Page) {
	t.Helper()
	until(t, "a page", func() bool {
		connected := log.Ready() == nil
		var err error
		page, err = log.Read(t.Context(), q, nil)
		return err == nil && (page.Gap != "" || page.Through != q.After || connected && log.Ready() == nil)
	})
	return page
}

// gapAfter returns the gap that a reader at a position gets.
func gapAfter(t testing.TB, log *redislog.Log, at eventlog.Cursor) eventlog.GapReason {
	t.Helper()
	return read(t, log, eventlog.Query{Subjects: allSubjects, After: at, MaxEntries: 1, MaxBytes: 1 << 20}).Gap
}

// contents returns all events of a log after a position, in order.
func contents(t testing.TB, log *redislog.Log, after eventlog.Cursor) (events []string) {
	t.Helper()
	head(t, log) // the node has read all events then
	for {
		page := read(t, log, eventlog.Query{Subjects: allSubjects, After: after, MaxEntries: 100, MaxBytes: 1 << 20})
		if page.Gap != "" {
			t.Fatalf("gap %q", page.Gap)
		}
		for _, e := range page.Entries {
			events = append(events, dataOf(e))
		}
		if after = page.Through; !page.More {
			return events
		}
	}
}

// entriesIn returns how many entries the stream of the log in Redis has.
func entriesIn(t testing.TB, client redis.UniversalClient) int64 {
	t.Helper()
	count, err := client.XLen(t.Context(), "{ginsse}:log").Result()
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// head returns the head of a log, patiently.
func head(t testing.TB, log *redislog.Log) (at eventlog.Cursor) {
	t.Helper()
	until(t, "the head", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), operationTimeout)
		defer cancel()
		var err error
		at, err = log.Head(ctx)
		return err == nil
	})
	return at
}

// awaitEpoch waits until a node has noticed that its log is another one than that of an epoch. Until then,
// its head may be one of the log before, although it appends to the other one.
func awaitEpoch(t testing.TB, log *redislog.Log, other uint32) {
	t.Helper()
	until(t, "another epoch", func() bool { return head(t, log).Epoch != other })
}

// soon is within which time a log notices that its contents are gone.
const soon = time.Second

// logged is a log handler's output that a test looks into.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func textLogger(records *logged) *slog.Logger { return slog.New(slog.NewTextHandler(records, nil)) }
