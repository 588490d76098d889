// Tests of the harness itself: each engine reaches the server, and its tabs share a session.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { each, withBrowser } from "./engines.mjs";
import { until } from "./processes.mjs";
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
    body.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write: (text) => void (received.text += text) }));
  }, user);
  await until(async () => (await server.streams()).open.filter((stream) => stream.user === user).length === 2, "two streams are open");
  await server.send({ user, type: "greeting", data: { hello: 1 } });
  await server.send({ topic: "news", type: "greeting", data: "for the topic" });
  await until(() => tab.evaluate(() => received.events.length === 2 && received.text.includes("hello")), "the events arrive");
  assert.deepEqual(await tab.evaluate(() => received.events), ['{"hello":1}', "for the topic"]);
  return tab;
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
      await first.evaluate(() => {
        new BroadcastChannel("smoke").onmessage = (event) => (window.heard = event.data);
        return new Promise((locked) => {
          navigator.locks.request("smoke", () => {
            locked();
            return new Promise((resolve) => (window.release = resolve));
          });
        });
      });
      const waiting = second.evaluate(() => navigator.locks.request("smoke", () => "mine"));
      await second.evaluate(() => new BroadcastChannel("smoke").postMessage("hello"));
      await until(() => first.evaluate(() => window.heard === "hello"), "the message arrives");
      await until(() => second.evaluate(async () => (await navigator.locks.query()).pending.length === 1), "the second tab waits");
      await first.close();
      assert.equal(await waiting, "mine");
    });
  });
}
