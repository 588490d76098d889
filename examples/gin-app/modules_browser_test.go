package main

import (
	"testing"
)

// Tests of the page's modules alone, in a browser. They put responses and events into an order
// that a test of the whole page cannot force.

// modules returns a signed-out page. The test answers its requests.
func modules(t *testing.T) *tab {
	t.Helper()
	p := newBrowser(t).open(newSite(t, appConfig{}).url)
	p.says("#sign-in", "Sign in")
	p.run(`
		document.body.replaceWith(document.body.cloneNode(true)); // removes the page's own listeners
		window.check = (so, what) => { if (!so) throw new Error(what); };
		window.turn = () => new Promise((resolve) => setTimeout(resolve)); // lets pending promises and timers run
		// Requests wait in asked, as {path, answer}.
		window.asked = [];
		window.fetch = (path) => new Promise((resolve) => asked.push({ path, answer: (body) => resolve({ ok: true, status: 200, json: async () => body }) }));
		window.answer = async (part, body) => {
			const i = asked.findIndex(({ path }) => path.endsWith(part));
			check(i >= 0, "there is no request for " + part + ", only for " + asked.map(({ path }) => path));
			asked.splice(i, 1)[0].answer(body);
			await turn();
		};
		window.post = (id, more) => ({ id, author: { id: "a", name: "alice" }, body: "post " + id, created_at: "2026-01-02T03:04:05Z",
			comment_count: 0, reactions: { like: 0, love: 0, laugh: 0 }, my_reactions: [], ...more });
		window.posts = (from, through) => ({ posts: Array.from({ length: from - through + 1 }, (_, i) => post(from - i)) });
		window.comments = (from, through) => Array.from({ length: through - from + 1 }, (_, i) =>
			({ id: from + i, post_id: 1, author: { id: "b", name: "bob" }, body: "comment " + (from + i), created_at: "2026-01-02T03:04:05Z" }));
		window.shown = () => [...document.querySelectorAll("article")].map((node) => Number(node.dataset.post));
		window.newFeed = async () => new (await import("/feed.js")).Feed({ attempt: (action) => action(), opened() {} });`)
	return p
}

func TestActionsRunOnceAtATime(t *testing.T) {
	t.Parallel()
	modules(t).run(`
		const { coalesce, ignoreWhileBusy } = await import("/work.js");
		let runs = 0, release;
		const action = () => { runs++; return new Promise((resolve) => { release = resolve; }); };
		const one = ignoreWhileBusy(action);
		one(); one();
		await turn();
		check(runs === 1, "ignoreWhileBusy ran " + runs + " times");
		release(); await turn();
		one();
		check(runs === 2, "ignoreWhileBusy did not run again");

		runs = 0;
		const run = coalesce(action);
		run(); run(); const last = run();
		check(runs === 1, "coalesced, it ran " + runs + " times at a time");
		release(); await turn();
		check(runs === 2, "the calls during the first run were lost");
		release(); await last; await turn();
		check(runs === 2, "it ran " + runs + " times");
		// Each caller gets the error, and later calls still run.
		let fails = true;
		const failing = coalesce(async () => { await turn(); if (fails) throw new Error("no"); });
		const results = await Promise.allSettled([failing(), failing()]);
		check(results.every(({ status }) => status === "rejected"), "a failure was swallowed");
		fails = false;
		await failing();`)
}

func TestFeedOpensThePostChosenLast(t *testing.T) {
	t.Parallel()
	modules(t).run(`
		const feed = await newFeed();
		feed.show(5); feed.show(7);
		await answer("/api/posts/7", post(7));
		await answer("/api/posts/5", post(5));
		check(feed.open?.id === 7, "open is " + feed.open?.id);`)
}

func TestFeedHasNoHoles(t *testing.T) {
	t.Parallel()
	modules(t).run(`
		const feed = await newFeed();
		feed.refetch();
		await answer("limit=20", posts(60, 41));
		more.click();
		await answer("before=41", posts(40, 21));
		check(shown().length === 40 && !more.hidden, "40 are listed: " + shown());

		// Many new posts arrive while older ones are requested. The list is replaced.
		more.click();
		feed.refetch();
		await answer("limit=20", posts(100, 81));
		await answer("before=21", posts(20, 1));
		check(shown().join() === posts(100, 81).posts.map(({ id }) => id).join(), "there is a hole: " + shown());
		more.click();
		await answer("before=81", posts(80, 61));
		check(shown().at(-1) === 61 && shown().length === 40, "the list does not continue there: " + shown());
		feed.arrived(post(101));
		feed.arrived(post(7)); // below the list
		check(shown()[0] === 101 && shown().at(-1) === 61, "the new post is missing: " + shown());`)
}

