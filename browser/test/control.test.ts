// Changes of the open stream by requests.

import assert from "node:assert/strict";
import { control } from "../src/control.js";
import type { Options, State } from "../src/ginsse.js";
import { newHold } from "../src/hold.js";
import { bench, type Bench } from "./helpers.js";

/** What each request asked for, so far. */
const asked = ({ controls }: Bench["server"]) =>
  controls.map(({ stream, add, remove, state }) => [stream, ...add.map((topic) => `+${topic}`), ...remove.map((topic) => `-${topic}`), ...(state ? ["state"] : [])].join(" "));

/** What became of a promise. */
function outcome(promise: Promise<void>) {
  const result = { is: "" };
  promise.then(
    () => (result.is = "resolved"),
    (error: Error) => (result.is = error.message),
  );
  return result;
}

const REFUSED = "ginsse: stream is live: topic refused"; // of one that is open already

/** Opens a stream whose topics change by requests. */
async function openStream({ clock, server, open }: Bench, options: Options = {}) {
  const recorded = open({ topics: ["a"], control: control("/control"), ...options });
  await server.connected();
  await clock.advance(100);
  return recorded;
}

bench("topics change by one request, and the stream stays open", {}, async (b) => {
  const { clock, server } = b;
  const { stream, states, stale, events } = await openStream(b, { headers: () => ({ Authorization: "Bearer 1" }) });
  const added = [outcome(stream.topics.add("b")), outcome(stream.topics.add("c"))];
  await clock.advance(10);
  stream.topics.delete("a");
  await clock.advance(1000);
  assert.deepEqual(asked(server), ["stream-1 +b +c -a"]);
  assert.deepEqual(added.map(({ is }) => is), ["resolved", "resolved"]);
  assert.equal(server.controls[0]!.url.href, "https://example.com/control");
  assert.equal(server.controls[0]!.headers.get("Authorization"), "Bearer 1");
  assert.equal(server.controls[0]!.headers.get("Content-Type"), "application/json");
  await server.push("comment", 1, "a");
  await server.push("comment", 2, "b");
  assert.deepEqual(events, ["comment 2"]);
  assert.deepEqual([server.requests.length, states, stale], [1, ["connecting", "live"], ["new"]]);
});

bench("add() resolves at sse.topics, and not at the answer", {}, async (b) => {
  const { clock, server } = b;
  const { stream } = await openStream(b);
  server.freeze(); // the stream, but not the request
  const added = outcome(stream.topics.add("b"));
  await clock.advance(1000);
  assert.deepEqual([asked(server), added.is], [["stream-1 +b"], ""]);
});

bench("add() rejects if the server refuses the topic; the next add() asks again", { allowTopic: (topic) => topic !== "b" || allowed }, async (b) => {
  const { clock, server } = b;
  allowed = false;
  const { stream } = await openStream(b);
  const added = [outcome(stream.topics.add("b")), outcome(stream.topics.add("c"))];
  await clock.advance(1000);
  assert.deepEqual(added.map(({ is }) => is), [REFUSED, "resolved"]);
  const again = outcome(stream.topics.add("b"));
  await clock.advance(1000);
  assert.equal(again.is, REFUSED);
  allowed = true;
  const last = outcome(stream.topics.add("b"));
  await clock.advance(1000);
  assert.equal(last.is, "resolved");
  assert.deepEqual(asked(server), ["stream-1 +b +c", "stream-1 +b", "stream-1 +b"]);
  for (let i = 0; i < 3; i++) stream.topics.delete("b");
  await clock.advance(1000);
  assert.equal(asked(server).at(-1), "stream-1 -b");
});
let allowed = false;

bench("a topic of the URL that the server leaves out is refused", { allowTopic: (topic) => topic !== "b" }, async (b) => {
  const { clock, server, open } = b;
  const { stream } = open({ topics: ["a"], control: control("/control") });
  const added = outcome(stream.topics.add("b"));
  await server.connected();
  await clock.advance(100);
  assert.match(added.is, /topic refused/);
  void stream.topics.add("a");
  await clock.advance(0);
  assert.deepEqual(asked(server), []);
});

