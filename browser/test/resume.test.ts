// Resume: over reconnects, reloads and restarts, and never for another person.

import assert from "node:assert/strict";
import { connect } from "../src/ginsse.js";
import { bench, first, Page, rawResponse } from "./helpers.js";

bench("no event is lost and none comes twice over many cuts", {}, async ({ clock, server, open }) => {
  const { events, stale } = open();
  await server.connected();
  const want: string[] = [];
  for (let i = 0; i < 200; i++) {
    want.push(`comment ${i}`);
    if (i % 7 === 3) {
      void server.push("comment", i); // not read when the connection breaks
      server.drop();
    } else await server.push("comment", i);
    if (i % 5 === 4) await clock.advance(1000);
    if (i % 50 === 49) await server.reconnect();
  }
  await clock.advance(30_000);
  assert.deepEqual(events, want);
  assert.deepEqual(stale, ["new"]);
});

bench("a stream resumes after a block without data, such as a heartbeat", { heartbeat: 1000 }, async ({ clock, server, open }) => {
  const { events } = open({ topics: ["a"] });
  await server.connected();
  await server.push("comment", 1);
  const id = await server.push("comment", 2, "b"); // which this stream does not get
  await clock.advance(1000);
  server.drop();
  await clock.advance(1000);
  assert.equal(server.requests[1]!.lastEventID, id);
  assert.deepEqual(events, ["comment 1"]);
});

bench("a block that the connection cuts off is not handled, and its ID is not used", {}, async ({ clock, server, open }) => {
  const { response, write, fail } = rawResponse();
  const { events } = open({ fetch: first(() => response, server.fetch) });
  write("id: 1\ndata: 1\n\nid: 2\ndata: 2\n");
  await clock.advance(0);
  fail();
  await clock.advance(1000);
  assert.deepEqual(events, ["message 1"]);
  assert.equal(server.requests[0]!.lastEventID, "1");
});

bench("an ID that a header cannot carry goes back in the query", {}, async ({ clock, server, open }) => {
  const { response, write, end } = rawResponse();
  open({ fetch: first(() => response, server.fetch) });
  write("id: €é😀\ndata: 1\n\n");
  await clock.advance(0);
  end();
  await clock.advance(1000);
  assert.equal(server.requests[0]!.lastEventID, "€é😀");
  assert.equal(server.requests[0]!.url.search, `?lastEventId=${encodeURIComponent("€é😀")}`);
});

bench("the position goes to another origin in the query: a header would need a preflight", {}, async ({ clock, server, open }) => {
  open({ url: "https://events.example.com/?a=1" });
  await server.connected();
  const id = await server.push("comment", 1);
  server.drop();
  await clock.advance(1000);
  const { url, headers } = server.requests[1]!;
  assert.equal(url.href, `https://events.example.com/?a=1&lastEventId=${id}`);
  assert.equal(headers.get("Last-Event-ID"), null);
});

bench("the first visit is stale, a resumed stream is not", {}, async ({ clock, server, open }) => {
  const { stale } = open();
  await server.connected();
  for (let i = 0; i < 3; i++) {
    server.drop();
    await clock.advance(1000);
  }
  assert.deepEqual(stale, ["new"]);
});

