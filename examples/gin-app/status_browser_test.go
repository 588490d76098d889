package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
)

// stopTime stops all timers of a tenth of a second or more. Toasts stay.
const stopTime = fakeTime + "time.real = 100;"

// fakeLive is a page with stopTime and fakeStreams, where Alice is signed in and live.
func fakeLive(t *testing.T, s *site) *tab {
	t.Helper()
	p := newBrowser(t).open(s.url, stopTime+fakeStreams)
	p.submitSignIn("alice")
	p.until("it opens a stream", "streams.length === 1")
	p.run("openStream()")
	p.live()
	return p
}

func TestHeaderFitsAPhone(t *testing.T) {
	t.Parallel()
	p := fakeLive(t, newSite(t, appConfig{Demo: true}))
	for _, width := range []int64{375, 360, 320} {
		p.screen(width)
		for _, state := range []string{"connecting", "live", "reconnecting", "closed"} {
			for _, notice := range []string{"", "This account has reconnected too often. Live again in a moment."} {
				p.run(fmt.Sprintf(`const { showState, showNotice } = await import("/status.js");
					showState("live"); showState(%q); if (%q) showNotice(%q, "Go live here", () => {});`, state, notice, notice))
				p.until(fmt.Sprintf("%s at %d: nothing is wider than the screen", state, width),
					fmt.Sprintf("innerWidth === %d && document.documentElement.scrollWidth <= innerWidth", width))
				p.until(fmt.Sprintf("%s at %d: all of the header can be read", state, width), `[...document.querySelectorAll("header :is(h1, #connection, #bell, #user-name, #sign-out, #notice p, #notice button)")].every((e) => {
					const box = e.getBoundingClientRect();
					return !e.checkVisibility() || (box.left >= 0 && box.right <= innerWidth && box.width > 0 && e.scrollWidth <= Math.ceil(box.width));
				}) && document.getElementById("user-name").checkVisibility()`)
			}
		}
	}
}

// Toasts once covered the buttons of the post that they were about.
func TestToastsCoverNoButton(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	p := newBrowser(t).open(s.url, stopTime)
	p.signIn("alice")
	for i, width := range []int64{1280, 1199, 1000, 768, 375, 320} {
		p.screen(width)
		p.run("scrollTo(0, 0)") // below the header nothing can be clicked, with or without a toast
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{fmt.Sprintf("at %d, %s", width, strings.Repeat("and so on ", 20))})
		p.says(".toast:last-child", fmt.Sprintf("at %d", width))
		p.until(fmt.Sprintf("%d: no button is covered", width), `[...document.querySelectorAll("header .wide button, main :is(button, textarea, input)")]
			.filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect()).every((box) =>
				[...document.querySelectorAll(".toast")].filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect()).every((toast) =>
					box.bottom <= toast.top || box.top >= toast.bottom || box.right <= toast.left || box.left >= toast.right))`)
		p.click(`[data-post="1"] .toggle`)
		p.until(fmt.Sprintf("%d: the post's own button can be clicked", width),
			fmt.Sprintf(`document.querySelector('[data-post="1"] .toggle').ariaExpanded === "%v"`, i%2 == 0))
	}
	p.until("there are not too many", "toasts.children.length === 4")
	// A click leads to the comment.
	p.click(".toast:last-child")
	p.until("the comment has the focus", `document.activeElement.textContent.includes("at 320")`)
}

// A toast makes the header higher. A page that is scrolled must not move.
func TestToastsDoNotMoveAScrolledPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	for range 5 {
		bob.post("something to scroll over")
	}
	p := newBrowser(t).open(s.url, stopTime)
	p.narrow()
	p.signIn("alice")
	p.run(`scrollTo(0, 100);
		await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
		window.place = () => document.querySelector('[data-post="2"] .body').getBoundingClientRect().top;
		window.before = place();`)
	p.until("it is scrolled", "scrollY === 100")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/reactions", map[string]string{"kind": "love"})
	p.says(".toast", "bob reacted: love")
	p.until("the post is where it was", "Math.abs(place() - before) < 1")
	p.run(`document.querySelector('[data-post="7"] .toggle').scrollIntoView({ block: "start" })`)
	p.until("what is scrolled to is not below the header",
		`document.querySelector('[data-post="7"] .toggle').getBoundingClientRect().top >= document.querySelector("header").getBoundingClientRect().bottom`)
}

