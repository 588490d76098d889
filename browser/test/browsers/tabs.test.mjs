// What tabs may do to each other, and must not: topics, reloads, slow leaders, refused locks.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { open, scripts } from "./page.mjs";
import { fastest, until } from "./processes.mjs";
import { startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer({ scripts, heartbeat: "1s" })));
after(() => server.close());
const openOf = async (user) => (await server.streams()).open.filter((stream) => stream.user === user);
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const reads = (user, topics) => until(async () => {
  const streams = await openOf(user);
  return streams.length === 1 && (streams[0].topics ?? []).join() === topics;
}, `one stream reads ${topics}`);

async function two(browser, user, topic) {
  const first = await open(browser, server.http, user, { topics: ["a"] });
  await first.live();
  const second = await open(browser, server.http, user, { topics: [topic] });
  await second.live();
  await reads(user, `a,${topic}`);
  await server.send({ user, type: "n", count: 1 });
  await second.has(0);
  return [first, second];
}

each("a tab that comes back gets the events of its own topic, or is told", async (t, name) => {
  const user = `back-${name}`, topic = `d-${name}`;
  await withBrowser(name, async (browser) => {
    const [, second] = await two(browser, user, topic);
    await second.tab.evaluate(() => (sessionStorage.seen = JSON.stringify(seen.events)));
    await second.tab.goto(`${server.http}/other`);
    await pause(200);
    await server.send({ topic, type: "topical", data: "while away" });
    await server.send({ user, type: "n", count: 1, first: 1 });
    await second.tab.goto(server.http);
    await second.connect();
    await second.has(1);
    await server.send({ topic, type: "topical", data: "after" });
    await server.send({ user, type: "n", count: 1, first: 2 });
    await second.has(2);
    await until(async () => {
      const topical = await second.tab.evaluate(() => seen.topical);
      return topical.includes("while away") || (await second.calls()).some((call) => call.startsWith("stale"));
    }, "the event arrives, or the page is told that it is lost");
    t.diagnostic(JSON.stringify(await second.calls()));
  });
});

each("a reload under load loses no event of a topic of the tab", async (t, name) => {
  const user = `reload-${name}`, topic = `e-${name}`;
  await withBrowser(name, async (browser) => {
    const [, second] = await two(browser, user, topic);
    await second.tab.evaluate(() => addEventListener("pagehide", () => (sessionStorage.topical = JSON.stringify(seen.topical))));
    const sending = Promise.all([
      server.send({ user, type: "n", count: 200, interval: 5, first: 1 }),
      server.send({ topic, type: "topical", count: 200, interval: 5 }),
    ]);
    await pause(200);
    await second.tab.reload();
    await second.connect();
    await sending;
    await second.has(200);
    let missing;
    await until(async () => {
      const topical = await second.tab.evaluate(() => [...JSON.parse(sessionStorage.topical), ...seen.topical].map(({ n }) => n));
      missing = Array.from({ length: 200 }, (_, i) => i).filter((i) => !topical.includes(i));
      return !missing.length || (await second.calls()).some((call) => call.startsWith("stale"));
    }, "each event arrives, or the page is told of the loss").catch((error) => assert.fail(`${error.message}: ${missing}`));
    t.diagnostic(JSON.stringify([missing, await second.calls()]));
  });
});

each("a tab reconnects while the process of the leader stands still", async (t, name) => {
  const user = `still-${name}`;
  await withBrowser(name, async (browser) => {
    if (!browser.can.suspend) return t.skip("the tests cannot do this in this engine");
    const [first, second] = await two(browser, user, `f-${name}`);
    await second.tab.show?.();
    await first.tab.suspend();
    await second.tab.evaluate(() => { stream.close(); stream.reconnect(); });
    try {
      await second.live(); // the first still stands still
    } finally {
      t.diagnostic(JSON.stringify(await second.calls()));
      await first.tab.resume();
    }
  });
});

