package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/internal/nodetest"
)

func TestPageNotifiesTheAuthorAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	alice, bob := newBrowser(t).open(s.url), newBrowser(t).open(s.url)
	alice.signIn("alice")
	bob.signIn("bob")
	alice.gone("#unread")

	bob.click(`[data-post="1"] .toggle`)
	bob.enter(`[data-post="1"] [name=body]`, "Which tune?\n")
	alice.says("#unread", "1")
	alice.says(".toast", "bob commented: Which tune?")
	alice.click("#bell")
	alice.says("#notifications .unread", "bob commented: Which tune?")
	alice.says(`[data-post="1"] .toggle`, "1 comment")

	bob.click(`[data-post="1"] .reaction`)
	alice.says("#unread", "2")
	alice.says("#notifications .unread:first-child", "bob reacted: like")

	// A click on the notification opens the post.
	alice.click("#notifications li:last-child button")
	alice.says(`[data-post="1"] .comments`, "Which tune?")
	bob.enter(`[data-post="1"] [name=body]`, "Or all of them?\n")
	alice.says(`[data-post="1"] .comments`, "Or all of them?")
}

func TestPageShowsNewPosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	alice := newBrowser(t).open(s.url)
	alice.signIn("alice")
	s.signedIn("bob").post("just baked")
	alice.says("article:first-child", "just baked")
}

// A notification leads to its comment, and not to the top of a long post.
func TestNotificationOpensItsComment(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	for i := range 60 {
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{fmt.Sprintf("comment %d", i)})
	}
	alice := newBrowser(t).open(s.url)
	alice.signIn("alice")
	alice.click("#bell")
	alice.do(chromedp.Focus("#notifications li:nth-child(20) button", chromedp.ByQuery)) // a click may miss what is being scrolled
	alice.do(chromedp.KeyEvent("\r"))
	alice.until("the comment has the focus", `document.activeElement.textContent.includes("comment 40")`)
	alice.until("and can be seen", `((box) => box.top > 60 && box.bottom < innerHeight)(document.activeElement.getBoundingClientRect())`)
}

func TestPageShowsNewCommentsOfAnOpenPost(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	carol := newBrowser(t).open(s.url)
	carol.signIn("carol")
	carol.click(`[data-post="1"] .toggle`)
	// It asks once more when the stream reads the topic of the post.
	asked := `performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/api/posts/1")).length === 2`
	carol.until("the comments were asked for", asked)
	s.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"seen by all"})
	carol.says(`[data-post="1"] .comments`, "seen by all")
	carol.until("it came by the stream", asked)
	carol.gone("#unread") // it is not her post
}

func TestPageSyncsTheReadStateOfTabs(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	b := newBrowser(t)
	one := b.open(s.url)
	one.signIn("alice")
	two := b.open(s.url)
	two.live()
	s.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"hello"})
	one.says("#unread", "1")
	two.says("#unread", "1")
	one.click("#bell")
	one.click("#mark-read")
	two.gone("#unread")
	two.do(chromedp.Reload())
	two.live()
	two.gone("#unread")
}

// A read state may arrive before the notifications that it is about.
func TestPageAcceptsAReadStateBeforeItsNotifications(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	p := newBrowser(t).open(s.url)
	p.says("#sign-in", "Sign in")
	p.run(`const { Inbox } = await import("/inbox.js");
		const inbox = new Inbox({ attempt: (action) => action(), show() {} });
		const notice = { type: "reaction", kind: "like", post_id: 1, actor: { id: "b", name: "bob" }, created_at: "2026-01-02T03:04:05Z" };
		inbox.setReadState({ unread: 0, up_to: 7, newest: 7 });
		inbox.arrived({ ...notice, id: 7 });
		document.body.dataset.read = unread.textContent + " " + toasts.childElementCount;
		inbox.setReadState({ unread: 1, up_to: 7, newest: 8 });
		inbox.arrived({ ...notice, id: 8 });
		inbox.setReadState({ unread: 5, up_to: 3, newest: 8 }); // these two are older
		inbox.setReadState({ unread: 0, up_to: 7, newest: 7 });
		document.body.dataset.unread = unread.textContent + " " + toasts.childElementCount`)
	p.until("what was read is not unread", `document.body.dataset.read === "0 0"`)
	p.until("what was not is", `document.body.dataset.unread === "1 1"`)
}

