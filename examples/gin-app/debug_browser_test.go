package main

import (
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/debug"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// observedNode is a node with the page for operators at /debug/events. Users open streams at /events.
type observedNode struct {
	t        *testing.T
	registry *ginsse.Registry
	server   *httptest.Server
}

func newObservedNodes(t *testing.T, names ...string) (nodes []*observedNode) {
	t.Helper()
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("Test-User")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	logs := ssetest.NewNodes(t, eventlog.MemoryLogConfig{EventsPerSubject: 500}, len(names))
	for i, name := range names {
		page := debug.NewPage(debug.Config{Name: name})
		registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: logs[i], Observers: []*ginsse.Observer{page.Observer()}})
		if err != nil {
			t.Fatal(err)
		}
		r := gin.New()
		r.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) {
			_ = registry.Serve(c, ginsse.WithTopics(c.QueryArray("topic")...))
		})
		page.Mount(r.Group("/debug/events"), registry, func(*gin.Context) {})
		n := &observedNode{t, registry, httptest.NewServer(r)}
		t.Cleanup(func() {
			registry.Close() // Close of the server waits for streams
			n.server.Close()
		})
		nodes = append(nodes, n)
	}
	return nodes
}

// open opens a stream of a user, who reads it until it ends.
func (n *observedNode) open(user string, options ...ssetest.Option) *ssetest.Stream {
	n.t.Helper()
	s := n.connect(user, "/events?topic=feed&topic=post:17", options...)
	s.NextOf("sse.open")
	return s
}

func (n *observedNode) connect(user, path string, options ...ssetest.Option) *ssetest.Stream {
	n.t.Helper()
	request, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, n.server.URL+path, http.NoBody)
	if err != nil {
		n.t.Fatal(err)
	}
	return ssetest.Connect(n.t, n.server.Client(), request, append(options, ssetest.Header("Test-User", user))...)
}

// stall opens a stream whose client takes nothing, and sends it events until it is behind.
func (n *observedNode) stall(user string) {
	n.t.Helper()
	request, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, n.server.URL+"/events?topic=feed", http.NoBody)
	if err != nil {
		n.t.Fatal(err)
	}
	request.Header.Set("Test-User", user)
	response, err := n.server.Client().Do(request)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = response.Body.Close() })
	data := strings.Repeat("x", 20_000)
	for range 1500 {
		n.send(user, data)
	}
}

func (n *observedNode) send(user, data string) {
	n.t.Helper()
	if _, err := n.registry.SendTo(n.t.Context(), user, ginsse.Event{Type: "comment", Data: data}); err != nil {
		n.t.Fatal(err)
	}
}

// operator opens the page of the node. Whatever the browser logs as an error, such as what the
// Content-Security-Policy has stopped, fails the test.
func (n *observedNode) operator(b *chromium) *tab {
	n.t.Helper()
	p := b.open("about:blank")
	chromedp.ListenTarget(p.ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "status of 400") { // it refuses what the page sends
				n.t.Errorf("the browser says: %s %s", e.Entry.Text, e.Entry.URL)
			}
		case *runtime.EventConsoleAPICalled:
			n.t.Errorf("the page writes to the console: %s", e.Type)
		}
	})
	p.do(chromedp.Navigate(n.server.URL + "/debug/events"))
	p.says("#connection", "Live: ")
	return p
}

const streamRows = "#streams tbody tr"

