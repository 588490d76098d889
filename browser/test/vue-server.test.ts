import assert from "node:assert/strict";
import { test } from "node:test";
import { createSSRApp, h } from "vue";
import { renderToString } from "vue/server-renderer";
import { connect } from "../src/ginsse.js";
import { useEvent, useStale, useStream, useTopics } from "../src/vue.js";

test("composables render on a server, and hold nothing of the stream", async (t) => {
  const fetch = t.mock.method(globalThis, "fetch", () => assert.fail("it connects"));
  const stream = connect("/events");
  const added = ["on", "onStale", "onState"] as const;
  const handlers = added.map((name) => t.mock.method(stream, name));
  const Page = () => {
    useEvent(stream, "comment", () => {});
    useStale(stream, () => {});
    const { state } = useStream(stream);
    const ready = useTopics(stream, ["a"]);
    return () => h("p", [state.value, ready.value].join(" "));
  };
  assert.equal(await renderToString(createSSRApp({ setup: Page })), "<p>connecting false</p>");
  assert.deepEqual(handlers.map((handler) => handler.mock.callCount()), [0, 0, 0]);
  assert.deepEqual([...stream.topics], []);
  assert.equal(fetch.mock.callCount(), 0);
});
