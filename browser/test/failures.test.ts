// Ends and failures: what is retried and when, and what is final.

import assert from "node:assert/strict";
import { bench, first, rawResponse, type Bench } from "./helpers.js";

const hour = 3_600_000;

/** Returns a fetch that notes the times of the requests, and the times between them. */
function timed({ clock, server }: Bench) {
  const times: number[] = [];
  const fetch: typeof globalThis.fetch = (...args) => {
    times.push(clock.now);
    return server.fetch(...args);
  };
  return { fetch, waits: () => times.slice(1).map((time, i) => time - times[i]!) };
}

for (const status of [408, 425, 500, 502, 503, 504, 520, 522, 524, 599]) {
  bench(`${status} is retried`, {}, async ({ clock, server, open }) => {
    server.refuse({ status });
    const { states } = open();
    await clock.advance(1);
    assert.deepEqual(states, ["connecting", `reconnecting refused ${status}`]);
    await clock.advance(1000);
    assert.deepEqual(states.slice(2), ["live"]);
  });
}

for (const status of [400, 404, 405, 406, 410, 422, 429]) {
  bench(`${status} is final, until reconnect()`, {}, async ({ clock, page, server, open }) => {
    server.refuse({ status, retryAfter: 1 });
    const { stream, states } = open();
    await clock.advance(hour);
    page.window.fire("online");
    page.document.fire("visibilitychange");
    await clock.advance(hour);
    assert.deepEqual(states, ["connecting", `closed refused ${status}`]);
    assert.equal(server.requests.length, 1);
    stream.reconnect();
    await server.connected();
    assert.deepEqual(states.slice(2), ["connecting", "live"]);
  });
}

bench("204 is the end", {}, async ({ clock, server, open }) => {
  server.refuse({ status: 204 });
  const { states } = open();
  await clock.advance(hour);
  assert.deepEqual(states, ["connecting", "closed finished 204"]);
  assert.equal(server.requests.length, 1);
});

bench("a network error is retried, and at once when the browser is online", {}, async ({ clock, server, open }) => {
  server.offline(true);
  const { states } = open();
  await clock.advance(60_000);
  assert.deepEqual(states, ["connecting", "reconnecting network"]);
  const { length } = server.requests;
  server.offline(false);
  await clock.advance(0);
  assert.equal(server.requests.length, length + 1);
  assert.deepEqual(states.slice(2), ["live"]);
});

bench("a lost connection is reported within 200 ms, and opened again", {}, async ({ clock, server, open }) => {
  const { states, stale } = open();
  await server.connected();
  server.drop();
  await clock.advance(200);
  assert.deepEqual(states, ["connecting", "live", "reconnecting network"]);
  await clock.advance(1000);
  assert.deepEqual(states.slice(3), ["live"]);
  assert.deepEqual(stale, ["new"]); // it resumed
});

bench("a response that ends is a lost connection", {}, async ({ clock, server, open }) => {
  const { response, write, end } = rawResponse();
  const { states } = open({ fetch: first(() => response, server.fetch) });
  write('event: sse.open\ndata: {"resumed":false}\n\n');
  await clock.advance(0);
  end();
  await clock.advance(200);
  assert.deepEqual(states, ["connecting", "live", "reconnecting dropped"]);
  await clock.advance(1000);
  assert.deepEqual(states.slice(3), ["live"]);
});

bench("a response that is not an event stream is retried", {}, async ({ clock, server, open }) => {
  server.refuse({ status: 200 });
  const { states } = open();
  await clock.advance(1000);
  assert.deepEqual(states, ["connecting", "reconnecting not an event stream 200", "live"]);
});

for (const type of ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream;charset=UTF-8"]) {
  bench(`${type} is an event stream`, {}, async ({ clock, server, open }) => {
    const { response, write } = rawResponse({ "Content-Type": type });
    const { events } = open({ fetch: first(() => response, server.fetch) });
    write("data: 1\n\n");
    await clock.advance(0);
    assert.deepEqual(events, ["message 1"]);
  });
}

for (const [random, waits] of [
  [0, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]],
  [1 - 2 ** -53, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]],
] as const) {
  bench(`attempts follow ${waits.slice(0, 6).map((wait) => wait / 1000)} s after each other if Math.random is ${Math.round(random)}`, {}, async (b) => {
    Math.random = () => random;
    b.server.refuse({ status: 503, times: Infinity });
    const { fetch, waits: got } = timed(b);
    b.open({ fetch });
    await b.clock.advance(150_000);
    got().slice(0, waits.length).forEach((wait, i) => assert.ok(Math.abs(wait - waits[i]!) <= 1, `${got()}`));
  });
}

bench("the backoff begins anew after a connection", {}, async (b) => {
  Math.random = () => 0;
  const { fetch, waits } = timed(b);
  b.server.refuse({ status: 503, times: 4 });
  b.open({ fetch });
  await b.clock.advance(7500);
  b.server.drop();
  await b.clock.advance(500);
  assert.deepEqual(waits(), [500, 1000, 2000, 4000, 500]);
});