func TestOperatorSeesStreamsComeAndGo(t *testing.T) {
	t.Parallel()
	nodes := newObservedNodes(t, "web-1", "web-2")
	p := nodes[0].operator(newBrowser(t))
	p.says("#connection", "web-1")
	p.says("#problems", "Nothing that this page can see.")
	p.says("#rows", "No stream is open")
	p.says("#nodes", "web-2")

	const name = `<img src=x onerror="throw 1"> & Söhne`
	alice, mallory := nodes[0].open("alice"), nodes[1].open(name)
	p.says(streamRows, "alice")
	p.says(streamRows, name) // as text
	p.says(streamRows, "feed, post:17")
	p.says(`[data-tile="streams"]`, "2")
	p.says("#rows", "2 of 2 shown")
	p.until("the nodes are named", `[...document.querySelectorAll("#streams tbody tr td:nth-child(3)")].map((e) => e.textContent.slice(0, 5)).sort().join() === "web-1,web-2"`)
	nodes[0].send("alice", "hello")
	alice.NextOf("comment")
	p.says(`[data-tile="p99"]`, "s")
	p.until("the event is counted", `[...document.querySelectorAll("#streams tbody tr")].some((e) => e.cells[0].textContent === "alice" && e.cells[5].textContent === "1")`)

	// The filter, and one stream's fate.
	p.enter("[name=only-user]", "alice\r")
	p.until("only alice is shown", `document.querySelectorAll("#streams tbody tr").length === 1`)
	p.says("#followed", "Only alice.")
	alice.Close()
	p.says("#history", "ended")
	p.says("#history", "client gone")
	p.says("#rows", "No stream is open that the filter lets through.")
	p.click("#filter [type=reset]")
	p.says(streamRows, name)
	p.click("#streams tbody tr td:nth-child(2) button")
	p.says("#followed", "Only stream ")
	p.until("nothing of alice", `[...document.querySelectorAll("#history tbody tr")].every((e) => e.cells[2].textContent !== "alice")`)
	p.says("#history", "new; took")

	// The page is no stream of the registry, and takes nothing while it is paused.
	if n := nodes[0].registry.Stats(); n.Streams != 0 || n.Opened != 1 {
		t.Errorf("the page counts itself: %+v", n)
	}
	p.click("#pause")
	p.says("#connection", "Paused")
	mallory.Close()
	p.click("#pause")
	p.says("#rows", "No stream is open")
}

func TestOperatorDisconnectsAndSends(t *testing.T) {
	t.Parallel()
	nodes := newObservedNodes(t, "web-1", "web-2")
	p := nodes[0].operator(newBrowser(t))
	alice, bob := nodes[1].open("alice"), nodes[0].open("bob")
	p.says(streamRows, "bob")
	p.enter("[name=only-user]", "alice\r")
	p.until("only alice is shown", `document.querySelectorAll("#streams tbody tr").length === 1`)

	p.click("#streams .actions button:first-child")
	p.says("#send", "All tabs of alice get it")
	p.click("#send [type=submit]")
	p.says("#send .result", "Sent. The user is online at another node.")
	if e := alice.NextOf("debug.test"); e.Data != `{"test": true}` {
		t.Errorf("alice got %q", e.Data)
	}
	p.do(chromedp.SetValue("#send [name=type]", "sse.open", chromedp.ByQuery))
	p.click("#send [type=submit]")
	p.says("#send .result", `does not begin with "sse."`)
	p.click("#send .close")
	p.gone("#send")

	// Nothing happens before it is confirmed.
	p.click("#streams .actions button:last-child")
	p.says("#disconnect", "All streams of alice end")
	p.do(chromedp.KeyEvent("\x1b"))
	p.gone("#disconnect")
	p.click("#streams .actions button:last-child")
	p.enter("#disconnect [name=reason]", "account closed")
	p.click("#disconnect [type=submit]")
	p.says("#disconnect .result", "Disconnected: no stream on this node, and all on the others.")
	if e := alice.NextOf("sse.close"); e.Data != `{"reason":"account closed"}` {
		t.Errorf("alice got %s", e.Data)
	}
	p.click("#disconnect .close")
	p.says("#history", "account closed")
	p.says("#counts", "account closed")
	p.says("#rows", "No stream is open")
	if n := len(nodes[0].registry.Streams("bob")); n != 1 {
		t.Errorf("bob has %d streams", n)
	}
	bob.Close()
}

