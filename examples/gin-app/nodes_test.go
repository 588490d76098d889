package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/ssetest"
)

// newNodes returns two sites that share a database and their events by NATS. The NATS server runs in
// the first.
func newNodes(t *testing.T) (first, second *site) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "feed.db")
	_, port, err := net.SplitHostPort(freeAddress(t)) // nothing takes it while the server is stopped
	if err != nil {
		t.Fatal(err)
	}
	address := embedNATS + ":" + port
	sites := make([]*site, 2)
	for i := range sites {
		n, err := openNodes(t.Context(), address, file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		address = n.url
		sites[i] = newSite(t, appConfig{Demo: true, Database: file, Log: n, Admins: []string{"carol"}})
	}
	return sites[0], sites[1]
}

// newRedisNodes returns two sites that share a database and their events by Redis.
func newRedisNodes(t *testing.T) (first, second *site, server *redisServer) {
	t.Helper()
	server = newRedis(t)
	file := filepath.Join(t.TempDir(), "feed.db")
	sites := make([]*site, 2)
	for i := range sites {
		log, err := openRedis(t.Context(), server.address, file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		sites[i] = newSite(t, appConfig{Demo: true, Database: file, Log: log, Admins: []string{"carol"}})
	}
	return sites[0], sites[1], server
}

// eachServerOfEvents runs a test with two sites whose events are in a server beside the database, which
// the test can stop and start again.
func eachServerOfEvents(t *testing.T, test func(t *testing.T, first, second *site, stop, start func())) {
	t.Helper()
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		first, second := newNodes(t)
		broker := first.nats()
		address, err := url.Parse(broker.url)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(broker.server.StoreDir(), "..")
		test(t, first, second, func() {
			broker.server.Shutdown()
			broker.server.WaitForShutdown()
		}, func() {
			if err := broker.startServer(address.Port(), folder); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		first, second, server := newRedisNodes(t)
		test(t, first, second, func() { server.stop(t) }, func() { server.start(t) })
	})
}

// waitForLog has requests wait longer than sendTimeout for a log that is not in the database, which a busy
// machine may need. Without its event, the test would fail.
func (s *site) waitForLog() { s.app.store.sending.log = patientLog{s.app.log} }

// patientLog is the log of the transactions of a site.
type patientLog struct{ eventLog }

// Append implements [eventlog.Log].
func (l patientLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout/2)
	defer cancel()
	return l.eventLog.Append(ctx, r)
}

// eachKindOfNodes runs a test with two sites that share their events by each kind of log. Carol is an
// administrator.
func eachKindOfNodes(t *testing.T, test func(t *testing.T, first, second *site)) {
	t.Helper()
	t.Run("nats", func(t *testing.T) {
		t.Parallel()
		first, second := newNodes(t)
		first.waitForLog()
		second.waitForLog()
		test(t, first, second)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		first, second, _ := newRedisNodes(t)
		first.waitForLog()
		second.waitForLog()
		test(t, first, second)
	})
	eachDatabase(t, func(t *testing.T, cfg appConfig) {
		cfg.Admins = []string{"carol"}
		test(t, newSite(t, cfg), newSite(t, cfg))
	})
}

// nats returns the node's connection to NATS, and its server if it runs in the node.
func (s *site) nats() *nodes { return s.app.log.(*nodes) }

func TestEventsReachTheStreamsOfAllNodes(t *testing.T) {
	t.Parallel()
	eachKindOfNodes(t, testEventsReachAllNodes)
}

func testEventsReachAllNodes(t *testing.T, first, second *site) {
	t.Helper()
	alice, bob := first.signedIn("alice"), second.signedIn("bob")
	here, there := alice.open("/events"), (&visitor{t: t, url: second.url, client: alice.client, token: alice.token}).open("/events")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"from the other node"})
	one, other := here.NextOf("comment"), there.NextOf("comment")
	if one != other {
		t.Errorf("%+v here, %+v there", one, other)
	}
	// A stream resumes on the other node.
	here.Close()
	bob.want(http.StatusCreated, "POST", "/api/posts/1/reactions", map[string]string{"kind": "like"})
	moved := (&visitor{t: t, url: second.url, client: alice.client, token: alice.token}).open("/events", ssetest.LastEventID(one.LastEventID))
	if got := moved.NextOf("sse.open").Data; !parse[struct{ Resumed bool }](t, []byte(got)).Resumed {
		t.Errorf("sse.open is %s", got)
	}
	moved.NextOf("reaction")

	// Signing out on one node closes the streams on all nodes.
	alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
	for _, stream := range []*ssetest.Stream{there, moved} {
		if got := stream.NextOf("sse.close").Data; got != `{"reason":"signed out"}` {
			t.Errorf("it ended with %s", got)
		}
	}
	for _, s := range []*site{first, second} {
		s.waitUntilReady()
	}
}

