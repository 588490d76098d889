package debug_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/debug"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// asThePage are the headers of a request of the page itself, as a browser sends them.
var asThePage = []string{"Ginsse-Debug", "1", "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin"}

// mount serves the page of a registry, whose log may be nil, with some handlers in front.
func mount(t *testing.T, cfg debug.Config, log eventlog.Log, front ...gin.HandlerFunc) *node {
	t.Helper()
	page := debug.NewPage(cfg)
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log, Observers: []*ginsse.Observer{page.Observer()}})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	page.Mount(r.Group("/debug/events"), registry, front...)
	n := &node{t, registry, httptest.NewServer(r)}
	t.Cleanup(func() {
		registry.Close()
		n.server.CloseClientConnections()
		n.server.Close()
		n.server.Client().CloseIdleConnections()
	})
	return n
}

// A site whose name resolves to 127.0.0.1 has the same origin as the page, for a browser on that machine.
func TestPageForEveryoneRefusesNamesOfOtherSites(t *testing.T) {
	t.Parallel()
	n := mount(t, debug.Config{InsecureAllowEveryone: true}, nil)
	for host, want := range map[string]int{
		"127.0.0.1:8080": http.StatusOK, "[::1]:8080": http.StatusOK, "10.0.0.1": http.StatusOK, "localhost:8080": http.StatusOK, "LOCALHOST.": http.StatusOK, "app.localhost": http.StatusOK,
		"evil.example:8080": http.StatusMisdirectedRequest, "127.0.0.1.evil.example": http.StatusMisdirectedRequest, "localhost.evil.example": http.StatusMisdirectedRequest, "notlocalhost": http.StatusMisdirectedRequest,
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			path, body := "/debug/events/", ""
			if method == http.MethodPost {
				path, body = "/debug/events/disconnect", `{"user":"alice"}`
			}
			r := n.request(method, path, strings.NewReader(body), asThePage...)
			r.Host = host
			if response, answer := n.do(r); response.StatusCode != want {
				t.Errorf("%s of %s: status %d, want %d: %.100s", method, host, response.StatusCode, want, answer)
			}
		}
	}
	// Who mounts it with a handler of their own decides.
	n = mount(t, debug.Config{InsecureAllowEveryone: true}, nil, func(*gin.Context) {})
	r := n.request(http.MethodGet, "/debug/events/", nil)
	r.Host = "admin.example"
	if response, _ := n.do(r); response.StatusCode != http.StatusOK {
		t.Errorf("behind a handler: status %d", response.StatusCode)
	}
}

// A handler in front that answers has refused, even if it forgets to abort.
func TestPageEndsWithTheAnswerOfAHandlerInFront(t *testing.T) {
	t.Parallel()
	for name, front := range map[string]gin.HandlerFunc{
		"writes":      func(c *gin.Context) { c.JSON(http.StatusForbidden, gin.H{"error": "no administrator"}) },
		"sets_status": func(c *gin.Context) { c.Status(http.StatusForbidden) },
	} {
		n := mount(t, debug.Config{}, nil, front)
		for _, c := range []struct{ method, path, body string }{
			{http.MethodGet, "/", ""}, {http.MethodGet, "/page.js", ""}, {http.MethodGet, "", ""}, {http.MethodGet, "/stream", ""},
			{http.MethodPost, "/send", `{"user":"alice","type":"test"}`}, {http.MethodPost, "/disconnect", `{"user":"alice"}`},
		} {
			response, body := n.do(n.request(c.method, "/debug/events"+c.path, strings.NewReader(c.body), asThePage...))
			if response.StatusCode != http.StatusForbidden || len(body) > 50 {
				t.Errorf("%s: %s %q: status %d: %.100s", name, c.method, c.path, response.StatusCode, body)
			}
		}
		if head := n.registry.Stats().Head; head != 0 {
			t.Errorf("%s: something was appended: the head of the log is %d", name, head)
		}
	}
}