// What users and applications choose is shown as text, and does not turn the text around it. A user ID with
// characters that cannot be seen does not look like another one.
func TestPageForOperatorsShowsHostileTextsAsText(t *testing.T) {
	t.Parallel()
	nodes := newObservedNodes(t, "web-1")
	p := nodes[0].operator(newBrowser(t))
	const name, topic, reason = "\u202eecila<img src=x onerror=\"throw 1\">", "<svg onload=\"throw 1\">", "\u2067<b onclick=\"throw 1\">"
	s := nodes[0].connect(name, "/events?topic="+url.QueryEscape(topic))
	s.NextOf("sse.open")
	p.says(streamRows, "\\u202eecila<img src=x")
	p.says(streamRows, topic)
	p.says("#history", "\\u202eecila<img src=x")
	p.click("#streams .actions button:last-child")
	p.says("#disconnect", "All streams of \\u202eecila<img src=x onerror=\"throw 1\"> end, on all nodes.")
	p.click("#disconnect [type=submit]")
	p.says("#disconnect .result", "Disconnected: 1 stream on this node")
	s.NextOf("sse.reconnect")
	p.click("#disconnect .close")
	nodes[0].connect("ali\u200bce\U000e0062", "/events").NextOf("sse.open")
	p.says(streamRows, "ali\\u200bce\\ue0062")
	nodes[0].open("alice")
	if _, err := nodes[0].registry.Disconnect(t.Context(), "alice", reason); err != nil {
		t.Fatal(err)
	}
	p.says("#history", "\\u2067<b onclick=")
	p.says("#counts", "\\u2067<b onclick=")
	p.until("no text is an element", `document.querySelectorAll("img, [onerror], [onload], [onclick]").length === 0`)
	p.until("nothing turns the text, and all can be seen", `!/\p{Default_Ignorable_Code_Point}/u.test(document.body.textContent) && [...document.querySelectorAll("[title]")].every((e) => !/\p{Default_Ignorable_Code_Point}/u.test(e.title + e.ariaLabel))`)
}

// The rows that come and go above a row do not take its focus away.
func TestPageForOperatorsKeepsTheFocus(t *testing.T) {
	t.Parallel()
	nodes := newObservedNodes(t, "web-1")
	p := nodes[0].operator(newBrowser(t))
	nodes[0].open("alice")
	p.says(streamRows, "alice")
	p.do(chromedp.Focus("#streams .actions button", chromedp.ByQuery))
	bob := nodes[0].open("bob")
	p.says("#streams tbody tr:first-child", "bob")
	nodes[0].open("carol")
	p.says("#streams tbody tr:first-child", "carol")
	bob.Close()
	p.says("#rows", "2 of 2 shown")
	p.until("the focus is where it was", `document.activeElement.ariaLabel === "Send alice a test event"`)
}

// The page is the one thing that must work when nothing else does.
func TestOperatorSeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	nodes := newObservedNodes(t, "web-1")
	p := nodes[0].operator(newBrowser(t))
	nodes[0].stall("slow")
	p.says("#problems", "more than 100 events behind: 1")
	p.until("the slowest is behind", `Number(document.querySelector('[data-tile="slowest"]').textContent.replace(",", "")) > 100`)
	nodes[0].open("quick")
	p.says(streamRows, "quick")
	p.do(chromedp.SetValue("[name=order]", "slowest", chromedp.ByQuery))
	p.click("#filter [type=submit]")
	p.says("#streams tbody tr:first-child", "slow")

	nodes[0].registry.Close()
	p.says("#connection", "Not connected")
}

// The administrator of the application sees the page, and nobody else.
func TestAdministratorSeesThePageForOperators(t *testing.T) {
	t.Parallel()
	s, alice, _, _ := demo(t)
	alice.want(http.StatusForbidden, "GET", "/debug/events/", nil)
	s.visitor().want(http.StatusUnauthorized, "GET", "/debug/events/stream", nil)
	alice.open("/events?topic=feed")
	b := newBrowser(t)
	p := b.open(s.url)
	p.signIn("carol")
	p.do(chromedp.Navigate(s.url + "/debug/events"))
	p.says("#connection", "Live: ")
	p.says(streamRows, alice.user.ID)
	p.enter("[name=only-user]", alice.user.ID+"\r")
	p.until("only alice is shown", `document.querySelectorAll("#streams tbody tr").length === 1`)
	p.click("#streams .actions button:last-child")
	p.click("#disconnect [type=submit]")
	p.says("#disconnect .result", "Disconnected: 1 stream on this node")
}

