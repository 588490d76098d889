// The fake server is tested with the real client, and its streams as text.

import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { connect } from "../src/ginsse.js";
import { newFakeServer } from "../src/testing.js";

const url = "http://localhost/events";

/** Reads what has been sent since the last read. */
async function text(response: Response) {
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  return new TextDecoder().decode(value);
}

test("a stream begins as a stream of the kit", async () => {
  const server = newFakeServer({ retry: 3000, heartbeat: 15_000 });
  const response = await server.fetch(url);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  assert.match(
    await text(response),
    /^retry: 3000\nevent: sse\.open\ndata: \{"stream":"stream-1","resumed":false,"heartbeat":15000\}\nid: \d+-0\n\n$/,
  );
  server.drop();
});

test("a stream resumes after the last event ID, in the header or in the query", async () => {
  const server = newFakeServer({ heartbeat: 0 });
  const first = await server.push("comment", { n: 1 });
  await server.push("comment", "two\nlines");
  for (const response of [
    await server.fetch(url, { headers: { "Last-Event-ID": first } }),
    await server.fetch(`${url}?lastEventId=${first}`),
  ]) {
    const got = await text(response);
    assert.match(got, /"resumed":true/);
    assert.ok(got.endsWith(`event: comment\ndata: two\ndata: lines\nid: ${first.replace("-1", "-2")}\n\n`), got);
    assert.doesNotMatch(got, /"n":1|sse\.gap/);
  }
  assert.deepEqual(server.requests.map((request) => request.lastEventID), [first, first]);
  server.drop();
});

test("a stream that cannot resume has a gap, and only the gap moves the position", async () => {
  const server = newFakeServer({ heartbeat: 0 });
  const id = await server.push("comment", 1);
  await server.gap("trimmed");
  for (const [lastEventID, reason] of [[id, "trimmed"], ["of another server", "unknown"], ["0-7", "unknown"]]) {
    const got = await text(await server.fetch(url, { headers: { "Last-Event-ID": lastEventID! } }));
    const [open, gap, rest] = got.split("\n\n");
    assert.match(open!, /"resumed":false/);
    assert.doesNotMatch(open!, /^id:/m);
    assert.match(gap!, new RegExp(`^event: sse\\.gap\ndata: \\{"reason":"${reason}"\\}\nid: \\d+-2$`));
    assert.equal(rest, "");
  }
  server.drop();
});

test("heartbeats follow a silence, carry the position, and end with the stream", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const server = newFakeServer({ heartbeat: 100 });
    const response = await server.fetch(url);
    await text(response);
    mock.timers.tick(99);
    const id = await Promise.race([server.push("comment", 1), new Promise<string>((resolve) => setImmediate(resolve, "not read"))]);
    assert.equal(id, "not read"); // the test does not read
    mock.timers.tick(99);
    mock.timers.tick(1);
    assert.match(await text(response), /event: comment\ndata: 1\nid: (\d+-1)\n\nevent: sse\.heartbeat\ndata: \nid: \1\n\n$/);
    server.drop();
    mock.timers.tick(1000);
    await assert.rejects(text(response), TypeError);
  } finally {
    mock.timers.reset();
  }
});

test("connected and push resolve when the page has handled what was sent", async (t) => {
  const server = newFakeServer();
  const stream = connect(url, { fetch: server.fetch });
  t.after(() => stream.close()); // its timers keep the process alive
  const got: unknown[] = [];
  stream.on("comment", (data) => got.push(data));
  const request = await server.connected();
  assert.equal(stream.state, "live");
  assert.equal(request.url.href, url);
  const id = await server.push("comment", { n: 1 });
  assert.deepEqual(got, [{ n: 1 }]);
  assert.match(id, /^\d+-1$/);
  stream.close();
  assert.equal(server.connections, 0);
});

test("the page's stream resumes after a cut, without fake timers", async (t) => {
  const server = newFakeServer({ retry: 2 });
  const stream = connect(url, { fetch: server.fetch });
  t.after(() => stream.close()); // its timers keep the process alive
  const got: unknown[] = [];
  stream.on("comment", (data) => got.push(data));
  await server.connected();
  await server.push("comment", 1);
  server.drop();
  assert.equal(server.connections, 0);
  await server.push("comment", 2); // no client is connected
  const { lastEventID } = await server.connected();
  assert.deepEqual(got, [1, 2]);
  assert.match(lastEventID, /-1$/);
});

test("the page's stream can be tested with node's mock timers", async (t) => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"], now: 1e12 });
  try {
    const server = newFakeServer({ heartbeat: 1000, retry: 1000 });
    const stream = connect(url, { fetch: server.fetch });
    t.after(() => stream.close()); // its timers keep the process alive
    const states: string[] = [];
    stream.onState((state, { reason }) => states.push(`${state} ${reason}`));
    await server.connected();
    for (let i = 0; i < 20; i++) {
      mock.timers.tick(500);
      await server.settled(); // heartbeats have arrived
    }
    assert.equal(server.requests.length, 1);
    server.freeze();
    for (let i = 0; i < 6; i++) mock.timers.tick(500);
    await server.connected();
    server.drop();
    await new Promise((resolve) => setImmediate(resolve));
    mock.timers.tick(1000);
    await server.connected();
    assert.deepEqual(states, ["connecting ", "live ", "reconnecting silent", "live ", "reconnecting network", "live "]);
  } finally {
    mock.timers.reset();
  }
});