// Without TLS, browsers do not send Sec-Fetch-Site.
func TestStreamOfThePageRefusesOtherOrigins(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{}, "web")
	for _, origin := range []string{"http://other.example", "null"} {
		if response, _ := n.do(n.request(http.MethodGet, "/debug/events/stream", nil, "Origin", origin)); response.StatusCode != http.StatusForbidden {
			t.Errorf("a page of %s may look: status %d", origin, response.StatusCode)
		}
	}
	for _, origin := range []string{"", n.server.URL} {
		response, err := n.server.Client().Do(n.request(http.MethodGet, "/debug/events/stream", nil, "Origin", origin))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("the page itself, with the origin %q, gets status %d", origin, response.StatusCode)
		}
	}
}

// What an action has begun goes on when the administrator closes the page.
func TestActionsGoOnWithoutThePage(t *testing.T) {
	t.Parallel()
	log := &slowLog{MemoryLog: newLog(t, eventlog.MemoryLogConfig{}), asked: make(chan context.Context, 1), goOn: make(chan struct{})}
	requests := make(chan context.Context, 1)
	n := mount(t, debug.Config{}, log, func(c *gin.Context) { requests <- c.Request.Context() })
	ctx, closePage := context.WithCancel(t.Context())
	go func() {
		r := n.request(http.MethodPost, "/debug/events/disconnect", strings.NewReader(`{"user":"alice"}`), asThePage...)
		if response, err := n.server.Client().Do(r.WithContext(ctx)); err == nil {
			_ = response.Body.Close()
		}
	}()
	request, appending := <-requests, <-log.asked
	closePage()
	<-request.Done() // the server knows that the page is gone
	if err := appending.Err(); err != nil {
		t.Errorf("the command was given up with the page: %v", err)
	}
	close(log.goOn)
}

// slowLog says which context an append has, and waits.
type slowLog struct {
	*eventlog.MemoryLog

	asked chan context.Context
	goOn  chan struct{}
}

func (l *slowLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	l.asked <- ctx
	select {
	case <-l.goOn:
	case <-ctx.Done():
		return eventlog.Cursor{}, ctx.Err()
	}
	return l.MemoryLog.Append(ctx, r)
}

// A user who is refused again and again does not push out what happened to others.
func TestRefusalsLeaveRoomForOtherEntries(t *testing.T) {
	t.Parallel()
	n := newNode(t, ginsse.RegistryConfig{MaxOpensPerMinute: 1}, "web")
	n.open("alice", "").NextOf("sse.open")
	n.open("mallory", "").NextOf("sse.open")
	for i := range debug.MaxShown {
		query := ""
		if i%2 == 0 {
			query = "?topic=%00"
		}
		response, body := n.do(n.request(http.MethodGet, "/events"+query, nil, "Test-User", "mallory"))
		if response.StatusCode == http.StatusOK && !strings.Contains(body, "throttled") {
			t.Fatalf("the stream is not refused: %s", body)
		}
	}
	v := n.look("", "the refusals", func(v debug.View) bool { return fmt.Sprint(v.Refusals) == "[{invalid 30} {throttled 30}]" })
	opened := 0
	for _, e := range v.Entries {
		if e.What == "refused" && e.User != "mallory" {
			t.Errorf("an entry does not say who was refused: %+v", e)
		}
		if e.What == "opened" {
			opened++
		}
	}
	if opened != 2 {
		t.Errorf("of %d entries, %d are of streams that have opened", len(v.Entries), opened)
	}
}