func TestPageForOperatorsFitsAPhone(t *testing.T) {
	t.Parallel()
	nodes := newObservedNodes(t, "web-1")
	p := nodes[0].operator(newBrowser(t))
	p.narrow()
	nodes[0].open(strings.Repeat("W", 256))
	p.says(streamRows, "WWW")
	p.until("nothing is wider than the screen", "document.documentElement.scrollWidth <= innerWidth")
	p.until("tables are tables", `document.querySelectorAll("#streams [role=cell]").length === 9`)
	p.click("#streams .actions button:last-child")
	p.says("#disconnect", "WWW")
	p.until("nothing is wider than the screen", "document.documentElement.scrollWidth <= innerWidth")
}

// TestScreenshotsOfThePageForOperators takes those of docs/debug-page.md, after two minutes of traffic.
func TestScreenshotsOfThePageForOperators(t *testing.T) {
	t.Parallel()
	if !*screenshots {
		t.Skip("screenshots are taken with -screenshots only")
	}
	nodes := newObservedNodes(t, "web-1", "web-2")
	b := newBrowser(t)
	desktop := nodes[0].operator(b)
	desktop.do(emulation.SetDeviceMetricsOverride(1100, 780, 1, false))
	traffic(nodes, 2*time.Minute)
	desktop.says("#problems", "more than 100 events behind")
	desktop.shoot("../../docs/images/debug-page.png")

	dark := emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}})
	desktop.do(dark, emulation.SetDeviceMetricsOverride(1100, 560, 1, false))
	desktop.enter("[name=only-user]", "mallory\r")
	desktop.until("only mallory is shown", `document.querySelectorAll("#streams tbody tr").length < 3`)
	desktop.run(`document.getElementById("streams-title").scrollIntoView()`)
	desktop.shoot("../../docs/images/debug-page-user.png")

	phone := nodes[1].operator(b)
	phone.narrow()
	phone.do(dark)
	phone.says("#problems", "more than 100 events behind")
	phone.shoot("../../docs/images/debug-page-phone.png")
}

// traffic has users come, go, resume and miss events, and one take nothing.
func traffic(nodes []*observedNode, d time.Duration) {
	users := []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "niaj"}
	newest := ginsse.Receipt{}
	send := func(user string) {
		newest, _ = nodes[0].registry.SendTo(nodes[0].t.Context(), user, ginsse.Event{Type: "comment", Data: strings.Repeat("x", 200)})
	}
	send("alice")
	old := newest.ID
	for range 600 {
		send("alice") // the log keeps 500 of them
	}
	var open []*ssetest.Stream
	for i := range users {
		open = append(open, nodes[i%2].open(users[i]))
	}
	for range 4 {
		nodes[0].connect("alice", "/events", ssetest.LastEventID(old)).NextOf("sse.gap")
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	begun, closed, stalled := time.Now(), false, false
	for i := 0; time.Since(begun) < d; i++ {
		<-ticker.C
		wave := 4 + 3*math.Sin(float64(i)/400) + 2*math.Sin(float64(i)/90)
		for range int(wave) {
			send(users[rand.IntN(len(users))])
		}
		if i%70 == 0 {
			n := rand.IntN(len(open))
			open[n].Close()
			open[n] = nodes[rand.IntN(2)].open(users[n], ssetest.LastEventID(newest.ID))
		}
		if left := d - time.Since(begun); !closed && left < d/4 {
			closed = true
			_, _ = nodes[1].registry.Disconnect(nodes[1].t.Context(), "mallory", "account closed")
		} else if !stalled && left < d/12 {
			stalled = true // it ends as slow after 30 s
			nodes[1].stall("slow-reader")
		}
	}
}
