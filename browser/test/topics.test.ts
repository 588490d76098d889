// Topics as a set.

import assert from "node:assert/strict";
import { connect } from "../src/ginsse.js";
import { bench, type Bench } from "./helpers.js";

/** The topics of each request so far. */
const topicsOf = ({ requests }: Bench["server"]) => requests.map(({ topics }) => topics.join(" "));

bench("topics are in the query, also beside other parameters", {}, async ({ server, open }) => {
  open({ url: "/events?a=1&topic=fixed", topics: new Set(["post:7", "ü &"]) });
  await server.connected();
  assert.equal(server.requests[0]!.url.search, "?a=1&topic=fixed&topic=post%3A7&topic=%C3%BC+%26");
});

bench("the page names the parameter", { topicParameter: "t" }, async ({ server, open }) => {
  const { stream } = open({ topics: ["a", "b"], topicParameter: "t" });
  await server.connected();
  assert.deepEqual(topicsOf(server), ["a b"]);
  assert.deepEqual([...stream.topics], ["a", "b"]);
  assert.equal(stream.topics.has("a"), true);
  assert.equal(stream.topics.has("c"), false);
});

bench("add() before the connection is part of the first request", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  const added = stream.topics.add("a");
  await server.connected();
  await added;
  await clock.advance(1000);
  assert.deepEqual(topicsOf(server), ["a"]);
});

bench("changes within a moment are one change, and the page stays live", {}, async ({ clock, server, open }) => {
  const { stream, states, stale } = open({ topics: ["a"] });
  await server.connected();
  void stream.topics.add("b");
  await clock.advance(10);
  stream.topics.delete("a");
  void stream.topics.add("c");
  await clock.advance(1000);
  assert.deepEqual(topicsOf(server), ["a", "b c"]);
  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(stale, ["new"]);
  assert.equal(server.connections, 1);
});

bench("the promise of add() resolves when the stream reads the topic", {}, async ({ clock, server, open }) => {
  const { stream, events } = open({ topics: ["a"] });
  await server.connected();
  let reads = false;
  const added = stream.topics.add("b").then(() => (reads = true));
  await clock.advance(10);
  assert.equal(reads, false);
  await clock.advance(250);
  await added;
  await server.push("comment", 1, "b");
  assert.deepEqual(events, ["comment 1"]);
  let again = false;
  void stream.topics.add("b").then(() => (again = true)); // it is read already
  await clock.advance(0);
  assert.equal(again, true);
});

bench("no event is lost and none comes twice while topics change", {}, async ({ clock, server, open }) => {
  const { stream, events } = open({ topics: ["a"] });
  await server.connected();
  const want: string[] = [];
  const push = (topic?: string) => {
    want.push(`comment ${want.length}`);
    return server.push("comment", want.length - 1, topic);
  };
  for (let i = 0; i < 30; i++) {
    await push("a");
    const added = stream.topics.add(`t${i}`);
    void push("a"); // before the change
    await clock.advance(19);
    void push();
    await clock.advance(1); // the stream is opened again
    void push("a");
    let reads = false;
    void added.then(() => (reads = true));
    while (!reads) await clock.advance(10);
    await push(`t${i}`);
    stream.topics.delete(`t${i}`);
    if (i % 3 === 0) server.drop();
    if (i % 4 === 0) await clock.advance(30);
  }
  await clock.advance(5000);
  assert.deepEqual(events, want);
});

bench("each add needs a delete of its own", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  const add = () => void stream.topics.add("a");
  add();
  add();
  await clock.advance(300);
  stream.topics.delete("a");
  await clock.advance(300);
  assert.deepEqual(topicsOf(server), ["", "a"]);
  assert.equal(stream.topics.has("a"), true);
  stream.topics.delete("a");
  await clock.advance(300);
  assert.deepEqual(topicsOf(server), ["", "a", ""]);
  assert.equal(stream.topics.has("a"), false);
  stream.topics.delete("a"); // one too many
  add();
  await clock.advance(300);
  assert.deepEqual(topicsOf(server), ["", "a", "", "a"]);
});

bench("a topic that is deleted and added within a moment is no change, and its promise resolves", {}, async ({ clock, server, open }) => {
  const { stream } = open({ topics: ["a"] });
  await server.connected();
  stream.topics.delete("a");
  let reads = false;
  stream.topics.add("a").then(() => (reads = true)).catch(() => {});
  await clock.advance(1000);
  assert.deepEqual(topicsOf(server), ["a"]);
  assert.equal(reads, true);
});

