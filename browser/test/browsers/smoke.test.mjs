// Tests of the harness itself: each engine reaches the server, and its tabs share a session.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { each, skip, withBrowser } from "./engines.mjs";
import { findNginx, startNginx } from "./nginx.mjs";
import { temporaryFolder, until } from "./processes.mjs";
import { startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer()));
after(() => server.close());

/** Opens the page, signs in, and reads the stream with EventSource and with fetch. */
async function receive(browser, url, user) {
  const tab = await browser.newTab(url);
  assert.equal(await tab.evaluate(() => typeof window.ginsse), "object", "the module was loaded");
  await tab.evaluate(async (user) => {
    await fetch(`/sign-in?user=${user}`);
    window.received = { events: [], text: "" };
    const source = new EventSource("/events?topic=news");
    source.addEventListener("greeting", (event) => received.events.push(event.data));
    await new Promise((resolve) => (source.onopen = resolve));
    const { body } = await fetch("/events");
    const writer = new WritableStream({ write: (text) => void (received.text += text) });
    body.pipeThrough(new TextDecoderStream()).pipeTo(writer).catch(() => {}); // ends with the server
  }, user);
  await until(async () => (await server.streams()).open.filter((stream) => stream.user === user).length === 2, "two streams are open");
  await server.send({ user, type: "greeting", data: { hello: 1 } });
  await server.send({ topic: "news", type: "greeting", data: "for the topic" });
  await until(() => tab.evaluate(() => received.events.length === 2 && received.text.includes("hello")), "the events arrive");
  assert.deepEqual(await tab.evaluate(() => received.events), ['{"hello":1}', "for the topic"]);
  return tab;
}

/** Locks a lock in the first tab. Then the second waits for it: `locked` is a promise. */
async function lock(first, second) {
  await first.evaluate(() => new Promise((locked) => {
    navigator.locks.request("smoke", () => {
      locked();
      return new Promise(() => {});
    });
  }));
  const locked = second.evaluate(() => navigator.locks.request("smoke", () => {}));
  await until(() => second.evaluate(async () => (await navigator.locks.query()).pending.length === 1), "the second tab waits");
  return { locked };
}

/** Has the first tab tick. Returns a function that says how often the second hears it in 300 ms. */
async function tick(first, second) {
  await second.evaluate(() => {
    window.ticks = 0;
    new BroadcastChannel("smoke").onmessage = () => ticks++;
  });
  await first.evaluate(() => {
    const channel = new BroadcastChannel("smoke");
    setInterval(() => channel.postMessage(""), 10);
  });
  const count = () => second.evaluate(() => window.ticks);
  await until(count, "the first tab ticks");
  return async () => {
    const before = await count();
    await delay(300);
    return await count() - before;
  };
}

for (const [protocol, seen] of [["http", "http/1.1"], ["https", "h2"]]) {
  each(`an event arrives over ${seen}`, async (t, name) => {
    await withBrowser(name, async (browser) => {
      t.diagnostic(await browser.version());
      const tab = await receive(browser, server[protocol], `${name}-${protocol}`);
      assert.equal(await tab.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol), seen);
    });
  });

  each(`tabs share locks and channels over ${seen}`, async (t, name) => {
    await withBrowser(name, async (browser) => {
      const [first, second] = [await browser.newTab(server[protocol]), await browser.newTab(server[protocol])];
      await first.evaluate(() => void (new BroadcastChannel("smoke").onmessage = (event) => (window.heard = event.data)));
      const waiting = await lock(first, second);
      await second.evaluate(() => new BroadcastChannel("smoke").postMessage("hello"));
      await until(() => first.evaluate(() => window.heard === "hello"), "the message arrives");
      await first.close();
      await waiting.locked;
    });
  });
}

