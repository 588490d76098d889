package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/ginsse/ginsse/ssetest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	logging.Disable()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := stopPostgres(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}),
		// go-redis looks whether a server is back, and ends within 1 s after its client was closed.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// process is the program, run with a database file or a Postgres database.
type process struct {
	t         *testing.T
	addr, url string
	stop      func() // stops the program as a signal does, and waits until it has ended
}

func newProcess(t *testing.T, addr, file string, flags ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	database := "-db"
	if strings.HasPrefix(file, "postgres://") {
		database = "-postgres"
	}
	go func() {
		err := run(ctx, append([]string{"-addr", addr, database, file}, flags...), writer, io.Discard)
		writer.Close()
		ended <- err
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err, <-ended)
	}
	go io.Copy(io.Discard, reader) // until run has ended
	p := &process{t: t}
	var found bool
	if p.url, found = strings.CutPrefix(strings.TrimSpace(line), "Listening on "); !found {
		t.Fatalf("first line is %q", line)
	}
	p.addr = strings.TrimPrefix(p.url, "http://")
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

// visitor returns a visitor that is signed in as a demo user.
func (p *process) visitor(name string) *visitor {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	p.t.Cleanup(client.CloseIdleConnections)
	v := &visitor{t: p.t, url: p.url, client: client}
	v.signIn(name, demoPassword)
	return v
}

func TestShutdownAsksStreamsToReconnect(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "127.0.0.1:0", inMemory)
	stream := p.visitor("alice").open("/events")
	stream.NextOf("sse.open")
	p.stop()
	wantReconnect(t, stream, "shutdown")
}

// Users, sessions, posts, notifications, the read state and the event log survive a restart.
func TestDatabaseSurvivesARestart(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		testRestart(t, t.TempDir()+"/feed ?%25#.db") // a name that must be escaped
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		testRestart(t, newPostgres(t))
	})
	t.Run("events_in_redis", func(t *testing.T) {
		t.Parallel()
		testRestart(t, filepath.Join(t.TempDir(), "feed.db"), "-redis", newRedis(t).address)
	})
}

func testRestart(t *testing.T, file string, flags ...string) {
	t.Helper()
	first := newProcess(t, freeAddress(t), file, flags...) // nothing takes the address during the restart
	alice, bob := first.visitor("alice"), first.visitor("bob")
	stream := alice.open("/events")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"one"})
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"two"})
	list, _ := alice.inbox()
	alice.want(http.StatusOK, "POST", "/api/notifications/read", map[string]int64{"up_to": list[1].ID})
	stream.Collect("comment", 2) // Postgres has an event in its log some time after the request
	position := stream.LastEventID()
	first.stop()
	// A POST is not retried on a connection that the first server has closed.
	bob.client.CloseIdleConnections()

	second := newProcess(t, first.addr, file, flags...)
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"three"}) // with the token from before the restart
	if got, unread := alice.inbox(); len(got) != 3 || unread != 2 || got[0].ID <= list[0].ID {
		t.Errorf("alice has %d notifications, %d unread", len(got), unread)
	}
	// The stream goes on where it ended: the event log outlives the program too.
	again := alice.open("/events", ssetest.LastEventID(position))
	if got := again.NextOf("sse.open").Data; !parse[struct{ Resumed bool }](t, []byte(got)).Resumed {
		t.Errorf("sse.open is %s", got)
	}
	if got := nextOf(again, "sse.gap", "comment"); got.Type != "comment" || parse[notificationData](t, []byte(got.Data)).Body != "three" {
		t.Errorf("got %+v", got)
	}
	second.stop()
}

// A client that sends less than its Content-Length does not make the shutdown fail.
func TestShutdownDropsRequestsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "127.0.0.1:0", inMemory)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	p.stop() // fails if run does
}

// The flags also apply to users and sessions of an earlier run.
func TestRunWithoutDemoAndBehindTLS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "feed.db")
	first := newProcess(t, freeAddress(t), file)
	alice := first.visitor("alice")
	first.stop()

	second := newProcess(t, first.addr, file, "-no-demo", "-secure")
	alice.want(http.StatusUnauthorized, "GET", "/api/me", nil)
	alice.want(http.StatusUnauthorized, "POST", "/api/session", credentials{"alice", demoPassword})
	dave := alice.want(http.StatusCreated, "POST", "/api/users", credentials{"dave", "long enough"})
	if cookie := dave.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, secureCookie+"=") {
		t.Errorf("cookie is %q", cookie)
	}
	second.stop()
}

func TestRunRefusesInvalidArguments(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		want string // a part of the error
	}{
		"unknown_flag":        {[]string{"-nonsense"}, "-nonsense"},
		"unexpected_argument": {[]string{"nonsense"}, `unexpected argument "nonsense"`},
		"bad_address":         {[]string{"-addr", "nonsense", "-db", inMemory}, "choose another address with -addr"},
		"no_such_folder":      {[]string{"-db", "/nonsense/feed.db"}, "opening the database /nonsense/feed.db: "},
		"no_such_admin":       {[]string{"-db", inMemory, "-admin", "carol, nobody"}, `administrator "nobody"`},
		"two_databases":       {[]string{"-db", "feed.db", "-postgres", "postgres://127.0.0.1:1/feed"}, "choose one database"},
		"two_logs":            {[]string{"-nats", "embed", "-postgres", "postgres://127.0.0.1:1/feed"}, "leave out -nats"},
		"redis_and_postgres":  {[]string{"-redis", "redis://127.0.0.1:1", "-postgres", "postgres://127.0.0.1:1/feed"}, "leave out -redis"},
		"redis_and_nats":      {[]string{"-redis", "redis://127.0.0.1:1", "-nats", "embed"}, "choose one place for the events"},
		"redis_without_file":  {[]string{"-redis", "redis://127.0.0.1:1", "-db", inMemory}, "choose a file with -db"},
		"not_a_database":      {[]string{"-db", "main_test.go"}, "opening the database main_test.go: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := run(t.Context(), test.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestHealthChecksNeedNoSession(t *testing.T) {
	t.Parallel()
	v := newSite(t, appConfig{}).visitor()
	for _, path := range []string{"/healthz", "/readyz"} {
		v.want(http.StatusOK, "GET", path, nil)
		if got := v.want(http.StatusOK, "HEAD", path, nil); len(got.body) != 0 {
			t.Errorf("HEAD %s has the body %s", path, got.body)
		}
	}
}

func TestReadinessFailsWhileStopping(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{})
	s.visitor().want(http.StatusOK, "GET", "/readyz", nil)
	s.app.stop()
	s.visitor().want(http.StatusServiceUnavailable, "GET", "/readyz", nil)
	s.visitor().want(http.StatusServiceUnavailable, "HEAD", "/readyz", nil)
	s.visitor().want(http.StatusOK, "GET", "/healthz", nil)
}

func TestReadinessFailsWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{})
	if err := s.app.store.Close(); err != nil {
		t.Fatal(err)
	}
	s.visitor().want(http.StatusServiceUnavailable, "GET", "/readyz", nil)
}