each("reconnect() and topics.add() may come at any moment", async (t, name) => {
  const user = `moment-${name}`;
  await withBrowser(name, async (browser) => {
    const page = await open(browser, server.http, user);
    await page.live();
    const second = await open(browser, server.http, user);
    await second.live();
    const errors = await second.tab.evaluate(() => {
      const errors = [];
      const attempt = (what, fn) => { try { fn(); } catch (error) { errors.push(`${what}: ${error}`); } };
      attempt("connect, reconnect", () => { const s = connect("/events"); s.reconnect(); s.close(); });
      stream.close();
      stream.reconnect();
      attempt("close, reconnect, add", () => stream.topics.add("x"));
      attempt("close, reconnect, reconnect", () => stream.reconnect());
      return errors;
    });
    assert.deepEqual(errors, []);
  });
});

each("a new tab is stale when its topics are read, not before", async (t, name) => {
  const user = `fresh-${name}`, topic = `k-${name}`;
  await withBrowser(name, async (browser) => {
    if (!browser.can.hide) return t.skip("the tests cannot do this in this engine");
    const first = await open(browser, server.http, user, { topics: ["a"] });
    await first.live();
    for (let i = 0; i < 6; i++) {
      const sending = server.send({ user, type: "n", count: 1000, interval: 1, first: i * 1000 });
      const tab = await browser.newTab(server.http);
      await tab.page.exposeFunction("fetchState", () => server.send({ topic: topic + i, type: "topical", data: "after the state" }));
      await tab.evaluate((topic) => {
        window.got = [];
        window.stream = connect("/events", { topics: [topic] });
        stream.onStale((reason) => { got.push("stale " + reason); fetchState(); });
        stream.on("topical", (data) => got.push(data));
      }, topic + i);
      await sending;
      await until(() => tab.evaluate(() => got.includes("after the state")), `what is sent after the state arrives at tab ${i}`);
      await tab.close();
    }
  });
});

each("a tab is alone where locks are refused", async (t, name) => {
  await withBrowser(name, async (browser) => {
    const tab = await browser.newTab(server.http);
    await tab.evaluate((user) => fetch(`/sign-in?user=${user}`), `locks-${name}`);
    await tab.evaluate(() => {
      navigator.locks.request = () => Promise.reject(new DOMException("denied", "SecurityError"));
      addEventListener("unhandledrejection", (event) => event.preventDefault());
      window.stream = connect("/events");
    });
    await until(() => tab.evaluate(() => stream.state === "live"), "the stream is live");
    browser.errors.length = 0;
  });
});

each("a tab that is shown does not wait for the delay of a hidden leader", async (t, name) => {
  const user = `shown-${name}`;
  await withBrowser(name, async (browser) => {
    if (!browser.can.hide) return t.skip("the tests cannot do this in this engine");
    const [first, second] = await two(browser, user, `h-${name}`);
    await fastest(t, 1500, "live after the tab is shown", async () => {
      await browser.showSpare();
      await server.refuse({ status: 503, times: -1 });
      await server.drop();
      await pause(12_000); // delays of 1, 2, 4, 8 s
      await server.refuse({ status: 503, times: 0 });
      const begin = Date.now();
      await second.tab.show();
      await second.live(30_000);
      return Date.now() - begin;
    });
  });
});

each("Retry-After holds also with hidden tabs", async (t, name) => {
  const user = `after-${name}`;
  await withBrowser(name, async (browser) => {
    if (!browser.can.hide) return t.skip("the tests cannot do this in this engine");
    await two(browser, user, `i-${name}`);
    await browser.showSpare();
    await server.refuse({ status: 503, times: -1, retryAfter: "60" });
    await server.drop();
    await pause(3000);
    const before = (await server.streams()).attempts;
    await pause(12_000);
    const n = (await server.streams()).attempts - before;
    await server.refuse({ status: 503, times: 0 });
    t.diagnostic(`${n} attempts in 12 s`);
    assert.ok(n <= 1, `${n} attempts`); // on a busy machine another tab may lead, which makes one
  });
});