bench("a topic that is taken back and added again while the request is on its way is read again", {}, async (b) => {
  const { clock, server } = b;
  const gates: (() => void)[] = [];
  const { stream, events } = await openStream(b, {
    fetch: async (input, init) => {
      if (init?.method === "POST") await new Promise<void>((resolve) => gates.push(resolve));
      return server.fetch(input, init);
    },
  });
  stream.topics.delete("a");
  await clock.advance(50);
  const added = outcome(stream.topics.add("a"));
  await clock.advance(50);
  assert.deepEqual([added.is, gates.length], ["", 1]); // one request at a time
  await server.grant("x"); // sse.topics still has the topic
  assert.equal(added.is, "");
  gates.shift()!();
  await clock.advance(0);
  assert.equal(added.is, "");
  gates.shift()!();
  await clock.advance(0);
  assert.equal(added.is, "resolved");
  assert.deepEqual(asked(server), ["stream-1 -a", "stream-1 +a"]);
  await server.push("comment", 1, "a");
  assert.deepEqual(events, ["comment 1"]);
});

bench("a topic that is about to go does not count as read", {}, async (b) => {
  const { clock, server } = b;
  const late: (() => Promise<Response>)[] = [];
  const { stream } = await openStream(b, {
    fetch: async (input, init) => {
      if (init?.method !== "POST") return server.fetch(input, init);
      late.push(() => server.fetch(input, init)); // the log has it, and the stream has not come so far
      return new Response("{}", { status: 202 });
    },
  });
  stream.topics.delete("a");
  await clock.advance(50);
  const added = outcome(stream.topics.add("a"));
  await clock.advance(50);
  await server.grant("x");
  await clock.advance(50);
  assert.deepEqual([late.length, added.is], [2, ""]);
  await late.shift()!();
  await clock.advance(0);
  assert.equal(added.is, "");
  await late.shift()!();
  await clock.advance(0);
  assert.equal(added.is, "resolved");
});

bench("a request that hangs does not delay those for the next stream", {}, async (b) => {
  const { clock, server } = b;
  let hang = true;
  const { stream } = await openStream(b, {
    fetch: (input, init) =>
      init?.method === "POST" && hang
        ? new Promise((_, reject) => init.signal!.addEventListener("abort", () => reject(init.signal!.reason)))
        : server.fetch(input, init),
  });
  void stream.topics.add("b");
  await clock.advance(100);
  hang = false;
  await server.reconnect({ retry: 100 });
  await clock.advance(200);
  assert.deepEqual([server.requests.length, asked(server)], [2, ["stream-2 state"]]);
});

for (const [name, fail, least, most] of [
  ["429 with Retry-After", (server: Bench["server"]) => server.refuseControl({ status: 429, retryAfter: 5 }), 5500, 6000],
  ["503", (server: Bench["server"]) => server.refuseControl({ status: 503, times: 2 }), 1500, 3000],
] as const) {
  bench(`after ${name} the page asks again`, {}, async (b) => {
    const { clock, server } = b;
    const { stream } = await openStream(b);
    fail(server);
    const added = outcome(stream.topics.add("b"));
    await clock.advance(20 + least - 1);
    assert.equal(added.is, "");
    await clock.advance(most - least + 1);
    assert.deepEqual([added.is, server.requests.length], ["resolved", 1]);
  });
}

bench("what changes while the page waits is part of the next request", {}, async (b) => {
  const { clock, server } = b;
  const { stream, events } = await openStream(b);
  server.refuseControl({ status: 503 });
  void stream.topics.add("b");
  stream.topics.delete("a");
  await clock.advance(100);
  const added = [outcome(stream.topics.add("a")), outcome(stream.topics.add("c"))];
  stream.topics.delete("b");
  await clock.advance(2000);
  // The server may have carried out the request that failed.
  assert.deepEqual(asked(server), ["stream-1 +b -a", "stream-1 +a +c -b -a"]);
  assert.deepEqual(added.map(({ is }) => is), ["resolved", "resolved"]);
  for (const topic of ["a", "b", "c"]) await server.push("comment", topic, topic);
  assert.deepEqual(events, ["comment a", "comment c"]);
});