each("an event arrives through nginx, and a stopped server is a 502", async (t, name) => {
  if (!findNginx()) return skip(t, "nginx", "nginx");
  const nginx = await startNginx(server);
  try {
    await withBrowser(name, async (browser) => {
      const tab = await receive(browser, nginx.url, `${name}-nginx`);
      await tab.evaluate(() => {
        window.again = new EventSource("/events");
        return new Promise((resolve) => (again.onopen = () => resolve()));
      });
      await server.stop("upstream");
      await until(() => tab.evaluate(() => again.readyState === EventSource.CLOSED), "EventSource gives up");
      assert.equal(await tab.evaluate(async () => (await fetch("/events")).status), 502);
      await server.start("upstream");
      await until(() => tab.evaluate(async () => {
        const abort = new AbortController();
        const { status } = await fetch("/events", { signal: abort.signal });
        abort.abort();
        return status === 200;
      }), "the server is back");
    });
  } finally {
    await server.start("upstream");
    await nginx.close();
  }
});

each("a page that crashes loses its locks", async (t, name) => {
  await withBrowser(name, async (browser) => {
    if (!browser.can.crash) return t.skip("not possible");
    const [first, second] = [await browser.newTab(server.http), await browser.newTab(server.http)];
    const waiting = await lock(first, second);
    await first.crash();
    await waiting.locked;
    await first.close();
  });
});

for (const [ability, stop, go] of [["suspend", "suspend", "resume"], ["freeze", "freeze", "thaw"]]) {
  each(`${stop} stops a page, and ${go} continues it`, async (t, name) => {
    await withBrowser(name, async (browser) => {
      if (!browser.can[ability]) return t.skip("not possible");
      const [first, second] = [await browser.newTab(server.http), await browser.newTab(server.http)];
      if (browser.can.hide) await first.show(); // timers of hidden pages are slow
      const ticks = await tick(first, second);
      await first[stop]();
      await until(async () => (await ticks()) === 0, "it stands still"); // messages may be on the way
      await first[go]();
      await until(ticks, "it goes on");
    });
  });
}

each("a tab is hidden and shown", async (t, name) => {
  await withBrowser(name, async (browser) => {
    if (!browser.can.hide) return t.skip("not possible");
    const tab = await browser.newTab(server.http);
    const is = (state) => until(() => tab.evaluate((state) => document.visibilityState === state, state), state);
    await is("visible");
    await tab.hide();
    await is("hidden");
    await tab.show();
    await is("visible");
  });
});

each("a browser is offline and online again", async (t, name) => {
  await withBrowser(name, async (browser) => {
    if (!browser.can.offline) return t.skip("not possible");
    const tab = await browser.newTab(server.http);
    const status = () => tab.evaluate(() => fetch("/other").then((response) => response.status, () => navigator.onLine));
    await browser.offline(true);
    assert.equal(await status(), false);
    await browser.offline(false);
    assert.equal(await status(), 200);
  });
});

each("a profile outlives the browser", async (t, name) => {
  const profile = temporaryFolder("profile");
  for (const expected of [null, "kept"]) {
    await withBrowser(name, async (browser) => {
      if (!browser.can.profile) return t.skip("not possible");
      const tab = await browser.newTab(server.http);
      assert.equal(await tab.evaluate(() => localStorage.getItem("smoke")), expected);
      await tab.evaluate(() => localStorage.setItem("smoke", "kept"));
    }, { profile });
  }
});

each("errors in a page fail the test", async (t, name) => {
  for (const [expected, fail] of [
    [/thrown/, () => void setTimeout(() => { throw new Error("thrown"); })],
    [/rejected/, () => void Promise.reject(new Error("rejected"))],
    [/logged/, () => console.error("logged")],
    [/[Tt]rusted/, () => { try { document.body.innerHTML = "<p>"; } catch { /* the report is enough */ } }],
  ]) {
    await assert.rejects(
      withBrowser(name, async (browser) => {
        const tab = await browser.newTab(server.http);
        await tab.evaluate(fail);
        await tab.evaluate(() => new Promise((resolve) => setTimeout(resolve, 100)));
      }),
      expected,
    );
  }
});