each("a tab that is ahead of a slow new leader gets nothing twice", async (t, name) => {
  const user = `ahead-${name}`;
  await withBrowser(name, async (browser) => {
    const first = await open(browser, server.http, user);
    await first.live();
    const slow = new first.constructor(await browser.newTab(server.http), {});
    await slow.tab.evaluate(() => {
      const Channel = BroadcastChannel;
      window.BroadcastChannel = class extends Channel {
        set onmessage(fn) { super.onmessage = (event) => (window.late && event.data.term ? setTimeout(() => fn(event), late) : fn(event)); }
      };
      const { fetch } = window;
      window.fetch = async (...args) => { await new Promise((resolve) => setTimeout(resolve, 1800)); return fetch(...args); };
    });
    await slow.connect();
    await slow.live();
    const third = await open(browser, server.http, user);
    await third.live();
    await third.tab.show?.();
    await server.send({ user, type: "n", count: 5 });
    for (const page of [first, slow, third]) await page.has(4);
    await slow.tab.evaluate(() => (window.late = 1200));
    await server.send({ user, type: "n", count: 5, first: 5 });
    await third.has(9);
    await first.tab.close();
    await slow.tab.evaluate(() => new Promise((resolve) => setTimeout(resolve, 700)));
    await server.send({ user, type: "n", count: 5, first: 10 });
    for (const page of [slow, third]) await page.has(14);
    await pause(1500); // what comes twice comes within 1200 ms, the lateness of the slow tab
    t.diagnostic(JSON.stringify([await third.events(), await third.calls(), await slow.events(), await slow.calls()]));
    third.check(await third.events(), 0, 14);
  });
});


each("a tab that reloads after large events and a change of topics misses nothing", async (t, name) => {
  const user = `large-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = [await open(browser, server.http, user), await open(browser, server.http, user)];
    for (const page of pages) await page.live();
    await server.send({ user, type: "n", count: 10, data: { text: "x".repeat(104_000) } }); // almost what a leader keeps
    for (const page of pages) await page.has(9);
    await pages[1].tab.evaluate(() => stream.topics.add("more"));
    await server.send({ user, type: "n", count: 10, first: 10, data: { text: "x".repeat(10_000) } });
    for (const page of pages) await page.has(19);
    const sending = server.send({ user, type: "n", count: 10, first: 20, interval: 20, data: { text: "x".repeat(10_000) } });
    await pages[1].tab.reload();
    await pages[1].connect();
    await sending;
    for (const page of pages) await page.has(29);
    assert.deepEqual((await pages[1].calls()).filter((call) => call.startsWith("stale")), []);
  });
});

each("a dead connection of a hidden leader shows in a visible tab", async (t, name) => {
  if (name !== "chromium") return t.skip("the tests cannot make the timers of hidden tabs slow in this engine");
  const user = `hidden-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = [await open(browser, server.http, user), await open(browser, server.http, user)];
    for (const page of pages) await page.live();
    await pages[1].tab.show();
    await pages[0].tab.evaluate(() => {
      window.ticks = [];
      setInterval(() => ticks.push(performance.now()), 200);
    });
    await until(() => pages[0].tab.evaluate(() => ticks.some((tick, i) => i > 0 && tick - ticks[i - 1] > 5000)), "its timers are slow", 90_000);
    const begin = Date.now();
    await server.freeze({});
    await until(async () => (await pages[1].calls()).includes("reconnecting silent"), "the page is told");
    const took = Date.now() - begin;
    t.diagnostic(`told after ${took} ms`);
    assert.ok(took < 8000, `it took ${took} ms`); // its own timers would take up to a minute
  }, { slow: true });
}, { timeout: 150_000 });
