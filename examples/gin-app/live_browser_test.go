package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// blank waits until no element of a selector has a text.
func (p *tab) blank(selector string) {
	p.t.Helper()
	p.until(selector+" is blank", fmt.Sprintf(`[...document.querySelectorAll(%q)].every((e) => e.textContent === "")`, selector))
}

// people returns the tabs of a user in one browser, at the sites. The cookie is valid for all ports of
// the host.
func people(t *testing.T, name string, sites ...*site) (tabs []*tab) {
	t.Helper()
	b := newBrowser(t)
	for i, s := range sites {
		p := b.open(s.url)
		if i == 0 {
			p.signIn(name)
		} else {
			p.live()
		}
		tabs = append(tabs, p)
	}
	return tabs
}

// Three people have eight tabs at two nodes. They see who is reading and who is typing, their badges,
// and a maintenance.
func TestPeopleAtTwoNodesSeeEachOther(t *testing.T) {
	t.Parallel()
	cfg := appConfig{Demo: true, Admins: []string{"carol"}, Database: filepath.Join(t.TempDir(), "feed.db")}
	first, second := newSite(t, cfg), newSite(t, cfg)
	alice := people(t, "alice", first, first, second)
	bob := people(t, "bob", second, second, first)
	carol := people(t, "carol", first, second)
	everybody := append(append(append([]*tab{}, alice...), bob...), carol...)

	const toggle, readers, typists, field = `[data-post="1"] .toggle`, `[data-post="1"] .readers`, `[data-post="1"] .typists`, `[data-post="1"] [name=body]`
	alice[0].click(toggle)
	bob[0].click(toggle)
	alice[0].says(readers, "bob is reading")
	bob[0].says(readers, "alice is reading")
	for _, p := range carol {
		p.click(toggle)
	}
	alice[0].says(readers, "bob and carol are reading") // carol counts once
	bob[0].says(readers, "alice and carol are reading")
	bob[1].click(toggle) // its stream, which is that of the other tab, reads the topic already
	bob[1].says(readers, "alice and carol are reading")
	alice[1].blank(".readers")

	told := []*tab{alice[0], carol[0], carol[1]}
	for _, p := range append([]*tab{bob[0]}, told...) { // it is shown for 3 s, and a test may look later
		p.run(`window.shown = ""; new MutationObserver(() => { shown += document.querySelector('[data-post="1"] .typists').textContent; })
			.observe(document.querySelector('[data-post="1"] .typists'), { childList: true });`)
	}
	bob[0].enter(field, "Which")
	for _, p := range told {
		p.until("the page says who is typing", `shown.includes("bob is typing…")`)
	}
	alice[0].blank(typists) // after 3 s
	bob[0].until("bob is not told that he is typing", `shown === ""`)

	alice[0].gone("#unread")
	bob[0].enter(field, " tune?\n")
	for _, p := range alice {
		p.says("#unread", "1")
	}
	alice[0].says(`[data-post="1"] .comments`, "Which tune?")
	alice[0].blank(typists) // who has sent the comment is not typing any more
	alice[2].do(chromedp.Reload())
	alice[2].says("#unread", "1")
	alice[2].click("#bell")
	alice[2].click("#mark-read")
	for _, p := range everybody {
		p.gone("#unread")
	}

	const announce = `const { status } = await fetch("/api/maintenance", { method: %q, body: %q }); if (status !== %d) throw new Error(status);`
	bob[0].run(fmt.Sprintf(announce, "PUT", `{"text":"Free cake","minutes":5}`, http.StatusForbidden))
	carol[0].run(fmt.Sprintf(announce, "PUT", `{"text":"Back in a moment","minutes":5}`, http.StatusOK))
	for _, p := range everybody {
		p.says("#maintenance", "Back in a moment")
	}
	alice[0].do(chromedp.Reload()) // its stream resumes
	alice[0].says("#maintenance", "Back in a moment")
	alice[0].live()
	alice[0].click(toggle)
	carol[1].run(`const { status } = await fetch("/api/maintenance", { method: "DELETE" }); if (status !== 204) throw new Error(status);`)
	for _, p := range everybody {
		p.blank("#maintenance")
	}

	carol[0].click("#sign-out")
	carol[1].says("#sign-in", "Sign in")
	alice[0].says(readers, "bob is reading")
	bob[0].click(toggle)
	bob[1].says(readers, "alice is reading")
	bob[1].click(toggle)
	alice[0].blank(readers)
}

func TestBannerHidesWhenItsTimeHasCome(t *testing.T) {
	t.Parallel()
	p := newBrowser(t).open(newSite(t, appConfig{}).url, stopTime)
	p.says("#sign-in", "Sign in")
	p.until("the page has loaded", `document.readyState === "complete"`)
	p.run(`const { showMaintenance } = await import("/maintenance.js");
		showMaintenance({ text: "Back soon", until: new Date(Date.now() + 600_000).toISOString() });
		showMaintenance({ text: "Back in a moment", until: new Date(Date.now() + 90_000).toISOString() });
		await time.pass(89_000);`)
	p.says("#maintenance", "Back in a moment")
	p.run("await time.pass(1000)")
	p.blank("#maintenance")
	// An event from before, which a laptop gets when it wakes up.
	p.run(`const { showMaintenance } = await import("/maintenance.js");
		showMaintenance({ text: "Back soon", until: new Date(Date.now() - 1).toISOString() })`)
	p.blank("#maintenance")
}

func TestReadersOfAPostAreDescribed(t *testing.T) {
	t.Parallel()
	modules(t).run(`
		const { Readers } = await import("/readers.js");
		const handlers = {};
		let changes = 0;
		const readers = new Readers({ on: (type, handler) => { handlers[type] = handler; } }, "me", () => changes++);
		const user = (name) => ({ user: name, value: { name } });
		const says = (text) => check(readers.describe("post:1") === text, "it says " + readers.describe("post:1") + ", want " + text);
		says("");
		handlers["sse.present"]({ topic: "post:1", count: 1, users: [user("me")] });
		says("");
		handlers["sse.join"]({ topic: "post:1", count: 2, ...user("bob") });
		says("bob is reading");
		handlers["sse.join"]({ topic: "post:1", count: 3, ...user("carol") });
		says("bob and carol are reading");
		handlers["sse.join"]({ topic: "post:1", count: 4, ...user("dave") });
		says("bob and 2 others are reading");
		handlers["sse.leave"]({ topic: "post:1", count: 3, user: "bob" });
		says("carol and dave are reading");
		// The list of a crowd has a part of it, perhaps without the viewer.
		handlers["sse.present"]({ topic: "post:1", count: 120, users: Array.from({ length: 100 }, (_, i) => user("u" + i)) });
		says("u0 and 118 others are reading");
		handlers["sse.topics"]({ topics: [], removed: ["post:1"] });
		says("");
		handlers["sse.present"]({ topic: "post:1", count: 2, users: [user("me"), user("bob")] });
		handlers["sse.open"]({});
		says("");
		check(changes === 9, "there were " + changes + " changes");`)
}
