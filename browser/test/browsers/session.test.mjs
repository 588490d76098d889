// Who gets what: topics of tabs, persons, sign-out and refusals, in each engine.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { open, scripts } from "./page.mjs";
import { temporaryFolder, until } from "./processes.mjs";
import { startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer({ scripts, heartbeat: "1s" })));
after(() => server.close());

const openOf = async (user) => (await server.streams()).open.filter((stream) => stream.user === user);

/** Waits until a user has one stream, with these topics. */
const reads = (user, topics) => until(async () => {
  const streams = await openOf(user);
  return streams.length === 1 && (streams[0].topics ?? []).join() === topics;
}, `one stream reads ${topics}`);

each("the topics of all tabs are one set at the server", async (t, name) => {
  const user = `topics-${name}`;
  await withBrowser(name, async (browser) => {
    const first = await open(browser, server.http, user, { topics: ["a"] });
    await first.live();
    const second = await open(browser, server.http, user, { topics: ["b"] });
    await second.live();
    await reads(user, "a,b");

    // Changes within a moment are one change, and no event is lost while they happen.
    const sending = server.send({ user, type: "n", count: 200, interval: 5 });
    const { attempts } = await server.streams();
    await second.tab.evaluate(() => Promise.all(["c", "d"].map((topic) => stream.topics.add(topic))));
    await server.send({ topic: "d", type: "topical", data: "after add" });
    await reads(user, "a,b,c,d");
    assert.equal((await server.streams()).attempts, attempts + 1, "one new connection for two topics");
    await until(() => second.tab.evaluate(() => seen.topical.length === 1), "the event of the new topic");
    await second.tab.evaluate(() => ["b", "c", "d"].forEach((topic) => stream.topics.delete(topic)));
    await reads(user, "a");
    await sending;
    for (const page of [first, second]) {
      await page.has(199);
      assert.deepEqual(await page.calls(), ["connecting", "live", "stale new"]);
    }

    // Those of a tab that is gone are given up, also those of the leader.
    await second.tab.evaluate(() => stream.topics.add("e"));
    await first.tab.close();
    await reads(user, "e");
    const third = await open(browser, server.http, user, { topics: ["f"] });
    await reads(user, "e,f");
    await third.tab.close();
    await reads(user, "e");
  });
});

