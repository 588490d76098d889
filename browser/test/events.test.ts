// Events: handlers, once, iteration, signals, and what is left after close().

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { connect } from "../src/ginsse.js";
import { bench, first, rawResponse } from "./helpers.js";

bench("handlers get the data as JSON, or as text if it is not JSON", {}, async ({ server, open }) => {
  const { stream } = open();
  const got: unknown[] = [];
  stream.on("comment", (data, event) => got.push([data, event.text, event.type, event.data === data]));
  await server.connected();
  const texts = ['{"a":[1]}', "7", "null", '"text"', "text", "", "{", "two\nlines"];
  for (const text of texts) await server.push("comment", text);
  assert.deepEqual(got, [{ a: [1] }, 7, null, "text", "text", "", "{", "two\nlines"].map((data, i) => [data, texts[i], "comment", true]));
});

bench("the data of an event is parsed once", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const seen: object[] = [];
  stream.on("post", (data) => seen.push(data));
  stream.on("post", (data) => seen.push(data));
  const loop = stream.events();
  const parse = JSON.parse;
  let parsed = 0;
  JSON.parse = (...args) => (args[0].startsWith("{") && !args[0].includes("stream") && parsed++, parse(...args));
  try {
    await server.push("post", { n: 1 });
    assert.equal(parsed, 1);
    assert.equal(seen[0], seen[1]);
    assert.equal((await loop.next()).value.data, seen[0]);
  } finally {
    JSON.parse = parse;
  }
});

bench("an event has the last event ID, also one that the server named before", {}, async ({ clock, server, open }) => {
  const { response, write } = rawResponse();
  const { stream } = open({ fetch: first(() => response, server.fetch) });
  const ids: string[] = [];
  stream.on("message", (_, { id }) => ids.push(id));
  write("data: 1\n\nid: 7\ndata: 2\n\ndata: 3\n\nid\ndata: 4\n\n");
  await clock.advance(0);
  assert.deepEqual(ids, ["", "7", "7", ""]);
});

bench("handlers are called in order, only for their type, until they are removed", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const got: string[] = [];
  const remove = stream.on("a", () => got.push("first"));
  stream.on("a", () => got.push("second"));
  stream.on("b", () => got.push("other"));
  await server.push("a", 1);
  remove();
  remove();
  await server.push("a", 2);
  await server.push("toString", 1);
  await server.push("__proto__", 1);
  assert.deepEqual(got, ["first", "second", "second"]);
});

bench("types such as constructor are types like others", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const got: unknown[] = [];
  for (const type of ["constructor", "__proto__", "toString"]) {
    stream.on(type, (data) => got.push(data));
    await server.push(type, type);
  }
  assert.deepEqual(got, ["constructor", "__proto__", "toString"]);
});

bench("the same function can be added twice", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  let calls = 0;
  const fn = () => void calls++;
  const remove = stream.on("a", fn);
  stream.on("a", fn);
  await server.push("a", 1);
  remove();
  await server.push("a", 1);
  assert.equal(calls, 3);
});

bench("a handler that throws is an uncaught exception, and does not stop others", {}, async ({ clock, server, open }) => {
  const uncaught: unknown[] = [];
  const runner = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => uncaught.push(error));
  try {
    const { stream, events, stale, states } = open();
    await server.connected();
    const failing = new Error("handler");
    stream.on("comment", () => { throw failing; });
    stream.onStale(() => { throw failing; });
    stream.onState((state) => { if (state === "reconnecting") throw failing; });
    const after: unknown[] = [];
    stream.on("comment", (data) => after.push(data));
    stream.onStale((reason) => after.push(reason));
    stream.onState((state) => after.push(state));
    await server.push("comment", 1);
    await server.gap();
    server.drop();
    await clock.advance(1000);
    await server.push("comment", 2);
    await clock.advance(0); // node throws later
    assert.deepEqual(after, ["live", 1, "trimmed", "reconnecting", "live", 2]);
    assert.deepEqual(events, ["comment 1", "comment 2"]);
    assert.deepEqual([stale, states.at(-1)], [["new", "trimmed"], "live"]);
    assert.deepEqual(uncaught, Array(4).fill(failing));
  } finally {
    process.removeAllListeners("uncaughtException");
    runner.forEach((listener) => process.on("uncaughtException", listener));
  }
});

