// What a page keeps of many events: nothing that grows with their number.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { open, scripts } from "./page.mjs";
import { until } from "./processes.mjs";
import { startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer({ scripts, heartbeat: "1s" })));
after(() => server.close());

each("the memory of two tabs does not grow with 100,000 events", async (t, name) => {
  const user = `memory-${name}`;
  await withBrowser(name, async (browser) => {
    if (!browser.can.measure) return t.skip("the tests cannot measure the memory of this engine's pages");
    const pages = [await open(browser, server.http, user), await open(browser, server.http, user)];
    for (const page of pages) {
      await page.live();
      await page.tab.evaluate(() => {
        window.count = 0;
        stream.on("large", () => count++);
      });
    }
    let sent = 0;
    // A few at a time: a tab that is far behind when another one begins to lead is told to load anew.
    const receive = async (count) => {
      for (const end = sent + count; sent < end; ) {
        await server.send({ user, type: "large", data: { text: "x".repeat(1000) }, count: 500, first: sent });
        sent += 500;
        for (const page of pages) {
          await until(() => page.tab.evaluate((sent) => count === sent, sent), `${sent} events arrive`).catch(async (error) => {
            throw new Error(`${error.message}; the page has ${await page.tab.evaluate(() => count)} and ${await page.calls()}`);
          });
        }
      }
      return Promise.all(pages.map((page) => page.tab.heap()));
    };
    const before = await receive(10_000);
    const started = Date.now();
    const after = await receive(90_000);
    t.diagnostic(`${before} bytes after 10,000 events, ${after} after 100,000; ${Math.round(90_000_000 / (Date.now() - started))} events/s`);
    for (const [i, bytes] of after.entries()) assert.ok(bytes - before[i] < 1_000_000, `it grew from ${before[i]} to ${bytes} bytes`);
  });
});