bench("after 401 the credential is renewed once", {}, async (b) => {
  const { clock, server } = b;
  let token = 1;
  const { stream } = await openStream(b, { headers: () => ({ Authorization: `Bearer ${token}` }), auth: () => void token++ });
  server.refuseControl({ status: 401 });
  const added = outcome(stream.topics.add("b"));
  await clock.advance(100);
  assert.deepEqual([added.is, token, server.requests.length], ["resolved", 2, 1]);
  assert.equal(server.controls[1]!.headers.get("Authorization"), "Bearer 2");
  server.refuseControl({ status: 401, times: 2 });
  const other = outcome(stream.topics.add("c"));
  await clock.advance(100);
  await clock.advance(100);
  assert.deepEqual([other.is, token, server.requests.length], ["resolved", 3, 2]); // by the URL
  assert.equal(b.errors.length, 1);
});

bench("if the server does not take the request, the stream is opened again", {}, async (b) => {
  const { clock, server } = b;
  const { stream, states, stale, events } = await openStream(b);
  server.refuseControl({ status: 404 });
  const added = outcome(stream.topics.add("b"));
  stream.topics.delete("a");
  await clock.advance(500);
  assert.deepEqual(server.requests.map(({ topics }) => topics.join(" ")), ["a", "b"]);
  assert.equal(added.is, "resolved");
  await server.push("comment", 1, "b");
  assert.deepEqual([states, stale, events], [["connecting", "live"], ["new"], ["comment 1"]]);
  assert.match(String(b.errors), /\/control answers 404/);
  stream.topics.delete("b"); // the next change is a request again
  await clock.advance(500);
  assert.deepEqual([asked(server).at(-1), server.requests.length], ["stream-2 -b", 2]);
});

bench("a stream that ends meanwhile has the topics in its next URL", {}, async (b) => {
  const { clock, server } = b;
  const { stream } = await openStream(b);
  server.refuseControl({ status: 503, retryAfter: 60 });
  const added = outcome(stream.topics.add("b"));
  await clock.advance(100);
  await server.reconnect();
  await clock.advance(2000);
  assert.equal(added.is, "resolved");
  assert.deepEqual(server.requests.map(({ topics }) => topics.join(" ")), ["a", "a b"]);
  // The topic is new to a stream that is resumed: the server sends no state of it by itself.
  assert.deepEqual(asked(server), ["stream-1 +b"]);
  await clock.advance(60_000);
  assert.deepEqual(asked(server), ["stream-1 +b", "stream-2 state"]);
});

bench("nothing is sent for a stream that was closed", {}, async (b) => {
  const { clock, server } = b;
  const { stream } = await openStream(b);
  server.refuseControl({ status: 503, times: Infinity });
  const added = outcome(stream.topics.add("b"));
  await clock.advance(100);
  stream.close();
  await clock.advance(100_000);
  assert.deepEqual([asked(server).length, clock.timers], [1, 0]);
  assert.match(added.is, /stream is closed/);
});

bench("the application grants and revokes topics", {}, async (b) => {
  const { clock, server } = b;
  const { stream } = await openStream(b);
  const heard: unknown[] = [];
  stream.on("sse.topics", (data) => heard.push(data));
  await server.grant("x");
  assert.equal(outcome(stream.topics.add("x")).is, "");
  await clock.advance(100);
  await server.revoke("a");
  assert.deepEqual(heard, [{ topics: ["a", "x"], added: ["x"] }, { topics: ["x"], removed: ["a"] }]);
  const added = outcome(stream.topics.add("a")); // the server is asked again
  await clock.advance(100);
  assert.equal(added.is, "resolved");
  assert.deepEqual(asked(server), ["stream-1 state", "stream-1 +a"]);
  assert.equal(server.requests.length, 1);
});

bench("without control(), a topic that was granted is read, and one that was revoked is not", {}, async ({ clock, server, open }) => {
  const { stream, events } = open({ topics: ["a"] });
  await server.connected();
  await server.grant("x");
  await server.revoke("a");
  const granted = outcome(stream.topics.add("x"));
  const revoked = outcome(stream.topics.add("a"));
  await clock.advance(0);
  assert.deepEqual([granted.is, revoked.is], ["resolved", ""]);
  await server.push("comment", 1, "x");
  assert.deepEqual(events, ["comment 1"]);
  await clock.advance(1000); // the add of x is a change of what the page wants
  assert.deepEqual(server.requests.map(({ topics }) => topics.join(" ")), ["a", "a x"]);
  assert.equal(revoked.is, "resolved");
});

