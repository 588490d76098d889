package main

import (
	"net/http"
	"testing"
	"time"
)

func TestPageShowsThatTheSessionExpired(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true, SessionLifetime: 10 * time.Second})
	alice := newBrowser(t).open(s.url)
	alice.signIn("alice")
	alice.says("#sign-in", "Sign in")
	alice.says("#signed-out-reason", "Your session has ended.")
	alice.signIn("alice")
}

func TestPageShowsWhyItWasSignedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	b := newBrowser(t)
	one := b.open(s.url)
	one.says("#sign-in", "Sign in")
	one.gone("#signed-out-reason") // there was no session
	one.signIn("alice")
	two := b.open(s.url)
	two.live()
	one.click("#sign-out")
	two.says("#signed-out-reason", "You were signed out, in another tab or on another device.")
	one.says("#sign-in", "Sign in")
	one.gone("#signed-out-reason") // this tab signed out itself

	two.signIn("alice")
	one.live()
	s.signedIn("alice").want(http.StatusNoContent, "DELETE", "/api/session", nil)
	for _, p := range []*tab{one, two} {
		p.says("#signed-out-reason", "You were signed out, in another tab or on another device.")
	}
	// A later session removes the reason and the error of the form.
	one.submitSignIn("unknown")
	one.says("#sign-in .error", "The name or the password is wrong.")
	two.signIn("alice")
	one.live()
	one.click("#sign-out")
	one.says("#sign-in", "Sign in")
	one.gone("#signed-out-reason")
	one.gone("#sign-in .error")
}

func TestPageSignsAllTabsInAndOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	b := newBrowser(t)
	one, two := b.open(s.url), b.open(s.url)
	one.says("#demo", "alice, bob, carol, with password “demo”")
	one.signIn("alice")
	two.live()
	two.says("#user-name", "alice")
	two.click("#sign-out")
	one.says("#sign-in", "Sign in")
	one.says("#connection", "Signed out")
	two.signIn("bob")
	one.live()
	one.says("#user-name", "bob")
}

// The stream may end before the request that ends it is answered.
func TestPageDoesNotExplainItsOwnSignOut(t *testing.T) {
	t.Parallel()
	p := fakeLive(t, newSite(t, appConfig{Demo: true}))
	p.run(`const real = fetch;
		window.fetch = async (path, options) => {
			if (options.method === "DELETE") {
				newest().send("sse.close", { reason: "signed out" });
				await time.pass(0);
			}
			return real(path, options);
		}`)
	p.click("#sign-out")
	p.says("#sign-in", "Sign in")
	p.gone("#signed-out-reason")
}

// Another user has signed in with the same cookie, and the tab has not noticed. It must not act as
// that user, and must then show that user's page.
func TestPageDoesNotActAsAnotherUser(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	alice := newBrowser(t).open(s.url)
	alice.signIn("alice")
	s.signedIn("carol").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"for alice only"})
	alice.says("#unread", "1")
	alice.run(`await fetch("/api/session", { method: "POST", headers: { "Content-Type": "application/json" },
		body: JSON.stringify({ name: "bob", password: "demo" }) })`)
	alice.enter("#new-post textarea", "as alice")
	alice.click("#new-post .primary")
	alice.says("#user-name", "bob")
	alice.live()
	alice.says(".toast", "bob has signed in, in another tab.")
	alice.gone("#unread")
	alice.until("the draft is gone", `document.querySelector("#new-post textarea").value === ""`)
	alice.until("alice's notification is gone", `!document.body.textContent.includes("for alice only")`)
	if posts := read[struct{ Posts []post }](s.signedIn("bob").want(http.StatusOK, "GET", "/api/posts", nil)).Posts; len(posts) != 3 {
		t.Errorf("there are %d posts", len(posts))
	}
}

// Another user has signed in while the page was hidden.
func TestPageChecksTheSessionWhenItBecomesVisible(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	p := newBrowser(t).open(s.url)
	p.signIn("alice")
	p.enter("#new-post textarea", "half a thought")
	p.run(`await fetch("/api/session", { method: "POST", headers: { "Content-Type": "application/json" },
		body: JSON.stringify({ name: "bob", password: "demo" }) });
		document.dispatchEvent(new Event("visibilitychange", { bubbles: true }))`)
	p.says("#user-name", "bob")
	p.says(".toast", "bob has signed in, in another tab.")
	p.until("the draft of another is gone", `document.querySelector("#new-post textarea").value === ""`)
}

// A draft survives the end of the session, until its author signs out.
func TestPageKeepsADraftForItsAuthor(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	p := newBrowser(t).open(s.url)
	p.signIn("alice")
	p.enter("#new-post textarea", "half a thought")
	alice := s.signedIn("alice")
	s.app.revokeTokens(t, alice.user.ID)
	p.click("#new-post .primary")
	p.says("#sign-in", "Sign in")
	p.signIn("alice")
	p.until("the draft is there", `document.querySelector("#new-post textarea").value === "half a thought"`)
	p.click("#sign-out")
	p.signIn("alice")
	p.until("after signing out it is not", `document.querySelector("#new-post textarea").value === ""`)
}

// A response to one user arrives when the page shows another user.
func TestPageDiscardsALateAnswerToAnotherUser(t *testing.T) {
	t.Parallel()
	s := newSite(t, appConfig{Demo: true})
	s.signedIn("carol").want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"for alice only"})
	p := newBrowser(t).open(s.url)
	p.run(`const real = window.fetch;
		window.fetch = async (path, options) => {
			if (path !== "/api/notifications") return real(path, options);
			window.fetch = real; // the first of these answers waits, whatever becomes of its request
			const response = await real(path, { ...options, signal: undefined });
			await new Promise((resolve) => { window.release = resolve; });
			return response;
		}`)
	p.submitSignIn("alice")
	p.until("the answer is there", "window.release !== undefined")
	p.click("#sign-out")
	p.submitSignIn("bob")
	p.says("#user-name", "bob")
	p.run("window.release()")
	p.live()
	p.says("article", "The kettle finally whistles in tune.")
	p.until("nothing is there for bob", `document.getElementById("notifications").childElementCount === 0`)
	p.gone("#unread")
}
