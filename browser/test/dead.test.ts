// Dead connections, and pages that did not run.

import assert from "node:assert/strict";
import { bench, first, rawResponse } from "./helpers.js";

const hour = 3_600_000;

for (const heartbeat of [300, 1000, 15_000, 60_000]) {
  const allowed = Math.max(heartbeat / 4, 20) + 1; // the tick
  bench(`a connection without a byte for 2.5 heartbeats of ${heartbeat} ms is opened anew, and the page knows`, { heartbeat }, async ({ clock, server, open }) => {
    const { states, events, stale } = open();
    await server.connected();
    server.freeze();
    await server.push("comment", "lost on the dead connection");
    await clock.advance(2.5 * heartbeat - 1);
    assert.deepEqual(states, ["connecting", "live"]);
    await clock.advance(Math.min(1000, allowed));
    assert.deepEqual(states.slice(2), ["reconnecting silent", "live"]);
    assert.equal(server.connections, 1); // the dead one was closed
    assert.deepEqual(events, ["comment lost on the dead connection"]);
    assert.deepEqual(stale, ["new"]);
  });
}

bench("heartbeats keep a connection open", { heartbeat: 300 }, async ({ clock, server, open }) => {
  const { states } = open();
  await clock.advance(60_000);
  assert.equal(server.requests.length, 1);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("any byte is a sign of life", {}, async ({ clock, server, open }) => {
  const { response, write } = rawResponse();
  const { states } = open({ fetch: first(() => response, server.fetch) });
  write('event: sse.open\ndata: {"resumed":false,"heartbeat":1000}\n\n');
  for (let i = 0; i < 20; i++) {
    await clock.advance(1000);
    write([":", " ", "x", "\n", "data: a"][i % 5]!);
  }
  await clock.advance(2400);
  assert.deepEqual(states, ["connecting", "live"]);
  await clock.advance(400);
  assert.deepEqual(states, ["connecting", "live", "reconnecting silent", "live"]);
});

bench("without heartbeats, silence is no sign of death", { heartbeat: 0 }, async ({ clock, server, open }) => {
  const { states } = open();
  await server.connected();
  server.freeze();
  await clock.advance(hour);
  assert.equal(server.requests.length, 1);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("a connection that dies again is opened again", { heartbeat: 1000 }, async ({ clock, server, open }) => {
  open();
  for (let i = 1; i <= 4; i++) {
    await server.connected();
    assert.equal(server.requests.length, i);
    server.freeze();
    await clock.advance(3000);
  }
});

bench("after a sleep, a dead connection is replaced within a second, quietly", {}, async ({ clock, server, open }) => {
  const { states, events, stale } = open();
  await server.connected();
  server.freeze();
  await server.push("comment", 1);
  await clock.sleep(8 * hour);
  await clock.advance(1000);
  assert.equal(server.connections, 1);
  assert.deepEqual(events, ["comment 1"]);
  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(stale, ["new"]);
});

bench("after a sleep, a connection on which bytes arrive is kept", {}, async ({ clock, server, open }) => {
  const { states } = open();
  await server.connected();
  await clock.sleep(hour); // the server's heartbeat is due then
  await clock.advance(10_000);
  assert.equal(server.requests.length, 1);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("after a pause of less than a heartbeat, the connection is kept", {}, async ({ clock, server, open }) => {
  open();
  await server.connected();
  server.freeze();
  await clock.sleep(10_000);
  await clock.advance(5000);
  assert.equal(server.requests.length, 1);
});

bench("after a sleep, a page that waits for the next attempt connects within a second", {}, async ({ clock, server, open }) => {
  Math.random = () => 1 - 2 ** -53;
  server.refuse({ status: 503, times: 6 });
  const { states } = open();
  await clock.advance(45_000); // the wait is 30 s now
  const { length } = server.requests;
  await clock.sleep(5000);
  await clock.advance(1000);
  assert.equal(server.requests.length, length + 1);
  assert.equal(states.at(-1), "live");
});

bench("after a sleep, an attempt that was on its way is made again within a second", {}, async ({ clock, server, open }) => {
  const { states } = open({ fetch: first(() => new Promise(() => {}), server.fetch) });
  await clock.advance(500);
  await clock.sleep(hour);
  await clock.advance(1000);
  assert.equal(states.at(-1), "live");
});

bench("a clock that is set back does not hide a dead connection", {}, async ({ clock, server, open }) => {
  const { states } = open();
  await clock.advance(20_000);
  clock.set(-24 * hour);
  await clock.advance(30_000);
  assert.deepEqual(states, ["connecting", "live"]);
  server.freeze();
  clock.set(-24 * hour);
  await clock.advance(39_000);
  assert.deepEqual(states, ["connecting", "live", "reconnecting silent", "live"]);
});

bench("a clock that is set back does not delay the next attempt", {}, async ({ clock, server, open }) => {
  server.refuse({ status: 503, retryAfter: 10 });
  open();
  await clock.advance(1000);
  clock.set(-24 * hour);
  await clock.advance(10_000);
  assert.equal(server.requests.length, 2);
});

bench("a clock that is set forward is no interruption", {}, async ({ clock, server, open }) => {
  const { states, stale } = open();
  await clock.advance(10_000);
  clock.set(24 * hour);
  await clock.advance(10_000);
  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(stale, ["new"]);
  assert.equal(server.connections, 1);
});

bench("a page that becomes visible replaces a connection that is late", {}, async ({ clock, page, server, open }) => {
  const { states } = open();
  await server.connected();
  server.freeze();
  await clock.advance(15_000);
  page.document.fire("visibilitychange");
  await clock.advance(1000);
  assert.equal(server.requests.length, 1); // it is not late yet
  await clock.advance(3000);
  page.document.fire("visibilitychange");
  await clock.advance(500);
  assert.equal(server.requests.length, 2);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("a page that becomes visible does not wait for the next attempt", {}, async ({ clock, page, server, open }) => {
  server.refuse({ status: 503, times: 2 });
  const { states } = open();
  await clock.advance(0);
  page.document.fire("visibilitychange");
  await clock.advance(0);
  page.document.fire("visibilitychange");
  await clock.advance(0);
  assert.equal(server.requests.length, 3);
  assert.equal(states.at(-1), "live");
});

bench("a network that comes back replaces the connection, quietly", {}, async ({ clock, page, server, open }) => {
  const { states } = open();
  await server.connected();
  server.freeze(); // of the network before
  page.window.fire("online");
  await clock.advance(0);
  assert.equal(server.requests.length, 2);
  assert.equal(server.connections, 1);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("an expected interruption of more than 3 s is reported", {}, async ({ clock, page, server, open }) => {
  let asked = 0;
  const { states } = open({ fetch: (...args) => (++asked === 2 ? new Promise(() => {}) : server.fetch(...args)) });
  await server.connected();
  page.window.fire("online");
  await clock.advance(2999);
  assert.deepEqual(states, ["connecting", "live"]);
  await clock.advance(1);
  assert.deepEqual(states.slice(2), ["reconnecting"]);
  await clock.advance(14_000);
  assert.deepEqual(states.slice(3), ["reconnecting timeout", "live"]);
});

for (const [leaves, comes] of [["pagehide", "pageshow"], ["freeze", "resume"]] as const) {
  bench(`a page has no connection between ${leaves} and ${comes}, and resumes`, {}, async ({ clock, page, server, open }) => {
    const target = leaves === "pagehide" ? page.window : page.document;
    const { states, events, stale } = open();
    await server.connected();
    await server.push("comment", 1);
    target.fire(leaves);
    await clock.advance(hour);
    assert.equal(server.connections, 0);
    assert.equal(server.requests.length, 1);
    await server.push("comment", 2);
    target.fire(comes);
    await clock.advance(0);
    assert.deepEqual(events, ["comment 1", "comment 2"]);
    assert.deepEqual(states, ["connecting", "live"]);
    assert.deepEqual(stale, ["new"]);
  });
}

bench("a page that was frozen and put into the back/forward cache connects once", {}, async ({ clock, page, server, open }) => {
  open();
  await server.connected();
  page.window.fire("pagehide");
  page.document.fire("freeze");
  page.document.fire("resume");
  page.window.fire("pageshow");
  page.document.fire("visibilitychange");
  await clock.advance(1000);
  assert.equal(server.requests.length, 2);
  assert.equal(server.connections, 1);
});

bench("a stream that is closed while the page is away stays closed", {}, async ({ clock, page, server, open }) => {
  const { stream, states } = open();
  await server.connected();
  page.window.fire("pagehide");
  stream.close();
  page.window.fire("pageshow");
  await clock.advance(hour);
  assert.equal(server.requests.length, 1);
  assert.equal(states.at(-1), "closed closed");
});

bench("a page that comes back to a server that is away is told", {}, async ({ clock, page, server, open }) => {
  const { states } = open();
  await server.connected();
  page.window.fire("pagehide");
  server.refuse({ status: 502 });
  page.window.fire("pageshow");
  await clock.advance(1);
  assert.deepEqual(states, ["connecting", "live", "reconnecting refused 502"]);
});

bench("a page that comes back to a server that does not answer is told after 3 s", {}, async ({ clock, page, server, open }) => {
  let asked = 0;
  const { states } = open({ fetch: (...args) => (++asked === 2 ? new Promise(() => {}) : server.fetch(...args)) });
  await server.connected();
  page.window.fire("pagehide");
  page.window.fire("pageshow");
  await clock.advance(2999);
  assert.deepEqual(states, ["connecting", "live"]);
  await clock.advance(1);
  assert.deepEqual(states.slice(2), ["reconnecting"]);
});
