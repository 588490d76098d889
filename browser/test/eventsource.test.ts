// The native EventSource as the transport.

import assert from "node:assert/strict";
import { eventSource } from "../src/eventsource.js";
import { bench, Target, type Bench } from "./helpers.js";

/** What a browser's EventSource shows. */
class FakeEventSource extends Target {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;
  static all: FakeEventSource[] = [];
  readyState = FakeEventSource.CONNECTING;
  onopen = () => {};
  onerror = () => {};

  constructor(
    readonly url: string,
    readonly init: EventSourceInit,
  ) {
    super();
    FakeEventSource.all.push(this);
  }

  open() {
    this.readyState = FakeEventSource.OPEN;
    this.onopen();
  }

  send(type: string, data: unknown, lastEventId = "") {
    this.fire(type, { data: typeof data === "string" ? data : JSON.stringify(data), lastEventId });
  }

  fail(readyState = FakeEventSource.CONNECTING) {
    this.readyState = readyState;
    this.onerror();
  }

  close() {
    this.readyState = FakeEventSource.CLOSED;
  }
}

const last = () => FakeEventSource.all.at(-1)!;

function native(name: string, fn: (bench: Bench) => Promise<void>) {
  bench(`EventSource: ${name}`, {}, async (b) => {
    FakeEventSource.all = [];
    Object.assign(globalThis, { EventSource: FakeEventSource });
    try {
      await fn(b);
    } finally {
      delete (globalThis as any).EventSource;
    }
  });
}

native("events of types that have a handler arrive, also one that is added later", async ({ clock, open }) => {
  const { stream, events, states, stale } = open({ transport: eventSource(), topics: ["a"] });
  await clock.advance(0);
  assert.equal(last().url, "https://example.com/events?topic=a");
  last().open();
  last().send("sse.open", { stream: "s", resumed: false, heartbeat: 15_000 }, "0");
  last().send("message", 1, "1");
  last().send("comment", { n: 2 }, "2");
  const got: unknown[] = [];
  stream.on("late", (data) => got.push(data));
  last().send("late", 3, "3");
  assert.deepEqual(events, ["message 1", 'comment {"n":2}']);
  assert.deepEqual(got, [3]);
  assert.deepEqual([states, stale, stream.id], [["connecting", "live"], ["new"], "s"]);
});

native("a lost connection is opened again after the backoff, at the position", async ({ clock, open }) => {
  const { stream, states } = open({ transport: eventSource() });
  await clock.advance(0);
  last().open();
  last().send("message", 1, "7");
  last().fail();
  assert.equal(last().readyState, FakeEventSource.CLOSED); // it does not reconnect by itself
  await clock.advance(200);
  assert.equal(stream.state, "reconnecting");
  await clock.advance(1000);
  assert.equal(FakeEventSource.all.length, 2);
  assert.equal(last().url, "https://example.com/events?lastEventId=7");
  last().open();
  await clock.advance(1000);
  assert.deepEqual(states, ["connecting", "live", "reconnecting network", "live"]);
});

for (const [status, want] of [[401, "signed-out refused 401"], [404, "closed refused 404"], [503, "reconnecting refused 503"], [204, "closed finished 204"]] as const) {
  native(`a refusal with ${status} is found with fetch`, async ({ clock, server, open }) => {
    server.refuse({ status });
    const { states } = open({ transport: eventSource({ fetch: (...args) => server.fetch(...args) }) });
    await clock.advance(0);
    last().fail(FakeEventSource.CLOSED);
    await clock.advance(1);
    assert.deepEqual(states, ["connecting", want]);
    assert.equal(server.requests[0]!.url.href, last().url);
  });
}

native("a refusal that fetch does not get is a failure", async ({ clock, server, open }) => {
  const { states } = open({ transport: eventSource({ fetch: (...args) => server.fetch(...args) }) });
  await clock.advance(0);
  last().fail(FakeEventSource.CLOSED);
  await clock.advance(1);
  assert.deepEqual(states, ["connecting", "reconnecting network"]);
  assert.equal(server.connections, 0);
  await clock.advance(1000);
  assert.equal(FakeEventSource.all.length, 2);
});

native("a refusal that is looked at is not after close()", async ({ clock, server, open }) => {
  server.refuse({ status: 401 });
  const { stream, states } = open({ transport: eventSource({ fetch: (...args) => server.fetch(...args) }) });
  await clock.advance(0);
  last().fail(FakeEventSource.CLOSED);
  stream.close();
  await clock.advance(60_000);
  assert.deepEqual(states, ["connecting", "closed closed"]);
});

native("sse.reconnect, sse.close and silence are followed", async ({ clock, open }) => {
  const { states } = open({ transport: eventSource() });
  await clock.advance(0);
  last().open();
  last().send("sse.open", { resumed: false, heartbeat: 1000 });
  await clock.advance(3000);
  assert.equal(FakeEventSource.all.length, 2);
  assert.equal(FakeEventSource.all[0]!.readyState, FakeEventSource.CLOSED);
  last().open();
  last().send("sse.open", { resumed: true });
  last().send("sse.reconnect", { reason: "shutdown", retry: 500 });
  assert.equal(last().readyState, FakeEventSource.CLOSED);
  await clock.advance(499);
  assert.equal(FakeEventSource.all.length, 2);
  await clock.advance(1);
  assert.equal(FakeEventSource.all.length, 3);
  last().open();
  last().send("sse.close", { reason: "done" });
  assert.equal(last().readyState, FakeEventSource.CLOSED);
  assert.deepEqual(states, ["connecting", "live", "reconnecting silent", "live", "closed done"]);
});

native("cookies go to other origins with credentials: include", async ({ clock, open }) => {
  open({ transport: eventSource() });
  open({ transport: eventSource({ withCredentials: true }) });
  await clock.advance(0);
  assert.deepEqual(FakeEventSource.all.map(({ init }) => init.withCredentials), [false, true]);
});