func TestPageReconnectsAfterAServerRestart(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/feed.db"
	first := newProcess(t, freeAddress(t), file) // nothing takes the address during the restart
	alice := newBrowser(t).open(first.url)
	alice.signIn("alice")
	alice.getsItsFirstEvent(first.visitor("bob"))
	first.stop()
	alice.says("#connection", "Reconnecting")

	second := newProcess(t, first.addr, file)
	second.visitor("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"before you were back"})
	alice.live()
	alice.says("#unread", "2")
	alice.says(".toast", "before you were back") // it came as an event: after a gap, the page asks without a toast
	second.visitor("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"and after"})
	alice.says("#unread", "3")
	alice.says(".toast", "and after")
}

// getsItsFirstEvent has a user comment on the first post, which is Alice's. Then the page has a position to
// come back to: a page that is live may not have one yet.
func (p *tab) getsItsFirstEvent(from *visitor) {
	p.t.Helper()
	from.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"Can you hear me?"})
	p.says(".toast", "Can you hear me?")
}

// When a laptop wakes up, its connection looks open and may be dead.
func TestPageReconnectsAfterASleep(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	network := newNetwork(t, s.url)
	alice := newBrowser(t).open(network.url)
	alice.signIn("alice")
	bob := s.signedIn("bob")
	alice.getsItsFirstEvent(bob)
	network.forget()
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"while you slept"})
	alice.run(`const now = Date.now; Date.now = () => now() + 3_600_000`)
	alice.says(".toast", "while you slept")
	alice.says("#unread", "2")
}

// The connection is dead, and neither side gets an error. TestPageShowsSilence says how long that takes.
func TestPageNoticesADeadConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true, Stream: ginsse.StreamConfig{HeartbeatInterval: 3 * time.Second}})
	network := newNetwork(t, s.url)
	alice := newBrowser(t).open(network.url)
	alice.signIn("alice")
	bob := s.signedIn("bob")
	alice.getsItsFirstEvent(bob)
	alice.run(`window.states = [];
		new MutationObserver(() => states.push(connection.dataset.state)).observe(connection, { attributes: true });`)
	network.forget()
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"And now?"})
	alice.until("it says so", `states[0] === "reconnecting"`)
	alice.says(".toast", "And now?")
	alice.until("it is back", `states.join() === "reconnecting,live"`)
}