bench("a gap in the stream is stale, with the server's reason, and the stream goes on", {}, async ({ server, open }) => {
  const { stale, events, states } = open();
  await server.connected();
  await server.gap("trimmed");
  await server.push("comment", 1);
  assert.deepEqual(stale, ["new", "trimmed"]);
  assert.deepEqual(events, ["comment 1"]);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("a stream that cannot resume is stale once, with the server's reason", {}, async ({ clock, server, open }) => {
  const { stale } = open();
  await server.connected();
  server.drop();
  await server.gap("trimmed");
  await clock.advance(1000);
  assert.deepEqual(stale, ["new", "trimmed"]);
});

bench("a connection that breaks between sse.open and sse.gap brings the gap again", {}, async ({ clock, server, open }) => {
  const answers = [rawResponse(), rawResponse()];
  const { stale } = open({ fetch: (...args) => (answers.length ? Promise.resolve(answers.shift()!.response) : server.fetch(...args)) });
  const [one, two] = answers;
  one!.write('id: old\ndata: 1\n\n');
  await clock.advance(0);
  one!.end();
  await clock.advance(1000);
  two!.write('event: sse.open\ndata: {"stream":"s","resumed":false}\n\n');
  await clock.advance(0);
  two!.end();
  await clock.advance(1000);
  assert.equal(server.requests[0]!.lastEventID, "old");
  assert.equal(stale.at(-1), "unknown");
});

bench("a handler of onStale that comes late is called with the reason", {}, async ({ server }) => {
  const stream = connect("/events", { fetch: server.fetch });
  await server.connected();
  const got: string[] = [];
  stream.onStale((reason) => got.push(`first ${reason}`));
  stream.onStale((reason) => got.push(`second ${reason}`)); // the page has fetched its state
  assert.deepEqual(got, ["first new"]);
  await server.gap("epoch");
  assert.deepEqual(got, ["first new", "first epoch", "second epoch"]);
  stream.close();
});

bench("a handler of onStale whose signal is aborted does not take the reason", {}, async ({ server }) => {
  const stream = connect("/events", { fetch: server.fetch });
  await server.connected();
  const got: string[] = [];
  stream.onStale(() => assert.fail(), { signal: AbortSignal.abort() });
  stream.onStale((reason) => got.push(reason), { once: true });
  await server.gap();
  stream.close();
  assert.deepEqual(got, ["new"]);
});

bench("a reload resumes, without a gap", {}, async ({ clock, page, server, open }) => {
  const before = open();
  await server.connected();
  await server.push("comment", 1);
  page.window.fire("pagehide");
  await server.push("comment", 2);

  new Page().install(page);
  const { events, stale, states } = open();
  await clock.advance(0);
  assert.deepEqual(before.events, ["comment 1"]);
  assert.deepEqual(events, ["comment 2"]);
  assert.deepEqual(stale, []);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("a new tab, or a restart of the browser, is a first visit", {}, async ({ clock, page, server, open }) => {
  open();
  await server.connected();
  await server.push("comment", 1);
  page.window.fire("pagehide");
  const restarted = new Page();
  Object.assign(restarted.localStorage, page.localStorage);
  restarted.install();
  const { events, stale } = open();
  await clock.advance(0);
  assert.deepEqual(stale, ["new"]);
  assert.deepEqual(events, []);
});

bench("with persist, a restart of the browser resumes", {}, async ({ clock, page, server, open }) => {
  open({ persist: true });
  await server.connected();
  await server.push("comment", 1);
  page.window.fire("pagehide");
  await server.push("comment", 2);
  const restarted = new Page();
  Object.assign(restarted.localStorage, page.localStorage);
  restarted.install();
  const { events, stale } = open({ persist: true });
  await clock.advance(0);
  assert.deepEqual(stale, []);
  assert.deepEqual(events, ["comment 2"]);
});

bench("a tab without persist does not resume where one with persist stopped", {}, async ({ clock, page, server, open }) => {
  open({ persist: true });
  await server.connected();
  await server.push("comment", 1);
  page.window.fire("pagehide");
  const restarted = new Page();
  Object.assign(restarted.localStorage, page.localStorage);
  restarted.install();
  open();
  await clock.advance(0);
  assert.equal(server.requests[1]!.lastEventID, "");
});

for (const persist of [false, true]) {
  bench(`another person gets no position and no event of the one before${persist ? ", with persist" : ""}`, {}, async ({ clock, page, server, open }) => {
    const before = open({ identity: "ann", persist });
    await server.connected();
    await server.push("comment", "for ann");
    page.window.fire("pagehide");
    await server.push("comment", "for ann too");
    new Page().install(page);
    const { events, stale } = open({ identity: "bob", persist });
    await clock.advance(0);
    assert.deepEqual(server.requests.map(({ lastEventID }) => lastEventID), ["", ""]);
    assert.deepEqual(events, []);
    assert.deepEqual(stale, ["new"]);
    assert.deepEqual(before.events, ["comment for ann"]);
  });

  bench(`the same person resumes${persist ? ", with persist" : ""}`, {}, async ({ clock, page, server, open }) => {
    open({ identity: "ann", persist });
    await server.connected();
    const id = await server.push("comment", 1);
    page.window.fire("pagehide");
    new Page().install(page);
    open({ identity: "ann", persist });
    await clock.advance(0);
    assert.equal(server.requests[1]!.lastEventID, id);
  });
}

bench("a person who signs in again after another one resumes where this person stopped", {}, async ({ clock, page, server, open }) => {
  const ids: string[] = [];
  for (const identity of ["ann", "bob", "ann"]) {
    const { stream } = open({ identity });
    await clock.advance(0);
    ids.push(await server.push("comment", identity));
    stream.close();
    new Page().install(page);
  }
  assert.deepEqual(server.requests.map(({ lastEventID }) => lastEventID), ["", "", ids[0]]);
});

bench("other tabs are told when another person signs in, with cookies", {}, async ({ clock, page, server, open }) => {
  const before = open({ identity: "ann" });
  await server.connected();
  const other = new Page();
  other.install();
  Object.assign(globalThis, { localStorage: page.localStorage });
  open({ identity: "bob" });
  await clock.advance(0);
  page.window.fire("storage");
  await server.push("comment", 1);
  assert.deepEqual(before.states, ["connecting", "live", "signed-out another person"]);
  assert.deepEqual(before.events, []);
  assert.equal(server.connections, 1);
});

bench("a tab that was not told finds the other person before its next attempt", {}, async ({ clock, page, server, open }) => {
  const before = open({ identity: "ann" });
  await server.connected();
  page.document.fire("freeze");
  const signIn = (identity: string) => {
    for (const key of Object.keys(page.localStorage)) page.localStorage[key] = identity;
  };
  Object.assign(globalThis, { localStorage: page.localStorage });
  signIn("bob");
  page.document.fire("resume");
  await clock.advance(10_000);
  assert.deepEqual(before.states, ["connecting", "live", "signed-out another person"]);

  const later = open({ identity: "cid", url: "/later" });
  await clock.advance(0);
  signIn("dan");
  server.drop();
  await clock.advance(10_000);
  assert.equal(later.states.at(-1), "signed-out another person");
  assert.equal(server.requests.length, 2);
});

bench("with headers, tabs of several persons do not disturb each other", {}, async ({ clock, page, server, open }) => {
  const [ann, bob] = ["ann", "bob"].map((identity) => open({ identity, headers: () => ({}) }));
  await clock.advance(0);
  page.window.fire("storage");
  server.drop();
  await clock.advance(1000);
  assert.equal(ann!.stream.state, "live");
  assert.equal(bob!.stream.state, "live");
});

bench("streams of other addresses have other positions", {}, async ({ clock, page, server, open }) => {
  open();
  await server.connected();
  await server.push("comment", 1);
  page.window.fire("pagehide");
  new Page().install(page);
  open({ url: "/events?room=2" });
  await clock.advance(0);
  assert.equal(server.requests[1]!.lastEventID, "");
});

for (const [name, broken] of [
  ["is forbidden", { get sessionStorage(): never { throw new Error("forbidden"); }, get localStorage(): never { throw new Error("forbidden"); } }],
  ["is full", { sessionStorage: Object.freeze({}), localStorage: Object.freeze({}) }],
  ["has something else", { sessionStorage: new Proxy({}, { get: () => "{" }), localStorage: new Proxy({}, { get: () => "7" }) }],
] as const) {
  bench(`a stream works where storage ${name}`, {}, async ({ clock, server, open, errors }) => {
    for (const [key, property] of Object.entries(Object.getOwnPropertyDescriptors(broken))) {
      Object.defineProperty(globalThis, key, { ...property, configurable: true });
    }
    const { events, states } = open({ persist: true, ...(name === "is full" && { identity: "ann" }) });
    await server.connected();
    await server.push("comment", 1);
    server.drop();
    await server.push("comment", 2);
    await clock.advance(1000);
    assert.deepEqual(events, ["comment 1", "comment 2"]);
    assert.equal(states.at(-1), "live");
    assert.deepEqual(errors, []);
  });
}

bench("a stream that was closed resumes with reconnect()", {}, async ({ clock, server, open }) => {
  const { stream, events, stale } = open();
  await server.connected();
  await server.push("comment", 1);
  stream.close();
  await server.push("comment", 2);
  stream.reconnect();
  await clock.advance(0);
  assert.deepEqual(events, ["comment 1", "comment 2"]);
  assert.deepEqual(stale, ["new"]);
});

bench("close() and reconnect() in a handler: the event is not handled twice", {}, async ({ clock, server, open }) => {
  const { stream, events } = open();
  await server.connected();
  stream.on("comment", () => {
    stream.close();
    stream.reconnect();
  }, { once: true });
  await server.push("comment", 1);
  await clock.advance(1000);
  assert.deepEqual(events, ["comment 1"]);
});