bench("a handler that is removed by another one during an event is not called", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  let calls = 0;
  stream.on("a", () => remove());
  const remove = stream.on("a", () => void calls++);
  await server.push("a", 1);
  assert.equal(calls, 0);
});

bench("a handler that is added during an event gets the next one first", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const got: unknown[] = [];
  stream.on("a", () => void stream.on("a", (data) => got.push(data)), { once: true });
  await server.push("a", 1);
  await server.push("a", 2);
  assert.deepEqual(got, [2]);
});

bench("once: a handler is called once at most", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  const got: string[] = [];
  stream.on("a", (data) => got.push(`a ${data}`), { once: true });
  stream.onStale((reason) => got.push(reason), { once: true });
  for (let i = 0; i < 3; i++) {
    await server.push("a", i);
    await server.gap(`gap ${i}`);
  }
  await clock.advance(0);
  assert.deepEqual(got, ["a 0", "gap 0"]);
});

bench("an aborted signal removes handlers, and nothing is left on it", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  const abort = new AbortController();
  const { signal } = abort;
  const got: string[] = [];
  stream.on("a", () => got.push("a"), { signal });
  stream.onStale(() => got.push("stale"), { signal });
  stream.onState((state) => got.push(state), { signal });
  abort.abort();
  await server.push("a", 1);
  await server.gap();
  server.drop();
  await clock.advance(1000);
  assert.deepEqual(got, ["live"]);
  assert.equal(getEventListeners(signal, "abort").length, 0);
  stream.on("a", () => got.push("late"), { signal });
  await server.push("a", 2);
  assert.deepEqual(got, ["live"]);
});

bench("onState does not call a handler whose signal is aborted", {}, async ({ open }) => {
  const { stream } = open();
  let calls = 0;
  stream.onState(() => void calls++, { signal: AbortSignal.abort() });
  assert.equal(calls, 0);
});

bench("once() calls a handler for the next event, unless it is removed or aborted before", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  await server.push("a", 0);
  const got: unknown[] = [];
  const abort = new AbortController();
  stream.once("a", (data, event) => got.push([data, event.type]));
  stream.once("a", () => got.push("removed"))();
  stream.once("a", () => got.push("aborted"), { signal: abort.signal });
  abort.abort();
  await server.push("b", 0);
  await server.push("a", 1);
  await server.push("a", 2);
  assert.deepEqual(got, [[1, "a"]]);
});

bench("a loop gets all events from when it begins, of all types, in order", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  await server.push("a", 0);
  const events = stream.events();
  await server.push("a", 1);
  await server.push("b", 2);
  await server.gap();
  const got: unknown[] = [];
  void server.push("a", 3);
  for await (const event of events) {
    got.push([event.type, event.data]);
    if (event.data === 3) break;
  }
  assert.deepEqual(got, [["a", 1], ["b", 2], ["a", 3]]);
  assert.deepEqual(await events.next(), { value: undefined, done: true });
});

bench("a stream can be looped over itself, by several loops", {}, async ({ server, open }) => {
  const { stream } = open();
  const loop = async () => {
    for await (const { data } of stream) return data;
  };
  const loops = [loop(), loop()];
  await server.connected();
  await server.push("a", 1);
  assert.deepEqual(await Promise.all(loops), [1, 1]);
});

bench("a loop ends when the stream is closed, after the events before that", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const events = stream.events();
  await server.push("a", 1);
  await server.close();
  const got: unknown[] = [];
  for await (const { data } of events) got.push(data);
  for await (const { data } of stream.events()) got.push(data);
  assert.deepEqual(got, [1]);
});

bench("a loop that waits ends when the stream is closed", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const next = stream.events().next();
  stream.close();
  assert.equal((await next).done, true);
});