bench("handlers get the kit's events about topics, and loops do not", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  const heard: unknown[] = [];
  const looped: string[] = [];
  for (const type of ["sse.topics", "sse.open", "sse.heartbeat", "sse.gap"]) stream.on(type, (_, event) => heard.push(event.type));
  void (async () => {
    for await (const { type } of stream) looped.push(type);
  })();
  await server.connected();
  await server.grant("x");
  await server.push("comment", 1);
  await server.gap();
  await clock.advance(20_000);
  assert.deepEqual([heard, looped], [["sse.open", "sse.topics"], ["comment"]]);
});

const counter = () => {
  const sent: string[] = [];
  return { sent, state: (topic: string): [string, unknown][] => (sent.push(topic), [["badge", topic]]) };
};

{
  const { sent, state } = counter();
  bench("the state comes by itself to a new page, and is asked for after a reload", { state }, async (b) => {
    const { clock, server, open, page } = b;
    const first = await openStream(b);
    assert.deepEqual([sent.splice(0), first.events.splice(0)], [["", "a"], ["badge ", "badge a"]]);
    const added = first.stream.topics.add("b");
    await clock.advance(100);
    await added;
    assert.deepEqual(first.events, ["badge b"]); // of the topic alone
    server.drop();
    await clock.advance(5000);
    await server.gap();
    await clock.advance(100);
    assert.deepEqual(asked(server), ["stream-1 +b"]); // the server sends it after a gap
    assert.deepEqual(first.events.splice(0), ["badge b", "badge ", "badge a", "badge b"]);
    first.stream.close();

    page.window.fire("pagehide");
    const second = open({ topics: ["a"], control: control("/control") });
    await clock.advance(1000);
    assert.deepEqual([asked(server).slice(1), second.stale, second.events], [["stream-3 state"], [], ["badge ", "badge a"]]);
    server.drop();
    await clock.advance(60_000);
    assert.equal(asked(server).length, 3); // once more, because the stream ended so soon after the request
    server.drop();
    await clock.advance(60_000);
    assert.equal(asked(server).length, 3);
  });
}

bench("a request for the state is tried again on the next stream", { state: () => [] }, async (b) => {
  const { clock, server, open, page } = b;
  const first = await openStream(b);
  await server.push("comment", 1);
  first.stream.close();
  page.window.fire("pagehide");
  server.refuseControl({ status: 503 });
  open({ topics: ["a"], control: control("/control") });
  await clock.advance(100);
  server.drop();
  await clock.advance(5000);
  assert.deepEqual(asked(server), ["stream-2 state", "stream-3 state"]);
});

bench("renew() asks with the credential of now", {}, async (b) => {
  const { clock, server, open } = b;
  let token = 1;
  const link = control("/control");
  open({ control: link, headers: () => ({ Authorization: `Bearer ${token}` }) });
  link.renew(); // nothing is open
  await server.connected();
  await clock.advance(100);
  assert.deepEqual(asked(server), []);
  token = 2;
  server.refuseControl({ status: 503 });
  link.renew();
  await clock.advance(2000);
  assert.deepEqual(asked(server), ["stream-1", "stream-1"]);
  assert.equal(server.controls[0]!.headers.get("Authorization"), "Bearer 2");
});

bench("a component whose topic was refused asks again when the stream reconnects or the topic is granted", { allowTopic: (topic) => topic !== "b" }, async (b) => {
  const { clock, server } = b;
  const { stream } = await openStream(b);
  let read = 0;
  newHold(stream)(["b"], () => read++);
  await clock.advance(60_000);
  assert.deepEqual([read, asked(server)], [0, ["stream-1 +b"]]);
  await server.grant("b");
  await clock.advance(100);
  assert.equal(read, 1);
  assert.deepEqual([...stream.topics], ["a", "b"]);
  stream.topics.delete("b");
  assert.deepEqual([...stream.topics], ["a"]);
  stream.state satisfies State;
});