func TestToastsAreRemovedWhenTheirNotificationsAreRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	b := newBrowser(t)
	one := b.open(s.url, stopTime)
	one.signIn("alice")
	two := b.open(s.url, stopTime)
	two.live()
	bob := s.signedIn("bob")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"hello"})
	bob.want(http.StatusCreated, "POST", "/api/posts/1/reactions", map[string]string{"kind": "like"})
	for _, p := range []*tab{one, two} {
		p.says(".toast", "bob commented: hello")
		p.says(".toast", "bob reacted: like")
	}
	// Opening one notification removes its toast.
	one.click("#bell")
	one.click("#notifications li:last-child button")
	one.until("its toast is gone", `toasts.children.length === 1 && toasts.textContent.includes("like")`)
	one.click("#bell")
	one.click("#mark-read")
	for _, p := range []*tab{one, two} {
		p.gone(".toast")
		p.gone("#unread")
	}
}

func TestNotificationNamesItsPost(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	p := newBrowser(t).open(s.url, stopTime)
	p.screen(1280)
	p.signIn("alice")
	s.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"Which tune?"})
	s.signedIn("carol").want(http.StatusCreated, "POST", "/api/posts/1/reactions", map[string]string{"kind": "laugh"})
	for _, said := range []string{"bob commented: Which tune?", "carol reacted: laugh"} {
		both := said + "\non “The kettle finally whistles in tune.”"
		p.says(".toast", both)
		p.until(said+" is in the list", fmt.Sprintf("[...notifications.children].some((row) => row.textContent.includes(%q))", strings.ReplaceAll(both, "\n", "")))
	}
}

// Without a suitable font an emoji would be an empty box.
func TestReactionsNeedNoFont(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	p := newBrowser(t).open(s.url, stopTime)
	p.signIn("alice")
	for _, kind := range reactionKinds {
		s.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/reactions", map[string]string{"kind": kind})
		p.says(".toast", "bob reacted: "+kind)
	}
	p.click("#bell")
	p.until("each is drawn", `[".reaction", "#notifications button", ".toast:last-child"].every((where) => [...document.querySelectorAll(where)].every((e) => {
		const box = e.querySelector("svg.icon path")?.getBoundingClientRect();
		return box?.width > 8 && box.height > 8;
	})) && document.querySelectorAll(".reaction svg").length === 9`)
	p.until("none is written", `!/\p{Emoji_Presentation}|\uFE0F/u.test(document.documentElement.textContent)`)
	p.until("each has a name", `[...document.querySelectorAll('[data-post="1"] .reaction')].map((e) => e.ariaLabel).join() === "like, 1,love, 1,laugh, 1"`)
}

func TestPageShowsThatTheServerCannotBeReached(t *testing.T) {
	t.Parallel()
	p := fakeLive(t, newSite(t, appConfig{Demo: true}))
	p.run(`const real = fetch;
		window.fetch = (path, options) => reachable ? real(path, options) : Promise.reject(new TypeError("no network"));
		reachable = false;`)
	p.click(`[data-post="1"] .reaction`)
	p.says(".toast", "The server cannot be reached.")
	p.click(`[data-post="1"] .reaction`)
	p.until("there is one toast", "toasts.children.length === 1")
	p.run("newest().drop(); await time.pass(300)")
	p.says("#connection", "Reconnecting")
	p.gone("#notice")
	p.run("await time.pass(10_000)")
	p.says("#notice", "The server cannot be reached.")
	p.gone(".toast") // after 6 s
	p.click(`[data-post="1"] .reaction`)
	p.says(".toast", "The server cannot be reached.")
	p.run("reachable = true")
	p.click("#notice button")
	p.until("it tries at once", "streams.length === 2")
	p.run("openStream()")
	p.says("#connection", "Live")
	p.gone("#notice")
	p.gone(".toast")

	// The answer to another request removes the toast too.
	p.run("reachable = false")
	p.click(`[data-post="1"] .reaction`)
	p.says(".toast", "The server cannot be reached.")
	p.run("reachable = true")
	p.click(`[data-post="2"] .reaction`)
	p.gone(".toast")

	// Two short interruptions do not add up to a long one.
	p.run("newest().drop(); await time.pass(9000); await reopen(); await time.pass(0); newest().drop(); await time.pass(9000)")
	p.says("#connection", "Reconnecting")
	p.gone("#notice")
	p.run("await time.pass(1200)")
	p.says("#notice", "The server cannot be reached.")
}

