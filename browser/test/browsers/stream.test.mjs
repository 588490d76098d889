// The promises of a stream, in each engine and over real connections: ends, dead connections,
// resuming, authentication, topics.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, skip, withBrowser } from "./engines.mjs";
import { findNginx, startNginx } from "./nginx.mjs";
import { fastest, until } from "./processes.mjs";
import { startServer } from "./server.mjs";
import { open, scripts } from "./page.mjs";

let server, nginx;
const url = { http: () => server.http, https: () => server.https, nginx: () => nginx.url };

before(async () => {
  server = await startServer({ scripts, heartbeat: "1s" });
  if (findNginx()) nginx = await startNginx(server);
});
after(async () => {
  await nginx?.close();
  await server.close();
});

const stale = (calls) => calls.filter((call) => call.startsWith("stale"));

for (const way of Object.keys(url)) {
  each(`no event is lost by a dropped connection, a restart or a reload, over ${way}`, async (t, name) => {
    if (way === "nginx" && !nginx) return skip(t, "nginx", "nginx");
    const user = `resume-${name}-${way}`;
    await withBrowser(name, async (browser) => {
      const page = await open(browser, url[way](), user);
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

  each(`a connection without bytes is replaced after two and a half heartbeats, over ${way}`, async (t, name) => {
    if (way === "nginx" && !nginx) return skip(t, "nginx", "nginx");
    const user = `silent-${name}-${way}`;
    await withBrowser(name, async (browser) => {
      const page = await open(browser, url[way](), user);
      await page.live();
      await server.send({ user, type: "n", count: 1 });
      await page.has(0);
      await fastest(t, 4000, "back, with heartbeats of 1000 ms", async (i) => {
        const { length } = await page.calls();
        const frozen = Date.now();
        await server.freeze({ connections: way === "http" });
        await server.send({ user, type: "n", count: 1, first: 1 + i });
        await page.has(1 + i);
        const took = Date.now() - frozen;
        assert.deepEqual((await page.calls()).slice(length, length + 2), ["reconnecting silent", "live"]);
        return took;
      });
    });
  });
}

each("a server that is down for a while behind nginx, which answers 502", async (t, name) => {
  if (!nginx) return skip(t, "nginx", "nginx");
  const user = `deploy-${name}`;
  await withBrowser(name, async (browser) => {
    const page = await open(browser, nginx.url, user);
    await page.live();
    await server.send({ user, type: "n", count: 1 });
    await page.has(0);
    await server.stop("upstream");
    await until(async () => (await page.calls()).includes("reconnecting refused 502"), "the page sees the 502");
    await server.send({ user, type: "n", count: 10, first: 1 });
    await server.start("upstream");
    await page.has(10);
    assert.equal(stale(await page.calls()).length, 1);
  });
});

each("refusals: what is tried again, and when", async (t, name) => {
  const user = `refused-${name}`;
  await withBrowser(name, async (browser) => {
    const page = await open(browser, server.http, user);
    await page.live();
    for (const status of [500, 503, 504, 520, 408]) {
      await server.refuse({ status, times: 2 });
      await server.drop();
      await until(async () => (await page.calls()).includes(`reconnecting refused ${status}`), `the page sees the ${status}`);
      await page.live();
    }
    await server.refuse({ status: 0, times: -1 }); // no answer
    await server.drop();
    await until(async () => (await page.calls()).some((call) => /network|dropped/.test(call)), "the page sees that there is no answer");
    await server.refuse({ times: 0 });
    await page.live();
    // Retry-After is kept to, also when the network comes back meanwhile.
    await server.refuse({ status: 503, retryAfter: "6" });
    const { attempts } = await server.streams();
    const dropped = Date.now();
    await server.drop();
    await until(async () => (await page.calls()).at(-1) === "reconnecting refused 503", "the page sees the 503");
    await page.tab.evaluate(() => dispatchEvent(new Event("online")));
    await page.live();
    assert.ok(Date.now() - dropped >= 6000, `it came back after ${Date.now() - dropped} ms`);
    assert.equal((await server.streams()).attempts, attempts + 2);

    for (const [status, call] of [[404, "closed refused 404"], [429, "closed refused 429"], [400, "closed refused 400"], [204, "closed finished 204"],
      [401, "signed-out refused 401"], [403, "signed-out refused 403"]]) {
      await server.refuse({ status });
      await server.drop();
      await until(async () => (await page.calls()).at(-1) === call, call);
      await page.tab.evaluate(() => stream.reconnect());
      await page.live();
    }
    await server.refuse({ status: 200, contentType: "text/html", body: "<p>busy" });
    await server.drop();
    await until(async () => (await page.calls()).includes("reconnecting not an event stream 200"), "the page sees the HTML");
    await page.live();
    await server.send({ user, type: "n", count: 1 });
    await page.has(0);
    assert.equal(stale(await page.calls()).length, 1);
  });
});

each("a page that slept is back within a second", async (t, name) => {
  const user = `sleep-${name}`;
  const server = await startServer({ scripts, heartbeat: "300ms" });
  t.after(() => server.close());
  await withBrowser(name, async (browser) => {
    const page = await open(browser, server.http, user);
    await page.live();
    await server.send({ user, type: "n", count: 1 });
    await page.has(0);
    await fastest(t, 1000, "back after waking", async (i) => {
      const first = 1 + 10 * i;
      await page.tab.suspend();
      await server.send({ user, type: "n", count: 5, first });
      await server.freeze({ connections: true }); // while the page sleeps, its connection dies without a sign
      await server.send({ user, type: "n", count: 5, first: first + 5 });
      await new Promise((resolve) => setTimeout(resolve, 4000));
      await page.tab.resume();
      const woke = Date.now();
      await page.has(first + 9);
      return Date.now() - woke;
    });
    assert.equal(stale(await page.calls()).length, 1);
  });
});

each("the browser is offline for a while", async (t, name) => {
  const user = `offline-${name}`;
  await withBrowser(name, async (browser) => {
    if (!browser.can.offline) return t.skip("the tests cannot take this engine offline");
    const page = await open(browser, server.http, user);
    await page.live();
    await server.send({ user, type: "n", count: 1 });
    await page.has(0);
    await fastest(t, 1000, "back after the network", async (i) => {
      await browser.offline(true);
      await server.drop();
      await page.is("reconnecting");
      await new Promise((resolve) => setTimeout(resolve, 2000)); // attempts fail, with growing delays
      await server.send({ user, type: "n", count: 5, first: 1 + 5 * i });
      await browser.offline(false);
      const back = Date.now();
      await page.has(5 + 5 * i);
      return Date.now() - back;
    });
  });
});