bench("the retry field sets the first delay", { retry: 6000 }, async ({ clock, server, open }) => {
  open();
  await server.connected();
  server.drop();
  await clock.advance(2999);
  assert.equal(server.requests.length, 1);
  await clock.advance(3001);
  assert.equal(server.requests.length, 2);
});

bench("attempts at a server that is away slow down, also after retry: 0", { retry: 0 }, async ({ clock, server, open }) => {
  open();
  await server.connected();
  server.refuse({ status: 503, times: Infinity });
  server.drop();
  for (let i = 0; i < 100; i++) await clock.advance(10);
  assert.ok(server.requests.length < 20, `${server.requests.length} attempts in a second`);
});

bench("a retry field above 30 s is waited for", { retry: 120_000 }, async ({ clock, server, open }) => {
  Math.random = () => 0;
  open();
  await server.connected();
  server.drop();
  await clock.advance(59_000);
  assert.equal(server.requests.length, 1);
});

for (const [name, retryAfter] of [
  ["seconds", () => 7],
  ["a date", () => new Date(Date.now() + 7000)],
] as const) {
  bench(`Retry-After as ${name} is waited for, also when the browser is online or the page visible`, {}, async ({ clock, page, server, open }) => {
    server.refuse({ status: 503, retryAfter: retryAfter() });
    const { states } = open();
    await clock.advance(6000);
    page.window.fire("online");
    page.document.fire("visibilitychange");
    await clock.advance(900);
    assert.equal(server.requests.length, 1);
    await clock.advance(1100); // the server's time, and then the delay that spreads clients
    assert.deepEqual(states, ["connecting", "reconnecting refused 503", "live"]);
  });
}

