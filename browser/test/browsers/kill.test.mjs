// Twenty tabs with one connection. For a while, tabs are killed at random, above all the leader,
// and new ones are opened, while events are sent. No tab may lose an event, get one twice, or get
// one out of order.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { open, scripts, summary } from "./page.mjs";
import { until } from "./processes.mjs";
import { startServer } from "./server.mjs";

const seconds = Number(process.env.KILL_SECONDS ?? 60);
const rate = 100; // events a second
const count = seconds * rate;

let server;
before(async () => (server = await startServer({ scripts, heartbeat: "1s" })));
after(() => server.close());

each("twenty tabs lose nothing while leaders are killed", async (t, name) => {
  const user = `kill-${name}`;
  await withBrowser(name, async (browser) => {
    const pages = []; // oldest first: they wait for the lock in this order
    const add = async () => {
      const page = await open(browser, server.http, user);
      pages.push(page);
      await page.live();
    };
    for (let i = 0; i < 20; i++) await add();
    await server.streams({ resetMost: true });

    let sent = false;
    const sending = server.send({ user, type: "n", count, interval: 1000 / rate }).finally(() => (sent = true));
    // To find the process of a WebKit tab takes a quiet machine.
    const ways = ["close", "reload", ...["crash", "freeze", "suspend"].filter((way) => browser.can[way] && name !== "webkit")];
    const done = {};
    while (!sent) {
      const victim = Math.random() < 0.6 ? 0 : Math.floor(Math.random() * pages.length);
      const way = ways[Math.floor(Math.random() * ways.length)];
      const [page] = pages.splice(victim, 1);
      done[way] = (done[way] ?? 0) + 1;
      if (way === "close") {
        checkRun(await page.events(), "a tab that was closed");
        await page.tab.close();
      } else if (way === "crash") await page.tab.crash();
      else {
        if (way === "reload") {
          await page.tab.reload();
          await page.connect();
        } else if (way === "freeze") {
          await page.tab.freeze();
          await pause(500);
          await page.tab.thaw();
        } else {
          await page.tab.suspend();
          await pause(1500);
          await page.tab.resume();
        }
        pages.push(page);
      }
      await pages.at(-1).tab.show?.();
      while (pages.length < 20 && !sent) await add();
      await pause(Math.random() * 300);
    }
    await sending;
    await server.send({ user, type: "n", count: 1, first: count }); // the newest tabs may have nothing yet
    let received = 0;
    for (const page of pages) {
      await until(async () => (await page.events()).at(-1) === count, "the last event").catch(async (error) => {
        throw new Error(`${error.message}: ${summary(await page.events())}; ${await page.calls()}`);
      });
      const events = await page.events();
      checkRun(events, "a tab", await page.calls());
      received += events.length;
      const gaps = (await page.calls()).filter((call) => call.startsWith("stale") && call !== "stale new");
      assert.deepEqual(gaps, [], "there were gaps");
    }
    t.diagnostic(`${count} events sent, ${received} checked in ${pages.length} tabs; ${JSON.stringify(done)}; ` +
      `${(await server.streams()).most} connections at most, ${(await server.streams()).open.length} at the end`);
    await until(async () => (await server.streams()).open.length === 1, "one connection is left");
  });
}, { timeout: (seconds + 240) * 1000 });

function checkRun(events, what, extra = "") {
  for (let i = 1; i < events.length; i++) {
    assert.equal(events[i], events[i - 1] + 1, `${what} has ${summary(events)}: ${extra}`);
  }
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
