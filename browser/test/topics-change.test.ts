import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { connect } from "../src/ginsse.js";
import { newFakeServer } from "../src/testing.js";

/** A server, and a live stream of it that ends with the test. */
async function newStream(t: TestContext, topics: string[]) {
  const server = newFakeServer();
  const stream = connect("/events", { fetch: server.fetch, topics });
  t.after(() => stream.close());
  await server.connected();
  return { server, stream };
}

test("a topic that is taken back and added again at once is read", { timeout: 30_000 }, async (t) => {
  const { server, stream } = await newStream(t, ["a"]);
  stream.topics.delete("a");
  await stream.topics.add("a");
  assert.equal(server.requests.length, 1);
});

test("the order of the topics is no change", async (t) => {
  const { server, stream } = await newStream(t, ["a", "b"]);
  stream.topics.delete("a");
  stream.topics.add("a");
  await stream.topics.add("c");
  stream.topics.delete("b");
  await stream.topics.add("b");
  assert.deepEqual(server.requests.map(({ topics }) => topics), [["a", "b"], ["a", "b", "c"]]);
});

test("an add whose promise is not awaited may fail", async (t) => {
  const { stream } = await newStream(t, []);
  stream.topics.add("a");
  const waited = stream.topics.add("b");
  stream.close();
  await assert.rejects(waited, /stream is closed/);
  stream.topics.add("c");
  await new Promise(setImmediate); // for an unhandled rejection
});
