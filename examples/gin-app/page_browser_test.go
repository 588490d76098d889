package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

func TestPageTellsTheAuthorAtOnce(t *testing.T) {
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
	alice.says("#notifications .unread:first-child", "bob reacted: 👍")

	// To the post, by the notification.
	alice.click("#notifications li:last-child button")
	alice.says(`[data-post="1"] .comments`, "Which tune?")
	bob.enter(`[data-post="1"] [name=body]`, "Or all of them?\n")
	alice.says(`[data-post="1"] .comments`, "Or all of them?")
}

func TestPageShowsNewCommentsToWhoReadsAPost(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	carol := newBrowser(t).open(s.url)
	carol.signIn("carol")
	carol.click(`[data-post="1"] .toggle`)
	carol.live()
	s.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", written{"seen by all"})
	carol.says(`[data-post="1"] .comments`, "seen by all")
	carol.gone("#unread") // it is not her post
}

func TestPageKeepsTabsInStep(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	b := newBrowser(t)
	one := b.open(s.url)
	one.signIn("alice")
	two := b.open(s.url)
	two.live()
	s.signedIn("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", written{"hello"})
	one.says("#unread", "1")
	two.says("#unread", "1")
	one.click("#bell")
	one.click("#read")
	two.gone("#unread")
	two.do(chromedp.Reload())
	two.live()
	two.gone("#unread")

	two.click("#sign-out")
	one.says("#sign-in", "Sign in")
	one.says("#connection", "Signed out")
}

func TestPageOutlivesAServer(t *testing.T) {
	t.Parallel()
	file := t.TempDir() + "/feed.db"
	first := newProcess(t, "127.0.0.1:0", file)
	alice := newBrowser(t).open(first.url)
	alice.signIn("alice")
	first.stop()
	alice.says("#connection", "Reconnecting")

	second := newProcess(t, first.addr, file)
	second.visitor("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", written{"before you were back"})
	alice.live()
	alice.says("#unread", "1")
	second.visitor("bob").want(http.StatusCreated, "POST", "/api/posts/1/comments", written{"and after"})
	alice.says("#unread", "2")
	alice.says(".toast", "and after")
}

func TestPageSaysWhenASessionHasExpired(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true, SessionTime: 3 * time.Second})
	alice := newBrowser(t).open(s.url)
	alice.signIn("alice")
	alice.says("#sign-in", "Sign in")
	alice.signIn("alice")
}

func TestPageFitsAPhone(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	bob := s.signedIn("bob")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", written{fmt.Sprintf("%0500d", 1)})
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
}

// All with the keyboard: sign in, open a post, comment on it.
func TestPageIsUsedWithTheKeyboard(t *testing.T) {
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
