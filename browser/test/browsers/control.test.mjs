// Changes of the open stream by requests: topics, state, and what happens when a request fails.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { open, scripts } from "./page.mjs";
import { until } from "./processes.mjs";
import { startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer({ scripts, heartbeat: "1s" })));
after(() => server.close());

const options = { control: "/events/control", topics: ["a"] };
const withState = { ...options, state: true };

/** Opens tabs that share a connection. The first leads. */
async function openTabs(browser, user, count, options) {
  const pages = [];
  for (let i = 0; i < count; i++) {
    pages.push(await open(browser, server.http, user, options));
    await pages[i].live();
  }
  return pages;
}

/** Adds a topic in a page. The result is "" or the message of the error. */
const add = (page, topic) => page.tab.evaluate((topic) => stream.topics.add(topic).then(() => "", (error) => error.message), topic);
const topical = (page) => page.tab.evaluate(() => seen.topical);
const states = (page) => page.tab.evaluate(() => seen.states);

/** What was asked for since the test began, without the IDs of streams. */
async function newControls() {
  const { length } = (await server.streams()).controls;
  return async () => (await server.streams()).controls.slice(length).map(({ stream, ...rest }) => rest);
}

/**
 * Checks that what is done needs no new stream. `attempt` gets its number, and a function that says whether
 * there was one meanwhile. One of up to three attempts must do: on a busy machine another tab may take over.
 */
async function withoutNewStream(t, attempt) {
  for (let i = 0; i < 3; i++) {
    const { attempts } = await server.streams();
    const isNew = async () => (await server.streams()).attempts !== attempts;
    await attempt(i, isNew);
    if (!(await isNew())) return;
    t.diagnostic("there was a new stream");
  }
  assert.fail("there was a new stream each time");
}

each("eight tabs: a topic that one adds is read at once, and on the same connection", async (t, name) => {
  const user = `add-${name}`, topic = `t-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = await openTabs(browser, user, 8, options);
    const sent = [];
    await withoutNewStream(t, async (i, isNew) => {
      const controls = await newControls();
      const begin = Date.now();
      assert.equal(await add(pages[5], topic + i), "");
      t.diagnostic(`read after ${Date.now() - begin} ms`);
      sent.push(`event ${i}`);
      await server.send({ topic: topic + i, type: "topical", data: sent[i] });
      await server.send({ user, type: "n", count: 1, first: i });
      for (const page of pages) {
        await page.has(i);
        assert.deepEqual([await topical(page), await page.calls()], [sent, ["connecting", "live", "stale new"]]);
      }
      await pages[5].tab.evaluate((topic) => stream.topics.delete(topic), topic + i);
      await until(async () => (await isNew()) || (await controls()).some(({ remove }) => remove[0] === topic + i), "the topic is taken back");
      if (await isNew()) return;
      assert.deepEqual((await controls()).filter(({ state }) => !state), [{ add: [topic + i], remove: [] }, { add: [], remove: [topic + i] }]);
    });
  });
});

each("the server refuses, grants and revokes topics", async (t, name) => {
  const user = `revoke-${name}`, topic = `t-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = await openTabs(browser, user, 3, options);
    for (const { tab } of pages) await tab.evaluate(() => {
      seen.changes = [];
      stream.on("sse.topics", ({ added, removed }) => seen.changes.push(added ? `+${added}` : `-${removed}`));
    });
    assert.match(await add(pages[1], "private:x"), /topic refused/);
    await server.grant({ user, topic });
    await until(async () => (await Promise.all(pages.map(({ tab }) => tab.evaluate(() => seen.changes.length)))).every((n) => n === 1), "all tabs are told");
    await server.send({ topic, type: "topical", data: "granted" });
    await server.revoke({ user, topic });
    await server.send({ topic, type: "topical", data: "revoked" });
    await server.send({ user, type: "n", count: 1 });
    for (const page of pages) {
      await page.has(0);
      assert.deepEqual([await topical(page), await page.tab.evaluate(() => seen.changes)], [["granted"], [`+${topic}`, `-${topic}`]]);
    }
    await server.send({ topic: "a", type: "topical", data: "still read" });
    await until(async () => (await topical(pages[2])).length === 2, "the other topic is read");
  });
});

