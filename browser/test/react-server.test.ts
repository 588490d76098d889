import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement as h } from "react";
import { renderToString } from "react-dom/server";
import { connect } from "../src/ginsse.js";
import { useEvent, useStale, useStream, useTopics } from "../src/react.js";

test("hooks render on a server, and hold nothing of the stream", (t) => {
  const fetch = t.mock.method(globalThis, "fetch", () => assert.fail("it connects"));
  const stream = connect("/events");
  const added = ["on", "onStale", "onState"] as const;
  const handlers = added.map((name) => t.mock.method(stream, name));
  const Page = () => {
    useEvent(stream, "comment", () => {});
    useStale(stream, () => {});
    return [useStream(stream).state, useTopics(stream, ["a"])].join(" ");
  };
  assert.equal(renderToString(h(Page)), "connecting false");
  assert.deepEqual(handlers.map((handler) => handler.mock.callCount()), [0, 0, 0]);
  assert.deepEqual([...stream.topics], []);
  assert.equal(fetch.mock.callCount(), 0);
});
