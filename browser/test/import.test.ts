import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../src/ginsse.js";

// Frameworks import the modules of a page on the server too.
test("the module can be imported where there is no page", () => {
  assert.equal(typeof window, "undefined");
  assert.equal(typeof connect, "function");
});
