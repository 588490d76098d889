// The promises of a stream, in each engine and over real connections: ends, dead connections,
// resuming, authentication, topics.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { until } from "./processes.mjs";
import { startServer } from "./server.mjs";
import { open, scripts } from "./page.mjs";

let server;
before(async () => (server = await startServer({ scripts })));
after(() => server.close());

const stale = (calls) => calls.filter((call) => call.startsWith("stale"));

for (const protocol of ["http", "https"]) {
  each(`no event is lost by a dropped connection, a restart or a reload, over ${protocol}`, async (t, name) => {
    const user = `resume-${name}-${protocol}`;
    await withBrowser(name, async (browser) => {
      const page = await open(browser, server[protocol], user);
      await page.live();
      assert.deepEqual(await page.calls(), ["connecting", "live", "stale new"]);
      await server.send({ user, type: "n", count: 3 });
      await page.has(2);
      await server.drop();
      await server.send({ user, type: "n", count: 3, first: 3 });
      await page.has(5);
      await server.restart({});
      await server.send({ user, type: "n", count: 3, first: 6 });
      await page.has(8);
      assert.equal(stale(await page.calls()).length, 1, "there was a gap");

      const sending = server.send({ user, type: "n", count: 100, first: 9, interval: 5 });
      await page.tab.reload();
      await page.connect();
      await sending;
      await page.has(108);
      assert.deepEqual(stale(await page.calls()), [], "a reload is no gap");
    });
  });

  each(`a connection without bytes is replaced after two and a half heartbeats, over ${protocol}`, async (t, name) => {
    const user = `silent-${name}-${protocol}`;
    await withBrowser(name, async (browser) => {
      const page = await open(browser, server[protocol], user);
      await page.live();
      await server.send({ user, type: "n", count: 1 });
      await page.has(0);
      const frozen = Date.now();
      await server.freeze({ connections: protocol === "http" });
      await server.send({ user, type: "n", count: 1, first: 1 });
      await page.has(1);
      const took = Date.now() - frozen;
      t.diagnostic(`back after ${took} ms, with heartbeats of 300 ms`);
      assert.ok(took < 2500, `it took ${took} ms`);
      assert.deepEqual((await page.calls()).slice(3), ["reconnecting silent", "live"]);
    });
  });
}