// On HTTP/1.1 a browser opens at most six connections to a host.
func TestEightTabsShareOneConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	b := newBrowser(t)
	tabs := []*tab{b.open(s.url)}
	tabs[0].signIn("alice")
	for len(tabs) < 8 {
		p := b.open(s.url)
		p.live()
		tabs = append(tabs, p)
	}
	oneStream := func(when string) { // the server notices a moment later that a tab is gone
		t.Helper()
		nodetest.Until(t, "the server has one stream when "+when, func() bool { return s.app.registry.Stats().Streams == 1 })
	}
	oneStream("all are live")
	// On a busy machine another tab may take over from the first. It would be one for each tab if each had its own.
	if opened := s.app.registry.Stats().Opened; opened >= uint64(len(tabs)) {
		t.Errorf("%d streams were opened for %d tabs", opened, len(tabs))
	}
	bob := s.signedIn("bob")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"hello, all of you"})
	for _, p := range tabs {
		p.says(".toast", "hello, all of you")
		p.says("#unread", "1")
	}
	// Each tab has connections left for its requests, and gets the comments of the post that is open
	// in it, and no others.
	last := tabs[7]
	last.click(`[data-post="2"] .toggle`)
	bob.want(http.StatusCreated, "POST", "/api/posts/2/comments", textRequest{"for the last"})
	last.says(`[data-post="2"] .comments`, "for the last")
	last.until("it reads the topic", `performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/api/posts/2")).length === 2`)
	bob.want(http.StatusCreated, "POST", "/api/posts/2/comments", textRequest{"and one more"})
	last.says(`[data-post="2"] .comments`, "and one more")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"again to all"})
	for _, p := range tabs {
		p.says(".toast", "again to all")
	}
	tabs[1].until("a post that is open elsewhere stays as it was",
		`document.querySelectorAll('[data-post="2"] .comments li').length === 0 && announcement.textContent === ""`)
	oneStream("one has a post open")

	// The tab with the connection is closed.
	tabs[0].close()
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"to those who are left"})
	for _, p := range tabs[1:] {
		p.says(".toast", "to those who are left")
		p.says("#unread", "3")
		p.says("#connection", "Live")
	}
	oneStream("the first was closed")
}

// A 17th stream ends the oldest one, which is the page's.
func TestPageShowsThatItWasReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	p := newBrowser(t).open(s.url)
	p.signIn("alice")
	alice := s.signedIn("alice")
	for range 16 { // the kit's default for one user
		alice.open("/events")
	}
	p.says("#connection", "Not live")
	p.says("#notice", "This account is open in too many tabs.")
	p.click("#notice button")
	p.live()
	s.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"here again"})
	p.says(".toast", "here again")
}

// A post that was opened from a notification leaves no hole in the list.
func TestPageListsOlderPosts(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	for i := range 45 {
		bob.post(fmt.Sprintf("post %d", i))
	}
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"from long ago"})
	alice := newBrowser(t).open(s.url)
	alice.signIn("alice")
	alice.until("the first page is there", `document.querySelectorAll("article").length === 20`)
	alice.click("#bell")
	alice.click("#notifications button")
	alice.says(`[data-post="1"] .comments`, "from long ago")
	alice.click("#more")
	alice.until("the second page is there", `document.querySelectorAll("article").length === 41`)
	alice.click("#more")
	alice.gone("#more")
	alice.until("all posts are there, newest first",
		`[...document.querySelectorAll("article")].map((post) => post.dataset.post).join() === Array.from({ length: 48 }, (_, i) => 48 - i).join()`)
}

func TestPageListsEarlierComments(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	for i := range 230 {
		bob.want(http.StatusCreated, "POST", "/api/posts/2/comments", textRequest{fmt.Sprintf("comment %d", i)})
	}
	carol := newBrowser(t).open(s.url)
	carol.signIn("carol")
	carol.click(`[data-post="2"] .toggle`)
	comments := func(n int) string {
		return fmt.Sprintf(`document.querySelectorAll('[data-post="2"] .comments li').length === %d`, n)
	}
	carol.until("the newest are there", comments(200))
	bob.want(http.StatusCreated, "POST", "/api/posts/2/comments", textRequest{"another"})
	carol.until("and what comes", comments(201))
	carol.says(`[data-post="2"] .toggle`, "231 comments")
	carol.click(`[data-post="2"] .earlier`)
	carol.until("all are there", comments(231))
	carol.says(`[data-post="2"] .toggle`, "231 comments")
	carol.gone(`[data-post="2"] .earlier`)
}

func TestPageSendsATextOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := newBrowser(t).open(s.url)
	bob.signIn("bob")
	bob.enter("#new-post textarea", "only once")
	bob.run(`const form = document.getElementById('new-post'); form.requestSubmit(); form.requestSubmit()`)
	bob.says("article", "only once")
	// The response is lost. A retry does not add a second post.
	bob.run(`const real = window.fetch;
		window.fetch = async (...given) => { window.fetch = real; await real(...given); throw new TypeError("lost"); }`)
	bob.enter("#new-post textarea", "this too")
	bob.click("#new-post .primary")
	bob.says(".toast", "cannot be reached")
	bob.click("#new-post .primary")
	bob.says("article", "this too")
	if posts := read[struct{ Posts []post }](s.signedIn("carol").want(http.StatusOK, "GET", "/api/posts", nil)).Posts; len(posts) != 5 {
		t.Errorf("there are %d posts", len(posts))
	}
}

// Events must not move the focus.
func TestPageKeepsTheFocus(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	alice := newBrowser(t).open(s.url)
	alice.signIn("alice")
	alice.until("the page has the focus", `document.activeElement.id === "main"`)
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"one"})
	alice.says("#unread", "1")
	alice.click("#bell")
	alice.do(chromedp.Focus("#notifications button", chromedp.ByQuery))
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"two"})
	alice.says("#unread", "2")
	alice.until("the first has the focus", `document.activeElement.textContent.includes("commented: one")`)
}

// What fails while the stream is live is asked for again.
func TestPageOutlivesAFailure(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	alice := newBrowser(t).open(s.url)
	alice.says("#sign-in", "Sign in")
	alice.run(`const real = window.fetch;
		let failures = 3;
		window.fetch = (path, options) => String(path).startsWith("/api/posts?") && failures-- > 0
			? Promise.resolve(new Response("{}", { status: 500 })) : real(path, options)`)
	alice.signIn("alice")
	alice.says("article", "The kettle finally whistles in tune.")
}

func TestPageFitsAPhone(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{fmt.Sprintf("%0500d", 1)})
	alice := newBrowser(t).open(s.url)
	alice.narrow()
	alice.signIn("alice")
	alice.says("#unread", "1")
	alice.until("no button reaches out of its post", `[...document.querySelectorAll("article button")].every((b) =>
		b.getBoundingClientRect().right <= b.closest("article").getBoundingClientRect().right)`)
	alice.click("#bell")
	alice.says("#notifications", "bob commented")
	alice.until("nothing is wider than the screen", "document.documentElement.scrollWidth <= innerWidth")
	alice.click("#notifications button")
	alice.says(`[data-post="1"] .comments`, "0001")
	alice.until("nothing is wider than the screen", "document.documentElement.scrollWidth <= innerWidth")

	// Long comments must not cover the bell.
	for range 3 {
		bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{strings.Repeat("very long ", 90)})
	}
	alice.says("#unread", "4")
	alice.says(".toast", "very long")
	alice.until("the bell is not covered", `((box) => bell.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)))(bell.getBoundingClientRect())`)
	alice.click("#bell")
	alice.until("the list has several", `document.querySelectorAll("#notifications li")[1].getBoundingClientRect().bottom < innerHeight`)

	dave := s.visitor()
	dave.token = read[session](dave.want(http.StatusCreated, "POST", "/api/users", credentials{strings.Repeat("W", 32), "long enough"})).Token
	dave.post("by a user with a long name")
	alice.says("article", "by a user with a long name")
	alice.until("nothing is wider than the screen", "document.documentElement.scrollWidth <= innerWidth")
}

// Signing in, opening a post and commenting on it need no mouse.
func TestPageWorksWithTheKeyboard(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := newBrowser(t).open(s.url)
	bob.until("the form has the focus", `document.activeElement?.name === "name"`)
	press := func(keys string) { bob.do(chromedp.KeyEvent(keys)) }
	press("bob\t" + demoPassword + "\r")
	bob.live()
	bob.do(chromedp.Focus(`[data-post="1"] .toggle`, chromedp.ByQuery))
	press("\r")
	bob.until("the comments are shown", `document.querySelector('[data-post="1"] .toggle').ariaExpanded === "true"`)
	press("\tby hand\r")
	bob.says(`[data-post="1"] .comments`, "by hand")
}