bench("a loop ends when its signal is aborted, and nothing is left on it", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const abort = new AbortController();
  const waiting = stream.events({ signal: abort.signal }).next();
  abort.abort();
  assert.equal((await waiting).done, true);
  assert.equal(getEventListeners(abort.signal, "abort").length, 0);
  assert.equal((await stream.events({ signal: abort.signal }).next()).done, true);

  const { signal } = new AbortController();
  for await (const _ of (void server.push("a", 1), stream.events({ signal }))) break;
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

bench("calls of next() that wait together each get an event, or the end", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  const events = stream.events();
  const got: unknown[] = [];
  for (let i = 0; i < 3; i++) void events.next().then(({ value, done }) => got.push(done ? "done" : value.data));
  await server.push("a", 1);
  await server.push("a", 2);
  stream.close();
  await clock.advance(100);
  assert.deepEqual(got, [1, 2, "done"]);
});

bench("return() ends a loop whose next() waits", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  const { signal } = new AbortController();
  const events = stream.events({ signal });
  let ended = 0;
  for (const call of [events.next(), events.return!()]) void call.then(({ done }) => done && ended++);
  await clock.advance(1000);
  assert.equal(ended, 2);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

bench("return() ends a loop that has not begun", {}, async ({ server, open }) => {
  const { stream } = open();
  await server.connected();
  const { signal } = new AbortController();
  await stream.events({ signal }).return!();
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

bench("a loop that is 10,000 events behind throws; others go on", {}, async ({ clock, server, open }) => {
  const { response, write } = rawResponse();
  const { stream } = open({ fetch: first(() => response, server.fetch) });
  await clock.advance(0);
  const slow = stream.events();
  let handled = 0;
  stream.on("message", () => void handled++);
  write("data: 1\n\n".repeat(10_000));
  await clock.advance(0);
  assert.equal((await slow.next()).value.data, 1);
  write("data: 1\n\n".repeat(2));
  await clock.advance(0);
  await assert.rejects(slow.next(), /10000 events behind/);
  assert.equal((await slow.next()).done, true);
  write("data: 1\n\n");
  await clock.advance(0);
  assert.equal(handled, 10_003);
});

bench("handlers may be added right after connect(), also for what comes first", {}, async ({ server }) => {
  const stream = connect("/events", { fetch: server.fetch });
  const got: string[] = [];
  stream.onState((state) => got.push(state));
  stream.onStale((reason) => got.push(reason));
  await server.connected();
  assert.deepEqual(got, ["connecting", "live", "new"]);
  stream.close();
});

bench("the functions of a stream work without it", {}, async ({ server, open }) => {
  const { on, once, onState, events, close, topics: { add, has } } = open().stream;
  await server.connected();
  const got: unknown[] = [];
  on("a", (data) => got.push(data));
  onState((state) => got.push(state));
  once("a", (data) => got.push(data));
  const loop = events();
  await server.push("a", 1);
  assert.equal((await loop.next()).value.data, 1);
  add("t").catch(() => {});
  assert.equal(has("t"), true);
  close();
  assert.deepEqual(got, ["live", 1, 1, "closed"]);
});

bench("id names the server's stream while it is open", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  assert.equal(stream.id, "");
  await server.connected();
  assert.equal(stream.id, "stream-1");
  server.drop();
  await clock.advance(200);
  assert.equal(stream.id, "");
  await clock.advance(1000);
  assert.equal(stream.id, "stream-2");
  stream.close();
  assert.equal(stream.id, "");
});

bench("events of the kit about the connection are not the page's", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  const got: string[] = [];
  for (const type of ["sse.heartbeat", "sse.gap"]) stream.on(type, () => got.push(type));
  const loop = stream.events().next();
  await clock.advance(30_000);
  await server.gap();
  await server.push("a", 1);
  assert.deepEqual(got, []);
  assert.equal((await loop).value.type, "a");
});

// close()

bench("close() in a handler: nothing more is handled or opened", {}, async ({ clock, server, open }) => {
  const { response, write } = rawResponse();
  const { stream, events, states } = open({ fetch: first(() => response, server.fetch) });
  stream.on("message", () => stream.close());
  write("data: 1\n\ndata: 2\n\n");
  await clock.advance(60_000);
  assert.deepEqual(events, ["message 1"]);
  assert.equal(states.at(-1), "closed closed");
  assert.equal(server.requests.length, 0);
});

for (const [name, interrupt] of [
  ["a lost connection", (server) => server.drop()],
  ["a silent connection", (server) => server.freeze()],
  ["a refusal after sse.reconnect", (server) => (server.refuse({ status: 502 }), void server.reconnect())],
] as [string, (server: ReturnType<typeof import("../src/testing.js").newFakeServer>) => void][]) {
  bench(`close() in a handler of onState, for ${name}: no connection follows`, {}, async ({ clock, server, open }) => {
    const { stream } = open();
    await server.connected();
    stream.onState((state) => state === "reconnecting" && stream.close());
    interrupt(server);
    await clock.advance(39_000);
    const { length } = server.requests;
    await clock.advance(60_000);
    assert.equal(stream.state, "closed");
    assert.equal(server.connections, 0);
    assert.equal(server.requests.length, length);
    assert.equal(clock.timers, 0);
  });
}

bench("close() in a handler of an event before sse.reconnect: no connection follows", {}, async ({ clock, server, open }) => {
  const { response, write } = rawResponse();
  const { stream } = open({ fetch: first(() => response, server.fetch) });
  stream.on("message", () => stream.close());
  write('data: 1\n\nevent: sse.reconnect\ndata: {"reason":"shutdown","retry":100}\n\n');
  await clock.advance(60_000);
  assert.equal(server.requests.length, 0);
});

bench("close() in the handler of the state connecting: no connection follows", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  stream.close();
  stream.onState((state) => state === "connecting" && stream.close());
  stream.reconnect();
  await clock.advance(60_000);
  assert.equal(stream.state, "closed");
  assert.equal(server.connections, 0);
});

