// One connection for all tabs, in each engine: what happens to the other tabs when one of them,
// above all the leader, is closed, crashes or stops.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { open, scripts } from "./page.mjs";
import { until } from "./processes.mjs";
import { startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer({ scripts, heartbeat: "1s" })));
after(() => server.close());

const openOf = async (user) => (await server.streams()).open.filter((stream) => stream.user === user);
const isStale = (call) => call.startsWith("stale");

/** Opens tabs that share a connection. The first leads. */
async function openTabs(browser, user, count, options) {
  const pages = [];
  for (let i = 0; i < count; i++) {
    pages.push(await open(browser, server.http, user, options));
    await pages[i].live();
  }
  return pages;
}

each("eight tabs on HTTP/1.1 have one connection", async (t, name) => {
  const user = `eight-${name}`;
  await withBrowser(name, async (browser) => {
    await until(async () => (await server.streams()).open.length === 0, "the server notices that the browser before has left");
    await server.streams({ resetMost: true });
    const pages = await openTabs(browser, user, 8);
    await server.send({ user, type: "n", count: 500 });
    for (const page of pages) {
      await page.has(499);
      assert.deepEqual(await page.calls(), ["connecting", "live", "stale new"]);
    }
    await until(async () => (await openOf(user)).length === 1, "one connection is left");
    const { most } = await server.streams();
    // On a busy machine another tab may take over before the connection of the leader is closed.
    assert.ok(most < pages.length / 2, `${most} connections were open at the same time`);
  });
});

each("a tab that is opened later gets what comes then, and a reloaded tab what it missed", async (t, name) => {
  const user = `late-${name}`;
  await withBrowser(name, async (browser) => {
    const [first, second] = await openTabs(browser, user, 2);
    await server.send({ user, type: "n", count: 10 });
    await second.has(9);
    const third = await open(browser, server.http, user);
    await third.live();
    const sending = server.send({ user, type: "n", count: 100, first: 10, interval: 5 });
    await second.tab.reload();
    await second.connect();
    await sending;
    await first.has(109);
    await second.has(109);
    await third.has(109, 10);
    assert.deepEqual((await second.calls()).filter(isStale), []);
    await until(async () => (await openOf(user)).length === 1, "one connection is left");
  });
});

/** Stops a leader in a way, while events are sent. */
async function loseLeader(t, name, lose) {
  const user = `leader-${name}-${Math.random()}`;
  await withBrowser(name, async (browser) => {
    const [leader, ...others] = await openTabs(browser, user, 4);
    const lastBefore = 99;
    await server.send({ user, type: "n", count: 100 });
    for (const page of others) await page.has(lastBefore);
    const sending = server.send({ user, type: "n", count: 200, first: 100, interval: 10 });
    await until(async () => (await others[0].events()).length > 120, "events arrive");
    await others.at(-1).tab.show?.();
    const recover = await lose(leader, browser);
    await sending;
    for (const page of others) {
      await page.has(299);
      assert.deepEqual((await page.calls()).slice(2).filter((call) => call !== "stale new"), [], "the others have noticed");
    }
    t.diagnostic(`the longest time without an event: ${Math.max(...(await Promise.all(others.map((page) => page.longestPause()))))} ms`);
    if (recover) {
      await recover();
      await leader.has(299);
      await server.send({ user, type: "n", count: 100, first: 300 });
      for (const page of [leader, ...others]) await page.has(399);
      assert.ok((await leader.calls()).filter(isStale).every((call) => call === "stale new"), "the leader has missed events");
    }
    await until(async () => (await openOf(user)).length === 1, "one connection is left");
  });
}

each("the leader is closed", (t, name) => loseLeader(t, name, async (leader) => { await leader.tab.close(); }));

each("the leader goes to another page and comes back", (t, name) => loseLeader(t, name, async (leader) => {
  await leader.tab.goto(`${server.http}/other`);
  return async () => {
    await leader.tab.back();
    if (!(await leader.tab.evaluate(() => !!window.stream))) await leader.connect();
  };
}));

each("the leader crashes", async (t, name) => {
  await loseLeader(t, name, async (leader, browser) => {
    if (!browser.can.crash) return t.skip("the tests cannot crash a tab of this engine");
    await leader.tab.crash();
  });
});

each("the leader is frozen by the browser", async (t, name) => {
  await loseLeader(t, name, async (leader, browser) => {
    if (!browser.can.freeze) return t.skip("the tests cannot freeze a tab of this engine");
    await leader.tab.freeze();
    return () => leader.tab.thaw();
  });
});

each("the process of the leader stops for a while", async (t, name) => {
  await loseLeader(t, name, async (leader, browser) => {
    if (!browser.can.suspend) return t.skip("the tests cannot suspend a tab of this engine");
    await leader.tab.suspend();
    return () => leader.tab.resume();
  });
});

each("tabs that have had no event are not stale again when the leader is closed", async (t, name) => {
  const user = `quiet-${name}`;
  await withBrowser(name, async (browser) => {
    const [leader, ...others] = await openTabs(browser, user, 3);
    await leader.tab.close();
    await until(async () => (await openOf(user)).length === 1 && (await server.streams()).last.lastEventId, "another tab leads");
    await server.send({ user, type: "n", count: 1 });
    for (const page of others) {
      await page.has(0);
      assert.deepEqual(await page.calls(), ["connecting", "live", "stale new"]);
    }
  });
});