func TestFeedIgnoresOlderAnswers(t *testing.T) {
	t.Parallel()
	modules(t).run(`
		const feed = await newFeed();
		feed.refetch();
		await answer("limit=20", posts(3, 1));
		const like = document.querySelector('[data-post="1"] .reaction');
		feed.refetch(); // asked for before the click, answered after
		like.click();
		await answer("/reactions", {});
		await answer("/api/posts/1", post(1, { reactions: { like: 1, love: 0, laugh: 0 }, my_reactions: ["like"] }));
		await answer("limit=20", posts(3, 1));
		check(like.ariaPressed === "true" && like.textContent.endsWith("1"), "the like is gone: " + like.textContent);
		// The response to a repeated request has the post as it was when it was new.
		feed.arrived(post(1));
		check(like.ariaPressed === "true", "the like is gone after that");`)
}

func TestPostHasNoHolesInItsComments(t *testing.T) {
	t.Parallel()
	modules(t).run(`
		const feed = await newFeed();
		feed.add(post(1, { comment_count: 5 }), 0);
		const view = feed.show(1);
		await answer("/api/posts/1", post(1, { comment_count: 5, comments: comments(1, 5) }));
		const node = document.querySelector("article");
		const bodies = () => [...node.querySelectorAll("li .body")].map((body) => Number(body.textContent.slice(8)));
		check(bodies().join() === "1,2,3,4,5", "comments are " + bodies());

		// 500 comments are added while the page is offline, and only one of them arrives as an event.
		feed.commented(comments(506, 506)[0]);
		feed.refresh(1);
		await answer("/api/posts/1", post(1, { comment_count: 506, comments: comments(307, 506) }));
		check(bodies()[0] === 307 && bodies().length === 200, "there is a hole: " + bodies().slice(0, 8));
		check(node.querySelector(".toggle").textContent === "506 comments", node.querySelector(".toggle").textContent);
		node.querySelector(".earlier").click();
		await answer("before=307", { comments: comments(207, 306) });
		check(bodies()[0] === 207 && bodies().length === 300, "earlier ones are missing: " + bodies().length);
		check(document.activeElement.textContent.includes("comment 306"), "the focus is lost");
		check(node.querySelector(".toggle").textContent === "506 comments", node.querySelector(".toggle").textContent);

		// A closed post shows the number of comments by other users.
		feed.show(null);
		feed.refetch();
		await answer("limit=20", { posts: [post(1, { comment_count: 510 })] });
		check(node.querySelector(".toggle").textContent === "510 comments", node.querySelector(".toggle").textContent);`)
}

func TestFormReusesAKeyOnlyForARetry(t *testing.T) {
	t.Parallel()
	modules(t).run(`
		const { connectTextForm } = await import("/form.js");
		const keys = [];
		let fails = true;
		const form = document.getElementById("new-post");
		const field = form.elements.body;
		const fresh = form.cloneNode(true); // without the feed's listener
		form.replaceWith(fresh);
		connectTextForm(fresh, async (action) => { try { await action(); } catch {} }, async (text, key) => { keys.push(key); if (fails) throw new Error("lost"); });
		const body = fresh.elements.body;
		const send = async (text) => { body.value = text; fresh.requestSubmit(); await turn(); };
		home.hidden = false;
		await send("a"); await send("a");
		check(keys[0] === keys[1], "the retry has another key");
		check(body.value === "a", "the text that was not sent is gone");
		fresh.reset();
		await send("a");
		check(keys[2] !== keys[1], "the text was typed again and has the old key");
		body.value = ""; body.dispatchEvent(new Event("input", { bubbles: true }));
		await send("a");
		check(keys[3] !== keys[2], "the text was deleted and typed again, and has the old key");
		fails = false;
		await send("b");
		check(body.value === "", "the text that was sent is still there");
		await send("b");
		check(new Set(keys.slice(4)).size === 2, "two equal texts have one key");`)
}