bench("a topic that is added while the stream opens without it is read when its promise resolves", {}, async ({ clock, server, open }) => {
  let wait = 0;
  const { stream, events } = open({
    topics: ["a"],
    fetch: async (...args) => {
      if (wait) await new Promise<void>((resolve) => setTimeout(resolve, wait));
      return server.fetch(...args);
    },
  });
  await server.connected();
  wait = 500;
  stream.topics.delete("a");
  await clock.advance(100); // the request without it is on its way
  let reads = false;
  void stream.topics.add("a").then(() => (reads = true));
  await clock.advance(100);
  assert.equal(reads, false);
  while (!reads) await clock.advance(10);
  await server.push("comment", 1, "a");
  assert.deepEqual(events, ["comment 1"]);
});

bench("a topic that is deleted and added while the stream is not open changes nothing", {}, async ({ clock, server, open }) => {
  let asked = 0;
  const { stream } = open({ topics: ["a"], fetch: (...args) => (++asked === 2 ? new Promise(() => {}) : server.fetch(...args)) });
  await server.connected();
  server.drop();
  await clock.advance(1000);
  assert.equal(stream.id, "");
  stream.topics.delete("a");
  let reads = false;
  stream.topics.add("a").then(() => (reads = true)).catch(() => {});
  await clock.advance(1000);
  assert.deepEqual([asked, stream.id, reads], [2, "", false]);
});

bench("the order of topics does not matter", {}, async ({ clock, server, open }) => {
  const { stream } = open({ topics: ["a", "b"] });
  await server.connected();
  stream.topics.delete("a");
  stream.topics.add("a").catch(() => {});
  await clock.advance(1000);
  assert.deepEqual(topicsOf(server), ["a b"]);
});

bench("topics may have commas", {}, async ({ clock, server, open }) => {
  const { stream } = open({ topics: ["a,b"] });
  await server.connected();
  stream.topics.delete("a,b");
  stream.topics.add("a").catch(() => {});
  stream.topics.add("b").catch(() => {});
  await clock.advance(1000);
  assert.deepEqual(topicsOf(server), ["a,b", "a b"]);
});

bench("a change while the stream waits is part of the next request", {}, async ({ clock, server, open }) => {
  server.refuse({ status: 503, retryAfter: 10 });
  const { stream } = open({ topics: ["a"] });
  await clock.advance(1000);
  const added = stream.topics.add("b");
  await clock.advance(5000);
  assert.deepEqual(topicsOf(server), ["a"]);
  await clock.advance(5000);
  await added;
  assert.deepEqual(topicsOf(server), ["a", "a b"]);
});

bench("a change while the stream connects comes after it", {}, async ({ clock, server, open }) => {
  const { stream } = open({
    topics: ["a"],
    fetch: async (...args) => {
      await new Promise<void>((resolve) => setTimeout(resolve, 500));
      return server.fetch(...args);
    },
  });
  await clock.advance(100);
  const added = stream.topics.add("b");
  await clock.advance(2000);
  await added;
  assert.equal(topicsOf(server).at(-1), "a b");
});

bench("the promise of add() survives a lost connection", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  server.offline(true);
  await clock.advance(0);
  const added = stream.topics.add("a");
  await clock.advance(20_000);
  server.offline(false);
  await clock.advance(0);
  await added;
});

bench("the promise of add() rejects when the stream ends", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  server.offline(true);
  await clock.advance(0);
  const added = assert.rejects(stream.topics.add("a"), /stream is closed/);
  await clock.advance(1000);
  stream.close();
  await added;
  await assert.rejects(stream.topics.add("b"), /stream is closed/);
});

bench("a page that ignores the promise of add() has no unhandled rejection", {}, async ({ clock, server }) => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  try {
    const stream = connect("/events", { fetch: server.fetch });
    await server.connected();
    void stream.topics.add("a");
    stream.close();
    await clock.advance(1000);
    assert.deepEqual(unhandled, []);
  } finally {
    process.off("unhandledRejection", note);
  }
});

bench("topics that are added to a closed stream are read after reconnect()", {}, async ({ clock, server, open }) => {
  const { stream } = open();
  await server.connected();
  stream.close();
  stream.topics.add("a").catch(() => {});
  stream.reconnect();
  await clock.advance(1000);
  assert.deepEqual(topicsOf(server), ["", "a"]);
});