each("the state comes to a first page by itself, and at its request to the second tab and after a reload", async (t, name) => {
  const user = `state-${name}`;
  await withBrowser(name, async (browser) => {
    const controls = await newControls();
    const [first] = await openTabs(browser, user, 1, withState);
    await until(async () => (await states(first)).length === 2, "the state comes");
    await server.send({ user, type: "n", count: 1 });
    await first.has(0);
    assert.deepEqual([await states(first), await controls()], [["", "a"], []]);

    const [second] = await openTabs(browser, user, 1, withState);
    await until(async () => (await states(second)).length === 2, "the state comes to the second tab");
    assert.deepEqual(await controls(), [{ add: [], remove: [], state: true }]);

    await second.tab.reload();
    await second.connect();
    await until(async () => (await states(second)).length === 2, "the state comes after the reload of a follower");
    assert.deepEqual((await second.calls()).filter((call) => call.startsWith("stale")), []);
    await second.tab.close();
    await first.tab.reload();
    await first.connect();
    await until(async () => (await states(first)).length === 2, "the state comes after the reload of the only tab");
    assert.deepEqual((await first.calls()).filter((call) => call.startsWith("stale")), []);
    assert.equal((await controls()).length, 3);
  });
});

each("a tab that adds a topic gets its state, also if another tab reads it already", async (t, name) => {
  const user = `topic-state-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = await openTabs(browser, user, 2, withState);
    await until(async () => (await states(pages[1])).length >= 2, "the state comes");
    for (const { tab } of pages) await tab.evaluate(() => (seen.states = []));
    assert.equal(await add(pages[0], "b"), "");
    await until(async () => (await states(pages[0])).includes("b"), "the state comes to the first tab");
    await pages[1].tab.evaluate(() => (seen.states = []));
    assert.equal(await add(pages[1], "b"), "");
    await until(async () => (await states(pages[1])).includes("b"), "the state comes to the second tab");
  });
});

each("the server is restarted while topics change", async (t, name) => {
  const user = `restart-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = await openTabs(browser, user, 3, withState);
    for (let i = 0; i < 5; i++) {
      const topic = `r${i}-${name}`;
      const added = add(pages[i % 3], topic);
      await new Promise((resolve) => setTimeout(resolve, 10 * i));
      await server.restart({});
      assert.equal(await added, "");
      await server.send({ topic, type: "topical", data: topic });
      await until(async () => (await topical(pages[i % 3])).at(-1) === topic, `${topic} is read`);
    }
    await server.send({ user, type: "n", count: 1 });
    for (const page of pages) await page.has(0);
    // A position from before a change of topics may be too old for the server.
    for (const page of pages) assert.deepEqual((await page.calls()).filter((call) => !/^stale (new|topics)$/.test(call)), ["connecting", "live"]);
  });
});

each("requests that fail are tried again, or the stream is opened again", async (t, name) => {
  const user = `failing-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = await openTabs(browser, user, 2, options);
    const topics = [];
    const addNext = async () => {
      topics.push(`t${topics.length}-${name}`);
      assert.equal(await add(pages[1], topics.at(-1)), "");
    };
    for (const refusal of [{ status: 503, times: 2 }, { status: 429, retryAfter: "1" }, { status: 0 }]) {
      await withoutNewStream(t, async (i, isNew) => {
        await server.refuseControl(refusal);
        const begin = Date.now();
        await addNext();
        const took = Date.now() - begin;
        // Without an answer, browsers may try again themselves.
        assert.ok(took >= 500 || !refusal.status || (await isNew()), "it was tried again at once");
      });
    }
    const { attempts } = await server.streams();
    await server.refuseControl({ status: 404 });
    await addNext();
    assert.ok((await server.streams()).attempts > attempts, "the stream was not opened again");
    for (const topic of topics) await server.send({ topic, type: "topical", data: topic });
    await until(async () => (await topical(pages[1])).length === topics.length, "all topics are read");
    for (const page of pages) assert.deepEqual(await page.calls(), ["connecting", "live", "stale new"]);
    browser.errors.splice(0, Infinity, ...browser.errors.filter((error) => !/answers 404/.test(error)));
  });
});