each("sse.close ends the streams of all tabs", async (t, name) => {
  const user = `close-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = [];
    for (let i = 0; i < 3; i++) pages.push(await open(browser, server.http, user));
    for (const page of pages) await page.live();
    const { attempts } = await server.streams();
    await server.disconnect({ user, reason: "signed out" });
    for (const page of pages) {
      await page.is("closed");
      assert.equal((await page.calls()).at(-1), "closed signed out");
    }
    await new Promise((resolve) => setTimeout(resolve, 1500)); // nothing comes back
    assert.equal((await server.streams()).attempts, attempts);
    await pages[1].tab.evaluate(() => stream.reconnect());
    await pages[1].live();
    assert.equal((await openOf(user)).length, 1);
  });
});

each("another person gets no position, and the tabs of the first are told", async (t, name) => {
  const [alice, bob] = [`alice-${name}`, `bob-${name}`];
  await withBrowser(name, async (browser) => {
    const first = await open(browser, server.http, alice, { identity: alice });
    await first.live();
    const other = await open(browser, server.http, alice, { identity: alice });
    await other.live();
    await server.send({ user: alice, type: "n", count: 5 });
    await first.has(4);
    await other.has(4);

    await other.tab.reload(); // this tab keeps its position
    const second = await open(Object.assign(Object.create(browser), { newTab: async () => other.tab }), server.http, bob, { identity: bob });
    await second.live();
    assert.deepEqual(await second.calls(), ["connecting", "live", "stale new"]);
    assert.equal((await server.streams()).last.lastEventId, "");
    await first.is("signed-out");
    assert.equal((await first.calls()).at(-1), "signed-out another person");
    await server.send({ user: alice, type: "n", count: 1, first: 5 });
    await server.send({ user: bob, type: "n", count: 1, first: 100 });
    await until(async () => (await second.events()).at(-1) === 100, "bob's event");
    first.check(await first.events(), 0, 4);
    await until(async () => (await openOf(alice)).length === 0 && (await openOf(bob)).length === 1, "bob's stream alone is left");
  });
});

each("a token comes from headers(), and auth() renews it once", async (t, name) => {
  const user = `token-${name}`;
  await withBrowser(name, async (browser) => {
    const page = await open(browser, server.http, "", {});
    await page.is("signed-out"); // without a credential
    assert.equal((await page.calls()).at(-1), "signed-out refused 401");
    await page.tab.evaluate((user) => {
      window.renewals = 0;
      let token = "none";
      window.stream = connect("/events", {
        identity: user,
        headers: () => ({ Authorization: `Bearer ${token}` }),
        auth: async () => {
          renewals++;
          token = await (await fetch(`/token?user=${user}&ttl=1`)).text();
        },
      });
      window.seen.events.length = 0;
      stream.on("n", ({ n }) => seen.events.push(n));
    }, user);
    await page.live();
    const first = await page.tab.evaluate(() => renewals);
    await server.send({ user, type: "n", count: 300, interval: 10 }); // longer than the token lives
    await page.has(299);
    assert.ok((await page.tab.evaluate(() => renewals)) > first, "the token has expired meanwhile");
    assert.ok(!(await server.streams()).last.query.token, "the token is in no URL");
  });
});

each("an EventSource of the browser shows the same", async (t, name) => {
  const user = `native-${name}`;
  await withBrowser(name, async (browser) => {
    const page = await open(browser, server.http, user, { native: true });
    await page.live();
    await server.send({ user, type: "n", count: 10 });
    await page.has(9);
    await server.drop();
    await server.send({ user, type: "n", count: 10, first: 10 });
    await page.has(19);
    await server.refuse({ status: 502, times: 1 });
    await server.drop();
    await server.send({ user, type: "n", count: 10, first: 20 });
    await page.has(29);
    await server.refuse({ status: 403, times: 2 }); // the EventSource, and the fetch that asks for the status
    await server.drop();
    await page.is("signed-out");
    assert.equal((await page.calls()).at(-1), "signed-out refused 403");
    assert.equal((await page.calls()).filter((call) => call.startsWith("stale")).length, 1);
  });
});

each("a position that persists outlives the browser", async (t, name) => {
  const user = `persist-${name}`;
  const profile = temporaryFolder("profile");
  const options = { identity: user, persist: true };
  let able;
  await withBrowser(name, async (browser) => {
    able = browser.can.profile;
    if (!able) return t.skip("this engine keeps nothing on disk in tests");
    const page = await open(browser, server.http, user, options);
    await page.live();
    await server.send({ user, type: "n", count: 5 });
    await page.has(4);
    await page.tab.goto(`${server.http}/other`);
  }, { profile });
  if (!able) return;
  await server.send({ user, type: "n", count: 5, first: 5 });
  await withBrowser(name, async (browser) => {
    const page = await open(browser, server.http, user, options);
    await page.has(9, 5);
    assert.deepEqual(await page.calls(), ["connecting", "live"]);
    const other = await open(browser, server.http, `${user}-other`, { ...options, identity: "other" });
    await other.live();
    assert.deepEqual(await other.calls(), ["connecting", "live", "stale new"]);
  }, { profile });
});

each("a stream ends when its connection has become another person's", async (t, name) => {
  const [alice, bob] = [`first-${name}`, `second-${name}`];
  await withBrowser(name, async (browser) => {
    const pages = [await open(browser, server.http, alice), await open(browser, server.http, "")];
    for (const page of pages) await page.live();
    await pages[1].tab.evaluate((bob) => fetch(`/sign-in?user=${bob}`), bob); // no stream knows it yet
    await server.drop();
    await server.send({ user: bob, type: "n", count: 3 });
    for (const page of pages) {
      await page.is("signed-out");
      assert.equal((await page.calls()).at(-1), "signed-out another person");
      assert.deepEqual(await page.events(), [], "events of the other person");
    }
    const page = await open(browser, server.http, "", {}); // bob's page
    await page.live();
    await server.send({ user: bob, type: "n", count: 1, first: 3 });
    await until(async () => (await page.events()).at(-1) === 3, "bob's event");
  });
});