// The page shows it after two and a half heartbeats that no byte comes.
func TestPageShowsSilence(t *testing.T) {
	t.Parallel()
	p := fakeLive(t, newSite(t, appConfig{Demo: true}))
	p.run(`await time.pass(37_000); if (connection.dataset.state !== "live") throw new Error(connection.dataset.state)`)
	p.run(`await time.pass(1000); if (connection.dataset.state !== "reconnecting") throw new Error(connection.dataset.state)`)
}

func TestPageShowsWhyItReconnects(t *testing.T) {
	t.Parallel()
	p := fakeLive(t, newSite(t, appConfig{Demo: true}))
	for reason, text := range map[string]string{
		"overloaded": "The server is busy.", "throttled": "reconnected too often", "shutdown": "The server is restarting.", "lifetime": "cannot be reached",
	} {
		p.run(fmt.Sprintf(`newest().send("sse.reconnect", { reason: %q, retry: 60_000 }); await time.pass(4000);`, reason))
		p.says("#connection", "Live")
		p.run("await time.pass(20_000)")
		p.says("#connection", "Reconnecting")
		p.says("#notice", text)
		p.run("await time.pass(36_000); await reopen()")
		p.says("#connection", "Live")
		p.gone("#notice")
	}
}

// After sse.close or a refusal the page stays closed until the user asks for a new stream.
func TestPageShowsWhyItIsNotLive(t *testing.T) {
	t.Parallel()
	p := fakeLive(t, newSite(t, appConfig{Demo: true}))
	for i, test := range []struct{ end, text string }{
		{`send("sse.close", { reason: "replaced" })`, "This account is open in too many tabs."},
		{`send("sse.close", { reason: "disconnected" })`, "The server has ended the live updates."},
		{`send("sse.close", { reason: "maintenance" })`, "The server has ended the live updates: maintenance."},
		{`refuse(429)`, "The server has ended the live updates."},
		{`refuse(401)`, "The server has ended the live updates."},
	} {
		if strings.HasPrefix(test.end, "refuse") {
			p.run("newest().drop(); await time.pass(1000)")
		}
		if test.end == "refuse(401)" { // the session is there, so the page tries once more
			p.run("window.before = streams.length; newest().refuse(401)")
			p.until("it tries once more", "streams.length === before + 1")
		}
		p.run("newest()." + test.end + "; await time.pass(0)")
		p.says("#connection", "Not live")
		p.says("#notice", test.text)
		p.click(`[data-post="2"] .toggle`)
		p.until("a post is opened or closed", fmt.Sprintf(`document.querySelector('[data-post="2"] .toggle').ariaExpanded === "%v"`, i%2 == 0))
		p.run(`window.before = streams.length; dispatchEvent(new Event("online")); await time.pass(3_600_000)`)
		p.until("it does not come back by itself", "streams.length === before")
		p.click("#notice button")
		p.gone("#notice")
		p.says("#connection", "Connecting")
		p.until("it opens a stream", "streams.length === before + 1")
		p.run("openStream()")
		p.live()
	}
}

func TestConsoleOfANewVisitorHasNoErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	p := newBrowser(t).open("about:blank")
	var mu sync.Mutex
	var entries []string
	chromedp.ListenTarget(p.ctx, func(event any) {
		if added, ok := event.(*log.EventEntryAdded); ok {
			mu.Lock()
			defer mu.Unlock()
			entries = append(entries, fmt.Sprintf("%s: %s %s", added.Entry.Level, added.Entry.Text, added.Entry.URL))
		}
	})
	p.do(log.Enable(), chromedp.Navigate(s.url))
	p.says("#demo", "alice, bob, carol")
	p.signIn("alice")
	p.click("#sign-out")
	p.says("#sign-in", "Sign in")
	mu.Lock()
	defer mu.Unlock()
	if len(entries) > 0 {
		t.Errorf("the console has %q", entries)
	}
}