test("an event with a topic goes to the streams that read it, also later", async () => {
  const server = newFakeServer({ heartbeat: 0, topicParameter: "t" });
  const a = await server.fetch(`${url}?t=a&t=b`);
  const b = await server.fetch(`${url}?t=b`);
  await Promise.all([text(a), text(b)]);
  void server.push("one", 1, "a");
  void server.push("two", 2);
  assert.match(await text(a), /event: one[^]*event: two/);
  const got = await text(b);
  assert.match(got, /two/);
  assert.doesNotMatch(got, /one/);
  const later = await text(await server.fetch(`${url}?t=b`, { headers: { "Last-Event-ID": /id: (\d+)-/.exec(got)![1] + "-0" } }));
  assert.match(later, /event: two/);
  assert.doesNotMatch(later, /event: one/);
  assert.deepEqual(server.requests[0]!.topics, ["a", "b"]);
  server.drop();
});

test("close and reconnect end the stream after its last event", async () => {
  const server = newFakeServer({ heartbeat: 0, retry: 500 });
  for (const [end, last] of [
    [() => server.close(), 'event: sse.close\ndata: {"reason":"disconnected"}\n\n'],
    [() => server.close("signed out"), 'event: sse.close\ndata: {"reason":"signed out"}\n\n'],
    [() => server.reconnect(), 'retry: 500\nevent: sse.reconnect\ndata: {"reason":"shutdown","retry":500}\n\n'],
    [() => server.reconnect({ reason: "expired", retry: 7 }), 'retry: 7\nevent: sse.reconnect\ndata: {"reason":"expired","retry":7}\n\n'],
  ] as const) {
    const response = await server.fetch(url);
    assert.equal(server.connections, 1);
    const settled = end();
    assert.equal(server.connections, 0);
    const all = await response.text(); // to the end
    await settled;
    assert.ok(all.endsWith(last), all);
  }
});

test("offline breaks streams and refuses others until it ends", async () => {
  const server = newFakeServer();
  const response = await server.fetch(url);
  server.offline(true);
  await assert.rejects(response.text(), TypeError);
  await assert.rejects(server.fetch(url), TypeError);
  assert.equal(server.requests.length, 2);
  server.offline(false);
  assert.equal((await server.fetch(url)).status, 200);
  server.drop();
});

test("a frozen connection stays open and silent, and others work", async () => {
  const server = newFakeServer({ heartbeat: 0 });
  const frozen = await server.fetch(url);
  await text(frozen);
  server.freeze();
  await server.push("comment", 1); // does not wait for the frozen one
  const read = text(frozen);
  assert.equal(await Promise.race([read, new Promise((resolve) => setImmediate(resolve, "silent"))]), "silent");
  assert.equal(server.connections, 1);
  assert.match(await text(await server.fetch(url)), /sse\.open/);
  assert.equal(server.connections, 2);
  server.drop();
  await assert.rejects(read, TypeError);
});

test("refusals have a status and Retry-After, and end", async () => {
  const server = newFakeServer();
  server.refuse({ status: 503, retryAfter: 7, times: 2 });
  for (const status of [503, 503, 200]) {
    const response = await server.fetch(url);
    assert.equal(response.status, status);
    assert.equal(response.headers.get("retry-after"), status === 503 ? "7" : null);
  }
  server.refuse({ status: 429, retryAfter: new Date(Date.UTC(2030, 0, 2, 3, 4, 5)) });
  assert.equal((await server.fetch(url)).headers.get("retry-after"), "Wed, 02 Jan 2030 03:04:05 GMT");
  server.refuse({ status: 204 });
  assert.equal((await server.fetch(url)).body, null);
  server.refuse({ status: 302 });
  const page = await server.fetch(url);
  assert.deepEqual([page.status, page.redirected, page.headers.get("content-type")], [200, true, "text/html"]);
  server.refuse({ status: 500, times: Infinity });
  server.refuse({ status: 500, times: 0 });
  assert.equal((await server.fetch(url)).status, 200);
  server.drop();
});

test("an aborted request is no longer open", async () => {
  const server = newFakeServer();
  const abort = new AbortController();
  const response = await server.fetch(url, { signal: abort.signal });
  abort.abort();
  await assert.rejects(response.text(), { name: "AbortError" });
  assert.equal(server.connections, 0);
  await assert.rejects(server.fetch(url, { signal: abort.signal }), { name: "AbortError" });
  assert.equal(server.requests.length, 1);
  await server.settled();
});

test("a Request can take the place of the address", async () => {
  const server = newFakeServer();
  await server.fetch(new Request(`${url}?topic=a`, { headers: { "Last-Event-ID": "7" } }));
  const [{ topics, lastEventID } = assert.fail()] = server.requests;
  assert.deepEqual([topics, lastEventID], [["a"], "7"]);
  server.drop();
});

test("types of the kit cannot be pushed", async () => {
  await assert.rejects(newFakeServer().push("sse.open", {}), /reserved/);
});
