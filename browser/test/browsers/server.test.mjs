// Tests of the server of the tests. A control that does nothing would make tests pass.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { until } from "./processes.mjs";
import { startServer } from "./server.mjs";

let server;
before(async () => (server = await startServer({ heartbeat: "50ms" })));
after(() => server.close());
beforeEach(() => until(async () => (await server.streams()).open.length === 0, "the server notices that the clients before have left"));

const token = async (user, parameters = "") => (await fetch(`${server.http}/token?user=${user}${parameters}`)).text();

/** Opens the stream of a user, and collects its text. */
async function open(user, query = "") {
  const abort = new AbortController();
  const headers = { Authorization: `Bearer ${await token(user)}` };
  const response = await fetch(`${server.http}/events${query}`, { headers, signal: abort.signal });
  const stream = { status: response.status, headers: response.headers, text: "", ended: false, error: undefined, close: () => abort.abort() };
  (async () => {
    try {
      for await (const text of response.body.pipeThrough(new TextDecoderStream())) stream.text += text;
    } catch (error) {
      stream.error = error;
    }
    stream.ended = true;
  })();
  if (stream.status === 200) await until(() => stream.text.includes("sse.open"), "the stream opens");
  return stream;
}

test("send numbers the events", async () => {
  const stream = await open("alice", "?topic=a");
  await server.send({ user: "alice", type: "x", count: 3, first: 5, data: { a: 1 } });
  await server.send({ topic: "a", type: "y", data: "text" });
  await until(() => stream.text.includes("text"), "the last event");
  assert.deepEqual(stream.text.match(/data: .*"n":.*/g), [5, 6, 7].map((n) => `data: {"a":1,"n":${n}}`));
  stream.close();
});

test("drop resets the connections of streams", async () => {
  const stream = await open("bob");
  assert.equal((await server.drop()).count, 1);
  await until(() => stream.ended, "the stream ends");
  assert.match(String(stream.error?.cause), /ECONNRESET|closed/);
});

for (const connections of [false, true]) {
  test(`freeze holds everything back, connections: ${connections}`, async () => {
    const stream = await open("carol");
    const frozen = Date.now();
    assert.equal((await server.freeze({ for: 500, connections })).count, 1);
    await server.send({ user: "carol", type: "x", data: "held" });
    const other = await open("dave"); // is not frozen
    other.close();
    await until(() => stream.text.includes("held"), "what was held arrives");
    const took = Date.now() - frozen;
    assert.ok(took >= 500, `it was held for ${took} ms`);
    await server.freeze({ connections });
    await until(async () => { // bytes may be on the way
      const before = stream.text;
      await delay(300); // several heartbeats
      return stream.text === before;
    }, "nothing more comes");
    assert.equal(stream.ended, false);
    stream.close();
    await until(async () => (await server.streams()).open.length === 0, "the server notices that the client left");
  });
}

test("refuse answers the next requests", async () => {
  await server.refuse({ status: 503, retryAfter: "2", times: 2 });
  for (const expected of [503, 503, 200]) {
    const stream = await open("erin");
    assert.equal(stream.status, expected);
    if (expected === 503) assert.equal(stream.headers.get("Retry-After"), "2");
    stream.close();
  }
  await server.refuse({ status: 0 });
  await assert.rejects(open("erin"));
});

test("streams says what was asked", async () => {
  const { opened, attempts } = await server.streams();
  const stream = await open("frank", "?topic=a&topic=b&lastEventId=");
  const list = await server.streams({ resetMost: true });
  assert.deepEqual([list.opened, list.attempts, list.open.length], [opened + 1, attempts + 1, 1]);
  assert.deepEqual(list.open[0].topics, ["a", "b"]);
  assert.match(list.last.headers.Authorization[0], /^Bearer /);
  stream.close();
  await until(async () => (await server.streams()).open.length === 0, "the stream ends");
  assert.equal((await server.streams({ resetMost: true })).most, 1);
  assert.equal((await server.streams()).most, 0);
});

test("grant, revoke and requests change the topics of open streams", async () => {
  const stream = await open("gina", "?topic=a&topic=private:b&state=1");
  const authorization = { Authorization: `Bearer ${await token("gina")}` };
  const change = async (body) => (await fetch(`${server.http}/events/control`, { method: "POST", headers: authorization, body: JSON.stringify(body) })).status;
  await until(() => /event: state\ndata: a\n/.test(stream.text), "the state of the topic");
  await server.grant({ user: "gina", topic: "c" });
  await until(() => stream.text.includes('"added":["c"]'), "the topic is granted");
  await server.revoke({ user: "gina", topic: "c" });
  await until(() => stream.text.includes('"removed":["c"]'), "the topic is revoked");
  const { length } = (await server.streams()).controls;
  const [, id] = stream.text.match(/"stream":"([^"]+)"/);
  await server.refuseControl({ status: 503 });
  assert.equal(await change({ stream: id, add: ["d"] }), 503);
  assert.equal(await change({ stream: id, add: ["d", "private:e"] }), 202);
  await until(() => stream.text.includes('"added":["d"]'), "the topic is added");
  assert.doesNotMatch(stream.text, /private/);
  assert.deepEqual((await server.streams()).controls.slice(length).map(({ add }) => add.length), [1, 2]);
  stream.close();
});

test("restart and disconnect end the streams", async () => {
  for (const [end, expected] of [
    [() => server.restart({ newLog: false }), /sse.reconnect[^]*shutdown/],
    [() => server.disconnect({ user: "grace", reason: "banned" }), /sse.close[^]*banned/],
  ]) {
    const stream = await open("grace");
    await end();
    await until(() => stream.ended, "the stream ends");
    assert.match(stream.text, expected);
  }
});

test("a new log is a gap", async () => {
  const stream = await open("heidi");
  await server.send({ user: "heidi", type: "x", data: "1" });
  const id = await until(() => stream.text.match(/data: 1\nid: (.*)\n/)?.[1], "the event");
  await server.restart({ newLog: true });
  const next = await open("heidi", `?lastEventId=${id}`);
  await until(() => next.text.includes("sse.gap"), "the gap");
  next.close();
});

test("a token expires", async () => {
  const headers = { Authorization: `Bearer ${await token("ivan", "&ttl=1")}` };
  await until(async () => {
    const response = await fetch(`${server.http}/events`, { headers });
    await response.body.cancel();
    return response.status === 401;
  }, "the token expires");
});

test("a stopped address refuses connections", async () => {
  await server.stop("http");
  await assert.rejects(fetch(server.http), (error) => error.cause.code === "ECONNREFUSED");
  await server.start("http");
  assert.equal((await fetch(server.http)).status, 200);
});