// waitUntilReady waits until the site can serve requests. After a pause of the machine it is not ready for
// a moment.
func (s *site) waitUntilReady() {
	s.t.Helper()
	v := s.visitor()
	nodetest.Until(s.t, "the site is ready", func() bool {
		return v.send(v.request("GET", "/readyz", nil)).status == http.StatusOK
	})
}

// Comments and sign-outs succeed while the nodes are partitioned.
// TestRequestDoesNotWaitLongForTheLog says how long they take.
func TestRequestsSucceedWhileTheServerOfEventsIsDown(t *testing.T) {
	t.Parallel()
	eachServerOfEvents(t, func(t *testing.T, first, second *site, stop, _ func()) {
		alice := first.signedIn("alice")
		stream := alice.open("/events")
		stream.NextOf("sse.heartbeat") // it has its position
		stop()
		second.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"Is anybody there?"})
		alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
		stream.NextOf("sse.close")
		alice.want(http.StatusUnauthorized, "GET", "/api/me", nil)
		again := &visitor{t: t, url: second.url, client: alice.client, token: alice.token}
		again.want(http.StatusUnauthorized, "GET", "/api/me", nil)
	})
}

func TestPageShowsEventsOfAnotherNode(t *testing.T) {
	t.Parallel()
	eachKindOfNodes(t, func(t *testing.T, first, second *site) {
		alice, bob := newBrowser(t).open(first.url), newBrowser(t).open(second.url)
		alice.signIn("alice")
		bob.signIn("bob")
		bob.click(`[data-post="1"] .toggle`)
		bob.enter(`[data-post="1"] [name=body]`, "Which tune?\n")
		alice.says(".toast", "bob commented: Which tune?")
		alice.says("#unread", "1")
		first.signedIn("carol").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"All of them?"})
		bob.says(`[data-post="1"] .comments`, "All of them?")
		alice.says("#unread", "2")
	})
}

// The events are as private as the database.
func TestNATSServerRequiresTheToken(t *testing.T) {
	t.Parallel()
	first, _ := newNodes(t)
	if nc, err := nats.Connect(first.nats().url); err == nil {
		nc.Close()
		t.Error("the server accepts a client without the token")
	}
	if info, err := os.Stat(filepath.Join(first.nats().server.StoreDir(), "..", tokenFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestNATSAddressErrorHidesThePassword(t *testing.T) {
	t.Parallel()
	_, err := openNodes(t.Context(), "nats://app:se/cret@127.0.0.1:1", filepath.Join(t.TempDir(), "feed.db"), slog.New(slog.DiscardHandler))
	if err == nil || strings.Contains(err.Error(), "cret") || strings.Contains(err.Error(), ":se") {
		t.Errorf("error %v", err)
	}
}

func TestNodesNeedADatabaseFileAndAValidPort(t *testing.T) {
	t.Parallel()
	if n, err := openNodes(t.Context(), embedNATS+":0", inMemory, slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("there was no error: %v", n.Close())
	}
	if n, err := openNodes(t.Context(), embedNATS+":nonsense", filepath.Join(t.TempDir(), "feed.db"), slog.New(slog.DiscardHandler)); err == nil {
		t.Errorf("there was no error: %v", n.Close())
	}
}

func TestRedisAddressErrorHidesThePassword(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"no_server":      "redis://app:se-cret@127.0.0.1:1",
		"slash":          "redis://app:se-cret/x@127.0.0.1:1",
		"not_escaped":    "redis://app:%se-cret@127.0.0.1:1",
		"another_scheme": "reddis://app:se-cret@127.0.0.1:1",
		"bad_database":   "redis://app:x@127.0.0.1:1/se-cret",
		"bad_option":     "redis://app:x@127.0.0.1:1?db=se-cret",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := openRedis(ctx, address, filepath.Join(t.TempDir(), "feed.db"), slog.New(slog.DiscardHandler))
			if err == nil || strings.Contains(err.Error(), "cret") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// The streams at another node end when the server is back, although the sign-out was answered before.
func TestSignOutReachesOtherNodesWhenTheServerOfEventsIsBack(t *testing.T) {
	t.Parallel()
	eachServerOfEvents(t, func(t *testing.T, first, second *site, stop, start func()) {
		alice := first.signedIn("alice")
		stream := (&visitor{t: t, url: second.url, client: alice.client, token: alice.token}).open("/events")
		stream.NextOf("sse.heartbeat") // it has its position
		stop()
		alice.want(http.StatusNoContent, "DELETE", "/api/session", nil)
		if n := len(second.app.registry.Streams(alice.user.ID)); n != 1 {
			t.Fatalf("%d streams are open at the other node, want 1", n)
		}
		start()
		stream.Patience = time.Minute // each retry waits twice as long as the one before
		wantReconnect(t, stream, "reauthenticate")
		(&visitor{t: t, url: second.url, client: alice.client, token: alice.token}).want(http.StatusUnauthorized, "GET", "/events", nil)
	})
}