for (const value of ["soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "", " ", "7 s"]) {
  bench(`a Retry-After of "${value}" changes nothing`, {}, async ({ clock, server, open }) => {
    const { states } = open({ fetch: first(() => new Response("", { status: 503, headers: { "Retry-After": value } }), server.fetch) });
    await clock.advance(1000);
    assert.deepEqual(states, ["connecting", "reconnecting refused 503", "live"]);
  });
}

bench("a Retry-After of months is waited for an hour at most", {}, async ({ clock, server, open }) => {
  server.refuse({ status: 503, retryAfter: 10_000_000 });
  open();
  await clock.advance(hour - 1000);
  assert.equal(server.requests.length, 1);
  await clock.advance(1000);
  assert.equal(server.requests.length, 2);
});

bench("reconnect() does not wait", {}, async ({ clock, server, open }) => {
  server.refuse({ status: 503, retryAfter: 1000 });
  const { stream, states } = open();
  await clock.advance(1);
  stream.reconnect();
  await clock.advance(0);
  assert.deepEqual(states, ["connecting", "reconnecting refused 503", "live"]);
});

bench("an attempt that is not answered in 4 s is given up", {}, async ({ clock, server, open }) => {
  let signal: AbortSignal | null | undefined;
  const { states } = open({ fetch: first((_, init) => new Promise(() => (signal = init.signal)), server.fetch) });
  await clock.advance(3999);
  assert.deepEqual(states, ["connecting"]);
  await clock.advance(2);
  assert.deepEqual(states, ["connecting", "reconnecting timeout"]);
  assert.equal(signal!.aborted, true);
  await clock.advance(1000);
  assert.deepEqual(states.slice(2), ["live"]);
});

bench("an answer to an attempt that was given up is ignored", {}, async ({ clock, server, open }) => {
  let answer!: (response: Response) => void;
  const { states, events } = open({ fetch: first(() => new Promise((resolve) => (answer = resolve)), server.fetch) });
  await clock.advance(4100);
  const { response, write } = rawResponse();
  write("data: late\n\n");
  answer(response);
  await clock.advance(1000);
  assert.deepEqual(states, ["connecting", "reconnecting timeout", "live"]);
  assert.deepEqual(events, []);
});

bench("an answer to an attempt that was given up does not count for the next one", {}, async ({ clock, open }) => {
  const answers: ((response: Response) => void)[] = [];
  const { states } = open({ fetch: () => new Promise((resolve) => answers.push(resolve)) });
  await clock.advance(5000);
  assert.equal(answers.length, 2);
  answers[0]!(rawResponse().response);
  await clock.advance(2000);
  assert.deepEqual(states, ["connecting", "reconnecting timeout"]);
});

bench("a server that sends no sse.open is live within a second", {}, async ({ clock, server, open }) => {
  const { response } = rawResponse();
  const { states } = open({ fetch: first(() => response, server.fetch) });
  await clock.advance(1000);
  assert.deepEqual(states, ["connecting", "live"]);
});

bench("sse.reconnect is followed after its time, and the page stays live", { retry: 2000 }, async ({ clock, page, server, open }) => {
  const { states, stale, events } = open();
  await server.connected();
  await server.push("comment", 1);
  await server.reconnect();
  await clock.advance(1900);
  page.window.fire("online");
  await clock.advance(99);
  assert.equal(server.requests.length, 1);
  await server.push("comment", 2);
  await clock.advance(1);
  assert.equal(server.requests.length, 2);
  assert.deepEqual(events, ["comment 1", "comment 2"]);
  await clock.advance(60_000);
  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(stale, ["new"]);
});

bench("a long wait for the server is reported with its reason", {}, async ({ clock, server, open }) => {
  const { states } = open();
  await server.connected();
  await server.reconnect({ reason: "overloaded", retry: 20_000 });
  await clock.advance(12_999);
  assert.deepEqual(states, ["connecting", "live"]);
  await clock.advance(1);
  assert.deepEqual(states.slice(2), ["reconnecting overloaded"]);
  await clock.advance(7000);
  assert.deepEqual(states.slice(3), ["live"]);
});

bench("a server that does not come back after sse.reconnect is reported at once", {}, async ({ clock, server, open }) => {
  const { states } = open();
  await server.connected();
  await server.reconnect();
  server.refuse({ status: 502 });
  await clock.advance(1001);
  assert.deepEqual(states, ["connecting", "live", "reconnecting refused 502"]);
});

bench("sse.close is final, with its reason, until reconnect()", {}, async ({ clock, page, server, open }) => {
  const { stream, states, stale } = open();
  await server.connected();
  await server.close("disconnected");
  page.window.fire("online");
  page.document.fire("visibilitychange");
  await clock.advance(hour);
  assert.deepEqual(states, ["connecting", "live", "closed disconnected"]);
  assert.equal(server.requests.length, 1);
  stream.reconnect();
  await server.connected();
  assert.deepEqual(states.slice(3), ["connecting", "live"]);
  assert.deepEqual(stale, ["new"]); // it resumed
});

bench("events before sse.close in the same piece are handled", {}, async ({ clock, server, open }) => {
  const { response, write } = rawResponse();
  const { states, events } = open({ fetch: first(() => response, server.fetch) });
  write('data: 1\n\ndata: 2\n\nevent: sse.close\ndata: {"reason":"done"}\n\ndata: 3\n\n');
  await clock.advance(0);
  assert.deepEqual(events, ["message 1", "message 2"]);
  assert.deepEqual(states, ["connecting", "live", "closed done"]);
});

for (const data of ["", "null", "{", "7", "[]"]) {
  bench(`sse.close with the data ${data || '""'} is final too`, {}, async ({ clock, server, open }) => {
    const { response, write } = rawResponse();
    const { states } = open({ fetch: first(() => response, server.fetch) });
    write(`event: sse.close\ndata: ${data}\n\n`);
    await clock.advance(hour);
    assert.deepEqual(states, ["connecting", "closed"]);
  });
}

bench("without a document, and without a fetch of its own, a stream does nothing", { page: false }, async ({ clock, open }) => {
  const { states } = open({ fetch: undefined as any });
  await clock.advance(hour);
  assert.equal(clock.timers, 0);
  assert.deepEqual(states, ["connecting"]);
});

bench("without a document, a stream with a fetch of its own works", { page: false }, async ({ clock, server, open }) => {
  const { states, events } = open({ url: "http://localhost/events" });
  await server.connected();
  await server.push("comment", 1);
  server.drop();
  await server.push("comment", 2);
  await clock.advance(1000);
  assert.deepEqual(events, ["comment 1", "comment 2"]);
  assert.deepEqual(states, ["connecting", "live", "reconnecting network", "live"]);
});

bench("without a document, reconnect() does nothing either", { page: false }, async ({ clock, server, open }) => {
  const { fetch } = globalThis;
  globalThis.fetch = server.fetch;
  try {
    const { stream } = open({ fetch: undefined as any, url: "http://localhost/events" });
    stream.reconnect();
    await clock.advance(1000);
    assert.equal(server.requests.length, 0);
  } finally {
    globalThis.fetch = fetch;
  }
});

bench("reconnect() after the end does not keep the delay of the server before", { retry: 20_000 }, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  stream.close();
  server.refuse({ status: 503 });
  stream.reconnect();
  await clock.advance(1001);
  assert.equal(server.requests.length, 3);
});

bench("the body of a refusal is cancelled, so that it does not hold the connection", {}, async ({ clock, server, open }) => {
  let cancelled = 0;
  const body = new ReadableStream({ cancel: () => void cancelled++ });
  open({ fetch: first(() => new Response(body, { status: 503 }), server.fetch) });
  await clock.advance(0);
  assert.equal(cancelled, 1);
});

bench("a connection that is back within 200 ms is not reported as lost", { retry: 100 }, async ({ clock, server, open }) => {
  const { states } = open();
  await server.connected();
  server.drop();
  await clock.advance(1000);
  assert.equal(server.requests.length, 2);
  assert.deepEqual(states, ["connecting", "live"]);
});