bench("an aborted signal closes the stream, also before it is connected", {}, async ({ clock, server, open }) => {
  const abort = new AbortController();
  const { states } = open({ signal: abort.signal });
  await server.connected();
  abort.abort();
  assert.deepEqual(states, ["connecting", "live", "closed closed"]);
  assert.equal(server.connections, 0);
  const late = open({ signal: abort.signal });
  await clock.advance(60_000);
  assert.deepEqual(late.states, ["closed closed"]);
  assert.equal(server.requests.length, 1);
});

bench("close() right after connect() makes no request", {}, async ({ clock, server, open }) => {
  const { stream, states } = open();
  stream.close();
  stream.close();
  await clock.advance(60_000);
  assert.deepEqual(states, ["connecting", "closed closed"]);
  assert.equal(server.requests.length, 0);
});

bench("after close() no timer is left", {}, async ({ clock, server, open }) => {
  for (const state of ["connecting", "live", "waiting", "reconnecting", "changing"]) {
    if (state === "waiting") server.refuse({ status: 503 });
    const { stream } = open();
    if (state !== "connecting") await clock.advance(0);
    if (state === "reconnecting") await server.reconnect();
    if (state === "changing") {
      void stream.events().next();
      stream.reconnect();
    }
    stream.close();
    assert.equal(clock.timers, 0, state);
  }
});

bench("after close() no timer is left, also of a change of topics or a check after a pause", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  server.freeze();
  await clock.sleep(20_000);
  stream.topics.add("a").catch(() => {});
  stream.close();
  assert.equal(clock.timers, 0);
});

bench("after close() no listener is left", {}, async ({ page, server, open }) => {
  const { signal } = new AbortController();
  const { stream } = open({ signal });
  await server.connected();
  assert.ok(page.window.listeners.includes("online"));
  assert.ok(page.document.listeners.includes("visibilitychange"));
  stream.close();
  assert.deepEqual([page.window.listeners, page.document.listeners], [[], []]);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

bench("after the server's end no timer is left", {}, async ({ clock, server, open }) => {
  open();
  await server.connected();
  await server.close();
  assert.equal(clock.timers, 0);
});