// A user ID may be a part of a long text, such as a cookie. That text does not stay in memory.
func TestEntriesKeepNothingButTheUserID(t *testing.T) {
	page := debug.NewPage(debug.Config{})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{MaxOpensPerMinute: -1, PresenceGrace: time.Millisecond, Observers: []*ginsse.Observer{page.Observer()}})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		user, _, _ := strings.Cut(c.GetHeader("Session"), "|")
		return ginsse.Identity{UserID: user}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), registry.Handler())
	server := httptest.NewServer(r)
	t.Cleanup(func() {
		registry.Close()
		server.Close()
	})
	session := ssetest.Header("Session", "alice|"+strings.Repeat("x", 900_000))
	for range 30 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		s := ssetest.Connect(t, server.Client(), request, session)
		s.NextOf("sse.open")
		s.Close()
	}
	var memory runtime.MemStats
	for deadline := time.Now().Add(20 * time.Second); ; {
		runtime.GC()
		runtime.ReadMemStats(&memory)
		if memory.HeapAlloc < 15<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d MB are in use after 30 streams", memory.HeapAlloc>>20)
		}
		runtime.Gosched()
	}
	runtime.KeepAlive(page)
}

// Reasons of an application may be any text. The report has room for them all the same.
func TestReportsHaveRoomForReasonsOfControlCharacters(t *testing.T) {
	t.Parallel()
	page := debug.NewPage(debug.Config{})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{MaxStreamsPerUser: -1, Observers: []*ginsse.Observer{page.Observer()}})
	if err != nil {
		t.Fatal(err)
	}
	n := newNodeOf(t, registry, page)
	var streams []*ssetest.Stream
	for i := range 60 {
		s := n.open(fmt.Sprint("user-", i), "")
		s.NextOf("sse.open")
		streams = append(streams, s)
	}
	for i, s := range streams {
		reason := ginsse.Reason(fmt.Sprint(i) + strings.Repeat("\x01<", 150))
		if _, err := registry.Disconnect(t.Context(), fmt.Sprint("user-", i), reason); err != nil {
			t.Fatal(err)
		}
		s.NextOf("sse.close")
	}
	n.look("", "the ends", func(v debug.View) bool { return len(v.Ends) >= 40 })
	if size := len(page.Observer().Answer("ginsse/debug {}")); size > 40<<10 {
		t.Errorf("the report has %d bytes", size)
	}
}

// What a forged report says of entries is short, too.
func TestForgedEntriesAreShort(t *testing.T) {
	t.Parallel()
	logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
	n := newNode(t, ginsse.RegistryConfig{Log: logs[0]}, "web")
	long := strings.Repeat("x", 10_000)
	text, err := json.Marshal(map[string]any{"entries": []map[string]any{{"at": time.Now(), "stream": long, "user": long, "what": long, "detail": long}}})
	if err != nil {
		t.Fatal(err)
	}
	forger, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: logs[1], Observers: []*ginsse.Observer{{
		Answer: func(string) json.RawMessage { return text },
	}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(forger.Close)
	v := n.look("", "the entry", func(v debug.View) bool { return len(v.Entries) > 0 })
	for _, text := range []string{v.Entries[0].Stream, v.Entries[0].User, v.Entries[0].What, v.Entries[0].Detail} {
		if len(text) > 300 {
			t.Errorf("a text of %d bytes", len(text))
		}
	}
}

// JSON reads times that it cannot write. A forged one does not keep the page from showing the other nodes.
func TestForgedTimesDoNotEndThePage(t *testing.T) {
	t.Parallel()
	const bad = `"2020-01-01T00:00:00+24:00"`
	for _, report := range []string{`{"started":` + bad + `}`, `{"log_since":` + bad + `}`, `{"entries":[{"at":` + bad + `}]}`,
		`{"stats":{"log":{"since":` + bad + `}}}`, `{"stats":{"log":{"store":{"heard":` + bad + `}}}}`} {
		logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{}, 2)
		n := newNode(t, ginsse.RegistryConfig{Log: logs[0]}, "web")
		forger, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: logs[1], Observers: []*ginsse.Observer{{
			Answer: func(string) json.RawMessage { return json.RawMessage(report) },
		}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(forger.Close)
		n.look("", report, func(v debug.View) bool { return len(v.Nodes) == 2 && strings.Contains(problems(v), "has no figures") })
	}
}
